// The day loop of training, failures, power and money over the bring-up of a site.
#include "cluster/plan_site_days.h"

#include <algorithm>
#include <cmath>

namespace farscale {
namespace {

constexpr double kDay_s = 86400;
constexpr double kCompleteShare = 0.95;  // of the fleet in service: repairs always hold the rest

}  // namespace

SiteColumn::SiteColumn(const SiteRun& run, int column, double scale)
    : run_(run),
      column_(column),
      scale_(scale),
      fleet_(run.figures().fleet(column, run.curve().failures(column))),
      watts_(run.figures().facility_w_per_gpu(column)) {
  const RunOptions& options = run.options();
  if (!run.figures().rented()) {
    draw_ = run.figures().draw(column, options.events, scale);
    pipeline_.emplace(draw_);
  }
  constexpr uint64_t kApart = 0xd1342543de82ef95ULL;  // sites fail independently of each other
  if (options.events) history_.emplace(fleet_, options.seed * 1000003 + uint64_t(column) + run.index() * kApart);
  result_.jobs.assign(run.site_jobs().size(), {.done_day = double(run.plan().days())});
  total(Total::kCompleteDay) = run.plan().days();
}

double SiteColumn::capital_usd_per_gpu() const {
  const Holding bought = run_.figures().bought(column_, day_);
  return Holding{bought.gpus + moved_.gpus, bought.usd + moved_.usd}.usd_per_gpu();
}

void SiteColumn::take_over(SiteColumn& from, double moment, double gpus) {
  from.pipeline_->hand_over(gpus);
  pipeline_->receive(moment, gpus);
  const double usd = gpus * from.capital_usd_per_gpu();
  from.moved_ = {from.moved_.gpus - gpus, from.moved_.usd - usd};
  moved_ = {moved_.gpus + gpus, moved_.usd + usd};
}

const SiteDay& SiteColumn::step(int day) {
  day_ = day;
  if (!pipeline_) rented_.delivered = rented_.in_service = run_.figures().rented_gpus(column_, day, scale_);
  const SiteDay& state = pipeline_ ? pipeline_->step(day) : rented_;
  const double excess = pipeline_ ? pipeline_->infant_excess() : 0;
  share_out(state.in_service);
  apply_closed_form(excess);
  if (history_) play_failures(state, excess);
  train(day);
  add_totals(day, state, excess);
  if (column_ == 0) result_.days.push_back(state);
  return state;
}

// Jobs with a budget first, by priority; what they leave trains the plan's workload. No job is made larger than the
// size at which it delivers most.
void SiteColumn::share_out(double in_service) {
  shares_.clear();
  double left = in_service * (1 - std::clamp(run_.spare_share(column_), 0.0, 0.5));
  for (size_t j = 0; j < run_.site_jobs().size(); ++j) {
    const SiteJob& job = run_.site_jobs()[j];
    const bool done = result_.jobs[j].done_day < run_.plan().days();
    const double most = job.most_gpus.empty() ? job.curve->best_job_gpus(column_) : job.most_gpus[size_t(column_)];
    const double gpus = done ? 0 : std::min(left, most);
    shares_.push_back({job.curve, gpus, 1, int(j)});
    left -= gpus;
  }
  const auto count = double(run_.jobs(left));
  const double each = std::min(left / count, run_.curve().best_job_gpus(column_));
  shares_.push_back({&run_.curve(), each, count, -1});
  standing_by_ = in_service * std::clamp(run_.spare_share(column_), 0.0, 0.5) + left - count * each;
}

// A fleet that hardly changes keeps its goodput: the closed form is asked again after a change by a thousandth.
void SiteColumn::apply_closed_form(double excess) {
  memos_.resize(shares_.size());
  for (size_t i = 0; i < shares_.size(); ++i) {
    Share& share = shares_[i];
    const double nodes = share.gpus / run_.gpus_per_node();
    const double failing_nodes = nodes * (1 + excess);
    if (std::abs(failing_nodes - memos_[i].failing_nodes) > 1e-3 * memos_[i].failing_nodes)
      memos_[i] = {failing_nodes, nodes > 0 ? fleet_.failures.goodput(nodes, excess) : 0};
    share.kept = memos_[i].goodput;
  }
}

// The same day, failure by failure; what the closed form would have kept is added up beside it.
void SiteColumn::play_failures(const SiteDay& state, double excess) {
  const double node = run_.gpus_per_node();
  shape_.nodes = state.in_service / node;
  shape_.excess = excess;
  shape_.job_nodes.clear();
  for (const Share& share : shares_) {
    if (share.job < 0 || run_.site_jobs()[size_t(share.job)].is_of_plan)
      result_.closed_form_samples += share.count * share.curve->samples_per_s(column_, share.gpus) * share.kept *
                                     share.curve->useful_share(column_, share.gpus) * kDay_s;
    shape_.job_nodes.insert(shape_.job_nodes.end(), size_t(share.count), share.gpus / node);
  }
  const FleetDay& day = history_->play(shape_);
  auto kept = day.kept.begin();
  for (Share& share : shares_) {
    share.kept = 0;
    for (int i = 0; i < int(share.count); ++i) share.kept += *kept++ / share.count;
  }
  if (pipeline_) pipeline_->fail(day.to_repair * node, day.repaired * node);
  total(Total::kFailures) += day.failures;
  total(Total::kRepairs) += day.to_repair;
  total(Total::kWaitingDays) += day.waiting_days;
}

void SiteColumn::train(int day) {
  samples_per_s_ = progress_per_s_ = kept_per_s_ = 0;
  for (const Share& share : shares_) {
    if (share.gpus <= 0) continue;
    const double running = share.count * share.curve->samples_per_s(column_, share.gpus);
    double kept_per_s = running * share.kept * share.curve->useful_share(column_, share.gpus);
    if (share.job >= 0) kept_per_s *= progress(share, kept_per_s * kDay_s, day);
    if (share.job >= 0 && !run_.site_jobs()[size_t(share.job)].is_of_plan) continue;
    samples_per_s_ += running;
    progress_per_s_ += running * share.kept;
    kept_per_s_ += kept_per_s;
  }
}

// Spends a job's budget; returns the share of the day it still needed.
double SiteColumn::progress(const Share& share, double samples, int day) {
  const SiteJob& job = run_.site_jobs()[size_t(share.job)];
  SiteRun::ColumnResult::JobResult& result = result_.jobs[size_t(share.job)];
  const bool counts_samples = !job.samples.empty();
  const double today = counts_samples ? samples : share.gpus * 24;
  const double left =
      counts_samples ? job.samples[size_t(column_)] - result.kept : job.gpu_hours[size_t(column_)] - result.used_hours;
  const double part = today > 0 && today >= left ? std::max(left, 0.0) / today : 1;
  if (today > 0 && today >= left) result.done_day = day;
  result.kept += samples * part;
  result.used_hours += share.gpus * 24 * part;
  return part;
}

void SiteColumn::add_totals(int day, const SiteDay& state, double excess) {
  const double powered = state.powered - standing_by_ * (1 - run_.figures().spare_power(column_));
  power_mw_ = std::max(powered, 0.0) * watts_ / 1e6;
  const double days = run_.plan().days();
  total(Total::kSamples) += kept_per_s_ * kDay_s;
  total(Total::kServiceGpuDays) += state.in_service;
  total(Total::kIdleGpuDays) += state.idle();
  total(Total::kStoredGpuDays) += state.stored;
  total(Total::kEnergyMwh) += power_mw_ * 24;
  total(Total::kPeakStored) = std::max(total(Total::kPeakStored), state.stored);
  const double written_off_a_gpu = capital_usd_per_gpu() / run_.figures().lifetime_days(column_);
  total(Total::kIdleUsd) += state.idle() * written_off_a_gpu;
  total(Total::kWrittenOffUsd) += (state.in_service + state.idle()) * written_off_a_gpu;
  if (!history_) {
    const double failures =
        fleet_.failures.node_failures_per_day * (1 + excess) * state.in_service / run_.gpus_per_node();
    total(Total::kFailures) += failures;
    total(Total::kRepairs) += failures * fleet_.repair_share;
  }
  double& complete = total(Total::kCompleteDay);
  if (complete == days && state.in_service >= kCompleteShare * run_.figures().gpus(column_)) complete = day;
}

void SiteColumn::add_row(RowColumns& row) const {
  const auto c = size_t(column_);
  const SiteFigures& figures = run_.figures();
  const SiteDay& state = today();
  const auto sum = [this](Total which) { return result_.totals[size_t(which)]; };
  row.delivered[c] += state.delivered;
  row.stored[c] += state.stored;
  row.installed[c] += state.installed();
  row.in_service[c] += state.in_service;
  row.power_mw[c] += power_mw_;
  row.samples_per_s[c] += samples_per_s_;
  row.progress_per_s[c] += progress_per_s_;
  row.samples[c] += sum(Total::kSamples);
  row.cost_usd[c] += figures.delivered_capital_usd(column_, day_) + figures.rent_usd(column_, day_) +
                     sum(Total::kEnergyMwh) * 1000 * figures.usd_per_kwh(column_);
}

void SiteColumn::add_money() {
  const SiteFigures& figures = run_.figures();
  const int last = run_.plan().days() - 1;
  total(Total::kCapitalUsd) = figures.delivered_capital_usd(column_, last);
  total(Total::kEnergyUsd) = total(Total::kEnergyMwh) * 1000 * figures.usd_per_kwh(column_);
  total(Total::kRentUsd) = figures.rent_usd(column_, last);
  total(Total::kCostUsd) = total(Total::kCapitalUsd) + total(Total::kEnergyUsd) + total(Total::kRentUsd);
  total(Total::kWrittenOffUsd) += total(Total::kEnergyUsd) + total(Total::kRentUsd);
}

SiteRun::ColumnResult SiteColumn::finish() {
  add_money();
  return std::move(result_);
}

}  // namespace farscale
