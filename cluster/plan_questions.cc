// Inverting the delivery curve: GPUs for a training by a date, training for an amount of money.
#include "cluster/plan_questions.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <limits>

#include "cluster/plan_draws.h"
#include "cluster/plan_output.h"
#include "kernels/error.h"
#include "kernels/format.h"

namespace farscale {
namespace {

constexpr double kDay_s = 86400;
constexpr double kMostGpus = 4e6;      // looked at; every job's peak lies below with the failure rates known today
constexpr double kMostSamples = 1e18;  // of a training: a million times what any has said to have used

[[noreturn]] void wrong_need(const std::string& text, const std::string& why) {
  throw InputError(
      fmt::format("--need '{}': {}; expected WORKLOAD:NUMBER samples by DATE, as in \"{}\"", text, why, kNeedExample));
}

Day parse_date(const std::string& text, int year, unsigned month, unsigned day) {
  const std::chrono::year_month_day date{std::chrono::year(year), std::chrono::month(month), std::chrono::day(day)};
  if (!date.ok()) wrong_need(text, "there is no such day");
  return date;
}

// The site that most GPUs go to.
size_t main_site(const Plan& plan) {
  std::vector<double> gpus(plan.sites.size());
  for (size_t i = 0; i < plan.sites.size(); ++i)
    if (plan.sites[i].in_service) gpus[i] += plan.sites[i].in_service->value.p50;
  for (const Delivery& delivery : plan.deliveries) gpus[delivery.site] += delivery.gpus.value.p50;
  for (const Rental& rental : plan.rentals) gpus[rental.site] += rental.gpus.value.p50;
  return size_t(std::max_element(gpus.begin(), gpus.end()) - gpus.begin());
}

// Smallest job on the rising branch of a column that keeps `rate`; infinite when none does.
double least_gpus(const DeliveryCurve& curve, int column, double rate, double least, double* peak_rate) {
  double below = least, peak = least;
  *peak_rate = 0;
  for (double gpus = least; gpus <= kMostGpus; gpus *= 1.1) {
    const double kept = curve.delivered_per_s(column, gpus);
    if (kept > *peak_rate) *peak_rate = kept, peak = gpus;
  }
  if (*peak_rate < rate) return std::numeric_limits<double>::infinity();
  double above = peak;
  for (int i = 0; i < 60; ++i) {
    const double middle = std::sqrt(below * above);
    (curve.delivered_per_s(column, middle) < rate ? below : above) = middle;
  }
  return above;
}

std::vector<double> spares_of(const Plan& plan, const RunOptions& options) {
  return column_values(plan.training.spare_share, options.seed, "spare share", options.draws);
}

// Another workload than the plan's has a layout of its own.
std::string layout_for(const Plan& plan, const std::string& workload) {
  return workload == plan.training.workload ? plan.training.layout : "auto";
}

DeliveryOptions curve_options(const Plan& plan, const std::string& workload, const RunOptions& options) {
  DeliveryOptions asked = DeliveryOptions::of(plan, options.draws, options.seed);
  asked.layout = layout_for(plan, workload);
  return asked;
}

// What costs most at the largest useful job, in words.
std::string binding_at(const PlanMachine& machine, const Plan& plan, const DeliveryCurve& curve,
                       const RunOptions& options) {
  const double gpus = curve.best_job_gpus(), useful = curve.useful_share(0, gpus);
  const int64_t whole = std::max<int64_t>(1, int64_t(gpus) / machine.gpus_per_node) * machine.gpus_per_node;
  const Prediction prediction =
      machine.predict(whole, {.layout = curve.layout(), .draws = std::max(options.draws, 100), .seed = options.seed});
  const double goodput = median_failures(plan.failures).goodput(nodes_of(double(whole), machine.gpus_per_node));
  const double efficiency = prediction.scaling_efficiency.p50;
  if (useful < std::min(goodput, efficiency))
    return fmt::format("the critical batch size ({} of the samples there are of use)", format_percent(useful));
  if (goodput <= efficiency || efficiency <= 0)
    return fmt::format("failures, checkpoints and restarts (goodput {} there)", format_percent(goodput));
  return fmt::format("communication and stragglers (scaling efficiency {} there)", format_percent(efficiency));
}

void judge(NeedAnswer& answer, const std::string& binding) {
  const std::string goal = fmt::format("{} of {} by {}", format_si(answer.need.samples, "samples"),
                                       answer.need.workload, iso_date(answer.need.by));
  if (answer.feasible_share < 0.05) {
    answer.verdict =
        fmt::format("No number of GPUs gives {}: one job keeps most at about {} GPUs, {} by then. What binds is {}.",
                    goal, about_count(answer.best_job_gpus), si_range(answer.most_samples, "samples"), binding);
  } else if (answer.feasible_share < 0.95) {
    answer.verdict = fmt::format(
        "In {:.0f} % of the draws no number of GPUs gives {}: one job keeps most at about {} GPUs; what binds is {}.{}",
        100 * (1 - answer.feasible_share), goal, about_count(answer.best_job_gpus), binding,
        std::isfinite(answer.gpus.p50) ? fmt::format(" The median draw needs {} GPUs.", format_count(answer.gpus.p50))
                                       : "");
  } else {
    answer.verdict =
        fmt::format("{} needs {} GPUs in service from the start on (5 to 95 %: {} to {}), as one job.", goal,
                    format_count(answer.gpus.p50), format_count(answer.gpus.p05), format_count(answer.gpus.p95));
  }
}

// The plan's own fleet as one job of the workload, to the date.
void ask_plan(NeedAnswer& answer, const Plan& plan, const RunOptions& options, const MachineSource& machines) {
  Plan own = plan;
  own.training.layout = layout_for(plan, answer.need.workload);
  own.training.workload = answer.need.workload;
  own.training.jobs = 1;
  own.jobs.clear();
  own.end = std::max(plan.end, answer.need.by);
  RunOptions with_target = options;
  with_target.target_samples = answer.need.samples;
  const PlanReport report = run_plan(own, with_target, machines);
  const Outcome& days = report.sites[main_site(plan)].target_day;
  answer.plan_day = days.estimate;
  const auto first = days.columns.begin() + (days.columns.size() > 1 ? 1 : 0);
  const auto in_time = std::count_if(first, days.columns.end(), [&](double day) { return day < answer.days; });
  answer.plan_share = double(in_time) / double(days.columns.end() - first);
}

}  // namespace

Need parse_need(const std::string& text) {
  const size_t colon = text.find(':');
  if (colon == std::string::npos || colon == 0) wrong_need(text, "names no workload");
  Need need{.workload = text.substr(0, colon), .samples = 0, .by = {}};
  char* after = nullptr;
  const char* number = text.c_str() + colon + 1;
  need.samples = std::strtod(number, &after);
  if (after == number) wrong_need(text, "has no number of samples");
  if (!(need.samples >= 1 && need.samples <= kMostSamples)) wrong_need(text, "must ask for 1 to 1e18 samples");
  int year = 0, end = 0;
  unsigned month = 0, day = 0;
  if (std::sscanf(after, " samples by %4d-%2u-%2u %n", &year, &month, &day, &end) != 3 || after[end] != '\0')
    wrong_need(text, "has no \"samples by\" with a date");
  need.by = parse_date(text, year, month, day);
  return need;
}

NeedAnswer answer_need(const Plan& plan, const Need& need, const RunOptions& options, const MachineSource& machines) {
  if (need.by <= plan.start)
    throw InputError(fmt::format("--need: expected a day after the start of {}, {}, not {}", plan.name,
                                 iso_date(plan.start), iso_date(need.by)));
  const Site& site = plan.sites[main_site(plan)];
  const PlanMachine machine = machines(need.workload, site);
  const DeliveryCurve curve(machine, plan.failures, kMostGpus, curve_options(plan, need.workload, options));
  NeedAnswer answer{.need = need, .site = site.name};
  answer.days = double((need.by - plan.start).count()) + 1;
  answer.best_job_gpus = curve.best_job_gpus();
  const double rate = need.samples / (answer.days * kDay_s);
  const std::vector<double> spare = spares_of(plan, options);
  std::vector<double> gpus, most;
  for (int c = 0; c < curve.columns(); ++c) {
    double peak = 0;
    gpus.push_back(least_gpus(curve, c, rate, machine.gpus_per_node, &peak) / (1 - spare[size_t(c)]));
    most.push_back(peak * answer.days * kDay_s);
  }
  answer.gpus = estimate_of(gpus);
  answer.most_samples = estimate_of(most);
  const auto first = gpus.begin() + (gpus.size() > 1 ? 1 : 0);
  answer.feasible_share =
      double(std::count_if(first, gpus.end(), [](double n) { return std::isfinite(n); })) / double(gpus.end() - first);
  judge(answer, answer.feasible_share < 0.95 ? binding_at(machine, plan, curve, options) : "");
  ask_plan(answer, plan, options, machines);
  return answer;
}

BudgetAnswer answer_budget(const Plan& plan, double usd, const RunOptions& options, const MachineSource& machines) {
  const size_t index = main_site(plan);
  const auto bought = std::find_if(plan.deliveries.begin(), plan.deliveries.end(),
                                   [index](const Delivery& delivery) { return delivery.site == index; });
  if (bought == plan.deliveries.end())
    throw InputError(
        fmt::format("--budget: nothing is bought for {} in plan {}: expected a [[delivery]] with usd_per_gpu",
                    plan.sites[index].name, plan.name));
  const auto column = [&options](const Quantity& quantity, const std::string& name) {
    return column_values(quantity, options.seed, name, options.draws);
  };
  const std::vector<double> price = column(bought->usd_per_gpu, "price of " + plan.sites[index].hardware);
  const std::vector<double> share = column(plan.prices.vendor_share, "vendor share");
  const std::vector<double> spare = spares_of(plan, options);
  std::vector<double> of_vendor, of_cluster, kept;
  for (size_t c = 0; c < price.size(); ++c) {
    of_vendor.push_back(usd / std::max(price[c], 1.0));
    of_cluster.push_back(of_vendor.back() * share[c]);
  }
  const double most = std::max(*std::max_element(of_cluster.begin(), of_cluster.end()), 1.0);
  if (most > kMostPlanGpus)
    throw InputError(fmt::format("--budget: {} buy more than {} GPUs: expected at most {:.3g} USD",
                                 usd_range({usd, usd, usd}), format_count(kMostPlanGpus), usd * kMostPlanGpus / most));
  const PlanMachine machine = machines(plan.training.workload, plan.sites[index]);
  const DeliveryCurve curve(machine, plan.failures, most, curve_options(plan, plan.training.workload, options));
  for (size_t c = 0; c < price.size(); ++c) {
    const double gpus = of_cluster[c] * (1 - spare[c]);
    const auto jobs = double(curve.jobs_for(gpus, plan.training.jobs));
    kept.push_back(jobs * curve.delivered_per_s(int(c), gpus / jobs));
  }
  return {.usd = usd,
          .site = plan.sites[index].name,
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
