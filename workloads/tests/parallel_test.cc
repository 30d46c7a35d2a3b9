// Layouts: what each kind of parallelism divides and what it communicates.
#include <fmt/ranges.h>
#include <gmock/gmock.h>

#include <cmath>

#include "kernels/error.h"
#include "workloads/show.h"
#include "workloads/tests/text.h"

namespace farscale {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

struct Traffic {
  int64_t count = 0;
  double bytes = 0;
};

Traffic traffic(const LoweredStep& step, const std::string& group, CollectiveKind kind, Pass pass) {
  Traffic sum;
  for (const StepCollective& one : step.collectives) {
    if (one.group != group || one.kind != kind || one.pass != pass) continue;
    sum.count += one.count;
    sum.bytes += double(one.bytes) * double(one.count);
  }
  return sum;
}

double gemm_flops(const LoweredStep& step) {
  double flops = 0;
  for (const StepTask& task : step.tasks) flops += task.flops;
  return flops;
}

TEST(Layouts, ReadAndWrite) {
  const Layout layout = parse_layout("dp=8 tp=2 pp=4 zero=1 mb=3 accum=16 interleave=2", 0);
  EXPECT_EQ(layout.dp, 8);
  EXPECT_EQ(layout.zero_stage, 1);
  EXPECT_EQ(layout.interleave, 2);
  EXPECT_EQ(layout.str(), "dp=8 tp=2 pp=4 zero=1 mb=3 accum=16 interleave=2");
  EXPECT_EQ(parse_layout(layout.str(), 64).str(), layout.str());
  EXPECT_EQ(parse_layout("tp=8 pp=2", 1024).dp, 64);  // dp is what is left
  EXPECT_EQ(Layout{.dp = 512}.str(), "dp=512 tp=1 pp=1");
}

TEST(Layouts, RefuseNonsense) {
  const auto refused = [](const std::string& text, int64_t gpus, const std::string& why) {
    EXPECT_THAT([&] { parse_layout(text, gpus); }, ThrowsMessage<InputError>(HasSubstr(why))) << text;
  };
  refused("dq=8", 0, "did you mean 'dp'?");
  refused("dp=0", 0, "from 1");
  refused("dp=-3", 0, "from 1");
  refused("dp=x", 0, "whole number");
  refused("dp", 0, "key=number");
  refused("zero=4", 0, "from 0 to 3");
  refused("tp=3", 8, "does not divide 8 GPUs");
  refused("tp=2 tp=4", 8, "tp is given twice");
  refused("dp=4 tp=4", 8, "16 GPUs, not 8");
  refused("dp=8 ep=3", 0, "ep=3");
  refused("dp=8 hsdp=4", 0, "give zero= too");
  refused("dp=8 interleave=4", 0, "give pp= too");
}

TEST(Layouts, MustFitTheNetwork) {
  const auto refused = [](const char* name, const std::string& layout, const std::string& why) {
    EXPECT_THAT([&] { lowered(load_workload(name), layout); }, ThrowsMessage<InputError>(HasSubstr(why))) << layout;
  };
  refused("gpt3-175b", "tp=5", "do not divide by tp=5");
  refused("resnet50", "tp=2", "no layer can be divided");
  refused("gpt3-175b", "dp=4 ep=2", "has no experts");
  refused("llama3-8b", "pp=64", "cannot make 64 pipeline stages");
  refused("llama3-8b", "tp=16", "8 heads of keys and values do not divide by tp=16");
  refused("gpt3-175b", "dp=8 sync_bn=1", "no batch norms");
}

TEST(TensorParallel, DividesFlopsAndParameters) {
  const Workload gpt = load_workload("gpt3-175b");
  const LoweredStep one = lowered(gpt, "tp=1"), eight = lowered(gpt, "tp=8");
  EXPECT_NEAR(gemm_flops(one) / gemm_flops(eight), 8, 1e-9);
  EXPECT_NEAR(one.activation_bytes / eight.activation_bytes, 8, 0.1);  // sequence parallelism divides the rest, too
  int64_t whole = 0, part = 0;
  for (const Bucket& bucket : one.buckets) whole += bucket.bytes;
  for (const Bucket& bucket : eight.buckets) part += bucket.bytes;
  EXPECT_NEAR(double(whole) / double(part), 8, 0.02);
}

// Korthikanti et al., arXiv:2205.05198: two all-gathers and two reduce-scatters of s b h values a layer and pass.
TEST(TensorParallel, MovesFourTimesTheHiddenState) {
  const LoweredStep step = lowered(load_workload("gpt3-175b"), "tp=8");
  constexpr double kHidden = 2048 * 12288 * 2.0;
  const Traffic gathers = traffic(step, "tp", CollectiveKind::kAllGather, Pass::kForward);
  const Traffic scatters = traffic(step, "tp", CollectiveKind::kReduceScatter, Pass::kForward);
  EXPECT_EQ(gathers.count, 96 * 2 + 1);   // and one before the logits
  EXPECT_EQ(scatters.count, 96 * 2 + 1);  // and one after the embedding
  EXPECT_DOUBLE_EQ(gathers.bytes, kHidden * double(gathers.count));
  EXPECT_NEAR(kHidden / 1e6, 50, 0.7);  // "4 x 50 MB a layer"
  EXPECT_EQ(traffic(step, "tp", CollectiveKind::kReduceScatter, Pass::kDataGradient).count, gathers.count);
}

TEST(ContextParallel, DividesRowsAndGathersKeys) {
  const Workload big = load_workload("e2e-video-transformer-10b");
  const LoweredStep one = lowered(big, "cp=1"), four = lowered(big, "cp=4");
  EXPECT_NEAR(gemm_flops(one) / gemm_flops(four), 4, 0.01);
  // Keys and values of the language model: 9,840 tokens, 8 heads of 128, bf16: 40 MB a layer.
  const Traffic gathers = traffic(four, "cp", CollectiveKind::kAllGather, Pass::kForward);
  EXPECT_GE(gathers.count, 36);
  EXPECT_NEAR(gathers.bytes / double(gathers.count) / 1e6, 40, 0.6);
}

// Ranks that do not divide a sequence have the rows of the largest part; keys and values are gathered whole.
TEST(ContextParallel, RoundsUpWhatDoesNotDivide) {
  const LoweredStep step = lowered(load_workload("llama3-8b"), "cp=3");
  for (const StepTask& task : step.tasks) {
    const bool qkv = task.layer.ends_with(".qkv") && task.pass == Pass::kForward;
    EXPECT_TRUE(!qkv || (task.gemm.m == 2731 && task.gemm.n == 6144 && task.gemm.k == 4096)) << task.layer;
    const bool scores = task.layer.ends_with(".attention") && task.pass == Pass::kForward && task.gemm.k == 128;
    EXPECT_TRUE(!scores || (task.gemm.m == 2731 && task.gemm.n == 8192)) << task.layer;
  }
  EXPECT_DOUBLE_EQ(traffic(step, "cp", CollectiveKind::kAllGather, Pass::kForward).bytes, 32 * 8192.0 * 2 * 1024 * 2);
}

// Context ranks hold a part of the rows and tensor ranks a part of the heads: 65 gathers of s/cp h values, 32 of the
// keys and values of kv heads / tp.
TEST(ContextParallel, WithTensorParallelism) {
  const LoweredStep step = lowered(load_workload("llama3-8b"), "tp=4 cp=2");
  const Traffic rows = traffic(step, "tp", CollectiveKind::kAllGather, Pass::kForward);
  EXPECT_EQ(rows.count, 65);
  EXPECT_DOUBLE_EQ(rows.bytes, 65 * 8192.0 / 2 * 4096 * 2);
  EXPECT_DOUBLE_EQ(traffic(step, "cp", CollectiveKind::kAllGather, Pass::kForward).bytes,
                   32 * 8192.0 * 2 * 1024 / 4 * 2);
  EXPECT_DOUBLE_EQ(traffic(step, "cp", CollectiveKind::kReduceScatter, Pass::kDataGradient).bytes,
                   32 * 8192.0 * 2 * 1024 / 4 * 2);
  EXPECT_NEAR(gemm_flops(lowered(load_workload("llama3-8b"), "dp=1")) / gemm_flops(step), 8, 1e-9);
}

TEST(ZeroSharding, StateShrinksWithTheStage) {
  const Workload llama = load_workload("llama3-8b");
  double last = 1e30;
  for (const char* layout : {"dp=64 zero=0", "dp=64 zero=1", "dp=64 zero=2", "dp=64 zero=3"}) {
    const double memory = lowered(llama, layout).memory_bytes;
    EXPECT_LT(memory, last) << layout;
    last = memory;
  }
  // bf16 weights, fp32 gradients, fp32 copy and two moments: 18 B a parameter, of which stage 1 shards 12.
  const double plain = lowered(llama, "dp=64").memory_bytes, first = lowered(llama, "dp=64 zero=1").memory_bytes;
  EXPECT_NEAR((plain - first) / double(llama.parameters()), 12 * 63.0 / 64, 0.001);
}

TEST(ZeroSharding, GathersEveryUnitTwice) {
  const Workload llama = load_workload("llama3-8b");
  const LoweredStep step = lowered(llama, "dp=64 zero=3");
  const double weights = 2 * double(llama.parameters());
  EXPECT_NEAR(traffic(step, "dp", CollectiveKind::kAllGather, Pass::kForward).bytes / weights, 1, 1e-6);
  EXPECT_NEAR(traffic(step, "dp", CollectiveKind::kAllGather, Pass::kDataGradient).bytes / weights, 1, 1e-6);
  EXPECT_GE(step.buckets.size(), 32U);  // one a block
  for (const Bucket& bucket : step.buckets) EXPECT_EQ(bucket.kind, CollectiveKind::kReduceScatter);
  const LoweredStep first = lowered(llama, "dp=64 zero=1");
  EXPECT_NEAR(traffic(first, "dp", CollectiveKind::kAllGather, Pass::kOptimizer).bytes / weights, 1, 1e-6);
}

TEST(ZeroSharding, HybridSumsShardsAcrossReplicas) {
  const Workload llama = load_workload("llama3-8b");
  const LoweredStep step = lowered(llama, "dp=64 zero=3 hsdp=8");
  const Traffic sums = traffic(step, "replica", CollectiveKind::kAllReduce, Pass::kWeightGradient);
  EXPECT_EQ(sums.count, int64_t(step.buckets.size()));
  EXPECT_NEAR(sums.bytes * 8 / llama.gradient_bytes(), 1, 1e-6);
  EXPECT_GT(traffic(step, "shard", CollectiveKind::kAllGather, Pass::kForward).count, 0);
  EXPECT_GT(step.memory_bytes, lowered(llama, "dp=64 zero=3").memory_bytes);
}

// Context ranks hold the same weights: states are sharded over dp x cp.
TEST(ZeroSharding, SpansContextParallelRanks) {
  const Workload llama = load_workload("llama3-8b");
  const auto state = [&](const char* layout) {
    const LoweredStep step = lowered(llama, layout);
    for (const Bucket& bucket : step.buckets) EXPECT_EQ(bucket.ranks, 16);
    for (const StepCollective& one : step.collectives) EXPECT_TRUE(one.group != "dp" || one.ranks == 16);
    return step.memory_bytes;
  };
  EXPECT_NEAR((state("dp=8 cp=2") - state("dp=8 cp=2 zero=1")) / double(llama.parameters()), 12 * 15.0 / 16, 1e-3);
}

// Shards of what a tensor rank has: matrices divide by tp, norms are whole.
TEST(ZeroSharding, HybridWithTensorParallelism) {
  const Workload llama = load_workload("llama3-8b");
  const double norms = 4096 * (2 * 32 + 1), held = (double(llama.parameters()) - norms) / 4 + norms;
  const LoweredStep step = lowered(llama, "dp=64 tp=4 zero=3 hsdp=8");
  EXPECT_DOUBLE_EQ(traffic(step, "shard", CollectiveKind::kAllGather, Pass::kForward).bytes, 2 * held);
  EXPECT_DOUBLE_EQ(traffic(step, "shard", CollectiveKind::kAllGather, Pass::kDataGradient).bytes, 2 * held);
  EXPECT_DOUBLE_EQ(traffic(step, "replica", CollectiveKind::kAllReduce, Pass::kWeightGradient).bytes, 4 * held / 8);
  EXPECT_DOUBLE_EQ(step.tasks.back().bytes, 30 * held / 8);  // Adam's
  for (const StepCollective& one : step.collectives) {
    EXPECT_TRUE((one.group != "shard" && one.group != "replica") || one.ranks == 8) << one.group;
  }
}

TEST(Pipeline, DividesLayersAndKeepsMoreMicroBatchesAtTheFront) {
  const Workload llama = load_workload("llama3-405b");
  const LoweredStep one = lowered(llama, "tp=8"), sixteen = lowered(llama, "tp=8 pp=16 accum=64");
  EXPECT_GT(gemm_flops(one) / gemm_flops(sixteen), 12);  // 128 blocks over 16 stages, the heaviest of them
  EXPECT_LE(gemm_flops(one) / gemm_flops(sixteen), 16);
  const Traffic sends = traffic(sixteen, "pp", CollectiveKind::kBroadcast, Pass::kForward);
  EXPECT_EQ(sends.count, 1);
  EXPECT_DOUBLE_EQ(sends.bytes, 8192.0 * 16384 * 2 / 8);
  EXPECT_EQ(
      traffic(lowered(llama, "tp=8 pp=16 accum=64 interleave=4"), "pp", CollectiveKind::kBroadcast, Pass::kForward)
          .count,
      4);
  // One micro-batch at a time needs less than sixteen in flight.
  EXPECT_LT(lowered(llama, "tp=8 pp=16 accum=1").memory_bytes, sixteen.memory_bytes);
}

// What passes between stages of a language model is the hidden state, s h values divided over the tensor ranks, once a
// chunk, wherever the cuts fall: never the logits, not even where a chunk could hold the loss alone.
TEST(Pipeline, SendsTheHiddenStateWhateverTheCut) {
  struct Row {
    const char* name;
    double tokens, width;
    std::vector<std::pair<int, int>> cuts;  // stages and chunks
  };
  for (const Row& row : {Row{"llama3-8b", 8192, 4096, {{2, 1}, {4, 1}, {8, 1}, {16, 1}, {20, 1}, {32, 1}, {4, 8}}},
                         Row{"llama3-70b", 8192, 8192, {{2, 1}, {16, 1}, {20, 1}, {32, 1}, {8, 5}, {16, 5}}},
                         Row{"llama3-405b", 8192, 16384, {{16, 1}, {20, 1}, {16, 7}, {16, 8}}},
                         Row{"gpt3-175b", 2048, 12288, {{8, 1}, {12, 3}, {16, 1}, {16, 6}, {32, 3}}}}) {
    const Workload model = load_workload(row.name);
    for (const auto& [stages, chunks] : row.cuts) {
      for (const int tensor : {1, 8}) {
        std::string layout = fmt::format("tp={} pp={} accum={}", tensor, stages, stages);
        if (chunks > 1) layout += fmt::format(" interleave={}", chunks);
        const LoweredStep step = lowered(model, layout);
        for (const Pass pass : {Pass::kForward, Pass::kDataGradient}) {
          const Traffic sends = traffic(step, "pp", CollectiveKind::kBroadcast, pass);
          EXPECT_EQ(sends.count, chunks) << row.name << " " << layout;
          EXPECT_DOUBLE_EQ(sends.bytes, row.tokens * row.width * 2 / tensor * chunks) << row.name << " " << layout;
        }
      }
    }
  }
}

// Every tensor that is made before the cut and read behind it is sent: a pyramid reads levels of several stages of its
// backbone. What needs no gradient is not sent back.
TEST(Pipeline, SendsEveryTensorThatIsReadBehindTheCut) {
  const auto network = [](const char* frozen) {
    return vision(fmt::format("[[layer]]\nid = \"a\"\nop = \"conv\"\nout = 8\nkernel = 3\n{0}"
                              "[[layer]]\nid = \"b\"\nop = \"conv\"\nout = 16\nkernel = 3\n{0}"
                              "[[layer]]\nid = \"c\"\nop = \"conv\"\nout = 16\nkernel = 3\n"
                              "[[layer]]\nid = \"d\"\nop = \"conv\"\nfrom = \"a\"\nout = 16\nkernel = 3\n"
                              "[[layer]]\nid = \"e\"\nop = \"elementwise\"\nfrom = [\"c\", \"d\"]\n",
                              frozen),
                  32);
  };
  LoweringOptions options;
  options.layout = parse_layout("pp=2", 0);
  options.block_costs = {1, 1, 1, 1};  // a, b | c, d and e, which multiplies nothing
  const double pixels = 32 * 32 * 2;
  const LoweredStep step = lower(network(""), options);
  EXPECT_DOUBLE_EQ(traffic(step, "pp", CollectiveKind::kBroadcast, Pass::kForward).bytes, (8 + 16) * pixels);
  EXPECT_DOUBLE_EQ(traffic(step, "pp", CollectiveKind::kBroadcast, Pass::kDataGradient).bytes, (8 + 16) * pixels);
  const LoweredStep frozen = lower(network("frozen = true\n"), options);
  EXPECT_DOUBLE_EQ(traffic(frozen, "pp", CollectiveKind::kBroadcast, Pass::kForward).bytes, (8 + 16) * pixels);
  EXPECT_EQ(traffic(frozen, "pp", CollectiveKind::kBroadcast, Pass::kDataGradient).count, 0);
  // The proxy is cut behind the third stage of its backbone; the pyramid also reads the second.
  const Workload hydranet = load_workload("hydranet-regnety16gf");
  const double s2 = 8 * 448 * 120.0 * 160 * 2, s3 = 8 * 1232 * 60.0 * 80 * 2;
  EXPECT_DOUBLE_EQ(traffic(lowered(hydranet, "pp=2"), "pp", CollectiveKind::kBroadcast, Pass::kForward).bytes, s2 + s3);
}

// Tied embeddings of a pipeline: the last stage has a copy of the table, with its gradients and optimizer state, and
// the two sum their gradients once a step (Megatron-LM, finalize_model_grads).
TEST(Pipeline, TiedWeightsAreCopiedAndSummed) {
  const auto sums = [](const LoweredStep& step) {
    std::vector<StepCollective> found;
    for (const StepCollective& one : step.collectives) {
      if (one.reason == "gradients of tied weights") found.push_back(one);
    }
    return found;
  };
  const Workload gpt = load_workload("gpt3-175b");
  const auto tied = sums(lowered(gpt, "tp=8 pp=8 accum=8"));
  ASSERT_EQ(tied.size(), 1U);
  EXPECT_EQ(tied[0].kind, CollectiveKind::kAllReduce);
  EXPECT_EQ(tied[0].pass, Pass::kOptimizer);
  EXPECT_EQ(tied[0].ranks, 2);
  EXPECT_EQ(tied[0].bytes, int64_t{51200} * 12288 / 8 * 4);
  EXPECT_TRUE(sums(lowered(gpt, "tp=8")).empty());
  EXPECT_TRUE(sums(lowered(load_workload("llama3-8b"), "pp=4")).empty());

  const auto network = [](const char* shared) {
    return language(fmt::format("[[layer]]\nid = \"w\"\nop = \"embedding\"\nvocabulary = 1000\nwidth = 64\n"
                                "[[layer]]\nid = \"t\"\nop = \"linear\"\nout = 64\nbias = false\n"
                                "[[layer]]\nid = \"logits\"\nop = \"linear\"\nout = 1000\nbias = false\n{}",
                                shared),
                    128);
  };
  LoweringOptions options;
  options.layout = parse_layout("dp=8 pp=2", 0);
  options.block_costs = {1, 1, 9};  // the logits are the slowest stage
  const LoweredStep own = lower(network(""), options), copy = lower(network("shared = \"w\"\n"), options);
  EXPECT_EQ(own.memory_bytes, copy.memory_bytes);
  ASSERT_EQ(copy.buckets.size(), 1U);
  EXPECT_EQ(copy.buckets[0].bytes, 1000 * 64 * 4);
  EXPECT_EQ(own.tasks.back().bytes, copy.tasks.back().bytes);  // the optimizer's
  EXPECT_EQ(copy.tasks.back().pass, Pass::kOptimizer);
}

std::string mixture(int experts, int top_k) {
  return fmt::format(
      "[[layer]]\nid = \"w\"\nop = \"embedding\"\nvocabulary = 10\nwidth = 64\n[[layer]]\nid = \"t\"\nop = "
      "\"transformer\"\n"
      "layers = 2\nheads = 4\nffn = 128\nbias = false\nexperts = {}\ntop_k = {}\n",
      experts, top_k);
}

TEST(Experts, RowsSpreadAndParametersMultiply) {
  const Workload dense = language(mixture(0, 1), 128), sparse = language(mixture(8, 2), 128);
  EXPECT_EQ(sparse.parameters() - dense.parameters(), 2 * (7 * 2 * 64 * 128 + 8 * 64));  // 7 more copies, a router
  const LoweredStep alone = lowered(sparse, "dp=4"), spread = lowered(sparse, "dp=4 ep=4");
  EXPECT_NEAR(gemm_flops(alone), gemm_flops(spread), 1);  // the same rows, more of each of fewer experts
  const Traffic tokens = traffic(spread, "ep", CollectiveKind::kAllToAll, Pass::kForward);
  EXPECT_EQ(tokens.count, 4);  // two layers, to the experts and back
  EXPECT_DOUBLE_EQ(tokens.bytes, 4 * 128.0 * 2 * 64 * 2);
  EXPECT_LT(spread.memory_bytes, alone.memory_bytes);
}

// Experts spread over ep of dp ranks have dp / ep copies: their gradients are summed by so many, in buckets of their
// own.
TEST(Experts, GradientsAreSummedByTheRanksThatHoldThem) {
  const Workload sparse = language(mixture(8, 2), 128);
  const auto bytes_over = [&](const std::string& layout, int64_t ranks) {
    int64_t bytes = 0;
    for (const Bucket& bucket : lowered(sparse, layout).buckets) bytes += bucket.ranks == ranks ? bucket.bytes : 0;
    return bytes;
  };
  const int64_t experts = 4 * 2 * 8 * 2 * 64 * 128;  // fp32, two layers of eight experts of two matrices
  EXPECT_EQ(double(bytes_over("dp=8", 8)), sparse.gradient_bytes());
  EXPECT_EQ(bytes_over("dp=8 ep=4", 2), experts / 4);
  EXPECT_EQ(double(bytes_over("dp=8 ep=4", 8)), sparse.gradient_bytes() - double(experts));
  size_t last = 0;
  for (const Bucket& bucket : lowered(sparse, "dp=8 ep=4").buckets) {
    EXPECT_GE(bucket.ready_after, last);
    last = bucket.ready_after;
  }
}

// ep of dp ranks hold different experts: their state is sharded over the dp x cp / ep that hold the same, and over
// none where each has only one copy.
TEST(Experts, AreShardedOverTheRanksThatHoldThem) {
  const Workload sparse = language(mixture(8, 2), 128);
  const double experts = 2 * 8 * 2 * 64 * 128, dense = double(sparse.parameters()) - experts;
  constexpr double kMomentum = 4, kCompute = 2;  // bytes a parameter
  for (const int spread : {2, 4, 8}) {
    const double held = experts / spread, copies = 8.0 / spread;
    const std::string layout = fmt::format("dp=8 ep={}", spread);
    const LoweredStep plain = lowered(sparse, layout), first = lowered(sparse, layout + " zero=1");
    const LoweredStep third = lowered(sparse, layout + " zero=3");
    EXPECT_DOUBLE_EQ(plain.memory_bytes - first.memory_bytes,
                     kMomentum * (dense * (1 - 1.0 / 8) + held * (1 - 1 / copies)));
    EXPECT_DOUBLE_EQ(first.tasks.back().bytes, 24 * (dense / 8 + held / copies));  // the optimizer's
    const double gathered = copies > 1 ? kCompute * held : 0;
    for (const auto& [step, pass] :
         {std::pair{&first, Pass::kOptimizer}, {&third, Pass::kForward}, {&third, Pass::kDataGradient}}) {
      EXPECT_EQ(traffic(*step, "dp", CollectiveKind::kAllGather, pass).bytes, kCompute * dense) << layout;
      EXPECT_EQ(traffic(*step, "copies", CollectiveKind::kAllGather, pass).bytes, gathered) << layout;
    }
    for (const StepCollective& one : third.collectives) {
      EXPECT_TRUE(one.group != "copies" || one.ranks == 8 / spread);
    }
  }
  EXPECT_THAT([&] { lowered(sparse, "dp=8 ep=4 zero=3 hsdp=4"); }, ThrowsMessage<InputError>(HasSubstr("hsdp=4")));
}

// History frames run every unit of the network before the frame that is trained: each time its weights are gathered.
TEST(ZeroSharding, GathersAUnitWheneverItRuns) {
  const Workload bevformer = load_workload("bevformer-base");
  const LoweredStep step = lowered(bevformer, "dp=8 zero=3");
  double replayed = 0;
  for (const Layer& layer : bevformer.data().graph.layers) {
    for (const Parameter& parameter : layer.parameters) replayed += layer.no_grad ? double(parameter.elements) : 0;
  }
  EXPECT_GT(replayed, 2 * double(bevformer.parameters()));
  constexpr double kFp32 = 4;
  EXPECT_DOUBLE_EQ(traffic(step, "dp", CollectiveKind::kAllGather, Pass::kForward).bytes,
                   kFp32 * (double(bevformer.parameters()) + replayed));
  std::vector<bool> gathered(step.tasks.size(), false);
  for (const StepCollective& one : step.collectives) {
    if (one.reason == "weights of a unit") gathered[one.before] = true;
  }
  EXPECT_TRUE(gathered[0]);
  for (size_t i = 0; i < step.tasks.size(); ++i) {
    const bool block = step.tasks[i].pass == Pass::kForward && step.tasks[i].layer.ends_with(".conv1") &&
                       step.tasks[i].layer.find("backbone.s") != std::string::npos;
    EXPECT_TRUE(gathered[i] || !block) << step.tasks[i].layer;
  }
}

TEST(Blocking, SyncBatchNormIsTwoCollectivesALayer) {
  const Workload hydranet = load_workload("hydranet-regnety16gf");
  int64_t norms = 0;
  for (const Layer& layer : hydranet.data().graph.layers)
    norms += layer.op == Op::kNorm && layer.norm == NormKind::kBatch;
  const LoweredStep local = lowered(hydranet, "dp=512"), sync = lowered(hydranet, "dp=512 sync_bn=1");
  const auto batch_norms = [](const LoweredStep& step) {
    int64_t count = 0;
    for (const StepCollective& one : step.collectives) {
      if (one.reason != "synchronised batch norm") continue;
      EXPECT_TRUE(one.blocking);
      EXPECT_LT(one.before, step.tasks.size());
      count += one.count;
    }
    return count;
  };
  EXPECT_EQ(batch_norms(local), 0);
  EXPECT_EQ(batch_norms(sync), 2 * norms);
  EXPECT_EQ(batch_norms(lowered(hydranet, "dp=1 sync_bn=1")), 0);
  EXPECT_EQ(batch_norms(lowered(hydranet, "dp=1 cp=4 sync_bn=1")), 2 * norms);
}

// A checkpointed block runs its forward collectives once more before its backward pass: tensor, context and expert
// parallel ones and synchronised batch norms, each between the tasks that are recomputed.
TEST(Recomputation, RepeatsTheCollectivesOfTheForwardPass) {
  struct Row {
    Workload workload;
    std::string layout;
    int64_t forward;
  };
  for (const Row& row : {Row{load_workload("gpt3-175b"), "tp=8", 2 * (96 * 2 + 1)},
                         Row{load_workload("llama3-8b"), "cp=4", 32}, Row{language(mixture(8, 2), 128), "dp=4 ep=4", 4},
                         Row{load_workload("hydranet-regnety16gf"), "dp=8 sync_bn=1", 124}}) {
    const LoweredStep kept = lowered(row.workload, row.layout + " ckpt=0");
    const LoweredStep repeated = lowered(row.workload, row.layout + " ckpt=1");
    const auto count = [](const LoweredStep& step, Pass pass) {
      int64_t sum = 0;
      for (const StepCollective& one : step.collectives) {
        if (one.pass != pass) continue;
        sum += one.count;
        if (pass != Pass::kRecompute) continue;
        EXPECT_LT(one.before, step.tasks.size());
        EXPECT_EQ(step.tasks[one.before].pass, Pass::kRecompute) << one.reason;
      }
      return sum;
    };
    EXPECT_EQ(count(kept, Pass::kForward), row.forward) << row.layout;
    EXPECT_EQ(count(kept, Pass::kRecompute), 0) << row.layout;
    EXPECT_EQ(count(repeated, Pass::kForward), row.forward) << row.layout;
    EXPECT_EQ(count(repeated, Pass::kRecompute), row.forward) << row.layout;
    EXPECT_EQ(count(repeated, Pass::kDataGradient), count(kept, Pass::kDataGradient)) << row.layout;
  }
}

// The recomputation of a sharded block is the first in the backward pass to need its weights.
TEST(Recomputation, NeedsGatheredWeights) {
  const Workload llama = load_workload("llama3-8b");
  const LoweredStep step = lowered(llama, "dp=64 zero=3 ckpt=1");
  std::vector<bool> gathered(step.tasks.size(), false);
  int64_t gathers = 0;
  for (const StepCollective& one : step.collectives) {
    if (one.reason != "weights of a unit" || one.pass != Pass::kDataGradient) continue;
    ASSERT_LT(one.before, step.tasks.size());
    EXPECT_EQ(step.tasks[one.before].pass, Pass::kRecompute);
    gathered[one.before] = true;
    ++gathers;
  }
  EXPECT_EQ(gathers, 32 + 2);
  for (size_t i = 1; i < step.tasks.size(); ++i) {
    const bool begins = step.tasks[i].pass == Pass::kRecompute && step.tasks[i - 1].pass != Pass::kRecompute;
    EXPECT_TRUE(gathered[i] || !begins || step.tasks[i].layer == "loss") << step.tasks[i].layer;
  }
}

// Context parallel ranks have their own rows of a batch: statistics and normalisers are summed over dp x cp.
TEST(Blocking, ReductionsSpanContextParallelRanks) {
  for (const auto& [name, layout, reason] :
       {std::tuple{"hydranet-regnety16gf", "dp=8 cp=2 sync_bn=1", "synchronised batch norm"},
        {"bevformer-base", "dp=8 cp=2", "loss normaliser"}}) {
    int64_t found = 0;
    for (const StepCollective& one : lowered(load_workload(name), layout).collectives) {
      if (one.reason != reason) continue;
      EXPECT_EQ(one.ranks, 16) << reason;
      ++found;
    }
    EXPECT_GT(found, 0) << reason;
  }
}

// Plain data parallel ranks have all gradients; shards and divided layers need the others' part of the norm.
TEST(Blocking, TheGradientNormIsSummedWhereGradientsAreApart) {
  const auto groups = [](const char* name, const std::string& layout) {
    std::vector<std::string> found;
    for (const StepCollective& one : lowered(load_workload(name), layout).collectives) {
      if (one.reason.starts_with("global scalar")) found.push_back(fmt::format("{} {}", one.group, one.ranks));
    }
    return fmt::format("{}", fmt::join(found, ", "));
  };
  EXPECT_EQ(groups("resnet50", "dp=8"), "");
  EXPECT_EQ(groups("resnet50", "dp=8 zero=1"), "dp 8");
  EXPECT_EQ(groups("llama3-8b", "dp=8 cp=2 zero=3"), "dp 16");
  EXPECT_EQ(groups("llama3-8b", "dp=64 zero=3 hsdp=8"), "shard 8");
  EXPECT_EQ(groups("gpt3-175b", "dp=4 tp=8 pp=8"), "tp 8, pp 8");
}

TEST(Blocking, LossNormalisersAreScalars) {
  const LoweredStep step = lowered(load_workload("bevformer-base"), "dp=8");
  int64_t scalars = 0;
  for (const StepCollective& one : step.collectives) scalars += one.reason == "loss normaliser" && one.bytes == 4;
  EXPECT_EQ(scalars, 12);  // class and box losses of six decoder layers
}

}  // namespace
}  // namespace farscale
