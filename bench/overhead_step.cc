// The backend that does nothing, and the two steps.
#include "bench/overhead_step.h"

#include "bench/measure.h"
#include "bench/step_plan.h"
#include "bench/step_run.h"

namespace farscale {
namespace {

class NoOperation final : public Operation {
 public:
  Verdict verify() override { return {.correct = true, .worst_error = 0, .bound = 0, .detail = ""}; }
  void run(Queue&) override {}
};

class NoQueue final : public Queue {
 public:
  void record(Event&) override {}
  void wait_for(Event&) override {}
  void synchronize() override {}
};

class NoBackend final : public Backend {
 public:
  DeviceReport device() const override { return {}; }
  Maybe<std::unique_ptr<Operation>> prepare(const Problem&, const OperationSettings&) override {
    return std::unique_ptr<Operation>(std::make_unique<NoOperation>());
  }
  std::unique_ptr<Queue> open_queue(QueueRole) override { return std::make_unique<NoQueue>(); }
  std::unique_ptr<Event> make_event() override { return std::make_unique<Event>(); }
  double time_s(Operation&, Queue&, int64_t) override { return 0; }
};

std::vector<double> times_of(World& world, Backend& backend, const StepPlan& plan, int64_t rounds) {
  Lab lab{.world = world, .backend = backend, .backend_name = "host"};
  Record record;
  StepRun run(lab, plan, {.graph = false}, record);
  if (!run.ok()) throw CallError(record.reason);
  std::vector<double> times;
  for (int64_t i = 0; i < rounds + 1; ++i) {
    const StepTiming timing = run.time(StepMode::kBoth);
    if (!timing.failure.empty()) throw CallError(timing.failure);
    if (i > 0) times.push_back(timing.total_s);
  }
  return times;
}

}  // namespace

IssueCost measure_issue(World& world, Backend& backend, int64_t rounds) {
  LoweringOptions options;
  options.layout.dp = world.size();
  const LoweredStep step = lower(load_workload("hydranet-regnety16gf"), options);
  const StepPlan plan =
      plan_step(step, {.scale = 2048, .ranks = world.size(), .force_type = true, .type = NumberType::kFp32});
  NoBackend nothing;
  IssueCost cost{.issue_s = times_of(world, nothing, plan, rounds), .step_s = times_of(world, backend, plan, rounds)};
  for (const Launch& launch : plan.launches) cost.launches += static_cast<size_t>(launch.count);
  return cost;
}

}  // namespace farscale
