// A whole step case: quantiles, rates and peaks, who is late and why, the batch that fits, graphs and convolutions.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>

#include "bench/case.h"
#include "bench/step_setup.h"
#include "bench/step_statistics.h"
#include "bench/tests/fake_backend.h"
#include "kernels/tests/thread_world.h"
#include "results/statistics.h"

namespace farscale {
namespace {

using testing::HasSubstr;

Case step_case(StepEntry entry, int ranks) {
  entry.sampling.least_samples = entry.sampling.most_samples = 8;
  Suite suite;
  suite.step = {entry};
  const Workload workload = load_workload("resnet50");
  return expand_suite(suite, &workload, {.ranks = ranks})[0];
}

std::vector<Record> run_steps(int ranks, const StepEntry& entry,
                              const std::function<void(int, FakeBehaviour&)>& behave) {
  return on_ranks<Record>(ranks, [&](World& world) {
    const Workload workload = load_workload("resnet50");
    const auto state = std::make_shared<FakeState>();
    state->behaviour = {
        .flops_per_s = 1e12, .bytes_per_s = 1e12, .bus_bytes_per_s = 1e9, .latency_s = 1e-6, .memory_bytes = 1e12};
    behave(world.rank(), state->behaviour);
    const auto backend = fake_backend(state);
    Lab lab{
        .world = world, .backend = *backend, .backend_name = "cuda", .clock = fake_clock(state), .workload = &workload};
    return measure(step_case(entry, world.size()), lab);
  });
}

Record run_step(const StepEntry& entry, const FakeBehaviour& behaviour) {
  return run_steps(1, entry, [&](int, FakeBehaviour& b) { b = behaviour; })[0];
}

constexpr double kFlops = 256 * 24.3e9;  // of a step of resnet50 at its batch of 256

TEST(StepCase, RatesAreThoseOfTheStep) {
  const Record record = run_step({}, {.flops_per_s = 1e12, .bytes_per_s = 1e30, .memory_bytes = 1e12});
  ASSERT_EQ(record.status, Status::kOk) << record.reason;
  const auto& c = record.counters;
  EXPECT_NEAR(c.at("p50_s"), kFlops / 1e12, 0.01 * kFlops / 1e12) << "all of it products";
  EXPECT_NEAR(c.at("p50_s"), c.at("p99_s"), 1e-6) << "no jitter";
  EXPECT_NEAR(c.at("samples_per_s"), 256 / c.at("p50_s"), 1e-6);
  EXPECT_NEAR(c.at("frames_per_s"), c.at("samples_per_s"), 1e-6) << "an image is a frame";
  EXPECT_NEAR(c.at("input_bytes_per_s") / c.at("samples_per_s"), 224 * 224 * 3, 1);
  EXPECT_NEAR(c.at("mfu"), 1, 0.01) << "the fake's GEMMs and its step run at one rate";
  EXPECT_NEAR(c.at("hfu"), 1, 0.01);
  EXPECT_THAT(record.details.at("peak"), HasSubstr("probe gemm/bf16/nn/"));
  const Record named =
      run_step({.peak_flops_per_s = 4e12}, {.flops_per_s = 1e12, .bytes_per_s = 1e30, .memory_bytes = 1e12});
  EXPECT_NEAR(named.counters.at("mfu"), 0.25, 0.003);
  EXPECT_THAT(named.details.at("peak"), HasSubstr("named in the suite"));
}

// A peak below what the step itself attains is none.
TEST(StepCase, NoMfuOverAPeakThatIsNone) {
  const Record slow =
      run_step({.peak_flops_per_s = 5e11}, {.flops_per_s = 1e12, .bytes_per_s = 1e30, .memory_bytes = 1e12});
  EXPECT_FALSE(slow.counters.contains("mfu"));
  EXPECT_FALSE(slow.counters.contains("hfu"));
  EXPECT_THAT(slow.details.at("peak"), HasSubstr("the step's own products were faster"));
}

// Recomputation is work of the hardware and not of the model.
TEST(StepCase, RecomputationSeparatesHfuFromMfu) {
  const Record record =
      run_step({.layout = "ckpt=1"}, {.flops_per_s = 1e12, .bytes_per_s = 1e30, .memory_bytes = 1e12});
  EXPECT_NEAR(record.counters.at("hfu"), 1, 0.01);
  EXPECT_NEAR(record.counters.at("mfu"), 0.75, 0.02) << "three of four passes";
}

TEST(StepCase, QuantilesAreOrderedUnderJitter) {
  const Record record = run_step({}, {.flops_per_s = 1e12, .bytes_per_s = 1e30, .memory_bytes = 1e12, .jitter = 0.5});
  const auto& c = record.counters;
  EXPECT_LT(c.at("p50_s"), c.at("p95_s"));
  EXPECT_LE(c.at("p95_s"), c.at("p99_s"));
  EXPECT_LE(c.at("p99_s"), *std::max_element(record.samples_s.begin(), record.samples_s.end()));
}

// One rank is slow in one thing: the record names the rank and the thing, on every rank.
TEST(StepCase, SaysWhoIsLateAndWhy) {
  const auto late = [](const std::function<void(FakeBehaviour&)>& hamper) {
    const auto records = run_steps(3, {.input = true}, [&](int rank, FakeBehaviour& b) {
      if (rank == 1) hamper(b);
    });
    for (const Record& record : records) {
      EXPECT_EQ(record.status, Status::kOk) << record.reason;
      EXPECT_EQ(record.details.at("late"), records[0].details.at("late"));
      EXPECT_EQ(record.series_s.at("arrival_by_rank").size(), 3u);
    }
    return records[0].details.at("late");
  };
  EXPECT_THAT(late([](FakeBehaviour& b) { b.flops_per_s = 0.8e12; }), testing::MatchesRegex("rank 1, .*: compute"));
  EXPECT_THAT(late([](FakeBehaviour& b) { b.bytes_per_s = 0.8e12; }), testing::MatchesRegex("rank 1, .*: memory"));
  EXPECT_THAT(late([](FakeBehaviour& b) { b.input_bytes_per_s = 2e6; }), testing::MatchesRegex("rank 1, .*: input"));
  EXPECT_THAT(late([](FakeBehaviour&) {}), HasSubstr("nobody"));
}

TEST(StepCase, NoiseIsNobodysFault) {
  const ArrivalParts parts{.arrival = {1.0, 1.02, 1.01},
                           .earliest = {0.9, 0.95, 0.93},
                           .compute = {1, 1, 1},
                           .memory = {0, 0, 0},
                           .input = {0, 0, 0}};
  EXPECT_EQ(find_late(parts).rank, -1);
}

TEST(StepCase, SlowdownIsPerClass) {
  const auto records = run_steps(2, {}, [](int, FakeBehaviour& b) { b.slowdown = 1.25, b.bus_bytes_per_s = 1e9; });
  ASSERT_EQ(records[0].status, Status::kOk) << records[0].reason;
  double shares = 0;
  for (const char* kind : {"convolution", "norm", "elementwise", "linear", "optimizer"}) {
    EXPECT_NEAR(records[0].counters.at(std::string("slowdown_") + kind), 1.25, 0.01) << kind;
    shares += records[0].counters.at(std::string("share_") + kind);
  }
  EXPECT_NEAR(records[0].counters.at("compute_slowdown"), 1.25, 0.01) << "of the kernels, not of what they wait for";
  EXPECT_NEAR(shares, 1, 1e-9);
}

// 256 images of ResNet-50 take 14 GB: of 6 GB a smaller batch is chosen, of 0.1 GB none fits.
TEST(StepCase, TheBatchThatFitsIsChosen) {
  const Record small = run_step({}, {.flops_per_s = 1e12, .bytes_per_s = 1e12, .memory_bytes = 6e9});
  ASSERT_EQ(small.status, Status::kOk) << small.reason;
  const int64_t batch = std::stoll(small.settings.at("micro_batch"));
  EXPECT_GT(batch, 40);
  EXPECT_LT(batch, 200);
  EXPECT_THAT(small.details.at("micro_batch"), HasSubstr("the largest that fits: 256 would need"));
  EXPECT_LE(small.counters.at("bytes_needed"), 6e9);
  LoweringOptions options;
  options.layout.micro_batch = batch + 1;
  EXPECT_GT(step_bytes(lower(load_workload("resnet50"), options), 1, 1, true), 6e9) << "one more does not fit";
  const Record none = run_step({}, {.memory_bytes = 1e8});
  EXPECT_EQ(none.status, Status::kSkipped);
  EXPECT_THAT(none.reason, HasSubstr("does not fit: "));
  EXPECT_THAT(none.reason, HasSubstr("100 MB free"));
  EXPECT_GT(none.counters.at("bytes_needed"), 1e8);
  EXPECT_TRUE(none.samples_s.empty());
}

TEST(StepCase, ConvolutionsAreLabelled) {
  const FakeBehaviour plain{.flops_per_s = 1e12, .bytes_per_s = 1e30, .memory_bytes = 1e12};
  FakeBehaviour with = plain;
  with.convolutions = true;
  const Record proxy = run_step({}, plain), real = run_step({}, with);
  EXPECT_THAT(proxy.details.at("kernels"),
              HasSubstr("gemm-proxy: convolutions run as GEMMs of the same FLOPs (the fake"));
  EXPECT_EQ(real.details.at("kernels"), "implicit GEMM: convolutions run as convolutions");
  EXPECT_LT(real.counters.at("p50_s"), 0.55 * proxy.counters.at("p50_s")) << "the fake's take half the time";
  with.absent = "k3s1";
  EXPECT_THAT(run_step({}, with).details.at("kernels"),
              testing::MatchesRegex("implicit GEMM for .* % of .*; the rest gemm-proxy.*"));
}

TEST(StepCase, GraphsAreTimedBesideEagerSteps) {
  const Record record =
      run_step({}, {.flops_per_s = 1e12, .bytes_per_s = 1e30, .memory_bytes = 1e12, .issue_s = 1e-4, .graphs = true});
  ASSERT_EQ(record.status, Status::kOk) << record.reason;
  EXPECT_LT(record.counters.at("graph_p50_s"), record.counters.at("p50_s"));
  EXPECT_TRUE(record.counters.contains("graph_issue_share"));
  EXPECT_EQ(record.series_s.at("graph").size(), record.samples_s.size());
}

TEST(StepCase, ZeroRunsOnEveryRank) {
  for (const char* layout : {"zero=1", "zero=2", "zero=3", "sync_bn=1", "ckpt=1"}) {
    const auto records =
        run_steps(4, {.scale = 64, .layout = layout}, [](int, FakeBehaviour& b) { b.bus_bytes_per_s = 1e8; });
    EXPECT_EQ(records[3].status, Status::kOk) << layout << ": " << records[3].reason;
    EXPECT_THAT(records[3].settings.at("layout"), HasSubstr(layout));
    EXPECT_THAT(records[3].name, HasSubstr("/scale_64/4ranks"));
    EXPECT_GT(records[3].counters.at("communication_only_s"), 0) << layout;
  }
  EXPECT_THROW(check_step_layout("tp=2"), InputError);
  EXPECT_THROW(check_step_layout("zero=1 accum=2"), InputError);
}

}  // namespace
}  // namespace farscale
