// The step, the slow network, and the rounds.
#include "bench/tests/overlap.h"

#include <chrono>
#include <thread>
#include <vector>

#include "bench/measure.h"
#include "bench/step_plan.h"
#include "bench/step_run.h"
#include "kernels/module.h"
#include "results/statistics.h"

namespace farscale {
namespace {

constexpr int kLayers = 8;
constexpr int64_t kBucketBytes = 64 << 10;
constexpr int kRounds = 3;

// The ranks of another world, on a network that takes `seconds_per_byte`.
class SlowWorld final : public World {
 public:
  SlowWorld(World& inner, std::shared_ptr<double> seconds_per_byte)
      : inner_(&inner), seconds_per_byte_(std::move(seconds_per_byte)) {}
  SlowWorld(std::unique_ptr<World> inner, std::shared_ptr<double> seconds_per_byte)
      : owned_(std::move(inner)), inner_(owned_.get()), seconds_per_byte_(std::move(seconds_per_byte)) {}

  int rank() const override { return inner_->rank(); }
  int size() const override { return inner_->size(); }
  int local_rank() const override { return inner_->local_rank(); }
  std::string library() const override { return inner_->library(); }
  std::vector<std::string> hosts() const override { return inner_->hosts(); }
  void barrier() const override { inner_->barrier(); }
  std::string broadcast(const std::string& text, int root) const override { return inner_->broadcast(text, root); }
  std::vector<std::string> gather(const std::string& text) const override { return inner_->gather(text); }
  std::vector<double> reduce(std::vector<double> values, Reduction op) const override {
    return inner_->reduce(std::move(values), op);
  }
  void collective(const CollectiveProblem& problem, const void* send, void* receive) const override {
    std::this_thread::sleep_for(std::chrono::duration<double>(double(problem.bytes) * *seconds_per_byte_));
    inner_->collective(problem, send, receive);
  }
  std::unique_ptr<World> duplicate() const override {
    return std::make_unique<SlowWorld>(inner_->duplicate(), seconds_per_byte_);
  }
  void on_lost(double deadline_s, std::function<void(const std::string&)> lost) override {
    inner_->on_lost(deadline_s, std::move(lost));
  }
  void abort(int exit_code) override { inner_->abort(exit_code); }

 private:
  std::unique_ptr<World> owned_;
  World* inner_;
  std::shared_ptr<double> seconds_per_byte_;  // written between steps only
};

// Layers of one product forward and two backward, each with a bucket of its own.
LoweredStep layered_step() {
  LoweredStep step;
  const GemmProblem gemm{.m = 640, .n = 640, .k = 640, .type = NumberType::kFp32};
  const auto add = [&](Pass pass) {
    StepTask& task = step.tasks.emplace_back();
    task.pass = pass;
    task.kind = KernelClass::kLinear;
    task.gemm = gemm;
    task.flops = gemm.flops();
  };
  for (int layer = 0; layer < kLayers; ++layer) add(Pass::kForward);
  for (int layer = 0; layer < kLayers; ++layer) {
    add(Pass::kDataGradient);
    add(Pass::kWeightGradient);
    step.buckets.push_back({.bytes = kBucketBytes, .ready_after = step.tasks.size() - 1});
  }
  return step;
}

double timed(StepRun& run, StepMode mode) {
  const StepTiming timing = run.time(mode);
  if (!timing.failure.empty()) throw CallError(timing.failure);
  return timing.total_s;
}

double median_of(StepRun& run, StepMode mode) {
  std::vector<double> times;
  for (int i = 0; i < kRounds; ++i) times.push_back(timed(run, mode));
  return median(times);
}

}  // namespace

Overlap measure_overlap(World& world) {
  const auto seconds_per_byte = std::make_shared<double>(0);
  SlowWorld slow(world, seconds_per_byte);
  auto backend = open_backend("host", slow);
  if (!backend) throw EnvironmentError(backend.reason());
  Lab lab{.world = slow, .backend = **backend, .backend_name = "host"};
  const StepPlan plan = plan_step(layered_step(), {.scale = 1, .ranks = world.size()});
  Record record;
  StepRun run(lab, plan, {.graph = false}, record);
  if (!run.ok()) throw CallError(record.reason);
  timed(run, StepMode::kBoth);  // first calls
  *seconds_per_byte = 0.6 * median_of(run, StepMode::kComputeOnly) / double(kLayers * kBucketBytes);
  std::vector<double> compute, communication, both;
  for (int i = 0; i < kRounds; ++i) {
    compute.push_back(timed(run, StepMode::kComputeOnly));
    communication.push_back(timed(run, StepMode::kCommunicationOnly));
    both.push_back(timed(run, StepMode::kBoth));
  }
  *seconds_per_byte *= 5;
  return {.compute_s = median(compute),
          .communication_s = median(communication),
          .both_s = median(both),
          .slow_both_s = median_of(run, StepMode::kBoth)};
}

}  // namespace farscale
