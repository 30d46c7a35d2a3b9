// Running a step: launches in order on the compute queue, buckets and gathers on the communication queue when their
// time has come, inputs of the next step beside them.
#include "bench/step_run.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "kernels/format.h"

namespace farscale {
namespace {

constexpr int64_t kMostInputCopies = 256;  // a copy a frame; tokens go in one

int64_t copies_of_input(const Lab& lab, const StepPlan& plan) {
  if (lab.workload == nullptr) return 1;
  const double frames = double(plan.micro_batch) * lab.workload->frames_per_sample();
  return frames <= kMostInputCopies ? std::max<int64_t>(1, std::llround(frames)) : 1;
}

}  // namespace

StepRun::StepRun(Lab& lab, const StepPlan& plan, Options options, Record& record)
    : lab_(lab), plan_(plan), options_(options), agreement_(lab.world) {
  if (!plan.buckets.empty() || !plan.gathers.empty()) own_world_ = lab.world.duplicate();
  auto arena = lab.backend.make_arena(plan.problems);
  if (arena) arena_ = std::move(*arena);
  record.details["operands"] = arena ? fmt::format("products share {}", format_bytes(arena_->bytes())) : arena.reason();
  if (!prepare(record)) return;
  compute_ = lab.backend.open_queue(QueueRole::kCompute);
  communication_ = lab.backend.open_queue(QueueRole::kCommunication);
  for (size_t i = 0; i < plan.buckets.size(); ++i) gradients_ready_.push_back(lab.backend.make_event());
  for (size_t i = 0; i < plan.gathers.size(); ++i) gathered_.push_back(lab.backend.make_event());
  reduced_ = lab.backend.make_event();
  begun_ = lab.backend.make_event();
  ok_ = true;
}

bool StepRun::prepare(Record& record) {
  for (size_t i = 0; i < plan_.problems.size(); ++i) {
    operations_.push_back(prepare_together(lab_, plan_.problems[i], settings_for(i), record));
    if (!operations_.back()) return false;
  }
  if (!options_.input || plan_.decoded_bytes < 1) return true;
  input_copies_ = copies_of_input(lab_, plan_);
  const auto bytes = static_cast<int64_t>(std::ceil(plan_.decoded_bytes / double(input_copies_)));
  auto copy = lab_.backend.prepare_input(bytes);
  const std::string missing = agreement_.reason(copy ? "" : copy.reason());
  if (!missing.empty()) {
    skip(record, missing);
    return false;
  }
  input_copy_ = std::move(*copy);
  input_ = lab_.backend.open_queue(QueueRole::kInput);
  return true;
}

// GEMMs are not rotated: a step walks through the operands of all its launches, far more than any cache holds.
OperationSettings StepRun::settings_for(size_t problem) const {
  return {.data = InputData::kNormal,
          .seed = 1,
          .cold = std::holds_alternative<MemoryProblem>(plan_.problems[problem]),
          .world = plan_.of_communication[problem] ? own_world_.get() : &lab_.world,
          .arena = arena_.get()};
}

void StepRun::launch(const Launch& launch) {
  for (int64_t i = 0; i < launch.count; ++i) operations_[launch.problem]->run(*compute_);
}

// Traffic that may leave before launch `at`: buckets whose gradients are ready, the weights of the unit after the one
// that begins here.
void StepRun::release(size_t at, Cursor& cursor) {
  for (; cursor.bucket < plan_.buckets.size() && plan_.buckets[cursor.bucket].after <= at; ++cursor.bucket) {
    compute_->record(*gradients_ready_[cursor.bucket]);
    communication_->wait_for(*gradients_ready_[cursor.bucket]);
    operations_[plan_.buckets[cursor.bucket].problem]->run(*communication_);
  }
  const std::vector<Gather>& gathers = plan_.gathers;
  for (; cursor.asked < gathers.size() && (cursor.asked == 0 || gathers[cursor.asked - 1].needed <= at);
       ++cursor.asked) {
    operations_[gathers[cursor.asked].problem]->run(*communication_);
    communication_->record(*gathered_[cursor.asked]);
  }
}

// What compute waits for before launch `at`: its weights, and blocking collectives in its own queue.
void StepRun::block(size_t at, Cursor& cursor) {
  const std::vector<Gather>& gathers = plan_.gathers;
  for (; cursor.awaited < gathers.size() && gathers[cursor.awaited].needed <= at; ++cursor.awaited) {
    compute_->wait_for(*gathered_[cursor.awaited]);
  }
  for (; cursor.blocking < plan_.blocking.size() && plan_.blocking[cursor.blocking].after <= at; ++cursor.blocking) {
    const Message& message = plan_.blocking[cursor.blocking];
    for (int64_t i = 0; i < message.count; ++i) operations_[message.problem]->run(*compute_);
  }
}

// With `timing`, the host waits where the backward ends to see when that is; a graph is recorded without.
void StepRun::enqueue(StepMode mode, double start_s, OwnStep* timing) {
  const bool computes = mode != StepMode::kCommunicationOnly, communicates = mode != StepMode::kComputeOnly;
  Cursor cursor;
  double waited_s = 0;
  for (size_t at = 0; at <= plan_.launches.size(); ++at) {
    const bool backward_ends = at == plan_.optimizer_begin;
    if (communicates) release(at, cursor);
    if (backward_ends && timing != nullptr) {
      const double reached_s = lab_.clock();
      compute_->synchronize();
      timing->backward_s = lab_.clock() - start_s;
      waited_s = lab_.clock() - reached_s;
    }
    if (communicates) block(at, cursor);
    if (backward_ends && communicates && !plan_.buckets.empty()) {
      communication_->record(*reduced_);
      compute_->wait_for(*reduced_);
    }
    if (computes && at < plan_.launches.size()) launch(plan_.launches[at]);
  }
  if (timing != nullptr) timing->issue_s = lab_.clock() - start_s - waited_s;
}

OwnStep StepRun::run(StepMode mode) {
  const bool whole = mode == StepMode::kBoth || mode == StepMode::kGraph;
  const double start_s = lab_.clock();
  OwnStep timing;
  for (int64_t i = 0; whole && i < input_copies_; ++i) input_copy_->run(*input_);
  if (mode == StepMode::kGraph) {
    graph_->launch(*compute_);
    timing.issue_s = lab_.clock() - start_s;
  } else {
    enqueue(mode, start_s, &timing);
  }
  communication_->synchronize();  // first: its wait ends with an error when a rank is gone
  compute_->synchronize();
  const double done_s = lab_.clock();
  if (whole && input_) input_->synchronize();
  timing.input_wait_s = lab_.clock() - done_s;
  timing.total_s = lab_.clock() - start_s;
  return timing;
}

std::string StepRun::record_graph() {
  if (!options_.graph) return "not asked for";
  std::string missing;
  try {
    auto graph = lab_.backend.record_graph(*compute_, [&] {
      compute_->record(*begun_);
      communication_->wait_for(*begun_);
      enqueue(StepMode::kBoth, 0, nullptr);
      communication_->record(*reduced_);
      compute_->wait_for(*reduced_);
    });
    if (graph) graph_ = std::move(*graph);
    if (!graph) missing = graph.reason();
  } catch (const std::exception& error) {
    missing = error.what();
  }
  missing = agreement_.reason(missing);
  if (!missing.empty()) graph_.reset();
  return missing;
}

template <typename Work>
StepTiming StepRun::timed(const Work& work) {
  OwnStep own;
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
      failed ? std::vector<double>{0, 0, 0, 0, 1}
             : std::vector<double>{own.total_s, own.backward_s, -own.backward_s, own.total_s - own.input_wait_s, 0},
      Reduction::kMax);
  if (agreed[4] > 0.5) return {.failure = agreement_.reason(failure)};
  return {.total_s = agreed[0],
          .work_s = agreed[3],
          .backward_s = agreed[1],
          .skew_s = agreed[1] + agreed[2],
          .own = own,
          .failure = ""};
}

StepTiming StepRun::time(StepMode mode) {
  return timed([&] { return run(mode); });
}

void StepRun::one_round() {
  for (const Message& bucket : plan_.buckets) operations_[bucket.problem]->run(*communication_);
  for (const Gather& gather : plan_.gathers) operations_[gather.problem]->run(*communication_);
}

StepTiming StepRun::time_traffic() {
  if (plan_.buckets.empty() && plan_.gathers.empty()) return {};
  return timed([&]() -> OwnStep {
    const double start_s = lab_.clock();
    one_round();
    communication_->synchronize();
    return {.total_s = lab_.clock() - start_s};
  });
}

StepTiming StepRun::time_class(KernelClass kind, int64_t rounds) {
  return timed([&]() -> OwnStep {
    for (int64_t i = 0; i < rounds; ++i) one_round();
    const double start_s = lab_.clock();
    for (const Launch& one : plan_.launches) {
      if (one.kind == kind) launch(one);
    }
    compute_->synchronize();
    const double total_s = lab_.clock() - start_s;
    communication_->synchronize();
    return {.total_s = total_s, .backward_s = total_s};
  });
}

std::vector<KernelClass> StepRun::classes() const {
  std::set<KernelClass> kinds;
  for (const Launch& launch : plan_.launches) kinds.insert(launch.kind);
  return {kinds.begin(), kinds.end()};
}

}  // namespace farscale
