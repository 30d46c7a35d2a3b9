// Running a step: buckets leave when their gradients are ready, overlap is counted right, graphs and inputs beside it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "bench/step_plan.h"
#include "bench/step_run.h"
#include "bench/tests/fake_backend.h"
#include "bench/tests/small_step.h"
#include "kernels/tests/thread_world.h"

namespace farscale {
namespace {

// Compute 1 s, 2 s, 2 s at 1 GFLOP/s…: times in seconds of the fake at scale 1.
struct Timed {
  StepTiming compute, communication, both, linear;
  std::vector<std::string> order;
};

std::vector<Timed> time_steps(int ranks, const std::function<void(int, FakeBehaviour&)>& behave, bool input = false) {
  return on_ranks<Timed>(ranks, [&](World& world) {
    LoweredStep step = small_step();
    step.collectives.clear();
    step.decoded_bytes = 4e6;
    const StepPlan plan = plan_step(step, {.scale = 1, .ranks = world.size()});
    const auto state = std::make_shared<FakeState>();
    state->behaviour = {.flops_per_s = 4e8, .bytes_per_s = 1e12, .bus_bytes_per_s = 4e6, .latency_s = 0};
    behave(world.rank(), state->behaviour);
    const auto backend = fake_backend(state);
    Lab lab{.world = world, .backend = *backend, .backend_name = "host", .clock = fake_clock(state)};
    Record record;
    StepRun run(lab, plan, {.input = input}, record);
    EXPECT_TRUE(run.ok()) << record.reason;
    Timed timed{run.time(StepMode::kComputeOnly), run.time(StepMode::kCommunicationOnly), {}, {}, {}};
    state->order.clear();
    timed.both = run.time(StepMode::kBoth);
    timed.order = state->order;
    timed.linear = run.time_class(KernelClass::kLinear);
    return timed;
  });
}

TEST(StepRun, OverlapIsTheClosedForm) {
  // Compute 1 + 2 + 2 s; buckets of 1 s and 2 s. The first bucket leaves after 3 s and hides behind the second
  // gradient; the second leaves after 5 s and is exposed for its 2 s.
  for (const Timed& timed : time_steps(2, [](int, FakeBehaviour&) {})) {
    EXPECT_NEAR(timed.compute.total_s, 5, 0.01);
    EXPECT_NEAR(timed.communication.total_s, 3, 0.01);
    EXPECT_NEAR(timed.both.total_s, 7, 0.01);
    EXPECT_NEAR(timed.both.backward_s, 5, 0.01);
    EXPECT_NEAR(timed.compute.skew_s, 0, 1e-9);
    EXPECT_NEAR(timed.linear.total_s, 5, 1e-6) << "GEMMs alone";
  }
}

TEST(StepRun, ASlowerNetworkExposesMore) {
  double last = 0;
  for (double bandwidth : {1e9, 4e6, 2e6, 1e6}) {
    const auto timed = time_steps(2, [&](int, FakeBehaviour& b) { b.bus_bytes_per_s = bandwidth; });
    const double exposed = timed[0].both.total_s - timed[0].compute.total_s;
    EXPECT_GT(exposed, last);
    last = exposed;
  }
}

TEST(StepRun, SlowdownAndSkewAreSeen) {
  const auto timed = time_steps(2, [](int rank, FakeBehaviour& b) {
    b.slowdown = 1.5;
    if (rank == 1) b.flops_per_s = 2e8;
  });
  for (const Timed& one : timed) {
    EXPECT_NEAR(one.compute.total_s, 10, 0.01) << "the slower rank";
    EXPECT_NEAR(one.compute.skew_s, 5, 0.01) << "5 s against 10 s, before any communication";
    // On the slow rank the second gradient (4 s) runs while the first bucket is under way: 6 s.
    EXPECT_NEAR(one.both.backward_s, 12, 0.01);
  }
}

// Input of 4 MB beside a step of 7 s: hidden while it takes less, then the step waits for it.
TEST(StepRun, LateInputIsWaitedFor) {
  for (const auto& [rate, wait_s] : {std::pair{1e6, 0.0}, {4e5, 3.0}}) {
    const auto timed = time_steps(
        2, [&, rate = rate](int, FakeBehaviour& b) { b.input_bytes_per_s = rate; }, true);
    EXPECT_NEAR(timed[0].both.own.input_wait_s, wait_s, 0.01);
    EXPECT_NEAR(timed[0].both.total_s, 7 + wait_s, 0.01);
    EXPECT_NEAR(timed[0].both.work_s, 7, 0.01);
    EXPECT_NEAR(timed[0].compute.total_s, 5, 0.01) << "no input in it";
  }
}

// Gathers go one unit ahead: the second is asked for when the first is needed.
TEST(StepRun, WeightsComeBeforeTheirUnit) {
  const auto world = single_world();
  StepPlan plan = plan_step(small_step(), {.scale = 1, .ranks = 1});
  plan.problems.push_back(CollectiveProblem{.kind = CollectiveKind::kAllGather, .bytes = 4000000, .ranks = 1});
  plan.of_communication.push_back(true);
  const size_t last = plan.optimizer_begin - 1, problem = plan.problems.size() - 1;
  plan.gathers = {{.problem = problem, .needed = 0}, {.problem = problem, .needed = last}};
  const auto state = std::make_shared<FakeState>();
  state->behaviour = {.flops_per_s = 4e8, .bytes_per_s = 1e12, .bus_bytes_per_s = 4e6, .latency_s = 0};
  const auto backend = fake_backend(state);
  Lab lab{.world = *world, .backend = *backend, .backend_name = "host", .clock = fake_clock(state)};
  Record record;
  StepRun run(lab, plan, {}, record);
  ASSERT_TRUE(run.ok()) << record.reason;
  EXPECT_NEAR(run.time(StepMode::kBoth).total_s, 6, 0.01) << "1 s for the first, the second behind 3 s of compute";
  EXPECT_NEAR(run.time(StepMode::kCommunicationOnly).total_s, 2, 0.01);
}

// A graph does the same work and takes the host's time once.
TEST(StepRun, AGraphIsIssuedOnce) {
  const auto world = single_world();
  const StepPlan plan = plan_step(small_step(), {.scale = 1, .ranks = 1});
  const auto state = std::make_shared<FakeState>();
  state->behaviour = {.flops_per_s = 4e8, .bytes_per_s = 1e12, .issue_s = 0.5, .graphs = true};
  const auto backend = fake_backend(state);
  Lab lab{.world = *world, .backend = *backend, .backend_name = "host", .clock = fake_clock(state)};
  Record record;
  StepRun run(lab, plan, {}, record);
  EXPECT_EQ(run.record_graph(), "");
  const StepTiming eager = run.time(StepMode::kBoth), graph = run.time(StepMode::kGraph);
  int64_t launches = 0;
  for (const Launch& launch : plan.launches) launches += launch.count;
  EXPECT_NEAR(eager.total_s - graph.total_s, 0.5 * double(launches - 1), 0.01);
  EXPECT_GT(launches, 3);
  EXPECT_NEAR(graph.total_s, 5.5, 0.01);
  state->behaviour.graphs = false;
  EXPECT_EQ(run.record_graph(), "the fake has no graphs");
  StepRun none(lab, plan, {.graph = false}, record);
  EXPECT_EQ(none.record_graph(), "not asked for");
}

// Traffic lasts until the class is done, and only the traffic slows it down.
TEST(StepRun, AClassBesideTraffic) {
  const auto slow = on_ranks<double>(2, [](World& world) {
    LoweredStep step = small_step();
    step.collectives.clear();
    const StepPlan plan = plan_step(step, {.scale = 1, .ranks = world.size()});
    const auto state = std::make_shared<FakeState>();
    state->behaviour = {
        .flops_per_s = 4e8, .bytes_per_s = 1e12, .bus_bytes_per_s = 4e6, .latency_s = 0, .slowdown = 1.4};
    const auto backend = fake_backend(state);
    Lab lab{.world = world, .backend = *backend, .backend_name = "host", .clock = fake_clock(state)};
    Record record;
    StepRun run(lab, plan, {}, record);
    const double alone = run.time_class(KernelClass::kLinear).total_s;
    EXPECT_NEAR(run.time_class(KernelClass::kLinear, 1).total_s, alone + 0.4 * 1 + 0.4 * 2, 0.01)
        << "3 s of traffic: kernels that start under it, of 1 s and 2 s, are slower, the last is not";
    return run.time_class(KernelClass::kLinear, 4).total_s / alone;
  });
  EXPECT_NEAR(slow[0], 1.4, 1e-6);
}

TEST(StepRun, OrderIsThatOfTheStep) {
  const auto order = time_steps(2, [](int, FakeBehaviour&) {})[0].order;
  const auto at = [&](const std::string& part) {
    return std::find_if(order.begin(), order.end(),
                        [&](const auto& name) { return name.find(part) != std::string::npos; });
  };
  EXPECT_LT(at("gemm/bf16/nn/20000x"), at("memory/copy"));
  EXPECT_LT(at("memory/copy"), at("gemm/bf16/nn/40000x"));
  EXPECT_LT(at("all_reduce/fp32/4000000B"), at("all_reduce/fp32/8000000B"));
  EXPECT_LT(at("all_reduce/fp32/8000000B"), at("memory/adamw"));
  EXPECT_LT(at("gemm/bf16/nn/40000x"), at("all_reduce/fp32/4000000B"));
}

TEST(StepRun, FailuresAndWrongKernelsAreAgreed) {
  const auto records = on_ranks<Record>(2, [](World& world) {
    const StepPlan plan = plan_step(small_step(), {.scale = 64, .ranks = 2});
    const auto state = std::make_shared<FakeState>();
    if (world.rank() == 1) state->behaviour.wrong = "memory/adamw";
    const auto backend = fake_backend(state);
    Lab lab{.world = world, .backend = *backend, .backend_name = "host", .clock = fake_clock(state)};
    Record record;
    StepRun run(lab, plan, {}, record);
    EXPECT_FALSE(run.verify(1e9, record));
    Record skipped;
    state->behaviour.absent = world.rank() == 0 ? "memory/copy" : "";
    const StepRun none(lab, plan, {}, skipped);
    EXPECT_FALSE(none.ok());
    EXPECT_EQ(skipped.status, Status::kSkipped);
    EXPECT_THAT(skipped.reason, testing::HasSubstr("rank 0"));
    return record;
  });
  for (const Record& record : records) {
    EXPECT_EQ(record.status, Status::kWrong);
    EXPECT_THAT(record.reason, testing::HasSubstr("memory/adamw"));
  }
}

TEST(StepRun, VerifySaysHowMuchItChecked) {
  const auto world = single_world();
  const StepPlan plan = plan_step(small_step(), {.scale = 1, .ranks = 1});
  const auto state = std::make_shared<FakeState>();
  const auto backend = fake_backend(state);
  Lab lab{.world = *world, .backend = *backend, .backend_name = "host", .clock = fake_clock(state)};
  Record record;
  StepRun run(lab, plan, {}, record);
  EXPECT_TRUE(run.verify(1e9, record));
  EXPECT_TRUE(record.verdict.correct);
  EXPECT_EQ(state->verified, static_cast<int>(plan.problems.size()));
  EXPECT_THAT(record.verdict.detail, testing::HasSubstr("100.0 % of its work"));
}

}  // namespace
}  // namespace farscale
