// Planning a step: scaling keeps proportions, and everything stands where the lowered step has it.
#include "bench/step_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "bench/tests/small_step.h"

namespace farscale {
namespace {

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
  for (const Message& bucket : plan.buckets) EXPECT_TRUE(plan.of_communication[bucket.problem]);
  EXPECT_TRUE(plan_step(small_step(), {.scale = 4, .ranks = 1}).buckets.empty());
}

// What compute waits for stands before the task that needs it, not at the end of the pass.
TEST(StepPlan, BlockingCollectivesStandWhereTheirResultIsNeeded) {
  LoweredStep step = small_step();
  step.collectives = {
      {.kind = CollectiveKind::kAllGather, .group = "dp", .bytes = 800, .before = 2},
      {.kind = CollectiveKind::kAllReduce, .group = "dp", .bytes = 800, .pass = Pass::kDataGradient, .before = 3},
      {.kind = CollectiveKind::kAllReduce, .group = "dp", .bytes = 4, .pass = Pass::kOptimizer, .before = 4}};
  const StepPlan plan = plan_step(step, {.scale = 1, .ranks = 2});
  ASSERT_EQ(plan.blocking.size(), 3u);
  EXPECT_EQ(plan.launches[plan.blocking[0].after].problem, plan.launches[plan.optimizer_begin - 2].problem);
  EXPECT_EQ(plan.blocking[0].after, plan.optimizer_begin - 2);
  EXPECT_EQ(plan.blocking[1].after, plan.optimizer_begin - 1);
  EXPECT_EQ(plan.blocking[2].after, plan.optimizer_begin);
}

// ZeRO: gradients are scattered, weights come before what needs them or after the optimizer.
TEST(StepPlan, ShardedStepsScatterAndGather) {
  const Workload workload = load_workload("resnet50");
  const auto plan_of = [&](const std::string& layout) {
    LoweringOptions options;
    options.layout = parse_layout(layout, 4);
    return plan_step(lower(workload, options), {.scale = 1024, .ranks = 4});
  };
  const auto kind = [](const StepPlan& plan, size_t problem) {
    return std::get<CollectiveProblem>(plan.problems[problem]).kind;
  };
  const StepPlan plain = plan_of(""), first = plan_of("zero=1"), third = plan_of("zero=3");
  for (const Message& bucket : plain.buckets) EXPECT_EQ(kind(plain, bucket.problem), CollectiveKind::kAllReduce);
  for (const Message& bucket : first.buckets) EXPECT_EQ(kind(first, bucket.problem), CollectiveKind::kReduceScatter);
  EXPECT_TRUE(first.gathers.empty());
  EXPECT_EQ(kind(first, first.blocking.back().problem), CollectiveKind::kAllGather);
  EXPECT_EQ(first.blocking.back().after, first.launches.size()) << "updated weights, after the optimizer";
  ASSERT_GT(third.gathers.size(), third.buckets.size()) << "every unit before its forward and its backward";
  for (size_t i = 1; i < third.gathers.size(); ++i) EXPECT_GE(third.gathers[i].needed, third.gathers[i - 1].needed);
  EXPECT_NEAR(third.gradient_bytes, plain.gradient_bytes, 0.02 * plain.gradient_bytes);
  EXPECT_TRUE(third.notes.empty()) << third.notes[0];
}

TEST(StepPlan, ConvolutionsRunAsSuchWhereTheDeviceHasThem) {
  const LoweredStep step = lower(load_workload("resnet50"), {});
  int asked = 0;
  const auto three = [&](const ConvolutionProblem& problem) {
    ++asked;
    return problem.kernel == 3;
  };
  const StepPlan gemms = plan_step(step, {.scale = 1}), some = plan_step(step, {.scale = 1, .has_convolution = three});
  EXPECT_GT(asked, 10);
  EXPECT_EQ(gemms.convolution_flops, 0);
  EXPECT_GT(some.convolution_flops, 0.3 * some.gemm_flops);
  EXPECT_GT(some.convolution_proxies, 0.3 * some.gemm_flops);
  EXPECT_NEAR(some.gemm_flops / gemms.gemm_flops, 1, 1e-9) << "the same FLOPs either way";
  EXPECT_NEAR(some.gemm_flops / step.executed_flops, 1, 1e-3);
  EXPECT_EQ(some.buckets.size(), gemms.buckets.size());
  EXPECT_LT(some.launches.size(), gemms.launches.size()) << "a strided data gradient is one launch, not one a phase";
  EXPECT_EQ(plan_step(step, {.scale = 4, .has_convolution = three}).convolution_flops, 0) << "scaled copies are GEMMs";
}

TEST(StepPlan, CausalAttentionRunsHalfOfItsSquare) {
  StepTask task = gemm_task(Pass::kForward, 4000);
  task.kind = KernelClass::kAttention;
  task.gemm.n = 4000;
  task.flops = task.gemm.flops() / 2;
  LoweredStep step;
  step.tasks = {task};
  EXPECT_NEAR(plan_step(step, {}).gemm_flops / task.flops, 1, 0.01);
}

TEST(StepPlan, AnArenaHoldsTheLargestProductOnly) {
  const StepPlan plan = plan_step(lower(load_workload("resnet50"), {}), {});
  double largest = 0;
  for (const Problem& problem : plan.problems) {
    if (const auto* gemm = std::get_if<GemmProblem>(&problem)) largest = std::max(largest, gemm->bytes());
  }
  const double apart = operand_bytes(plan, false), together = operand_bytes(plan, true);
  EXPECT_GT(apart, 10 * largest);
  EXPECT_LT(together, 2 * largest + 300e6) << "and the memory passes";
  EXPECT_GT(together, largest);
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

}  // namespace
}  // namespace farscale
