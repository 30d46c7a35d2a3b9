// The event loop of a fleet under failures.
#include "cluster/failure_simulation.h"

#include <algorithm>
#include <cmath>

namespace farscale {
namespace {

constexpr double kDay_s = 86400;

}  // namespace

FleetHistory::FleetHistory(const FleetFigures& figures, uint64_t seed)
    : figures_(figures),
      random_(Rng(seed).next()) {}  // seeds in a row would otherwise give one sequence, shifted by a place each

const FleetDay& FleetHistory::play(const FleetShape& shape) {
  start_day(shape);
  const double failures_per_s = figures_.failures.node_failures_per_day * (1 + shape.excess) * shape.nodes / kDay_s;
  const double events_per_s = failures_per_s + figures_.failures.silent_per_node_day * shape.nodes / kDay_s;
  const auto next_event_s = [&] { return -std::log(random_.uniform()) / std::max(events_per_s, 1e-12); };
  for (double now_s = end_s_ - kDay_s + next_event_s(); now_s < end_s_; now_s += next_event_s()) {
    take_back(now_s);
    strike(now_s, shape);
  }
  take_back(end_s_);
  for (size_t i = 0; i < jobs_.size(); ++i) {
    bank(jobs_[i], end_s_);
    day_.kept[i] = (jobs_[i].kept_s - jobs_[i].missing_s) / kDay_s;
  }
  return day_;
}

void FleetHistory::start_day(const FleetShape& shape) {
  const double begin_s = double(days_++) * kDay_s;
  end_s_ = begin_s + kDay_s;
  day_.failures = day_.to_repair = day_.repaired = day_.waiting_days = 0;
  day_.kept.assign(shape.job_nodes.size(), 0.0);
  jobs_.resize(shape.job_nodes.size());
  spares_ = shape.nodes;
  for (size_t i = 0; i < jobs_.size(); ++i) {
    Job& job = jobs_[i];
    if (job.nodes <= 0) job.since_s = begin_s;
    job.kept_s = job.missing_s = 0;
    spares_ -= shape.job_nodes[i];
    resize(job, shape.job_nodes[i], shape.excess);
  }
}

// The best interval hardly moves while a job grows by a thousandth.
void FleetHistory::resize(Job& job, double nodes, double excess) {
  if (nodes > 0 && std::abs(nodes - job.nodes) <= 1e-3 * job.nodes) return;
  job.nodes = nodes;
  if (nodes <= 0) return;
  job.interval_s = figures_.failures.best_interval_s(nodes, excess);
  job.cycle_s = job.interval_s + figures_.failures.checkpoint_of_job_s(nodes);
  job.restart_s = figures_.failures.restart_of_job_s(nodes);
}

void FleetHistory::take_back(double now_s) {
  while (next_back_ < back_s_.size() && back_s_[next_back_] <= now_s) {
    ++next_back_;
    ++spares_;
    ++day_.repaired;
  }
  if (next_back_ > 4096 && 2 * next_back_ > back_s_.size()) {
    back_s_.erase(back_s_.begin(), back_s_.begin() + std::ptrdiff_t(next_back_));
    next_back_ = 0;
  }
}

// An event hits a node at random: one of a job, or a spare.
void FleetHistory::strike(double now_s, const FleetShape& shape) {
  const FailureDraw& failures = figures_.failures;
  double place = random_.uniform() * shape.nodes;
  Job* hit = nullptr;
  for (Job& job : jobs_) {
    if (place < job.nodes) {
      hit = &job;
      break;
    }
    place -= job.nodes;
  }
  const double rate = failures.node_failures_per_day * (1 + shape.excess);
  if (failures.silent_per_node_day > 0 &&
      random_.uniform() * (rate + failures.silent_per_node_day) < failures.silent_per_node_day) {
    if (hit) corrupt(*hit, now_s);
    return;
  }
  ++day_.failures;
  fail(hit, now_s);
}

void FleetHistory::fail(Job* job, double now_s) {
  const bool repaired = figures_.repair_share > 0 && random_.uniform() < figures_.repair_share;
  const double resumes_s = repaired ? send_to_repair(now_s) : now_s;
  if (!job) return;
  day_.waiting_days += (resumes_s - now_s) / kDay_s;
  const FailureDraw& failures = figures_.failures;
  if (!failures.isolated || random_.uniform() < failures.job_wide_share) return stop(*job, now_s, resumes_s);
  job->since_s += failures.resync_s;  // the cycle under way is held up, not lost
  const double missing_s = std::min(resumes_s + job->restart_s, end_s_) - now_s;
  job->missing_s += missing_s * std::min(1.0, failures.replica_nodes / job->nodes);
}

// Returns when a spare takes the node's place: at once, when a node comes back, or in the morning.
double FleetHistory::send_to_repair(double now_s) {
  const double starts_s = std::max(now_s, hands_free_s_);
  hands_free_s_ = starts_s + kDay_s / figures_.repairs_per_day;
  back_s_.push_back(starts_s + figures_.repair_days * kDay_s);
  ++day_.to_repair;
  if (--spares_ >= 0) return now_s;
  const size_t turn = next_back_ + size_t(-spares_ - 1);  // the first to come back are taken already
  return std::min(back_s_[std::min(turn, back_s_.size() - 1)], end_s_);
}

void FleetHistory::stop(Job& job, double now_s, double resumes_s) {
  bank(job, now_s);
  job.since_s = resumes_s + job.restart_s;
}

// What was trained within the delay before a corruption is found goes, back to the checkpoint before it.
void FleetHistory::corrupt(Job& job, double now_s) {
  stop(job, now_s, now_s);
  const double from_s = now_s - figures_.failures.silent_found_s;
  while (!job.recent.empty() && job.recent.back().end_s > from_s) {
    Chunk& chunk = job.recent.back();
    const double lost_s =
        chunk.start_s >= from_s || job.cycle_s <= 0
            ? chunk.kept_s
            : std::min(chunk.kept_s, std::ceil((chunk.end_s - from_s) / job.cycle_s) * job.interval_s);
    job.kept_s -= lost_s;
    chunk.kept_s -= lost_s;
    if (chunk.start_s < from_s) break;
    job.recent.pop_back();
  }
}

// Counts the checkpoint cycles that are complete by now; the one under way goes on.
void FleetHistory::bank(Job& job, double now_s) const {
  if (job.nodes <= 0 || now_s <= job.since_s) return;
  const double start_s = job.since_s;
  if (job.cycle_s > 0) {
    const double cycles = std::floor((now_s - start_s) / job.cycle_s);
    job.since_s += cycles * job.cycle_s;
    job.kept_s += cycles * job.interval_s;
  } else {
    job.since_s = now_s;
    job.kept_s += now_s - start_s;
  }
  if (figures_.failures.silent_per_node_day <= 0 || job.since_s <= start_s) return;
  const double share = job.cycle_s > 0 ? job.interval_s / job.cycle_s : 1;
  job.recent.push_back({start_s, job.since_s, (job.since_s - start_s) * share});
  const double oldest_s = now_s - figures_.failures.silent_found_s;
  if (job.recent.size() > 64 && job.recent[job.recent.size() / 2].end_s < oldest_s)
    job.recent.erase(job.recent.begin(), job.recent.begin() + std::ptrdiff_t(job.recent.size() / 2));
}

int64_t spares_needed(const FleetFigures& figures, double nodes, double certainty) {
  const double mean = figures.failures.node_failures_per_day * nodes * figures.repair_share * figures.repair_days;
  double log_term = -mean, sum = std::exp(log_term);  // in logs: exp(-mean) alone would vanish for large fleets
  int64_t spares = 1;
  while (sum < certainty && spares < 100'000'000) {
    log_term += std::log(mean / double(spares));
    sum += std::exp(log_term);
    ++spares;
  }
  return spares;
}

}  // namespace farscale
