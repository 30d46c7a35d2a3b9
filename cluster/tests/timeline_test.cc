// The timeline against closed forms, on steps made by hand.
#include "cluster/timeline.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cluster/predict.h"
#include "cluster/tests/pipeline_schedule.h"

namespace farscale {
namespace {

constexpr auto kLinear = size_t(Component::kLinear);

// Work of `seconds` on tensor cores.
ComponentTimes work(double seconds) {
  ComponentTimes times{};
  times[kLinear] = seconds;
  return times;
}

// 8 GPUs of one domain whose all-reduces and gathers take exactly a millisecond a byte: fitted curves without latency.
class Timeline : public testing::Test {
 protected:
  Timeline() {
    CollectiveFits fits;
    for (const CollectiveKind kind : kCollectiveKinds) {
      fits[kind] = {.from_bytes = {0}, .s_per_byte = {1e-3 / bus_factor(kind, 8)}};
    }
    links_ = median_links(machine_.data());
    links_.fits = std::make_shared<const CollectiveFits>(fits);
    conditions_.links = &links_;
  }
  StepTimes run(const Layout& layout) const {
    return step_times(profile_, step_groups(machine_.data(), layout), layout, conditions_);
  }
  int price(CollectiveKind kind, double bytes, GroupName group = GroupName::kData) {
    profile_.prices.push_back({kind, group, bytes});
    return int(profile_.prices.size() - 1);
  }
  // Forward 2 s; backward in `stretches` equal parts of 1 s, each releasing a bucket that takes `bucket_ms`.
  void data_parallel(int stretches, double bucket_ms) {
    const int bucket = price(CollectiveKind::kAllReduce, bucket_ms);
    profile_.forward = work(2);
    profile_.forward_stretches = {{.work = work(2)}};
    profile_.backward = work(stretches);
    for (int i = 0; i < stretches; ++i) profile_.backward_stretches.push_back({.work = work(1), .reduce = bucket});
  }

  Machine machine_ = load_hardware("h100-sxm");
  LinkValues links_;
  StepProfile profile_;
  StepConditions conditions_;
};

TEST_F(Timeline, HiddenBucketsExposeTheLastOne) {
  data_parallel(4, 500);
  const StepTimes times = run({.dp = 8});
  EXPECT_NEAR(times.compute, 6, 1e-12);
  EXPECT_NEAR(times.exposed_comm, 0.5, 1e-9);
}

// Communication bound: exposed = t_c + (K - 1) (t_c - t_b).
TEST_F(Timeline, SlowBucketsQueue) {
  data_parallel(4, 1500);
  EXPECT_NEAR(run({.dp = 8}).exposed_comm, 1.5 + 3 * 0.5, 1e-9);
}

TEST_F(Timeline, OneBucketOverlapsNothing) {
  data_parallel(1, 700);
  EXPECT_NEAR(run({.dp = 8}).exposed_comm, 0.7, 1e-9);
}

TEST_F(Timeline, ComputeSlowsBesideCommunication) {
  data_parallel(4, 500);
  conditions_.interference = 0.2;
  // Three of four buckets travel beside the next stretch: 0.5 s each, slowed by a fifth.
  EXPECT_NEAR(run({.dp = 8}).exposed_comm, 0.5 + 3 * 0.2 * 0.5, 1e-9);
}

TEST_F(Timeline, AccumulationReducesOnce) {
  data_parallel(4, 1500);
  const StepTimes times = run({.dp = 8, .accumulation = 5});
  EXPECT_NEAR(times.compute, 5 * 6, 1e-9);
  EXPECT_NEAR(times.exposed_comm, 3, 1e-9);
  profile_.reduces_every_pass = true;  // ZeRO 2: every micro-batch; the stream is never idle once it has begun
  EXPECT_NEAR(run({.dp = 8, .accumulation = 5}).exposed_comm, 3, 1e-9);
  data_parallel(0, 0);
  profile_.backward_stretches.clear();
  data_parallel(4, 2000);  // 8 s of traffic beside 6 s of work
  EXPECT_NEAR(run({.dp = 8, .accumulation = 5}).total(), 2 + 1 + 5 * 8, 1e-9);
}

// FSDP: exposed = t_AG(1) + sum of max(0, t_AG(l + 1) - t_comp(l)).
TEST_F(Timeline, GathersArePrefetchedOneUnitAhead) {
  const int quick = price(CollectiveKind::kAllGather, 400), slow = price(CollectiveKind::kAllGather, 1300);
  profile_.forward = work(4);
  profile_.forward_stretches = {{.work = work(0)},
                                {.work = work(1), .gather = quick},
                                {.work = work(1), .gather = slow},
                                {.work = work(1), .gather = quick},
                                {.work = work(1), .gather = slow}};
  profile_.backward_stretches = {{}};
  EXPECT_NEAR(run({.dp = 8, .zero_stage = 3}).exposed_comm, 0.4 + 0.3 + 0 + 0.3, 1e-9);
}

// Gathers and scatters share one stream: when both fit under a unit's work nothing but the ends shows.
TEST_F(Timeline, GathersAndReductionsShareTheStream) {
  const int gather = price(CollectiveKind::kAllGather, 300), scatter = price(CollectiveKind::kReduceScatter, 300);
  const auto unit = [&](double seconds) { return Stretch{work(seconds), gather, scatter}; };
  profile_.backward = work(3);
  profile_.forward_stretches = {{}};
  profile_.backward_stretches = {unit(1), unit(1), unit(1)};
  profile_.reduces_every_pass = true;
  EXPECT_NEAR(run({.dp = 8, .zero_stage = 3}).exposed_comm, 0.3 + 0.3, 1e-9);
  profile_.backward_stretches = {unit(0.5), unit(0.5), unit(0.5)};  // 0.6 s of traffic beside 0.5 s of work
  EXPECT_NEAR(run({.dp = 8, .zero_stage = 3}).exposed_comm, 0.3 + 0.1 + 0.3, 1e-9);
}

TEST_F(Timeline, HybridShardsAddTheReplicas) {
  const int scatter = price(CollectiveKind::kReduceScatter, 300, GroupName::kShard);
  const int replica = price(CollectiveKind::kAllReduce, 200, GroupName::kReplica);
  profile_.backward = work(1);
  profile_.forward_stretches = {{}};
  profile_.backward_stretches = {{.work = work(1), .reduce = scatter, .replica = replica}};
  EXPECT_GT(run({.dp = 64, .zero_stage = 3, .hsdp_shard = 8}).exposed_comm, 0.3 + 0.2 - 1e-9);
  EXPECT_NEAR(run({.dp = 8, .zero_stage = 3, .hsdp_shard = 8}).exposed_comm, 0.3, 1e-9);  // one replica: nothing
}

// Synchronised batch norm: every one of its collectives is waited for, and delays the buckets too.
TEST_F(Timeline, BlockingCollectivesAddUp) {
  data_parallel(4, 500);
  const auto norm = size_t(price(CollectiveKind::kAllReduce, 10));
  profile_.collectives = {{norm, 50, true, Pass::kForward}, {norm, 100, true, Pass::kDataGradient}};
  EXPECT_NEAR(run({.dp = 8}).exposed_comm, 0.5 + 1.5, 1e-9);
  EXPECT_NEAR(run({.dp = 8, .accumulation = 3}).exposed_comm, 0.5 + 3 * 1.5, 1e-9);
}

TEST_F(Timeline, OptimizerCollectivesRunOnceAStep) {
  data_parallel(4, 500);
  const auto weights = size_t(price(CollectiveKind::kAllGather, 900));
  profile_.collectives = {{weights, 1, true, Pass::kOptimizer}};
  EXPECT_NEAR(run({.dp = 8, .accumulation = 7}).exposed_comm, 0.5 + 0.9, 1e-9);
}

TEST_F(Timeline, HiddenCollectivesShowTheirLongest) {
  data_parallel(4, 500);
  const auto rows = size_t(price(CollectiveKind::kAllGather, 100));
  profile_.collectives = {{rows, 10, false, Pass::kForward}};  // 1 s beside 2 s of forward
  EXPECT_NEAR(run({.dp = 8}).exposed_comm, 0.5 + 0.1, 1e-9);
  profile_.collectives = {{rows, 30, false, Pass::kForward}};
  EXPECT_NEAR(run({.dp = 8}).exposed_comm, 0.5 + 1, 1e-9);
}

// 1F1B idles for pp - 1 micro-batches, interleaving divides that (arXiv:2104.04473).
TEST_F(Timeline, PipelineBubbles) {
  data_parallel(4, 0);
  EXPECT_NEAR(run({.dp = 8, .pp = 4, .accumulation = 8}).bubble, 3 * 6, 1e-9);
  EXPECT_NEAR(run({.dp = 8, .pp = 4, .accumulation = 8, .interleave = 2}).bubble, 3 * 6 / 2.0, 1e-9);
  EXPECT_EQ(run({.dp = 8}).bubble, 0);
  const auto rows = size_t(price(CollectiveKind::kAllGather, 100));
  profile_.collectives = {{rows, 10, true, Pass::kForward}};  // stages wait for each other's blocking traffic too
  EXPECT_NEAR(run({.dp = 8, .pp = 4, .accumulation = 8}).bubble, 3 * 7, 1e-9);
}

// Messages are priced exactly as the schedules that they belong to make them wait.
TEST_F(Timeline, MessagesTakeWhatTheScheduleMakesOfThem) {
  links_.latency_scale = 0;
  links_.network_bytes_per_s = 1e3;
  profile_.forward = work(1), profile_.backward = work(2);
  profile_.forward_stretches = {{.work = work(1)}}, profile_.backward_stretches = {{.work = work(2)}};
  for (const double messages_s : {0.0, 0.06, 0.6, 1.5, 3.0, 9.0}) {  // of a micro-batch, both ways
    for (const auto& [stages, chunks] : {std::pair{2, 1}, {4, 1}, {8, 1}, {2, 2}, {4, 2}, {4, 8}, {8, 4}}) {
      const double there_s = messages_s / 3 / chunks, back_s = 2 * messages_s / 3 / chunks;
      profile_.collectives = {{size_t(price(CollectiveKind::kBroadcast, 1e3 * there_s, GroupName::kPipeline)),
                               double(chunks), false, Pass::kForward},
                              {size_t(price(CollectiveKind::kBroadcast, 1e3 * back_s, GroupName::kPipeline)),
                               double(chunks), false, Pass::kDataGradient}};
      for (const int64_t turns : {1, 2, 5}) {
        const int64_t micro_batches = turns * stages;
        const double expected = played({stages, chunks, micro_batches, 1, 2, there_s, back_s});
        const double found = run({.dp = 8, .pp = stages, .accumulation = micro_batches, .interleave = chunks}).total();
        const bool saturated = messages_s > 1.5;  // messages queue behind each other: near
        EXPECT_NEAR(found / expected, 1, saturated ? 0.25 : 1e-9)
            << stages << " stages, " << chunks << " chunks, " << micro_batches << " micro-batches, " << messages_s;
        EXPECT_GE(found, double(micro_batches) * messages_s * (1 - 1e-12));
      }
    }
  }
}

// What else takes the network card slows the stream of gradients; what stays inside domains does not.
TEST_F(Timeline, OtherTrafficTakesItsShareOfTheLink) {
  const Layout layout{.dp = 64, .tp = 8};
  const double longer = bus_factor(CollectiveKind::kAllReduce, 64) / bus_factor(CollectiveKind::kAllReduce, 8);
  data_parallel(4, 750 / longer);
  EXPECT_NEAR(run(layout).exposed_comm, 0.75, 1e-9);
  const auto beside = [&](GroupName group, double bytes) {
    profile_.collectives = {{size_t(price(CollectiveKind::kAllReduce, bytes, group)), 20, false, Pass::kDataGradient}};
    return run(layout).exposed_comm;
  };
  // 2 s of the backward pass's 4: half of the card is left, 0.5 s a stretch, and the rest goes after the pass.
  EXPECT_NEAR(beside(GroupName::kData, 100 / longer), 0.1 + 4 * 0.75 - 3 * 0.5, 1e-9);
  EXPECT_NEAR(beside(GroupName::kTensor, 100), 0.1 + 0.75, 1e-9);
}

TEST_F(Timeline, InputHidesUnderTheStepOrBindsIt) {
  data_parallel(4, 0);
  profile_.input_bytes = 3e9;
  conditions_.input_bytes_per_s = 1e9;
  EXPECT_EQ(run({.dp = 8}).input, 0);
  conditions_.input_bytes_per_s = 0.25e9;
  EXPECT_NEAR(run({.dp = 8}).total(), 12, 1e-9);
}

TEST_F(Timeline, OnlyWhatReachesBeyondTheKnownIsStretched) {
  data_parallel(1, 1000);
  conditions_.extrapolation = 0.5;
  conditions_.known_ranks = 8;
  EXPECT_NEAR(run({.dp = 8}).exposed_comm, 1, 1e-9);
  const double beyond = run({.dp = 32}).exposed_comm;
  conditions_.extrapolation = 0;
  EXPECT_NEAR(beyond / run({.dp = 32}).exposed_comm, std::exp(1.0), 1e-9);  // two doublings
}

TEST(Groups, LieOnTheirTiers) {
  const Machine machine = load_hardware("h100-sxm");
  const StepGroups groups = step_groups(machine.data(), {.dp = 64, .tp = 4, .pp = 2, .cp = 2, .hsdp_shard = 16});
  EXPECT_EQ(of(groups, GroupName::kTensor).domains(), 1);
  EXPECT_EQ(of(groups, GroupName::kContext).domains(), 1);  // 4 x 2 ranks fill a domain
  EXPECT_EQ(of(groups, GroupName::kData).ranks, 128);
  EXPECT_EQ(of(groups, GroupName::kData).per_domain, 2);
  EXPECT_EQ(of(groups, GroupName::kData).reach(), 512);
  EXPECT_EQ(of(groups, GroupName::kShard).ranks, 16);
  EXPECT_EQ(of(groups, GroupName::kReplica).ranks, 8);
  EXPECT_EQ(of(groups, GroupName::kReplica).per_domain, 1);
  EXPECT_EQ(of(groups, GroupName::kPipeline).reach(), 1024);
  const StepGroups experts = step_groups(machine.data(), {.dp = 64, .tp = 2, .ep = 8});
  EXPECT_EQ(of(experts, GroupName::kExpert).domains(), 2);  // 8 ranks, 2 GPUs each
  EXPECT_EQ(of(experts, GroupName::kCopies).ranks, 8);
  EXPECT_EQ(of(experts, GroupName::kCopies).per_domain, 1);
  const StepGroups rack = step_groups(load_hardware("gb200-nvl72").data(), {.dp = 144});
  EXPECT_EQ(of(rack, GroupName::kData).domains(), 2);
}

// No group straddles two domains: fewer GPUs of each are used where a split does not divide them.
TEST(Groups, FillDomainsWhole) {
  const Machine rack_machine = load_hardware("gb200-nvl72"), node_machine = load_hardware("h100-sxm");
  const Machine::Data &rack = rack_machine.data(), &node = node_machine.data();
  EXPECT_EQ(used_domain(rack, {.dp = 72}), 72);
  EXPECT_EQ(used_domain(rack, {.tp = 8}), 72);
  EXPECT_EQ(used_domain(rack, {.tp = 16}), 64);
  EXPECT_EQ(used_domain(rack, {.tp = 8, .cp = 2}), 64);
  EXPECT_EQ(used_domain(rack, {.dp = 64, .ep = 64}), 64);
  EXPECT_EQ(used_domain(rack, {.dp = 256, .ep = 256}), 64);  // four domains, 64 ranks in each
  EXPECT_EQ(used_domain(rack, {.dp = 1024, .zero_stage = 3, .hsdp_shard = 64}), 64);
  EXPECT_EQ(used_domain(rack, {.dp = 1024, .tp = 2, .zero_stage = 3, .hsdp_shard = 128}), 64);
  EXPECT_EQ(used_domain(rack, {.dp = 144, .zero_stage = 3, .hsdp_shard = 72}), 72);
  EXPECT_EQ(used_domain(node, {.tp = 3}), 6);
  EXPECT_EQ(used_domain(node, {.tp = 16}), 8);
  const StepGroups groups = step_groups(rack, {.dp = 64, .tp = 8, .cp = 16});
  EXPECT_EQ(of(groups, GroupName::kContext).per_domain, 8);
  EXPECT_EQ(of(groups, GroupName::kContext).domains(), 2);
  EXPECT_EQ(of(step_groups(rack, {.dp = 8, .pp = 8}), GroupName::kPipeline).domains(), 1);
  EXPECT_GT(of(step_groups(rack, {.dp = 16, .pp = 8}), GroupName::kPipeline).domains(), 1);
}

}  // namespace
}  // namespace farscale
