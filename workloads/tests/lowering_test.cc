// What must hold for any lowering: gradients add up, backward costs what forward costs, fusion and bucket rules leave
// FLOPs alone.
#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "kernels/error.h"
#include "workloads/show.h"
#include "workloads/tests/text.h"

namespace farscale {
namespace {

double flops_of(const LoweredStep& step, Pass pass) {
  double flops = 0;
  for (const StepTask& task : step.tasks) flops += task.pass == pass ? task.flops : 0;
  return flops;
}

double pass_bytes(const LoweredStep& step) {
  double bytes = 0;
  for (const StepTask& task : step.tasks) bytes += task.gemm.m == 0 ? task.bytes : 0;
  return bytes;
}

TEST(Lowering, HoldsForEveryShippedWorkload) {
  for (const std::string& name : shipped_workloads()) {
    const Workload workload = load_workload(name);
    EXPECT_FALSE(workload.sources().empty()) << name;
    EXPECT_GT(workload.parameters(), 0) << name;
    const LoweredStep step = lowered(workload, "dp=8");
    int64_t ready = 0, buckets = 0;
    for (const StepTask& task : step.tasks) {
      ready += task.gradient_bytes;
      EXPECT_TRUE(std::isfinite(task.flops) && std::isfinite(task.bytes) && task.bytes > 0)
          << name << " " << task.layer;
      EXPECT_EQ(task.flops > 0, task.gemm.m > 0) << name << " " << task.layer;
    }
    for (const Bucket& bucket : step.buckets) buckets += bucket.bytes;
    EXPECT_EQ(double(ready), workload.gradient_bytes()) << name;
    EXPECT_EQ(double(buckets), workload.gradient_bytes()) << name;
    const double samples = double(step.micro_batch);
    EXPECT_NEAR(step.forward_flops / (samples * workload.forward_flops_per_sample()), 1, 1e-9) << name;
    EXPECT_NEAR(step.training_flops / (samples * workload.training_flops_per_sample()), 1, 1e-9) << name;
    EXPECT_EQ(step.samples_per_step, 8 * step.micro_batch) << name;
    EXPECT_GT(step.memory_bytes, step.activation_bytes) << name;
    EXPECT_GT(step.input_bytes, 0) << name;
  }
}

// One strided convolution between two others, so that it has a data gradient.
TEST(Lowering, StridedDataGradientCostsTheForward) {
  for (const auto& [kernel, stride] : {std::pair{3, 2}, {1, 2}, {5, 2}, {7, 4}, {2, 2}, {3, 3}}) {
    const Workload workload =
        vision(fmt::format("[[layer]]\nid = \"a\"\nop = \"conv\"\nout = 8\n[[layer]]\nid = \"b\"\n"
                           "op = \"conv\"\nout = 16\nkernel = {}\nstride = {}\n",
                           kernel, stride),
               96);
    double forward = 0, backward = 0;
    for (const StepTask& task : lowered(workload, "dp=1").tasks) {
      if (task.layer != "b") continue;
      if (task.pass == Pass::kForward) forward += task.flops;
      if (task.pass == Pass::kDataGradient) backward += task.flops;
    }
    EXPECT_GT(forward, 0);
    EXPECT_DOUBLE_EQ(backward, forward) << kernel << "/" << stride;
  }
}

// Each of the passes of a transposed convolution costs what its forward does, in as many batches as it has groups.
TEST(Lowering, TransposedConvolutionsCountTheirGroups) {
  for (const int groups : {1, 4}) {
    const Workload workload =
        vision(fmt::format("[[layer]]\nid = \"a\"\nop = \"conv\"\nout = 32\n[[layer]]\nid = \"b\"\nop = "
                           "\"conv_transposed\"\nout = 16\nkernel = 2\nstride = 2\ngroups = {}\n",
                           groups),
               64);
    const double expected = 2.0 * 64 * 64 * 32 * 16 * 4 / groups;
    std::map<Pass, double> found;
    for (const StepTask& task : lowered(workload, "dp=1").tasks) {
      if (task.layer != "b" || task.gemm.m == 0) continue;
      EXPECT_EQ(task.gemm.batch, groups);
      EXPECT_EQ(task.gemm.m * task.gemm.n * task.gemm.k * task.gemm.batch * 2, int64_t(expected));
      found[task.pass] += task.flops;
    }
    const double whole = workload.forward_flops_per_sample() - 2.0 * 64 * 64 * 3 * 32;
    EXPECT_EQ(whole, expected);
    for (const Pass pass : {Pass::kForward, Pass::kDataGradient, Pass::kWeightGradient}) {
      EXPECT_EQ(found[pass], expected) << groups << " " << farscale::name(pass);
    }
  }
}

// What a library runs as one convolution costs what the GEMMs of the layer and pass cost, in every shipped network:
// groups, strides and paddings are those of the layer. Of each convolution class, nearly all have that form.
TEST(Lowering, ConvolutionsCostWhatTheirGemmsCost) {
  for (const std::string& name : shipped_workloads()) {
    const LoweredStep step = lowered(load_workload(name), "dp=8");
    for (size_t i = 0; i < step.tasks.size(); ++i) {
      const StepTask& task = step.tasks[i];
      if (!task.convolution) continue;
      task.convolution->validate();
      double gemms = 0;
      for (size_t t = i; t < i + static_cast<size_t>(task.convolution_tasks); ++t) {
        ASSERT_LT(t, step.tasks.size());
        EXPECT_EQ(step.tasks[t].layer, task.layer);
        EXPECT_EQ(step.tasks[t].pass, task.pass);
        gemms += step.tasks[t].flops;
      }
      EXPECT_DOUBLE_EQ(task.convolution->flops(), gemms)
          << name << " " << task.layer << " " << farscale::name(task.pass);
    }
  }
  int in_form = 0, all = 0;
  for (const StepTask& task : lowered(load_workload("hydranet-regnety16gf"), "dp=8").tasks) {
    const bool convolution = task.kind == KernelClass::kConvolution || task.kind == KernelClass::kGroupedConvolution;
    all += convolution && task.gemm.m > 0 ? 1 : 0;
    in_form += task.convolution ? task.convolution_tasks : 0;
  }
  EXPECT_GT(in_form, 9 * all / 10);
}

TEST(Lowering, ConvolutionsCarryStrideGroupsAndPass) {
  const Workload workload = vision(
      "[[layer]]\nid = \"a\"\nop = \"conv\"\nout = 8\n[[layer]]\nid = \"b\"\nop = \"conv\"\nout = 16\n"
      "kernel = 3\nstride = 2\ngroups = 4\n",
      96);
  std::vector<ConvolutionProblem> found;
  for (const StepTask& task : lowered(workload, "dp=1 mb=5").tasks) {
    if (task.layer == "b" && task.convolution) found.push_back(*task.convolution);
    if (task.layer == "b" && task.pass == Pass::kDataGradient && task.convolution) {
      EXPECT_EQ(task.convolution_tasks, 3) << "phases of one, two and four taps";
    }
  }
  ASSERT_EQ(found.size(), 3U);
  ConvolutionProblem expected{.pass = ConvolutionPass::kForward,
                              .images = 5,
                              .height = 96,
                              .width = 96,
                              .channels = 8,
                              .filters = 16,
                              .kernel = 3,
                              .stride = 2,
                              .groups = 4,
                              .type = NumberType::kBf16};
  EXPECT_EQ(found[0], expected);
  expected.pass = ConvolutionPass::kDataGradient;
  EXPECT_EQ(found[1], expected);
  expected.pass = ConvolutionPass::kWeightGradient;
  EXPECT_EQ(found[2], expected);
  // Even kernels and cubes have no such form and run as GEMMs.
  for (const StepTask& task : lowered(load_workload("unet3d-kits19"), "dp=1").tasks) {
    EXPECT_FALSE(task.convolution && task.gemm.k % 27 == 0) << task.layer;
  }
}

TEST(Lowering, FirstLayerHasNoDataGradient) {
  const Workload workload = vision("[[layer]]\nid = \"a\"\nop = \"conv\"\nout = 8\nkernel = 3\n");
  const LoweredStep step = lowered(workload, "dp=1");
  EXPECT_EQ(flops_of(step, Pass::kDataGradient), 0);
  EXPECT_EQ(flops_of(step, Pass::kWeightGradient), flops_of(step, Pass::kForward));
  EXPECT_DOUBLE_EQ(workload.training_flops_per_sample(), 2 * workload.forward_flops_per_sample());
}

TEST(Lowering, CausalAttentionCountsHalf) {
  const auto attention = [](bool causal) {
    return language(fmt::format("[[layer]]\nid = \"w\"\nop = \"embedding\"\nvocabulary = 10\nwidth = 192\n[[layer]]\n"
                                "id = \"a\"\nop = \"attention\"\nheads = 4\nhead_dim = 16\ncausal = {}\n",
                                causal),
                    100);
  };
  EXPECT_DOUBLE_EQ(attention(false).forward_flops_per_sample(), 4.0 * 100 * 100 * 64);
  EXPECT_DOUBLE_EQ(attention(true).forward_flops_per_sample(), 2.0 * 100 * 100 * 64);
  EXPECT_DOUBLE_EQ(attention(true).training_flops_per_sample(), 6.0 * 100 * 100 * 64);
}

TEST(Lowering, GroupsBecomeABatch) {
  const Workload workload = vision("[[layer]]\nid = \"a\"\nop = \"conv\"\nout = 96\nkernel = 3\ngroups = 3\n", 10);
  const StepTask task = lowered(workload, "dp=1 mb=5").tasks.at(0);
  EXPECT_EQ(task.kind, KernelClass::kGroupedConvolution);
  EXPECT_EQ(task.gemm.batch, 3);
  EXPECT_EQ(task.gemm.m, 5 * 100);
  EXPECT_EQ(task.gemm.n, 32);
  EXPECT_EQ(task.gemm.k, 9);
}

TEST(Lowering, FrozenLayersAndNoGradHaveNoBackward) {
  const char* kLayers =
      "[[layer]]\nid = \"a\"\nop = \"conv\"\nout = 8\nkernel = 3\n{}\n[[layer]]\nid = \"b\"\nop = \"conv\"\nout = 8\n";
  const Workload whole = vision(fmt::format(fmt::runtime(kLayers), ""));
  const Workload frozen = vision(fmt::format(fmt::runtime(kLayers), "frozen = true"));
  const Workload cut = vision(fmt::format(fmt::runtime(kLayers), "no_grad = true"));
  EXPECT_EQ(whole.parameters(), frozen.parameters());
  EXPECT_EQ(frozen.trainable_parameters(), 8 * 8 + 8);
  EXPECT_EQ(cut.trainable_parameters(), 8 * 8 + 8);
  for (const Workload& workload : {frozen, cut}) {
    for (const StepTask& task : lowered(workload, "dp=1").tasks) {
      EXPECT_TRUE(task.layer != "a" || task.pass == Pass::kForward);
    }
  }
}

// Shared parameters exist once and their gradient is ready once, when the first use's backward is done.
TEST(Lowering, SharedParametersCountOnce) {
  const Workload workload = vision(
      "[[layer]]\nid = \"a\"\nop = \"conv\"\nout = 3\nkernel = 3\nrepeat = 2\n"
      "[[layer]]\nid = \"b\"\nop = \"conv\"\nout = 3\nkernel = 3\nrepeat = 2\nshared = \"a\"\n");
  EXPECT_EQ(workload.parameters(), 2 * (3 * 3 * 9 + 3));
  const LoweredStep step = lowered(workload, "dp=1");
  int64_t ready = 0;
  for (const StepTask& task : step.tasks) {
    EXPECT_TRUE(task.gradient_bytes == 0 || task.layer.starts_with("a"));
    ready += task.gradient_bytes;
  }
  EXPECT_EQ(double(ready), workload.gradient_bytes());
  EXPECT_DOUBLE_EQ(flops_of(step, Pass::kWeightGradient), flops_of(step, Pass::kForward));  // every use has one
}

TEST(Lowering, CheckpointsTradeFlopsForMemory) {
  const auto transformer = [](bool checkpoint) {
    return language(
        fmt::format("[[layer]]\nid = \"w\"\nop = \"embedding\"\nvocabulary = 10\nwidth = 256\n[[layer]]\n"
                    "id = \"t\"\nop = \"transformer\"\nlayers = 6\nheads = 4\nffn = 1024\ncheckpoint = {}\n",
                    checkpoint),
        512);
  };
  const LoweredStep plain = lowered(transformer(false), "dp=1"), checkpointed = lowered(transformer(true), "dp=1");
  EXPECT_DOUBLE_EQ(plain.training_flops, checkpointed.training_flops);
  EXPECT_DOUBLE_EQ(plain.executed_flops, plain.training_flops);
  EXPECT_DOUBLE_EQ(checkpointed.executed_flops, checkpointed.training_flops + checkpointed.forward_flops);
  EXPECT_LT(checkpointed.activation_bytes, plain.activation_bytes / 3);
}

// A layout may override what the file says about checkpoints.
TEST(Lowering, CheckpointsAreAlsoAMatterOfTheLayout) {
  const Workload file_says_none = load_workload("resnet50"), file_says_all = load_workload("gaia1-world-model");
  const LoweredStep none = lowered(file_says_none, "dp=8"), all = lowered(file_says_none, "dp=8 ckpt=1");
  EXPECT_DOUBLE_EQ(none.executed_flops, none.training_flops);
  EXPECT_GT(all.executed_flops, 1.25 * all.training_flops);
  EXPECT_LT(all.memory_bytes, none.memory_bytes);
  const LoweredStep as_file = lowered(file_says_all, "dp=8"), off = lowered(file_says_all, "dp=8 ckpt=0");
  EXPECT_GT(as_file.executed_flops, as_file.training_flops);
  EXPECT_DOUBLE_EQ(off.executed_flops, off.training_flops);
  EXPECT_EQ(parse_layout("dp=8 ckpt=0", 0).str(), "dp=8 tp=1 pp=1 ckpt=0");
}

TEST(Lowering, FusionMovesFewerBytesAndTheSameFlops) {
  for (const char* name : {"resnet50", "hydranet-regnety16gf", "llama3-8b"}) {
    const LoweredStep eager = lowered(load_workload(name), "dp=8", false), fused = lowered(load_workload(name), "dp=8");
    EXPECT_DOUBLE_EQ(eager.executed_flops, fused.executed_flops) << name;
    EXPECT_GT(pass_bytes(eager), 1.2 * pass_bytes(fused)) << name;
  }
}

TEST(Lowering, FlopsDoNotDependOnBucketsOrRanks) {
  const Workload workload = load_workload("hydranet-regnety16gf");
  LoweringOptions options;
  const double flops = lower(workload, options).training_flops;
  for (const char* rule : {"pytorch", "megatron", "deepspeed", "single"}) {
    for (const int64_t dp : {1, 64, 300000}) {
      options.bucket_rule = rule;
      options.layout.dp = dp;
      EXPECT_DOUBLE_EQ(lower(workload, options).training_flops, flops);
    }
  }
}

TEST(Lowering, BatchScalesRowsAndNotWeights) {
  const Workload workload = load_workload("resnet50");
  const LoweredStep small = lowered(workload, "dp=8 mb=64"), large = lowered(workload, "dp=8 mb=128");
  EXPECT_DOUBLE_EQ(large.training_flops, 2 * small.training_flops);
  EXPECT_DOUBLE_EQ(large.activation_bytes, 2 * small.activation_bytes);
  EXPECT_EQ(large.buckets.size(), small.buckets.size());
  EXPECT_EQ(large.buckets[0].bytes, small.buckets[0].bytes);
}

// The convolution GRU's eight steps run one after the other with one set of weights.
TEST(Lowering, SerialStepsShareWeights) {
  const Workload workload = load_workload("hydranet-regnety16gf");
  int64_t parameters = 0;
  int steps = 0;
  for (const Layer& layer : workload.data().graph.layers) {
    if (!layer.name.starts_with("queue.step")) continue;
    parameters += layer.parameter_count();
    steps += layer.name.ends_with(".gates") ? 1 : 0;
  }
  EXPECT_EQ(steps, 8);
  EXPECT_EQ(parameters, (512 * 512 + 512 * 256) * 9 + 512 + 256);
}

TEST(Lowering, SummariesAddUp) {
  const Workload workload = parse_workload(
      "name = \"s\"\nprovenance = \"published\"\nsources = [\"x\"]\n[inputs]\nheight = 4\nwidth = 4\n"
      "[summary]\nparameters = 1_000_003\nforward_flops = 3e9\nactivation_bytes = 5e6\nlayers = 10\n",
      "s.toml");
  const LoweredStep step = lowered(workload, "dp=4 mb=2");
  EXPECT_DOUBLE_EQ(step.training_flops, 18e9);
  EXPECT_NEAR(flops_of(step, Pass::kForward), 6e9, 1);
  EXPECT_NEAR(flops_of(step, Pass::kWeightGradient), 6e9, 1);
  int64_t ready = 0;
  for (const Bucket& bucket : step.buckets) ready += bucket.bytes;
  EXPECT_EQ(ready, 4 * 1'000'003);
  EXPECT_DOUBLE_EQ(step.activation_bytes, 10e6);
}

Workload summary(const std::string& optimizer) {
  return parse_workload(
      "name = \"s\"\nprovenance = \"published\"\nsources = [\"x\"]\n[types]\nparameters = "
      "\"bf16\"\n[optimizer]\nkind = \"" +
          optimizer +
          "\"\n[inputs]\nheight = 4\nwidth = 4\n[summary]\nparameters = 1_000_003\n"
          "forward_flops = 3e9\nactivation_bytes = 5e6\nlayers = 10\n",
      "s.toml");
}

// What is known of a network by its totals is sharded and updated as any other's parameters are.
TEST(Lowering, SummariesFollowTheLayout) {
  constexpr double kParameters = 1'000'003, kBf16 = 2, kFp32 = 4, kAdam = 12;  // two moments and a copy in fp32
  const Workload adam = summary("adam");
  const LoweredStep plain = lowered(adam, "dp=8");
  EXPECT_DOUBLE_EQ(plain.memory_bytes - plain.activation_bytes, kParameters * (kBf16 + kFp32 + kAdam));
  EXPECT_TRUE(plain.collectives.empty());
  EXPECT_DOUBLE_EQ(plain.tasks.back().bytes, 30 * kParameters);
  EXPECT_DOUBLE_EQ(lowered(summary("sgd"), "dp=8").tasks.back().bytes, 16 * kParameters);
  EXPECT_DOUBLE_EQ(lowered(adam, "dp=8 zero=1").tasks.back().bytes, 30 * kParameters / 8);
  const auto memory = [&](const char* layout) {
    const LoweredStep step = lowered(adam, layout);
    return step.memory_bytes - step.activation_bytes;
  };
  EXPECT_DOUBLE_EQ(memory("dp=8 zero=1"), kParameters * (kBf16 + kFp32 + kAdam / 8));
  EXPECT_DOUBLE_EQ(memory("dp=8 zero=2"), kParameters * (kBf16 + kFp32 / 8 + kAdam / 8));
  EXPECT_DOUBLE_EQ(memory("dp=8 zero=3"), kParameters * (kBf16 + kFp32 + kAdam) / 8 + 2 * kBf16 * 100'003);
  double gathered = 0;
  size_t scalars = 0;
  const LoweredStep third = lowered(adam, "dp=8 zero=3");
  for (const StepCollective& one : third.collectives) {
    if (one.reason == "weights of a unit") gathered += double(one.bytes);
    scalars += one.reason.starts_with("global scalar") ? 1 : 0;
  }
  EXPECT_DOUBLE_EQ(gathered, 2 * kBf16 * kParameters);
  EXPECT_EQ(scalars, 1U);
  EXPECT_EQ(third.buckets.size(), 10U);
  EXPECT_EQ(lowered(adam, "dp=8 zero=3 hsdp=4").collectives.size(), 2 * 10 + 10 + 1U);
  for (const char* layout : {"dp=8 tp=2", "dp=8 ckpt=1", "dp=8 sync_bn=1"}) {
    EXPECT_THROW(lowered(adam, layout), InputError) << layout;
  }
  EXPECT_NO_THROW(lowered(adam, "dp=8 ckpt=0"));
}

}  // namespace
}  // namespace farscale
