// The Monte Carlo over a plan: each column is one world, the first one nominal.
#include "cluster/plan_run.h"

#include <algorithm>
#include <memory>

#include "cluster/plan_draws.h"
#include "cluster/plan_site_run.h"

namespace farscale {
namespace {

constexpr std::array<TotalInfo, kTotalCount> kTotals = {{{"samples", "samples"},
                                                         {"service_gpu_days", "GPU-days"},
                                                         {"idle_gpu_days", "GPU-days"},
                                                         {"stored_gpu_days", "GPU-days"},
                                                         {"peak_stored_gpus", "GPUs"},
                                                         {"energy_mwh", "MWh"},
                                                         {"capital_usd", "USD"},
                                                         {"energy_usd", "USD"},
                                                         {"rent_usd", "USD"},
                                                         {"cost_usd", "USD"},
                                                         {"written_off_usd", "USD"},
                                                         {"idle_usd", "USD"},
                                                         {"complete_day", "days after the start"}}};

std::vector<MonthColumns> month_ends(const Plan& plan, size_t columns) {
  std::vector<MonthColumns> months;
  for (int day = 0; day < plan.days(); ++day) {
    const std::chrono::year_month_day date(plan.start + std::chrono::days(day));
    const bool last_of_month =
        std::chrono::year_month_day(plan.start + std::chrono::days(day + 1)).month() != date.month();
    if (last_of_month || day == plan.days() - 1) months.emplace_back(day, columns);
  }
  return months;
}

TimelineRow row_of(const Plan& plan, MonthColumns& month) {
  std::vector<double> goodput;  // of the worlds in which something trains already
  for (size_t c = 0; c < month.samples_per_s.size(); ++c)
    if (month.samples_per_s[c] > 0 || c == 0)
      goodput.push_back(month.samples_per_s[c] > 0 ? month.delivered_per_s[c] / month.samples_per_s[c] : 0);
  return {.date = plan.start + std::chrono::days(month.day),
          .delivered = estimate_of(month.delivered),
          .stored = estimate_of(month.stored),
          .installed = estimate_of(month.installed),
          .in_service = estimate_of(month.in_service),
          .power_mw = estimate_of(month.power_mw),
          .samples_per_s = estimate_of(month.samples_per_s),
          .goodput = estimate_of(goodput),
          .samples = estimate_of(month.samples)};
}

// What the site waits for that has the most GPUs out of service that day.
Bottleneck bottleneck_of(const std::vector<std::unique_ptr<SiteRun>>& sites, int day) {
  double most = -1;
  Bottleneck bottleneck = Bottleneck::kNone;
  for (const auto& site : sites) {
    const SiteDay& state = site->nominal_days()[size_t(day)];
    const double missing = site->ordered() - state.in_service;
    if (missing > most) most = missing, bottleneck = state.bottleneck;
  }
  return bottleneck;
}

void note_limits(PlanReport& report) {
  for (const SiteReport& site : report.sites) {
    for (const EvidenceLine& line : site.job.prediction.evidence) {
      const auto same = [&line](const EvidenceLine& other) {
        return other.what == line.what && other.source == line.source;
      };
      if (std::none_of(report.evidence.begin(), report.evidence.end(), same)) report.evidence.push_back(line);
    }
    for (const std::string& warning : site.job.prediction.warnings)
      if (std::find(report.warnings.begin(), report.warnings.end(), warning) == report.warnings.end())
        report.warnings.push_back(warning);
  }
}

}  // namespace

Estimate estimate_of(const std::vector<double>& columns) {
  if (columns.size() <= 1) return {columns[0], columns[0], columns[0]};
  std::vector<double> draws(columns.begin() + 1, columns.end());
  return percentiles(draws);
}

const TotalInfo& info(Total total) { return kTotals[size_t(total)]; }

const SiteReport& PlanReport::largest_site() const {
  return *std::max_element(sites.begin(), sites.end(), [](const SiteReport& a, const SiteReport& b) {
    return a.job.in_service < b.job.in_service;
  });
}

PlanReport run_plan(const Plan& plan, const RunOptions& options, const MachineSource& machines) {
  PlanReport report{.plan = plan,
                    .options = options,
                    .timeline = {},
                    .outcomes = {},
                    .sites = {},
                    .evidence = plan.evidence,
                    .warnings = {}};
  std::vector<std::unique_ptr<SiteRun>> sites;
  for (size_t i = 0; i < plan.sites.size(); ++i)
    sites.push_back(
        std::make_unique<SiteRun>(report.plan, i, options, machines(plan.training.workload, plan.sites[i].hardware)));

  const auto columns = size_t(options.draws) + 1;
  std::vector<MonthColumns> months = month_ends(plan, columns);
  std::vector<double> peak_stored(columns), fleet_stored;
  for (int column = 0; column < int(columns); ++column) {
    fleet_stored.assign(size_t(plan.days()), 0.0);
    for (const auto& site : sites) site->run(column, months, fleet_stored);
    peak_stored[size_t(column)] = *std::max_element(fleet_stored.begin(), fleet_stored.end());
  }

  for (MonthColumns& month : months) {
    report.timeline.push_back(row_of(plan, month));
    report.timeline.back().bottleneck = bottleneck_of(sites, month.day);
  }
  for (const auto& site : sites) report.sites.push_back(site->report());
  std::vector<const Outcomes*> parts;
  for (const SiteReport& site : report.sites) parts.push_back(&site.outcomes);
  report.outcomes = sum_outcomes(parts);
  report.outcomes[size_t(Total::kPeakStored)] = {peak_stored, estimate_of(peak_stored)};
  note_limits(report);
  return report;
}

Outcomes sum_outcomes(const std::vector<const Outcomes*>& parts) {
  Outcomes sum = *parts.front();
  for (size_t p = 1; p < parts.size(); ++p)
    for (size_t t = 0; t < kTotalCount; ++t)
      for (size_t c = 0; c < sum[t].columns.size(); ++c) {
        const double value = (*parts[p])[t].columns[c];
        const bool largest = Total(t) == Total::kCompleteDay || Total(t) == Total::kPeakStored;
        sum[t].columns[c] = largest ? std::max(sum[t].columns[c], value) : sum[t].columns[c] + value;
      }
  for (Outcome& outcome : sum) outcome.estimate = estimate_of(outcome.columns);
  return sum;
}

}  // namespace farscale
