// What the columns of a site share, and the report on them.
#include "cluster/plan_site_run.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>

#include "cluster/plan_draws.h"
#include "kernels/error.h"
#include "kernels/format.h"

namespace farscale {
namespace {

// What an estimate is worth that these lines went into; assumed when nothing is known.
Evidence weakest_of(const std::vector<EvidenceLine>& lines) {
  if (lines.empty()) return Evidence::kAssumed;
  Evidence evidence = Evidence::kMeasured;
  for (const EvidenceLine& line : lines) evidence = weakest(evidence, line.evidence);
  return evidence;
}

constexpr int64_t kShort = 5;  // days

int64_t days_of(const Period& period) { return (period.until - period.from).count() + 1; }

std::vector<Period> stretches(Day start, const std::vector<SiteDay>& days) {
  std::vector<Period> result;
  for (size_t d = 0; d < days.size(); ++d) {
    const Day date = start + std::chrono::days(d);
    if (result.empty() || result.back().bottleneck != days[d].bottleneck)
      result.push_back({date, date, days[d].bottleneck});
    result.back().until = date;
  }
  return result;
}

}  // namespace

RowColumns::RowColumns(int on_day, size_t columns) : day(on_day) {
  for (auto* field :
       {&delivered, &stored, &installed, &in_service, &power_mw, &samples_per_s, &progress_per_s, &samples, &cost_usd})
    field->assign(columns, 0.0);
}

SiteRun::SiteRun(const Plan& plan, size_t index, const RunOptions& options, const MachineSource& machines)
    : plan_(plan),
      index_(index),
      site_(plan.sites[index]),
      options_(options),
      machine_(machines(plan.training.workload, site_)),
      figures_(plan, index, machine_.node_power_w, machine_.gpus_per_node, options.draws, options.seed),
      curve_(machine_, plan.failures, std::max(figures_.most_gpus(options.largest_scale), 1.0),
             DeliveryOptions::of(plan, options.draws, options.seed)),
      spare_share_(column_values(plan.training.spare_share, options.seed, "spare share", options.draws)) {
  check_jobs();
  check_places();
  read_jobs(machines);
  for (Outcome& outcome : outcomes_) outcome.columns.assign(columns(), 0.0);
  closed_form_samples_.columns.assign(columns(), 0.0);
}

void SiteRun::check_jobs() const {
  const double nodes = std::floor(nodes_of(figures_.most_gpus(), machine_.gpus_per_node));
  if (plan_.training.jobs <= 1 || nodes >= double(plan_.training.jobs)) return;
  throw InputError(
      fmt::format("{}: jobs: site '{}' has at most {} nodes of {} GPUs: expected no more jobs than nodes, or \"auto\", "
                  "not {}",
                  plan_.training.jobs_where, site_.name, format_count(nodes), machine_.gpus_per_node,
                  format_count(double(plan_.training.jobs))));
}

// What is in service at the start stands in the halls, as everything else.
void SiteRun::check_places() const {
  if (site_.rented || !site_.in_service) return;
  double places = 0;
  for (const Hall& hall : site_.halls)
    if (hall.ready.days.value.p50 <= double(plan_.start.time_since_epoch().count())) places += hall.gpus.value.p50;
  if (site_.in_service->value.p50 > places)
    throw InputError(
        fmt::format("{}: in_service: site '{}' has {} GPUs in service at the start and {} places in halls "
                    "that are ready then: expected a place for each",
                    site_.where, site_.name, format_count(site_.in_service->value.p50), format_count(places)));
}

void SiteRun::read_jobs(const MachineSource& machines) {
  for (const Job& job : plan_.jobs) {
    if (job.site != index_) continue;
    SiteJob site_job{.job = &job, .curve = &curve_, .is_of_plan = job.workload == plan_.training.workload};
    if (!site_job.is_of_plan) {
      DeliveryOptions asked = DeliveryOptions::of(plan_, options_.draws, options_.seed);
      asked.layout = "auto";
      other_curves_.push_back(std::make_unique<DeliveryCurve>(machines(job.workload, site_), plan_.failures,
                                                              std::max(figures_.most_gpus(options_.largest_scale), 1.0),
                                                              asked));
      site_job.curve = other_curves_.back().get();
    }
    if (job.samples)
      site_job.samples = column_values(*job.samples, options_.seed, job.name + " samples", options_.draws);
    if (job.gpu_hours)
      site_job.gpu_hours = column_values(*job.gpu_hours, options_.seed, job.name + " GPU-hours", options_.draws);
    if (job.most_gpus)
      site_job.most_gpus = column_values(*job.most_gpus, options_.seed, job.name + " most GPUs", options_.draws);
    for (Outcome* outcome : {&site_job.done_day, &site_job.kept, &site_job.used_hours})
      outcome->columns.assign(columns(), 0.0);
    jobs_.push_back(std::move(site_job));
  }
}

void SiteRun::store(int column, ColumnResult result) {
  const auto c = size_t(column);
  for (size_t t = 0; t < kTotalCount; ++t) outcomes_[t].columns[c] = result.totals[t];
  closed_form_samples_.columns[c] = result.closed_form_samples;
  for (size_t j = 0; j < jobs_.size(); ++j) {
    jobs_[j].done_day.columns[c] = result.jobs[j].done_day;
    jobs_[j].kept.columns[c] = result.jobs[j].kept;
    jobs_[j].used_hours.columns[c] = result.jobs[j].used_hours;
  }
  if (column == 0) nominal_days_ = std::move(result.days);
}

SiteReport SiteRun::report() {
  SiteReport report{.name = site_.name,
                    .organisation = site_.organisation,
                    .hardware = site_.hardware,
                    .gpus = figures_.gpus(0),
                    .outcomes = {},
                    .periods = periods(),
                    .job = job(),
                    .jobs = {},
                    .closed_form_samples = closed_form_samples_};
  report.closed_form_samples.estimate = estimate_of(closed_form_samples_.columns);
  for (const SiteJob& site_job : jobs_)
    report.jobs.push_back({.name = site_job.job->name,
                           .workload = site_job.job->workload,
                           .priority = site_job.job->priority,
                           .done_day = estimate_of(site_job.done_day.columns),
                           .samples = estimate_of(site_job.kept.columns),
                           .gpu_hours = estimate_of(site_job.used_hours.columns)});
  for (Outcome& outcome : outcomes_) outcome.estimate = estimate_of(outcome.columns);
  report.outcomes = std::move(outcomes_);
  return report;
}

int64_t SiteRun::jobs(double gpus) const { return curve_.jobs_for(gpus, plan_.training.jobs); }

// Stretches of the nominal run with one bottleneck. Those under five days that follow each other are one, of what they
// wait for on most days; together under five days they join the one before.
std::vector<Period> SiteRun::periods() const {
  std::vector<Period> result;
  const auto add = [&result](const Period& period) {
    const bool joins = !result.empty() && (result.back().bottleneck == period.bottleneck || days_of(period) < kShort);
    if (joins)
      result.back().until = period.until;
    else
      result.push_back(period);
  };
  std::optional<Period> mixed;
  std::map<Bottleneck, int64_t> waits;
  for (const Period& stretch : stretches(plan_.start, nominal_days_)) {
    if (days_of(stretch) >= kShort) {
      if (mixed) add(*mixed);
      mixed.reset(), waits.clear();
      add(stretch);
      continue;
    }
    waits[stretch.bottleneck] += days_of(stretch);
    const auto most =
        std::max_element(waits.begin(), waits.end(), [](auto& x, auto& y) { return x.second < y.second; });
    mixed = Period{mixed ? mixed->from : stretch.from, stretch.until, most->first};
  }
  if (mixed) add(*mixed);
  return result;
}

// Of whole nodes; in round counts where the layout splits the model or groups its replicas.
Prediction SiteRun::prediction_of(double job_gpus) const {
  const int node = machine_.gpus_per_node;
  const PredictOptions asked{.layout = curve_.layout(), .draws = std::max(options_.draws, 100), .seed = options_.seed};
  const int64_t nodes = std::max<int64_t>(1, int64_t(job_gpus / node + 1e-9));
  const int64_t round_nodes = nodes / round_unit(nodes) * round_unit(nodes);
  Prediction prediction = machine_.predict(round_nodes * node, asked);
  const Layout& layout = prediction.layout;
  const bool any_count = layout.tp * layout.pp * layout.cp * layout.ep == 1 && layout.hsdp_shard <= 1;
  return any_count ? machine_.predict(nodes * node, asked) : prediction;
}

JobReport SiteRun::job() const {
  JobReport job;
  for (const SiteDay& day : nominal_days_) job.in_service = std::max(job.in_service, day.in_service);
  const Rates fleet = rates(job.in_service);
  job.training_gpus = fleet.training_gpus;
  job.best_job_gpus = curve_.best_job_gpus();
  job.near_best_gpus = curve_.near_best_gpus();
  if (job.training_gpus < 0.5) return job;
  const int node = machine_.gpus_per_node;
  job.jobs = fleet.jobs;
  const double each = std::min(job.training_gpus / double(job.jobs), curve_.best_job_gpus(0));
  job.prediction = prediction_of(each);
  job.job_gpus = each < node ? std::max<int64_t>(1, std::llround(each)) : job.prediction.gpus;
  job.goodput = job_goodput(plan_.failures, job.job_gpus, node, std::max(options_.draws, 100), options_.seed,
                            curve_.failures(0).replica_nodes);
  const FailureDraw& failures = curve_.failures(0);
  const double job_nodes = nodes_of(double(job.job_gpus), node);
  job.linear_goodput = linear_goodput(failures.stop_mtbf_s(job_nodes), failures.checkpoint_of_job_s(job_nodes),
                                      failures.restart_of_job_s(job_nodes), failures.best_interval_s(job_nodes));
  job.batch = curve_.batch(double(job.job_gpus));
  job.peak_inside = job.best_job_gpus.p50 < 0.98 * job.training_gpus;
  job.samples_per_s = estimate_of(fleet.samples_per_s);
  job.delivered_per_s = estimate_of(fleet.kept_per_s);
  job.one_job_delivered_per_s = spread([&](int c) { return curve_.delivered_per_s(c, job.training_gpus); });
  job.useful_share = spread([&](int c) { return curve_.useful_share(c, each); });
  add_spares(job);
  add_evidence(job);
  return job;
}

// Nodes in repair are out of service already: they and the hot spares make up the pool that failures draw from.
void SiteRun::add_spares(JobReport& job) const {
  if (site_.rented) return;
  const double nodes = double(job.job_gpus) / machine_.gpus_per_node * double(job.jobs);
  const double spare_nodes = (job.in_service - job.training_gpus) / machine_.gpus_per_node;
  const auto fleet = [this](int c) { return figures_.fleet(c, curve_.failures(c)); };
  job.spare_pool_nodes = spread([&](int c) {
    const FleetFigures one = fleet(c);
    return one.failures.node_failures_per_day * nodes * one.repair_share * one.repair_days + spare_nodes;
  });
  job.spares_needed_nodes = spread([&](int c) { return double(spares_needed(fleet(c), nodes, 0.999)); });
}

Estimate SiteRun::spread(const std::function<double(int)>& of) const {
  std::vector<double> values;
  for (int c = 0; c < int(columns()); ++c) values.push_back(of(c));
  return estimate_of(values);
}

SiteRun::Rates SiteRun::rates(double in_service) const {
  Rates rates{.training_gpus = in_service * (1 - spare_share_[0]), .jobs = 0, .samples_per_s = {}, .kept_per_s = {}};
  if (rates.training_gpus >= 0.5) rates.jobs = jobs(rates.training_gpus);
  const auto count = double(rates.jobs);
  for (int c = 0; c < int(columns()); ++c) {
    const double each = rates.jobs == 0 ? 0 : std::min(rates.training_gpus / count, curve_.best_job_gpus(c));
    rates.samples_per_s.push_back(count * curve_.samples_per_s(c, each));
    rates.kept_per_s.push_back(count * curve_.delivered_per_s(c, each));
  }
  return rates;
}

void SiteRun::add_evidence(JobReport& job) const {
  const FailureModel& failures = plan_.failures;
  job.rate_evidence = weakest_of(job.prediction.evidence);
  job.mtbf_evidence = failures.node_failures_per_day.evidence;
  job.goodput_evidence = job.mtbf_evidence;
  for (const Quantity* figure : {&failures.checkpoint_s, &failures.restart_s, &failures.restart_s_per_1000_nodes,
                                 &failures.silent_per_node_day, &failures.silent_found_s})
    job.goodput_evidence = weakest(job.goodput_evidence, figure->evidence);
  job.power_evidence =
      weakest(machine_.node_power_w.evidence, weakest(site_.pue.evidence, site_.fabric_share.evidence));
}

}  // namespace farscale
