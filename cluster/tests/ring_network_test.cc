// Rings on networks: closed forms, limits, and what the text of a network may say.
#include "cluster/ring_network.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "kernels/error.h"

namespace farscale {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

constexpr CollectiveKind kAllReduce = CollectiveKind::kAllReduce;

// 5 MB/s on the bus and a millisecond a step, on 2 to 4 ranks.
CollectiveFit fit() {
  return {.ring = true,
          .base_s = 0,
          .hop_s = 1e-3,
          .from_bytes = {0},
          .s_per_byte = {1 / 5e6},
          .log_sigma = 0.01,
          .least_ranks = 2,
          .most_ranks = 4,
          .least_bytes = 1e3,
          .most_bytes = 1e6,
          .records = 9};
}

TEST(RingNetwork, OneLeafOfEqualLinksIsTheFit) {
  for (const int64_t ranks : {2, 4, 16}) EXPECT_DOUBLE_EQ(ring_slowdown({}, ranks), 1);
  EXPECT_NEAR(ring_time(fit(), kAllReduce, 16, 1e6, {}).p50, 30 * 1e-3 + 2 * 15.0 / 16 * 1e6 / 5e6, 1e-9);
}

TEST(RingNetwork, InterleavedRanksShareTheUplink) {
  for (const double oversubscription : {1.0, 2.0, 4.0, 8.0}) {
    const RingNetwork apart{.per_leaf = 4, .oversubscription = oversubscription, .interleaved = true};
    EXPECT_DOUBLE_EQ(ring_slowdown(apart, 16), oversubscription);
  }
}

TEST(RingNetwork, LeafAfterLeafOneRankCrosses) {
  const auto at = [](double oversubscription) {
    return ring_slowdown({.per_leaf = 4, .oversubscription = oversubscription}, 16);
  };
  EXPECT_DOUBLE_EQ(at(1), 1);
  EXPECT_DOUBLE_EQ(at(4), 1);  // the uplink is as fast as one host's link
  EXPECT_DOUBLE_EQ(at(8), 2);
}

TEST(RingNetwork, NothingCrossesInsideOneLeaf) {
  const RingNetwork network{.per_leaf = 4, .oversubscription = 8, .interleaved = true};
  EXPECT_DOUBLE_EQ(ring_slowdown(network, 4), 1);
  EXPECT_DOUBLE_EQ(ring_slowdown(network, 5), 8);
}

TEST(RingNetwork, TheSlowestLinkDecides) {
  EXPECT_DOUBLE_EQ(ring_slowdown({.slowest = 0.25}, 16), 4);
  EXPECT_DOUBLE_EQ(ring_slowdown({.per_leaf = 4, .oversubscription = 8, .interleaved = true, .slowest = 0.25}, 16), 8);
}

TEST(RingNetwork, OnlyTheBytesSlowDown) {
  const RingNetwork slow{.slowest = 0.5};
  const double small_s = ring_time(fit(), kAllReduce, 8, 1, slow).p50;
  EXPECT_NEAR(small_s, 14e-3, 1e-6);
  const double free_s = ring_time(fit(), kAllReduce, 8, 1e6, {}).p50;
  EXPECT_NEAR(ring_time(fit(), kAllReduce, 8, 1e6, slow).p50, 2 * free_s - 14e-3, 1e-9);
}

TEST(RingNetwork, RangeWidensBeyondTheFittedRanks) {
  const auto width = [](int64_t ranks) {
    const Estimate time_s = ring_time(fit(), kAllReduce, ranks, 1e6, {});
    return time_s.p95 / time_s.p05;
  };
  EXPECT_DOUBLE_EQ(width(2), width(4));
  EXPECT_GT(width(8), 1.1 * width(4));
  EXPECT_GT(width(16), 1.1 * width(8));
}

TEST(RingNetwork, ReadsItsText) {
  const RingNetwork network = parse_ring_network("per_leaf=4 oversubscription=2.5 order=interleaved slowest=0.25");
  EXPECT_EQ(network.per_leaf, 4);
  EXPECT_DOUBLE_EQ(network.oversubscription, 2.5);
  EXPECT_TRUE(network.interleaved);
  EXPECT_DOUBLE_EQ(network.slowest, 0.25);
  EXPECT_EQ(parse_ring_network("").per_leaf, 0);
}

TEST(RingNetwork, BadTextSaysWhere) {
  const auto reading = [](const std::string& text) { return [text] { parse_ring_network(text); }; };
  EXPECT_THAT(reading("per_leav=4"), ThrowsMessage<InputError>(HasSubstr("per_leaf")));
  EXPECT_THAT(reading("slowest=2"), ThrowsMessage<InputError>(HasSubstr("network 'slowest=2': expected")));
  EXPECT_THAT(reading("slowest=fast"), ThrowsMessage<InputError>(HasSubstr("expected a number")));
  EXPECT_THAT(reading("order=random"), ThrowsMessage<InputError>(HasSubstr("order=interleaved")));
}

}  // namespace
}  // namespace farscale
