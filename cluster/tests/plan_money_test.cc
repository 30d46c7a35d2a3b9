// Money: what GPUs in service cost, lots of several prices, transfers, budgets.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cluster/plan_output.h"
#include "cluster/tests/plan_fixture.h"

namespace farscale {
namespace {

using testing::HasSubstr;

constexpr double kLifetimeDays = 4 * 365.25;

// The hall is ready, all of it in service on the first day, energy is free.
Plan ready_plan() {
  Plan plan = simple_plan();
  plan.sites[0].halls[0].ready = on(kStart);
  plan.prices.usd_per_kwh = exactly(0);
  return plan;
}

double site_total(const PlanReport& report, size_t site, Total which) {
  return report.sites[site].outcomes[size_t(which)].estimate.p50;
}

TEST(PlanMoney, LotsOfTwoPricesAreWrittenOffAtTheirMean) {
  Plan plan = ready_plan();
  plan.deliveries.push_back(plan.deliveries[0]);
  plan.deliveries[1].name = "dear lot";
  plan.deliveries[1].first = on(kStart + std::chrono::days(50));
  plan.deliveries[1].usd_per_gpu = exactly(300e3);
  plan.sites[0].hardware = "h100-sxm";
  const PlanReport report = run_plan(plan, {.draws = 0}, steady_machine);
  // prices share a stream by hardware, and draw 0 has each lot's own median: 45 k for 100 days, 450 k for 50
  EXPECT_NEAR(total(report, Total::kWrittenOffUsd) * kLifetimeDays / (1000 * (100 * 45e3 + 50 * 450e3)), 1, 1e-9);
  EXPECT_NEAR(total(report, Total::kCapitalUsd), 1000 * (45e3 + 450e3), 1);
}

TEST(PlanMoney, WhatWasInServiceIsWrittenOffToo) {
  Plan plan = ready_plan();
  plan.sites[0].in_service = exactly(500);
  const auto written_off = [](const Plan& p) {
    return total(run_plan(p, {.draws = 0}, steady_machine), Total::kWrittenOffUsd) * kLifetimeDays / 100;
  };
  EXPECT_NEAR(written_off(plan), 1500 * 45e3, 1);  // at the delivery's price
  plan.sites[0].usd_per_gpu = exactly(20e3);
  EXPECT_NEAR(written_off(plan), 1000 * 45e3 + 500 * 30e3, 1);
  const PlanReport report = run_plan(plan, {.draws = 0}, steady_machine);
  EXPECT_NEAR(total(report, Total::kCapitalUsd), 1000 * 45e3, 1);  // bought before the plan
}

TEST(PlanMoney, CapitalGoesWithTransfers) {
  Plan plan = ready_plan();
  plan.sites[0].in_service = exactly(1000);  // at 15 k: with the 1,000 at 30 k a mean of 22.5 k, 33.75 k with the rest
  plan.sites[0].usd_per_gpu = exactly(15e3);
  plan.sites.push_back(plan.sites[0]);
  plan.sites[1].name = "other";
  plan.sites[1].in_service.reset();
  plan.transfers = {{.name = "move",
                     .from = 0,
                     .to = 1,
                     .gpus = exactly(800),
                     .date = on(kStart + std::chrono::days(50)),
                     .transit_days = exactly(0)}};
  const PlanReport report = run_plan(plan, {.draws = 0}, steady_machine);
  const double mean = 33.75e3 / kLifetimeDays;
  EXPECT_NEAR(site_total(report, 0, Total::kWrittenOffUsd) / (mean * (50 * 2000 + 50 * 1200)), 1, 1e-9);
  EXPECT_NEAR(site_total(report, 1, Total::kWrittenOffUsd) / (mean * 50 * 800), 1, 1e-9);
  EXPECT_NEAR(total(report, Total::kWrittenOffUsd) / (mean * 100 * 2000), 1, 1e-9);
}

TEST(PlanDeliveries, OneDrawSplitsATotal) {
  Plan plan = ready_plan();
  plan.deliveries[0].gpus = between(400, 600, 800);
  plan.deliveries.push_back(plan.deliveries[0]);
  plan.deliveries[1].name = "rest";
  plan.deliveries[1].gpus = exactly(1200);
  plan.deliveries[1].less = 0;
  plan.deliveries[1].first = on(kStart + std::chrono::days(50));
  const PlanReport report = run_plan(plan, {.draws = 500}, steady_machine);
  const Estimate& first = report.timeline.front().delivered;
  EXPECT_NEAR(first.p05, 400, 5);
  EXPECT_NEAR(first.p95, 800, 10);
  const Estimate& all = report.timeline.back().delivered;
  EXPECT_NEAR(all.p05, 1200, 1e-6);
  EXPECT_NEAR(all.p95, 1200, 1e-6);
}

TEST(PlanDeliveries, AnOrderArrivesAfterItsLeadTime) {
  Plan plan = ready_plan();
  plan.deliveries[0].ordered = on(kStart + std::chrono::days(5));
  plan.deliveries[0].lead_days = between(20, 40, 60);
  const PlanReport report = run_plan(plan, {.draws = 500}, steady_machine);
  const Estimate days = report.outcomes[size_t(Total::kCompleteDay)].estimate;
  EXPECT_NEAR(days.p05, 25, 1.5);
  EXPECT_NEAR(days.p50, 45, 1.5);
  EXPECT_NEAR(days.p95, 65, 1.5);
}

TEST(PlanMoney, ABudgetBuysClustersByTheirParts) {
  Plan plan = simple_plan();
  plan.prices.parts = ClusterParts{
      .node_usd_per_gpu = exactly(10e3), .network_usd_per_gpu = exactly(5e3), .building_usd_per_mw = exactly(8e6)};
  const double each = 30e3 + 10e3 + 5e3 + 8 * 1250;  // 1.25 kW a GPU
  const BudgetAnswer answer = answer_budget(plan, 1000 * each, {.draws = 0}, steady_machine);
  EXPECT_NEAR(answer.gpus_of_cluster.p50, 1000, 1e-6);
  EXPECT_NEAR(answer.gpus_of_vendor.p50, 1000 * each / 30e3, 1e-6);
  EXPECT_NEAR(total(run_plan(plan, {.draws = 0}, steady_machine), Total::kCapitalUsd), 1000 * each, 1);
}

TEST(PlanMoney, ABudgetRentsWhereThePlanRents) {
  Plan plan = simple_plan();
  plan.sites[0].rented = true;
  plan.deliveries.clear();
  plan.rentals = {{.site = 0,
                   .gpus = exactly(10),
                   .from = on(kStart),
                   .until = on(kStart + std::chrono::days(49)),
                   .usd_per_gpu_hour = exactly(2)}};
  const BudgetAnswer answer = answer_budget(plan, 1000.0 * 50 * 24 * 2, {.draws = 0}, steady_machine);
  EXPECT_NEAR(answer.gpus_of_cluster.p50, 1000, 1e-6);
  EXPECT_NEAR(answer.kept_per_s.p50, 1000 * 10, 1);
  EXPECT_THAT(budget_text(answer), HasSubstr("rent 1.00 k GPUs"));
}

}  // namespace
}  // namespace farscale
