// The Monte Carlo over a plan: each column is one world, the first one nominal.
#include "cluster/plan_run.h"

#include <algorithm>
#include <deque>
#include <memory>
#include <thread>

#include "cluster/plan_draws.h"
#include "cluster/plan_moves.h"

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

std::vector<RowColumns> timeline_rows(const Plan& plan, size_t columns) {
  std::vector<RowColumns> rows;
  for (int day = 0; day < plan.days(); ++day) {
    const std::chrono::year_month_day date(plan.start + std::chrono::days(day));
    const bool last_of_month =
        std::chrono::year_month_day(plan.start + std::chrono::days(day + 1)).month() != date.month();
    const bool month_end = last_of_month || day == plan.days() - 1;
    if (month_end || day % kWeek == 0) rows.emplace_back(day, month_end, columns);
  }
  return rows;
}

TimelineRow row_of(const Plan& plan, const RowColumns& row, const RowColumns* month_before) {
  std::vector<double> goodput, in_month = row.samples;  // goodput of the worlds in which something trains already
  for (size_t c = 0; c < row.samples_per_s.size(); ++c)
    if (row.samples_per_s[c] > 0 || c == 0)
      goodput.push_back(row.samples_per_s[c] > 0 ? row.progress_per_s[c] / row.samples_per_s[c] : 0);
  for (size_t c = 0; month_before && c < in_month.size(); ++c) in_month[c] -= month_before->samples[c];
  return {.date = plan.start + std::chrono::days(row.day),
          .delivered = estimate_of(row.delivered),
          .stored = estimate_of(row.stored),
          .installed = estimate_of(row.installed),
          .in_service = estimate_of(row.in_service),
          .power_mw = estimate_of(row.power_mw),
          .samples_per_s = estimate_of(row.samples_per_s),
          .goodput = estimate_of(goodput),
          .samples = estimate_of(row.samples),
          .samples_in_month = row.month_end ? estimate_of(in_month) : Estimate{},
          .cost_usd = estimate_of(row.cost_usd),
          .month_end = row.month_end};
}

// All sites of one column, in step with each other; returns the most GPUs that were stored on a day.
double run_column(int column, int days, const Sites& sites, const std::vector<TransferDraws>& transfers,
                  std::vector<RowColumns>& rows) {
  std::deque<SiteColumn> parts;
  for (const auto& site : sites) parts.emplace_back(*site, column);
  Moves moves(transfers, size_t(column));
  double most_stored = 0;
  auto row = rows.begin();
  for (int day = 0; day < days; ++day) {
    moves.apply(day, parts);
    double stored = 0;
    for (SiteColumn& part : parts) stored += part.step(day).stored;
    most_stored = std::max(most_stored, stored);
    if (row == rows.end() || row->day != day) continue;
    for (const SiteColumn& part : parts) part.add_row(*row);
    ++row;
  }
  for (size_t s = 0; s < sites.size(); ++s) sites[s]->store(column, parts[s].finish());
  return most_stored;
}

// Columns over threads: each writes to its own place alone, so that the answer does not depend on how many there are.
std::vector<double> run_columns(const Plan& plan, const RunOptions& options, const Sites& sites,
                                std::vector<RowColumns>& rows) {
  const int columns = options.draws + 1;
  const std::vector<TransferDraws> transfers = transfer_draws(plan, options);
  std::vector<double> most_stored(static_cast<size_t>(columns));
  const int cores = options.threads > 0 ? options.threads : int(std::max(1U, std::thread::hardware_concurrency()));
  const int workers = std::min(cores, columns);
  const auto work = [&](int worker) {
    for (int column = worker; column < columns; column += workers) {
      most_stored[size_t(column)] = run_column(column, plan.days(), sites, transfers, rows);
      if (options.progress && worker == 0) options.progress(double(column + 1) / columns);
    }
  };
  std::vector<std::thread> pool;
  for (int worker = 1; worker < workers; ++worker) pool.emplace_back(work, worker);
  work(0);
  for (std::thread& thread : pool) thread.join();
  if (options.progress) options.progress(1);
  return most_stored;
}

std::vector<SiteDay> all_sites(const Sites& sites) {
  std::vector<SiteDay> days = sites.front()->nominal_days();
  for (size_t s = 1; s < sites.size(); ++s)
    for (size_t d = 0; d < days.size(); ++d) {
      const SiteDay& day = sites[s]->nominal_days()[d];
      for (double SiteDay::*state : {&SiteDay::delivered, &SiteDay::stored, &SiteDay::racked, &SiteDay::burning_in,
                                     &SiteDay::in_repair, &SiteDay::dark, &SiteDay::in_service})
        days[d].*state += day.*state;
    }
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
                    .outcomes = {},
                    .sites = {},
                    .evidence = plan.evidence,
                    .warnings = {}};
  Sites sites;
  for (size_t i = 0; i < plan.sites.size(); ++i)
    sites.push_back(std::make_unique<SiteRun>(report.plan, i, options, machines));

  std::vector<RowColumns> rows = timeline_rows(plan, size_t(options.draws) + 1);
  const std::vector<double> most_stored = run_columns(report.plan, options, sites, rows);

  const RowColumns* month_before = nullptr;
  for (const RowColumns& row : rows) {
    report.timeline.push_back(row_of(plan, row, month_before));
    report.timeline.back().bottleneck = bottleneck_of(sites, row.day);
    if (row.month_end) month_before = &row;
  }
  report.days = all_sites(sites);
  for (const auto& site : sites) report.sites.push_back(site->report());
  std::vector<const Outcomes*> parts;
  for (const SiteReport& site : report.sites) parts.push_back(&site.outcomes);
  report.outcomes = sum_outcomes(parts);
  report.outcomes[size_t(Total::kPeakStored)] = {most_stored, estimate_of(most_stored)};
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
