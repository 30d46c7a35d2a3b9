// The event loop of a job under failures: a constant amount of work a failure, whatever the number of nodes.
#include "cluster/failure_simulation.h"

#include <algorithm>
#include <cmath>
#include <deque>
#include <thread>
#include <vector>

#include "cluster/plan_draws.h"
#include "cluster/random.h"
#include "kernels/error.h"

namespace farscale {
namespace {

constexpr double kDay_s = 86400;

class JobHistory {
 public:
  JobHistory(const FailureRun& run, uint64_t seed)
      : run_(run),
        random_(Rng(seed).next()),  // seeds in a row would otherwise give one sequence, shifted by a place each
        mtbf_s_(run.failures.mtbf_s(run.nodes)),
        restart_s_(run.failures.restart_of_job_s(run.nodes)),
        interval_s_(run.interval_s > 0 ? run.interval_s
                                       : best_checkpoint_interval(mtbf_s_, run.failures.checkpoint_s, restart_s_)) {}

  FailureOutcome play() {
    const double end_s = run_.days * kDay_s;
    double now_s = 0;
    while (now_s < end_s) {
      const double up_s = std::min(-mtbf_s_ * std::log(random_.uniform()), end_s - now_s);
      outcome_.goodput += kept_work(up_s - (outcome_.failures > 0 ? restart_s_ : 0));
      now_s += up_s;
      if (now_s < end_s) now_s = fail(now_s, end_s);
    }
    outcome_.goodput /= end_s;
    outcome_.waiting_share /= end_s;
    return outcome_;
  }

 private:
  // Work that is safe in a checkpoint when the next failure strikes `running_s` after the restart is over.
  double kept_work(double running_s) const {
    if (running_s <= 0) return 0;
    const double cycle_s = interval_s_ + run_.failures.checkpoint_s;
    return cycle_s > 0 ? std::floor(running_s / cycle_s) * interval_s_ : running_s;
  }

  // Returns when the job can restart: now, or when a node comes back from repair if no spare is left.
  double fail(double now_s, double end_s) {
    ++outcome_.failures;
    while (!back_s_.empty() && back_s_.front() <= now_s) back_s_.pop_front();
    if (run_.repair_share <= 0 || random_.uniform() >= run_.repair_share) return now_s;
    back_s_.push_back(now_s + run_.repair_days * kDay_s);
    outcome_.most_in_repair = std::max(outcome_.most_in_repair, double(back_s_.size()));
    if (int64_t(back_s_.size()) <= run_.spare_nodes) return now_s;
    const double resumes_s = std::min(back_s_.front(), end_s);
    back_s_.pop_front();
    outcome_.waiting_share += resumes_s - now_s;
    return resumes_s;
  }

  const FailureRun& run_;
  Rng random_;
  double mtbf_s_, restart_s_, interval_s_;
  FailureOutcome outcome_;
  std::deque<double> back_s_;  // when nodes come back from repair, in order: the turnaround is constant
};

}  // namespace

FailureOutcome simulate_failures(const FailureRun& run, uint64_t seed) {
  if (!(run.nodes >= 1)) throw InputError("a job has at least one node");
  if (!(run.days > 0)) throw InputError("a history lasts longer than 0 days");
  return JobHistory(run, seed).play();
}

FailureStudy study_failures(const FailureRun& run, int replicas, uint64_t seed, int threads,
                            const std::function<void(double)>& progress) {
  if (replicas < 1) throw InputError("at least one replica is needed");
  std::vector<FailureOutcome> outcomes(static_cast<size_t>(replicas));
  const int cores = threads > 0 ? threads : int(std::max(1U, std::thread::hardware_concurrency()));
  const int workers = std::min(cores, replicas);
  std::vector<std::thread> pool;
  for (int worker = 0; worker < workers; ++worker)
    pool.emplace_back([&, worker] {
      for (int i = worker; i < replicas; i += workers) {
        outcomes[size_t(i)] = simulate_failures(run, seed + uint64_t(i));
        if (progress && worker == 0) progress(double(i + 1) / replicas);
      }
    });
  for (std::thread& thread : pool) thread.join();
  FailureStudy study;
  std::vector<double> goodput, waiting;
  for (const FailureOutcome& outcome : outcomes) {
    goodput.push_back(outcome.goodput);
    waiting.push_back(outcome.waiting_share);
    study.mean_goodput += outcome.goodput / replicas;
    study.failures += double(outcome.failures);
  }
  study.goodput = percentiles(goodput);
  study.waiting_share = percentiles(waiting);
  return study;
}

int64_t spares_needed(const FailureRun& run, double certainty) {
  const double mean = run.failures.node_failures_per_day * run.nodes * run.repair_share * run.repair_days;
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
