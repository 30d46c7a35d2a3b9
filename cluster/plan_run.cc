// The Monte Carlo over a plan: each column is one world, the first one nominal.
#include "cluster/plan_run.h"

#include <algorithm>
#include <memory>

#include "cluster/plan_columns.h"
#include "cluster/plan_draws.h"

namespace farscale {
namespace {

constexpr std::array<TotalInfo, kTotalCount> kTotals = {
    {{"samples", "samples", "samples kept"},
     {"service_gpu_days", "GPU-days", "GPU-days in service"},
     {"idle_gpu_days", "GPU-days", "GPU-days idle"},
     {"stored_gpu_days", "GPU-days", "GPU-days in a warehouse"},
     {"peak_stored_gpus", "GPUs", "GPUs in a warehouse, worst day"},
     {"energy_mwh", "MWh", "energy, MWh"},
     {"capital_usd", "USD", "clusters bought, USD"},
     {"energy_usd", "USD", "energy, USD"},
     {"rent_usd", "USD", "rent, USD"},
     {"cost_usd", "USD", "money spent, USD"},
     {"written_off_usd", "USD", "capital written off, energy and rent, USD"},
     {"idle_usd", "USD", "written off for idle GPUs, USD"},
     {"node_failures", "failures", "node failures"},
     {"node_repairs", "repairs", "node repairs"},
     {"waiting_job_days", "job-days", "job-days without a spare"},
     {"complete_day", "days after the start", "95 % in service, days after the start"}}};

using Sites = std::vector<std::unique_ptr<SiteRun>>;

constexpr int kWeek = 7;

std::vector<RowColumns> timeline_rows(const Plan& plan, const RunOptions& options) {
  std::vector<RowColumns> rows;
  for (int day = 0; day < plan.days(); ++day) {
    const std::chrono::year_month_day date(plan.start + std::chrono::days(day));
    const bool last_of_month =
        std::chrono::year_month_day(plan.start + std::chrono::days(day + 1)).month() != date.month();
    const bool last = day == plan.days() - 1, month_end = last_of_month || last;
    const bool in_step = options.rows == TableRows::kDays ||
                         (options.rows == TableRows::kWeeks ? day % kWeek == kWeek - 1 || last : month_end);
    if (!month_end && !in_step && day % kWeek != 0) continue;
    rows.emplace_back(day, size_t(options.draws) + 1);
    rows.back().month_end = month_end;
    rows.back().shown = in_step;
  }
  return rows;
}

std::vector<double> gain(const RowColumns& row, const RowColumns* before) {
  std::vector<double> samples = row.samples;
  for (size_t c = 0; before && c < samples.size(); ++c) samples[c] -= before->samples[c];
  return samples;
}

TimelineRow row_of(const Plan& plan, const RowColumns& row) {
  std::vector<double> goodput;  // of the worlds in which something trains already
  for (size_t c = 0; c < row.samples_per_s.size(); ++c)
    if (row.samples_per_s[c] > 0 || c == 0)
      goodput.push_back(row.samples_per_s[c] > 0 ? row.progress_per_s[c] / row.samples_per_s[c] : 0);
  return {.date = plan.start + std::chrono::days(row.day),
          .delivered = estimate_of(row.delivered),
          .stored = estimate_of(row.stored),
          .installed = estimate_of(row.installed),
          .in_service = estimate_of(row.in_service),
          .power_mw = estimate_of(row.power_mw),
          .samples_per_s = estimate_of(row.samples_per_s),
          .goodput = estimate_of(goodput),
          .samples = estimate_of(row.samples),
          .samples_in_month = {},
          .samples_since_shown = {},
          .trainings = {},
          .cost_usd = estimate_of(row.cost_usd),
          .month_end = row.month_end,
          .shown = row.shown};
}

// Samples of one training in every column; empty when the plan does not say.
std::vector<double> samples_per_training(const Plan& plan, const RunOptions& options) {
  const std::optional<Quantity>& one = plan.training.samples_per_training;
  if (!one) return {};
  return column_values(*one, options.seed, "samples per training", options.draws);
}

// Rows with what was kept between them.
std::vector<TimelineRow> timeline_of(const Plan& plan, const RunOptions& options, const std::vector<RowColumns>& rows) {
  const std::vector<double> one = samples_per_training(plan, options);
  const RowColumns *month_before = nullptr, *shown_before = nullptr;
  std::vector<TimelineRow> timeline;
  for (const RowColumns& row : rows) {
    timeline.push_back(row_of(plan, row));
    if (row.month_end) {
      timeline.back().samples_in_month = estimate_of(gain(row, month_before));
      month_before = &row;
    }
    if (!row.shown) continue;
    std::vector<double> samples = gain(row, shown_before);
    timeline.back().samples_since_shown = estimate_of(samples);
    for (size_t c = 0; c < one.size(); ++c) samples[c] /= one[c];
    if (!one.empty()) timeline.back().trainings = estimate_of(samples);
    shown_before = &row;
  }
  return timeline;
}

// Every column; returns the most GPUs that were stored on a day, all sites together.
std::vector<double> run_columns(const PlanColumns& plan, std::vector<RowColumns>& rows, DayRanges* by_day) {
  std::vector<double> most_stored(plan.count());
  plan.each([&](int column) {
    double& most = most_stored[size_t(column)];
    auto row = rows.begin();
    PlanColumns::Parts parts = plan.play(column, 1, [&](int day, PlanColumns::Parts& sites) {
      double stored = 0;
      for (const SiteColumn& site : sites) {
        stored += site.today().stored;
        if (by_day) by_day->add(size_t(column), day, site.today());
      }
      most = std::max(most, stored);
      if (row == rows.end() || row->day != day) return true;
      for (const SiteColumn& site : sites) site.add_row(*row);
      ++row;
      return true;
    });
    for (size_t s = 0; s < parts.size(); ++s) plan.sites()[s]->store(column, parts[s].finish());
  });
  return most_stored;
}

FleetPeak peak_of(const Plan& plan, const std::vector<SiteDay>& days, const Sites& sites) {
  const auto most = std::max_element(days.begin(), days.end(),
                                     [](const SiteDay& a, const SiteDay& b) { return a.in_service < b.in_service; });
  const size_t day = size_t(most - days.begin());
  FleetPeak peak{.date = plan.start + std::chrono::days(day), .samples_per_s = {}, .kept_per_s = {}};
  std::vector<double> samples, kept;
  for (const auto& site : sites) {
    const SiteRun::Rates rates = site->rates(site->nominal_days()[day].in_service);
    peak.training_gpus += rates.training_gpus;
    peak.jobs += rates.jobs;
    samples.resize(rates.samples_per_s.size());
    kept.resize(rates.kept_per_s.size());
    for (size_t c = 0; c < kept.size(); ++c) samples[c] += rates.samples_per_s[c], kept[c] += rates.kept_per_s[c];
  }
  peak.samples_per_s = estimate_of(samples);
  peak.kept_per_s = estimate_of(kept);
  return peak;
}

std::vector<SiteDay> all_sites(const Sites& sites) {
  std::vector<SiteDay> days = sites.front()->nominal_days();
  for (size_t s = 1; s < sites.size(); ++s)
    for (size_t d = 0; d < days.size(); ++d) days[d].add(sites[s]->nominal_days()[d]);
  return days;
}

// What the site waits for that has the most GPUs out of service that day.
Bottleneck bottleneck_of(const Sites& sites, int day) {
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
                    .days = {},
                    .by_day = {},
                    .outcomes = {},
                    .sites = {},
                    .peak = {},
                    .evidence = plan.evidence,
                    .warnings = {}};
  const PlanColumns columns(report.plan, report.options, machines);
  const Sites& sites = columns.sites();
  std::vector<RowColumns> rows = timeline_rows(plan, options);
  std::optional<DayRanges> by_day;
  if (options.by_day && options.draws <= kMostDrawsByDay) by_day.emplace(plan.days(), columns.count());
  const std::vector<double> most_stored = run_columns(columns, rows, by_day ? &*by_day : nullptr);

  report.timeline = timeline_of(plan, options, rows);
  for (size_t r = 0; r < rows.size(); ++r) report.timeline[r].bottleneck = bottleneck_of(sites, rows[r].day);
  if (by_day) report.by_day = by_day->ranges();
  report.days = all_sites(sites);
  report.peak = peak_of(plan, report.days, sites);
  for (const auto& site : sites) report.sites.push_back(site->report());
  std::vector<const Outcomes*> parts;
  for (const SiteReport& site : report.sites) parts.push_back(&site.outcomes);
  report.outcomes = sum_outcomes(parts);
  report.outcomes[size_t(Total::kPeakStored)] = {most_stored, estimate_of(most_stored)};
  note_limits(report);
  return report;
}

std::optional<TrainingCount> trainings_of(const PlanReport& report) {
  const std::vector<double> one = samples_per_training(report.plan, report.options);
  if (one.empty()) return {};
  std::vector<double> trainings = report.outcomes[size_t(Total::kSamples)].columns;
  std::vector<double> usd = report.outcomes[size_t(Total::kWrittenOffUsd)].columns;
  for (size_t c = 0; c < one.size(); ++c) {
    usd[c] *= one[c] / std::max(trainings[c], 1.0);
    trainings[c] /= one[c];
  }
  return TrainingCount{estimate_of(trainings), estimate_of(usd)};
}

Estimate usd_per_sample(const PlanReport& report) {
  std::vector<double> usd = report.outcomes[size_t(Total::kWrittenOffUsd)].columns;
  const std::vector<double>& samples = report.outcomes[size_t(Total::kSamples)].columns;
  for (size_t c = 0; c < usd.size(); ++c) usd[c] /= std::max(samples[c], 1.0);
  return estimate_of(usd);
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
