// Plans and machines with known answers, for the tests of whole plans.
#pragma once

#include <gtest/gtest.h>

#include <vector>

#include "cluster/plan_draws.h"
#include "cluster/plan_run.h"
#include "kernels/error.h"

namespace farscale {

inline Quantity exactly(double value) {
  return {.value = {value, value, value}, .evidence = Evidence::kAssumed, .source = "t"};
}
inline Quantity between(double low, double value, double high) {
  return {.value = {low, value, high}, .evidence = Evidence::kAssumed, .source = "t"};
}
inline PlanDate on(Day day) { return {exactly(double(day.time_since_epoch().count()))}; }
inline constexpr Day kStart = std::chrono::sys_days(std::chrono::year(2024) / 6 / 1);

// 10 samples/s a GPU at every size, give or take 20 %; 8,000 W a node of 8.
inline PlanMachine steady_machine(const std::string&, const Site&) {
  return {
      .gpus_per_node = 8, .node_power_w = exactly(8000), .predict = [](int64_t gpus, const PredictOptions& options) {
        Prediction prediction;
        prediction.gpus = gpus;
        for (const double rate : quantity_draws(between(8, 10, 12), options.seed, "steady rate", options.draws))
          prediction.samples_per_s_draws.push_back(rate * double(gpus));
        prediction.samples_per_s = {8.0 * double(gpus), 10.0 * double(gpus), 12.0 * double(gpus)};
        prediction.step_time_s = {0.1, 0.1, 0.1};  // a batch of one sample a GPU
        prediction.evidence = {{"rate", Evidence::kMeasured, "t"}};
        return prediction;
      }};
}

inline FailureModel no_failures() { return {exactly(1e-9), exactly(0), exactly(0), exactly(0)}; }

// 1,000 GPUs on the first day; a hall that is ready on day 30; enough power; nothing in the way otherwise.
inline Plan simple_plan() {
  Plan plan;
  plan.name = "simple";
  plan.title = "A hall";
  plan.start = kStart;
  plan.end = kStart + std::chrono::days(99);
  Site site{.name = "hall",
            .organisation = "Tesla",
            .hardware = "h100-sxm",
            .rented = false,
            .pue = exactly(1.25),
            .fabric_share = exactly(0),
            .power = {{on(kStart), exactly(100)}},
            .halls = {{"south", exactly(2000), on(kStart + std::chrono::days(30)), {}}},
            .pipeline = {},
            .in_service = {},
            .where = "t"};
  site.pipeline = {.rack_per_day = exactly(1e6),
                   .burn_in_days = exactly(0),
                   .burn_in_at_once = exactly(1e9),
                   .first_pass_yield = exactly(1),
                   .repair_days = exactly(0),
                   .repairs_per_day = exactly(1e9),
                   .repair_share = exactly(0),
                   .infant_excess = exactly(0),
                   .infant_days = exactly(30)};
  plan.sites = {site};
  plan.deliveries = {
      {.name = "lot", .site = 0, .gpus = exactly(1000), .first = on(kStart), .last = {}, .usd_per_gpu = exactly(30e3)}};
  plan.training = {.workload = "w", .layout = "auto", .jobs = 1, .spare_share = exactly(0), .samples_per_training = {}};
  plan.failures = no_failures();
  plan.state_power = {.racked = exactly(0), .burn_in = exactly(1), .repair = exactly(0), .spare = exactly(1)};
  plan.prices = {.vendor_share = exactly(2.0 / 3), .usd_per_kwh = exactly(0.1), .lifetime_years = exactly(4)};
  return plan;
}

inline Plan large_plan(double gpus, int64_t jobs) {
  Plan plan = simple_plan();
  plan.sites[0].halls = {{"south", exactly(1e6), on(kStart), {}}};
  plan.sites[0].power = {{on(kStart), exactly(10000)}};
  plan.deliveries[0].gpus = exactly(gpus);
  plan.training.jobs = jobs;
  plan.failures = {exactly(6.5e-3), exactly(30), exactly(600), exactly(0)};
  return plan;
}

inline double total(const PlanReport& report, Total which) { return report.outcomes[size_t(which)].estimate.p50; }

inline std::vector<TimelineRow> month_ends(const PlanReport& report) {
  std::vector<TimelineRow> months;
  for (const TimelineRow& row : report.timeline)
    if (row.month_end) months.push_back(row);
  return months;
}

}  // namespace farscale
