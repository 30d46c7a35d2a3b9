// The day loop of training, power and money over the bring-up of a site.
#include "cluster/plan_site_run.h"

#include <algorithm>
#include <cmath>

#include "cluster/plan_draws.h"

namespace farscale {
namespace {

constexpr double kDay_s = 86400;
constexpr double kCompleteShare = 0.95;  // of the fleet in service: repairs always hold the rest

// What an estimate is worth that these lines went into; assumed when nothing is known.
Evidence weakest_of(const std::vector<EvidenceLine>& lines) {
  if (lines.empty()) return Evidence::kAssumed;
  Evidence evidence = Evidence::kMeasured;
  for (const EvidenceLine& line : lines) evidence = weakest(evidence, line.evidence);
  return evidence;
}

}  // namespace

MonthColumns::MonthColumns(int last_day, size_t columns) : day(last_day) {
  for (auto* field :
       {&delivered, &stored, &installed, &in_service, &power_mw, &samples_per_s, &delivered_per_s, &samples})
    field->assign(columns, 0.0);
}

SiteRun::SiteRun(const Plan& plan, size_t index, const RunOptions& options, PlanMachine machine)
    : plan_(plan),
      site_(plan.sites[index]),
      options_(options),
      machine_(std::move(machine)),
      figures_(plan, index, machine_.node_power_w, machine_.gpus_per_node, options.draws, options.seed),
      curve_(machine_, plan.failures, std::max(figures_.most_gpus(), 1.0),
             {.layout = plan.training.layout, .draws = options.draws, .seed = options.seed}),
      spare_share_(quantity_draws(plan.training.spare_share, options.seed, "spare share", options.draws)) {
  spare_share_.insert(spare_share_.begin(), plan.training.spare_share.value.p50);
  for (Outcome& outcome : outcomes_) outcome.columns.assign(columns(), 0.0);
  target_day_.columns.assign(columns(), double(plan.days()));
}

void SiteRun::run(int column, std::vector<MonthColumns>& months, std::vector<double>& fleet_stored) {
  figures_.days(column, days_);
  std::array<double, kTotalCount> sum{};
  const auto add = [&sum](Total total, double amount) { sum[size_t(total)] += amount; };
  const double watts = figures_.facility_w_per_gpu(column);
  size_t month = 0;
  double complete = plan_.days();
  for (int d = 0; d < plan_.days(); ++d) {
    const SiteDay& day = days_[size_t(d)];
    const double delivered_per_s = fleet_rate(column, day.in_service, true);
    add(Total::kSamples, delivered_per_s * kDay_s);
    double& target_day = target_day_.columns[size_t(column)];
    if (target_day == plan_.days() && sum[size_t(Total::kSamples)] >= options_.target_samples) target_day = d;
    add(Total::kServiceGpuDays, day.in_service);
    add(Total::kIdleGpuDays, day.idle());
    add(Total::kStoredGpuDays, day.stored);
    add(Total::kEnergyMwh, day.powered() * watts * 24 / 1e6);
    sum[size_t(Total::kPeakStored)] = std::max(sum[size_t(Total::kPeakStored)], day.stored);
    fleet_stored[size_t(d)] += day.stored;
    if (complete == plan_.days() && day.in_service >= kCompleteShare * figures_.gpus(column)) complete = d;
    if (month < months.size() && months[month].day == d)
      add_month(months[month++], size_t(column), day, delivered_per_s, sum[size_t(Total::kSamples)]);
  }
  sum[size_t(Total::kCompleteDay)] = complete;
  add_money(column, sum);
  for (size_t t = 0; t < kTotalCount; ++t) outcomes_[t].columns[size_t(column)] = sum[t];
  if (column == 0) nominal_days_ = days_;
}

SiteReport SiteRun::report() {
  SiteReport report{.name = site_.name,
                    .organisation = site_.organisation,
                    .hardware = site_.hardware,
                    .gpus = figures_.gpus(0),
                    .outcomes = {},
                    .periods = periods(),
                    .job = job(),
                    .target_day = target_day_};
  report.target_day.estimate = estimate_of(target_day_.columns);
  for (Outcome& outcome : outcomes_) outcome.estimate = estimate_of(outcome.columns);
  report.outcomes = std::move(outcomes_);
  return report;
}

double SiteRun::training_gpus(int column, double in_service) const {
  return in_service * (1 - std::clamp(spare_share_[size_t(column)], 0.0, 0.5));
}
int64_t SiteRun::jobs(double gpus) const {
  return plan_.training.jobs > 0 ? plan_.training.jobs : curve_.jobs_for(gpus);
}

// Samples/s of all jobs on a fleet: kept (times goodput) or while they run.
double SiteRun::fleet_rate(int column, double in_service, bool kept) const {
  const double gpus = training_gpus(column, in_service);
  if (gpus <= 0) return 0;
  const auto count = double(jobs(gpus));
  return count * (kept ? curve_.delivered_per_s(column, gpus / count) : curve_.samples_per_s(column, gpus / count));
}

void SiteRun::add_month(MonthColumns& month, size_t c, const SiteDay& day, double delivered_per_s,
                        double samples) const {
  month.delivered[c] += day.delivered;
  month.stored[c] += day.stored;
  month.installed[c] += day.installed();
  month.in_service[c] += day.in_service;
  month.power_mw[c] += day.powered() * figures_.facility_w_per_gpu(int(c)) / 1e6;
  month.samples_per_s[c] += fleet_rate(int(c), day.in_service, false);
  month.delivered_per_s[c] += delivered_per_s;
  month.samples[c] += samples;
}

void SiteRun::add_money(int column, std::array<double, kTotalCount>& sum) const {
  const auto total = [&sum](Total t) -> double& { return sum[size_t(t)]; };
  const double per_gpu_day = figures_.capital_usd_per_gpu(column) / figures_.lifetime_days(column);
  total(Total::kCapitalUsd) = figures_.delivered_capital_usd(column);
  total(Total::kEnergyUsd) = total(Total::kEnergyMwh) * 1000 * figures_.usd_per_kwh(column);
  total(Total::kRentUsd) = figures_.rent_usd(column);
  total(Total::kCostUsd) = total(Total::kCapitalUsd) + total(Total::kEnergyUsd) + total(Total::kRentUsd);
  total(Total::kIdleUsd) = total(Total::kIdleGpuDays) * per_gpu_day;
  total(Total::kWrittenOffUsd) = (total(Total::kServiceGpuDays) + total(Total::kIdleGpuDays)) * per_gpu_day +
                                 total(Total::kEnergyUsd) + total(Total::kRentUsd);
}

// Stretches of the nominal run with one bottleneck; stretches under five days join the one before.
std::vector<Period> SiteRun::periods() const {
  std::vector<Period> result;
  for (size_t d = 0; d < nominal_days_.size(); ++d) {
    const Day date = plan_.start + std::chrono::days(d);
    const Bottleneck bottleneck = nominal_days_[d].bottleneck;
    if (!result.empty() && result.back().bottleneck == bottleneck) {
      result.back().until = date;
      continue;
    }
    if (result.size() > 1 && (result.back().until - result.back().from).count() < 4) {
      result.pop_back();
      result.back().until = date;
      if (result.back().bottleneck == bottleneck) continue;
    }
    result.push_back({date, date, bottleneck});
  }
  return result;
}

JobReport SiteRun::job() const {
  JobReport job;
  for (const SiteDay& day : nominal_days_) job.in_service = std::max(job.in_service, day.in_service);
  job.training_gpus = training_gpus(0, job.in_service);
  job.jobs = jobs(job.training_gpus);
  const int node = machine_.gpus_per_node;
  const PredictOptions asked{
      .layout = plan_.training.layout, .draws = std::max(options_.draws, 100), .seed = options_.seed};
  const int64_t nodes = std::max<int64_t>(1, int64_t(job.training_gpus / double(job.jobs) / node + 1e-9));
  const int64_t round_nodes = nodes / round_unit(nodes) * round_unit(nodes);
  job.prediction = machine_.predict(round_nodes * node, asked);
  const Layout& layout = job.prediction.layout;
  if (layout.tp * layout.pp * layout.cp == 1) job.prediction = machine_.predict(nodes * node, asked);
  job.job_gpus = job.prediction.gpus;
  job.goodput = job_goodput(plan_.failures, job.job_gpus, node, std::max(options_.draws, 100), options_.seed);
  job.best_job_gpus = curve_.best_job_gpus();
  job.near_best_gpus = curve_.near_best_gpus();
  job.peak_inside = job.best_job_gpus < 0.98 * job.training_gpus;
  add_rates(job);
  add_spares(job);
  job.rate_evidence = weakest_of(job.prediction.evidence);
  job.mtbf_evidence = plan_.failures.node_failures_per_day.evidence;
  job.goodput_evidence =
      weakest(weakest(job.mtbf_evidence, plan_.failures.checkpoint_s.evidence),
              weakest(plan_.failures.restart_s.evidence, plan_.failures.restart_s_per_1000_nodes.evidence));
  job.power_evidence =
      weakest(machine_.node_power_w.evidence, weakest(site_.pue.evidence, site_.fabric_share.evidence));
  return job;
}

// Nodes in repair are out of service already: they and the hot spares make up the pool that failures draw from.
void SiteRun::add_spares(JobReport& job) const {
  job.failure_run = {.failures = median_failures(plan_.failures),
                     .nodes = nodes_of(double(job.job_gpus), machine_.gpus_per_node)};
  if (site_.rented) return;
  job.failure_run.repair_share = site_.pipeline.repair_share.value.p50;
  job.failure_run.repair_days = site_.pipeline.repair_days.value.p50;
  FailureRun fleet = job.failure_run;
  fleet.nodes *= double(job.jobs);
  const double in_repair = fleet.failures.node_failures_per_day * fleet.nodes * fleet.repair_share * fleet.repair_days;
  job.spare_pool_nodes = in_repair + (job.in_service - job.training_gpus) / machine_.gpus_per_node;
  job.spares_needed_nodes = double(spares_needed(fleet, 0.999));
  job.failure_run.spare_nodes = int64_t(job.spare_pool_nodes / double(job.jobs));
}

void SiteRun::add_rates(JobReport& job) const {
  std::vector<double> kept, as_one;
  for (int c = 0; c < int(columns()); ++c) {
    const double share = job.training_gpus / double(job.jobs);
    kept.push_back(double(job.jobs) * curve_.delivered_per_s(c, share));
    as_one.push_back(curve_.delivered_per_s(c, job.training_gpus));
  }
  const auto [low, middle, high] = job.prediction.samples_per_s;
  job.samples_per_s = {double(job.jobs) * low, double(job.jobs) * middle, double(job.jobs) * high};
  job.delivered_per_s = estimate_of(kept);
  job.one_job_delivered_per_s = estimate_of(as_one);
}

}  // namespace farscale
