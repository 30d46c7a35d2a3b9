// What an amount of money buys, what a delay costs.
#include "cluster/plan_questions.h"

#include <fmt/format.h>

#include <algorithm>

#include "cluster/plan_draws.h"
#include "cluster/plan_output.h"
#include "cluster/plan_site.h"
#include "kernels/error.h"
#include "kernels/format.h"

namespace farscale {
namespace {

void check_something_is_bought(const Plan& plan, size_t site) {
  const auto here = [site](const auto& entry) { return entry.site == site; };
  if (std::any_of(plan.deliveries.begin(), plan.deliveries.end(), here) ||
      std::any_of(plan.rentals.begin(), plan.rentals.end(), here))
    return;
  throw InputError(
      fmt::format("--budget: nothing is bought or rented for {} in plan {}: expected a [[delivery]] with "
                  "usd_per_gpu or a [[rental]] with usd_per_gpu_hour",
                  plan.sites[site].name, plan.name));
}

}  // namespace

size_t main_site(const Plan& plan) {
  std::vector<double> gpus(plan.sites.size());
  for (size_t i = 0; i < plan.sites.size(); ++i)
    if (plan.sites[i].in_service) gpus[i] += plan.sites[i].in_service->value.p50;
  for (const Delivery& delivery : plan.deliveries) gpus[delivery.site] += median_gpus(plan.deliveries, delivery);
  for (const Rental& rental : plan.rentals) gpus[rental.site] += rental.gpus.value.p50;
  return size_t(std::max_element(gpus.begin(), gpus.end()) - gpus.begin());
}

BudgetAnswer answer_budget(const Plan& plan, double usd, const RunOptions& options, const MachineSource& machines) {
  const size_t index = main_site(plan);
  const Site& site = plan.sites[index];
  check_something_is_bought(plan, index);
  const PlanMachine machine = machines(plan.training.workload, site);
  const SiteFigures figures(plan, index, machine.node_power_w, machine.gpus_per_node, options.draws, options.seed);
  std::vector<double> of_vendor, of_cluster, kept;
  for (int c = 0; c <= options.draws; ++c) {
    of_cluster.push_back(usd / std::max(figures.one_more_usd(c), 1e-3));
    of_vendor.push_back(site.rented ? 0 : usd / std::max(figures.vendor_usd(c), 1e-3));
  }
  const double most = std::max(*std::max_element(of_cluster.begin(), of_cluster.end()), 1.0);
  if (most > kMostPlanGpus)
    throw InputError(fmt::format("--budget: {} buy more than {} GPUs: expected at most {:.3g} USD",
                                 usd_range({usd, usd, usd}), format_count(kMostPlanGpus), usd * kMostPlanGpus / most));
  const DeliveryCurve curve(machine, plan.failures, most, DeliveryOptions::of(plan, options.draws, options.seed));
  const std::vector<double> spare =
      column_values(plan.training.spare_share, options.seed, "spare share", options.draws);
  for (size_t c = 0; c < of_cluster.size(); ++c) {
    const double gpus = of_cluster[c] * (1 - spare[c]);
    const auto jobs = double(curve.jobs_for(gpus, plan.training.jobs));
    kept.push_back(jobs * curve.delivered_per_s(int(c), gpus / jobs));
  }
  return {.usd = usd,
          .site = site.name,
          .rented = site.rented,
          .gpus_of_vendor = estimate_of(of_vendor),
          .gpus_of_cluster = estimate_of(of_cluster),
          .kept_per_s = estimate_of(kept)};
}

DelayAnswer answer_delay(const PlanReport& report, int days, const MachineSource& machines) {
  DelayAnswer answer{.days = days};
  Plan late = report.plan;
  const double start = double(late.start.time_since_epoch().count());
  const auto slip = [&](PlanDate& date) {
    if (date.days.value.p50 <= start) return;  // what is there already stays
    answer.moves_anything = true;
    for (double* day : {&date.days.value.p05, &date.days.value.p50, &date.days.value.p95}) *day += days;
  };
  for (Site& site : late.sites) {
    for (Hall& hall : site.halls) slip(hall.ready);
    for (PowerStep& step : site.power) slip(step.from);
  }
  const PlanReport then = run_plan(late, report.options, machines);
  const auto difference = [&](Total total, double sign) {
    std::vector<double> columns = then.outcomes[size_t(total)].columns;
    for (size_t c = 0; c < columns.size(); ++c)
      columns[c] = sign * (columns[c] - report.outcomes[size_t(total)].columns[c]) + 0.0;  // no -0
    return estimate_of(columns);
  };
  answer.samples_lost = difference(Total::kSamples, -1);
  answer.idle_gpu_days = difference(Total::kIdleGpuDays, 1);
  answer.idle_usd = difference(Total::kIdleUsd, 1);
  answer.days_later = difference(Total::kCompleteDay, 1);
  return answer;
}

}  // namespace farscale
