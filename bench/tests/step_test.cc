// The step: scaling keeps proportions, buckets leave when their gradients are ready, and overlap is counted right.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "bench/step_plan.h"
#include "bench/step_run.h"
#include "bench/tests/fake_backend.h"
#include "bench/tests/thread_world.h"

namespace farscale {
namespace {

StepTask gemm_task(Pass pass, int64_t m, int64_t gradient_bytes = 0) {
  StepTask task;
  task.pass = pass;
  task.kind = KernelClass::kLinear;
  task.gemm = {.m = m, .n = 100, .k = 100, .batch = 1, .type = NumberType::kBf16};
  task.flops = task.gemm.flops();
  task.gradient_bytes = gradient_bytes;
  return task;
}

StepTask memory_task(Pass pass, double bytes) {
  StepTask task;
  task.pass = pass;
  task.kind = pass == Pass::kOptimizer ? KernelClass::kOptimizer : KernelClass::kNorm;
  task.bytes = bytes;
  return task;
}

// Forward, two weight gradients with a bucket each, optimizer.
LoweredStep small_step() {
  LoweredStep step;
  step.tasks = {gemm_task(Pass::kForward, 20000), memory_task(Pass::kForward, 4e8),
                gemm_task(Pass::kWeightGradient, 40000, 4000000), gemm_task(Pass::kWeightGradient, 40000, 8000000),
                memory_task(Pass::kOptimizer, 2.8e8)};
  step.buckets = {{.bytes = 4000000, .ready_after = 2}, {.bytes = 8000000, .ready_after = 3}};
  step.collectives = {{.kind = CollectiveKind::kAllReduce,
                       .group = "dp",
                       .bytes = 800,
                       .count = 3,
                       .blocking = true,
                       .pass = Pass::kForward,
                       .reason = "statistics"},
                      {.kind = CollectiveKind::kAllGather,
                       .group = "tp",
                       .bytes = 800,
                       .count = 2,
                       .blocking = true,
                       .pass = Pass::kForward,
                       .reason = "tensor parallel"}};
  step.training_flops = step.executed_flops = 2e9;
  step.micro_batch = 2;
  return step;
}

TEST(StepPlan, EverythingShrinksAlike) {
  const LoweredStep step = small_step();
  const StepPlan full = plan_step(step, {.scale = 1, .ranks = 2});
  EXPECT_EQ(full.gemm_flops, 2.0 * 100000 * 100 * 100);
  EXPECT_NEAR(full.memory_bytes, 6.8e8, 64 * 1024);
  EXPECT_EQ(full.gradient_bytes, 12e6);
  const StepPlan small = plan_step(step, {.scale = 16, .ranks = 2});
  EXPECT_NEAR(small.gemm_flops, full.gemm_flops / 16, full.gemm_flops / 16 * 0.01);
  EXPECT_NEAR(small.memory_bytes, 6.8e8 / 16, 64 * 1024);
  EXPECT_NEAR(small.gradient_bytes, 12e6 / 16, 16);
  EXPECT_EQ(small.buckets.size(), 2u);
  EXPECT_EQ(small.micro_batch, 2);
  EXPECT_EQ(small.scale, 16);
}

TEST(StepPlan, BucketsFollowTheirGradientsAndTheOptimizerIsLast) {
  const StepPlan plan = plan_step(small_step(), {.scale = 4, .ranks = 2});
  ASSERT_EQ(plan.buckets.size(), 2u);
  // After the second weight gradient come both of its launches' predecessors, before the optimizer.
  EXPECT_EQ(plan.buckets[1].after, plan.optimizer_begin);
  EXPECT_EQ(plan.buckets[0].after, plan.optimizer_begin - 1);
  for (size_t i = 0; i < plan.launches.size(); ++i) {
    EXPECT_EQ(plan.launches[i].kind == KernelClass::kOptimizer, i >= plan.optimizer_begin) << i;
  }
  ASSERT_EQ(plan.blocking.size(), 1u) << "tensor parallel traffic is not run";
  EXPECT_EQ(plan.blocking[0].count, 3);
  EXPECT_LT(plan.blocking[0].after, plan.buckets[0].after);
  ASSERT_EQ(plan.notes.size(), 1u);
  EXPECT_THAT(plan.notes[0], testing::HasSubstr("over tp"));
  for (const Message& bucket : plan.buckets) EXPECT_TRUE(plan.of_bucket[bucket.problem]);
  EXPECT_TRUE(plan_step(small_step(), {.scale = 4, .ranks = 1}).buckets.empty());
}

TEST(StepPlan, SmallPassesAreCarriedOverNotLost) {
  LoweredStep step;
  for (int i = 0; i < 1000; ++i) step.tasks.push_back(memory_task(Pass::kForward, 5000));
  const StepPlan plan = plan_step(step, {.scale = 1, .ranks = 1});
  EXPECT_NEAR(plan.memory_bytes, 5e6, 16 * 1024);
  EXPECT_EQ(plan.problems.size(), 1u);
}

TEST(StepPlan, TheTypeCanBeForced) {
  const StepPlan plan =
      plan_step(small_step(), {.scale = 1, .ranks = 1, .force_type = true, .type = NumberType::kFp64});
  for (const Problem& problem : plan.problems) {
    const auto* gemm = std::get_if<GemmProblem>(&problem);
    EXPECT_TRUE(gemm == nullptr || gemm->type == NumberType::kFp64);
  }
}

// Compute 1 s, 2 s, 2 s at 1 GFLOP/s…: times in seconds of the fake at scale 1.
struct Timed {
  StepTiming compute, communication, both, linear;
  std::vector<std::string> order;
};

std::vector<Timed> time_steps(int ranks, const std::function<void(int, FakeBehaviour&)>& behave) {
  return on_ranks<Timed>(ranks, [&](World& world) {
    LoweredStep step = small_step();
    step.collectives.clear();
    const StepPlan plan = plan_step(step, {.scale = 1, .ranks = world.size()});
    const auto state = std::make_shared<FakeState>();
    state->behaviour = {.flops_per_s = 4e8, .bytes_per_s = 1e12, .bus_bytes_per_s = 4e6, .latency_s = 0};
    behave(world.rank(), state->behaviour);
    const auto backend = fake_backend(state);
    Lab lab{.world = world, .backend = *backend, .backend_name = "host", .clock = fake_clock(state)};
    Record record;
    StepRun run(lab, plan, record);
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
    StepRun run(lab, plan, record);
    EXPECT_FALSE(run.verify(1e9, record));
    Record skipped;
    state->behaviour.absent = world.rank() == 0 ? "memory/copy" : "";
    const StepRun none(lab, plan, skipped);
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
  StepRun run(lab, plan, record);
  EXPECT_TRUE(run.verify(1e9, record));
  EXPECT_TRUE(record.verdict.correct);
  EXPECT_EQ(state->verified, static_cast<int>(plan.problems.size()));
  EXPECT_THAT(record.verdict.detail, testing::HasSubstr("100.0 % of its work"));
}

}  // namespace
}  // namespace farscale
