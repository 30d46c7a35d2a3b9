// Collectives: closed forms by hand, tiers, limits, monotony.
#include "cluster/collective_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace farscale {
namespace {

constexpr double kMiB = 1048576;

// H100 nodes of 8 on 45 GB/s cards, no tiers: what the closed forms say without anything learned.
class Forms : public testing::Test {
 protected:
  Machine machine_ = load_hardware("h100-sxm");
  LinkValues links_ = [this] {
    LinkValues links = median_links(machine_.data());
    links.latency_scale = 1;
    links.ring_bytes_per_s = 360e9;
    links.network_bytes_per_s = 45e9;
    links.network_channels = 8;
    links.scatter = 0;
    for (TierValues& tier : links.tiers) tier = {.beyond_ranks = 1e12};
    return links;
  }();
  CollectiveCost all_reduce(const Group& group) const {
    return collective_cost(CollectiveKind::kAllReduce, links_, group);
  }
};

TEST_F(Forms, RingAndTreeByHand) {
  const CollectiveCost cost = all_reduce({512, 8});
  EXPECT_NEAR(1e6 * cost.line("ring").alpha_s, 8.4 + 2 * (448 * 3.4 + 63 * 14), 1e-6);
  EXPECT_NEAR(cost.line("ring").s_per_byte, 2 * 511.0 / 512 / 360e9, 1e-18);
  EXPECT_NEAR(1e6 * cost.line("tree").alpha_s, 8.4 + 2 * (7 * 4.0 + 6 * 14), 1e-6);
  EXPECT_NEAR(1e6 * cost.line("switch and tree").alpha_s, 25 + 2 * 6 * 20.9, 1e-6);
}

TEST_F(Forms, TreesGrowWithTheLogarithmRingsWithTheRanks) {
  const auto alpha = [&](const char* algorithm, int64_t ranks) {
    return all_reduce({ranks, 8}).line(algorithm).alpha_s;
  };
  EXPECT_NEAR(alpha("tree", 16384) - alpha("tree", 8192), alpha("tree", 1024) - alpha("tree", 512), 1e-12);
  EXPECT_NEAR(alpha("ring", 16384) / alpha("ring", 8192), 2, 0.01);
}

TEST_F(Forms, RingsLoseToTreesBeforeSixteenThousandRanks) {
  for (const double mib : {1.0, 25.0, 256.0}) {
    EXPECT_THAT(std::string(all_reduce({16384, 8}).best(mib * kMiB).algorithm),
                testing::Not(testing::StartsWith("ring")));
  }
}

TEST_F(Forms, ReduceScatterHasNoTree) {
  const CollectiveCost cost = collective_cost(CollectiveKind::kReduceScatter, links_, {16384, 8});
  EXPECT_THAT(std::string(cost.best(25 * kMiB).algorithm), testing::StartsWith("ring"));
  EXPECT_GT(cost.at(25 * kMiB), 10 * all_reduce({16384, 8}).at(25 * kMiB));
  EXPECT_FALSE(cost.has("PAT"));
  EXPECT_TRUE(collective_cost(CollectiveKind::kReduceScatter, links_, {64, 1}).has("PAT"));
}

TEST_F(Forms, TwoLevelsAreTheirParts) {
  links_.prior = CollectivePrior::kHierarchical;
  const Group group{4096, 8};
  const CostLine line = all_reduce(group).line("hierarchical, ring");
  // Scatter and gather inside 8 ranks at 360 GB/s, a ring of 512 peers on an eighth of the data at 45 GB/s a card.
  EXPECT_NEAR(line.s_per_byte, 2 * 7.0 / 8 / 360e9 + 2 * 511.0 / 512 / 8 / 45e9, 1e-15);
  EXPECT_NEAR(1e6 * line.alpha_s, 8.4 + 2 * 511 * 14 + 2 * 7 * 3.4, 1e-6);
  // An eighth of the ring's steps: small sizes gain, and the library that has it would take it.
  EXPECT_LT(line.alpha_s, all_reduce(group).line("ring").alpha_s);
  EXPECT_TRUE(collective_cost(CollectiveKind::kAllGather, links_, group).has("hierarchical, ring"));
}

TEST_F(Forms, SharpIsFlatInRanksAndSendsOnce) {
  links_.prior = CollectivePrior::kSharp;
  const CostLine few = all_reduce({512, 8}).line("SHARP"), many = all_reduce({262144, 8}).line("SHARP");
  EXPECT_EQ(few.alpha_s, many.alpha_s);
  EXPECT_EQ(few.s_per_byte, many.s_per_byte);
  EXPECT_NEAR(few.s_per_byte, 2 * 7.0 / 8 / links_.switch_bytes_per_s, 1e-15);  // the domain's own reduction binds
  links_.switch_bytes_per_s = 1e15;
  EXPECT_NEAR(all_reduce({512, 8}).line("SHARP").s_per_byte, 1 / 360e9, 1e-15);  // 8 cards, half of a ring's bytes
  links_.tiers[size_t(Tier::kPod)].beyond_ranks = 256;
  EXPECT_GT(all_reduce({512, 8}).line("SHARP").alpha_s, few.alpha_s);  // one tier more to climb
}

TEST_F(Forms, OneRankOfADomainHasNoSwitch) {
  EXPECT_FALSE(all_reduce({64, 1}).has("switch and tree"));
  EXPECT_TRUE(all_reduce({64, 8}).has("switch and tree"));
}

TEST_F(Forms, TiersCostWhatCrossesThem) {
  const double bytes = 64 * kMiB;
  const Group group{8192, 8};
  const double flat = all_reduce(group).at(bytes);
  TierValues& spine = links_.tiers[size_t(Tier::kSpine)];
  spine = {.beyond_ranks = 4096, .collisions = 1.5};
  const double collided = all_reduce(group).at(bytes);
  EXPECT_GT(collided, 1.2 * flat);
  EXPECT_EQ(all_reduce({4096, 8}).at(bytes), (links_.tiers[1].collisions = 1, all_reduce({4096, 8}).at(bytes)));
  // In topology order few links cross an oversubscribed tier; scattered ranks load it.
  spine = {.beyond_ranks = 4096, .oversubscription = 7};
  EXPECT_NEAR(all_reduce(group).at(bytes), flat, 1e-9 * flat);
  links_.scatter = 1;
  EXPECT_GT(all_reduce(group).at(bytes), 2 * flat);
  // Everything of an all-to-all crosses.
  links_.scatter = 0;
  const double across = collective_cost(CollectiveKind::kAllToAll, links_, group).line("pairwise").s_per_byte;
  spine.oversubscription = 1;
  EXPECT_NEAR(across / collective_cost(CollectiveKind::kAllToAll, links_, group).line("pairwise").s_per_byte, 3.5,
              0.05);
}

TEST_F(Forms, WhereRanksAreCountsNotOnlyHowMany) {
  links_.tiers[size_t(Tier::kSpine)] = {.beyond_ranks = 4096, .collisions = 1.5, .hop_factor = 2};
  const double near = all_reduce({64, 1, 64}).at(kMiB), far = all_reduce({64, 1, 64 * 128}).at(kMiB);
  EXPECT_GT(far, near);
  const auto message = [&](const Group& group) { return message_time(links_, kMiB, group); };
  EXPECT_GT(message({.ranks = 2, .span = 8192}), message({.ranks = 2, .span = 64}));
  EXPECT_LT(message({.ranks = 2, .per_domain = 2}), 0.5 * message({.ranks = 2}));  // NVLink instead of the card
}

TEST_F(Forms, ChunksUnderALineAreFlagged) {
  const CollectiveCost cost = all_reduce({300000, 8});
  EXPECT_FALSE(cost.line("ring").holds(256 * kMiB));
  EXPECT_FALSE(cost.line("ring, low latency 128").holds(256 * kMiB));
  EXPECT_TRUE(cost.line("ring, low latency").holds(256 * kMiB));
  EXPECT_TRUE(cost.line("tree").holds(1));
}

class Limits : public testing::TestWithParam<CollectiveKind> {
 protected:
  Machine machine_ = load_hardware("h100-sxm");
  LinkValues links_ = median_links(machine_.data());
};

TEST_P(Limits, OneRankIsFree) { EXPECT_EQ(collective_cost(GetParam(), links_, {1, 1}).at(1e9), 0); }

TEST_P(Limits, InfiniteBandwidthLeavesLatency) {
  LinkValues fast = links_;
  fast.ring_bytes_per_s = fast.network_bytes_per_s = 1e30;
  fast.switch_bytes_per_s = 1e30;
  const CollectiveCost cost = collective_cost(GetParam(), fast, {64, 8});
  EXPECT_GT(cost.at(8), 0);
  EXPECT_NEAR(cost.at(1e12), cost.at(1e9), 1e-3 * cost.at(1e9));
}

TEST_P(Limits, MoreBandwidthIsNeverSlower) {
  for (const int64_t ranks : {2, 8, 64, 1024, 50000}) {
    for (const double bytes : {1e3, 1e6, 1e9}) {
      double last = INFINITY;
      for (const double factor : {0.5, 1.0, 2.0, 8.0}) {
        LinkValues links = links_;
        links.ring_bytes_per_s *= factor;
        links.switch_bytes_per_s *= factor;
        links.network_bytes_per_s *= factor;
        const double time_s = collective_cost(GetParam(), links, {ranks, 8}).at(bytes);
        EXPECT_LE(time_s, last);
        last = time_s;
      }
    }
  }
}

TEST_P(Limits, MoreLatencyIsNeverFaster) {
  double last = 0;
  for (const double scale : {0.5, 1.0, 3.0}) {
    LinkValues links = links_;
    links.latency_scale = scale;
    const double time_s = collective_cost(GetParam(), links, {1024, 8}).at(1e6);
    EXPECT_GT(time_s, last);
    last = time_s;
  }
}

TEST_P(Limits, RanksChangeTheAnswer) {
  const double few = collective_cost(GetParam(), links_, {64, 8}).at(1e6);
  const double many = collective_cost(GetParam(), links_, {131072, 8}).at(1e6);
  EXPECT_GT(many, few * 1.2);
}

// Whole domains, each count twice the one before; tiers are crossed on the way.
TEST_P(Limits, MoreRanksAreNeverFaster) {
  for (const double bytes : {1e3, 1e5, 1e7, 1e9}) {
    double last = collective_cost(GetParam(), links_, {16, 8}).at(bytes);
    for (int64_t ranks = 32; ranks <= int64_t{1} << 20; ranks *= 2) {
      const double time_s = collective_cost(GetParam(), links_, {ranks, 8}).at(bytes);
      EXPECT_GE(time_s, last * (1 - 1e-12)) << ranks << " ranks, " << bytes << " bytes";
      last = time_s;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, Limits, testing::ValuesIn(kCollectiveKinds),
                         [](const auto& kind) { return std::string(name(kind.param)); });

TEST(Fitted, PiecewiseCurveIsContinuousAndCountsSteps) {
  const CollectiveFit fit{
      .ring = true, .base_s = 1e-5, .hop_s = 1e-6, .from_bytes = {0, 1e6}, .s_per_byte = {1e-9, 3e-9}};
  EXPECT_NEAR(fitted_time(fit, CollectiveKind::kAllReduce, 4, 0), 1e-5 + 6e-6, 1e-12);
  EXPECT_NEAR(fitted_time(fit, CollectiveKind::kAllReduce, 4, 1e6), 1.6e-5 + 1.5 * 1e-3, 1e-12);
  EXPECT_NEAR(fitted_time(fit, CollectiveKind::kAllReduce, 4, 2e6), 1.6e-5 + 1.5 * 4e-3, 1e-12);
  EXPECT_EQ(latency_steps(CollectiveKind::kAllGather, false, 8), 3);
}

}  // namespace
}  // namespace farscale
