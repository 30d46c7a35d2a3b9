// Running a step: launches in order on the compute queue, buckets on the communication queue as they become ready.
#include "bench/step_run.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>

#include "kernels/format.h"

namespace farscale {
namespace {

// The work a problem stands for, to check the largest first: FLOPs and bytes weighed as ten to one.
double work_of(const Problem& problem) {
  if (const auto* gemm = std::get_if<GemmProblem>(&problem)) return gemm->flops();
  if (const auto* memory = std::get_if<MemoryProblem>(&problem)) return 10 * memory->bytes();
  if (const auto* convolution = std::get_if<ConvolutionProblem>(&problem)) return convolution->flops();
  return 10 * double(std::get<CollectiveProblem>(problem).bytes);
}

}  // namespace

StepRun::StepRun(Lab& lab, const StepPlan& plan, Record& record) : lab_(lab), plan_(plan), agreement_(lab.world) {
  if (!plan.buckets.empty()) gradient_world_ = lab.world.duplicate();
  for (size_t i = 0; i < plan.problems.size(); ++i) {
    operations_.push_back(prepare_together(lab, plan.problems[i], settings_for(i), record));
    if (!operations_.back()) return;
  }
  compute_ = lab.backend.open_queue(QueueRole::kCompute);
  communication_ = lab.backend.open_queue(QueueRole::kCommunication);
  for (size_t i = 0; i < plan.buckets.size(); ++i) gradients_ready_.push_back(lab.backend.make_event());
  reduced_ = lab.backend.make_event();
  ok_ = true;
}

// GEMMs are not rotated: a step walks through the operands of all its launches, far more than any cache holds.
OperationSettings StepRun::settings_for(size_t problem) const {
  return {.data = InputData::kNormal,
          .seed = 1,
          .cold = std::holds_alternative<MemoryProblem>(plan_.problems[problem]),
          .world = plan_.of_bucket[problem] ? gradient_world_.get() : &lab_.world};
}

std::vector<double> StepRun::work_per_problem() const {
  std::vector<double> work(plan_.problems.size(), 0);
  for (const Launch& launch : plan_.launches) {
    work[launch.problem] += work_of(plan_.problems[launch.problem]) * double(launch.count);
  }
  for (const auto* messages : {&plan_.buckets, &plan_.blocking}) {
    for (const Message& message : *messages) {
      work[message.problem] += work_of(plan_.problems[message.problem]) * double(message.count);
    }
  }
  return work;
}

bool StepRun::verify_one(size_t problem, Record& record, RecordVerdict& worst) {
  const bool correct = verify_together(lab_, *operations_[problem], record);
  if (!correct) {
    record.reason = fmt::format("{}: {}", name(plan_.problems[problem]), record.reason);
    return false;
  }
  const auto share = [](const RecordVerdict& v) { return v.bound > 0 ? v.worst_error / v.bound : v.worst_error; };
  if (!worst.checked || share(record.verdict) > share(worst)) worst = record.verdict;
  return true;
}

bool StepRun::verify(double budget_s, Record& record) {
  const std::vector<double> work = work_per_problem();
  std::vector<size_t> order(work.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return work[a] > work[b]; });
  const double all = std::accumulate(work.begin(), work.end(), 0.0);
  const double start_s = lab_.clock();
  RecordVerdict worst;
  double checked_work = 0;
  size_t checked = 0;
  for (size_t problem : order) {
    if (agreement_.decide(checked > 0 && lab_.clock() - start_s > budget_s)) break;
    if (!verify_one(problem, record, worst)) return false;
    checked_work += work[problem];
    ++checked;
  }
  record.verdict = worst;
  record.verdict.detail = fmt::format("{} of {} kernels of the step checked, {} of its work; worst: {}", checked,
                                      order.size(), format_percent(all > 0 ? checked_work / all : 1), worst.detail);
  return true;
}

// Buckets whose gradients are ready once `issued` launches are out.
void StepRun::release(StepMode mode, size_t issued, size_t& bucket) {
  for (; bucket < plan_.buckets.size() && plan_.buckets[bucket].after <= issued; ++bucket) {
    if (mode == StepMode::kComputeOnly) continue;
    compute_->record(*gradients_ready_[bucket]);
    communication_->wait_for(*gradients_ready_[bucket]);
    operations_[plan_.buckets[bucket].problem]->run(*communication_);
  }
}

// Collectives that compute waits for run in its own queue.
void StepRun::block(StepMode mode, size_t issued, size_t& blocking) {
  for (; blocking < plan_.blocking.size() && plan_.blocking[blocking].after <= issued; ++blocking) {
    if (mode == StepMode::kComputeOnly) continue;
    const Message& message = plan_.blocking[blocking];
    for (int64_t i = 0; i < message.count; ++i) operations_[message.problem]->run(*compute_);
  }
}

StepRun::OwnTiming StepRun::run(StepMode mode) {
  const double start_s = lab_.clock();
  OwnTiming timing;
  size_t bucket = 0, blocking = 0;
  for (size_t issued = 0; issued <= plan_.launches.size(); ++issued) {
    release(mode, issued, bucket);
    if (issued == plan_.optimizer_begin) {
      compute_->synchronize();
      timing.backward_s = lab_.clock() - start_s;
    }
    block(mode, issued, blocking);
    if (issued == plan_.optimizer_begin && mode != StepMode::kComputeOnly && !plan_.buckets.empty()) {
      communication_->record(*reduced_);
      compute_->wait_for(*reduced_);
    }
    if (issued == plan_.launches.size() || mode == StepMode::kCommunicationOnly) continue;
    const Launch& launch = plan_.launches[issued];
    for (int64_t i = 0; i < launch.count; ++i) operations_[launch.problem]->run(*compute_);
  }
  compute_->synchronize();
  communication_->synchronize();
  timing.total_s = lab_.clock() - start_s;
  return timing;
}

template <typename Work>
StepTiming StepRun::timed(const Work& work) {
  OwnTiming own;
  std::string failure;
  lab_.world.barrier();
  try {
    own = work();
    if (!(own.total_s >= 0) || !std::isfinite(own.total_s)) failure = "the clock gave no time for a step";
  } catch (const std::exception& error) {
    failure = error.what();
  }
  const bool failed = !failure.empty();
  const std::vector<double> agreed = lab_.world.reduce(
      {failed ? 0 : own.total_s, failed ? 0 : own.backward_s, failed ? 0 : -own.backward_s, failed ? 1.0 : 0.0},
      Reduction::kMax);
  if (agreed[3] > 0.5) return {.failure = agreement_.reason(failure)};
  return {.total_s = agreed[0],
          .backward_s = agreed[1],
          .skew_s = agreed[1] + agreed[2],
          .own_s = own.total_s,
          .failure = ""};
}

StepTiming StepRun::time(StepMode mode) {
  return timed([&] { return run(mode); });
}

StepTiming StepRun::time_class(KernelClass kind) {
  return timed([&]() -> OwnTiming {
    const double start_s = lab_.clock();
    for (const Launch& launch : plan_.launches) {
      if (launch.kind != kind) continue;
      for (int64_t i = 0; i < launch.count; ++i) operations_[launch.problem]->run(*compute_);
    }
    compute_->synchronize();
    const double total_s = lab_.clock() - start_s;
    return {.total_s = total_s, .backward_s = total_s};
  });
}

std::vector<KernelClass> StepRun::classes() const {
  std::set<KernelClass> kinds;
  for (const Launch& launch : plan_.launches) kinds.insert(launch.kind);
  return {kinds.begin(), kinds.end()};
}

}  // namespace farscale
