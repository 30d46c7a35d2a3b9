// NCCL's own model: its formulas evaluated elsewhere (NVIDIA/nccl src/graph/tuning.cc at 5067397, Hopper, 8 GPUs a
// node, 8 channels of 45 GB/s, Intel hosts), and hand calculations of single terms.
#include "cluster/nccl_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "kernels/error.h"

namespace farscale {
namespace {

constexpr double kMiB = 1048576;

class Nccl : public testing::Test {
 protected:
  NcclSystem system(int64_t ranks, int64_t per_node = 8) const {
    return {.ranks = ranks,
            .nodes = std::max<int64_t>(1, ranks / per_node),
            .channels = 8,
            .intra_gb_per_s = 45,
            .inter_gb_per_s = 45,
            .switch_reduces = per_node > 1,
            .network_reduces = true,
            .constants = &machine_.data().collectives};
  }
  double time_ms(std::string_view algorithm, double mib, int64_t ranks) const {
    return 1e3 * nccl_cost(CollectiveKind::kAllReduce, system(ranks)).line(algorithm).at(mib * kMiB);
  }
  Machine machine_ = load_hardware("h100-sxm");
};

constexpr std::array<int64_t, 4> kRanks = {512, 16384, 131072, 300000};
struct Row {
  const char* algorithm;
  double mib;
  std::array<double, 4> ms;
};
constexpr Row kTable[] = {
    {"ring, low latency 128", 32, {2.45, 71, 567, 1298}},      {"ring", 32, {6.9, 217, 1239, 2835}},
    {"tree, low latency 128", 32, {0.45, 0.54, 0.59, 0.61}},   {"tree", 32, {0.57, 0.71, 0.79, 0.82}},
    {"switch and tree", 32, {0.46, 0.67, 0.80, 0.84}},         {"SHARP", 32, {0.23, 0.23, 0.23, 0.23}},
    {"ring, low latency 128", 256, {4.05, 73, 569, 1299}},     {"ring", 256, {8.2, 218, 1736, 3970}},
    {"tree, low latency 128", 256, {2.45, 2.53, 2.58, 2.60}},  {"tree", 256, {2.30, 2.44, 2.53, 2.56}},
    {"switch and tree", 256, {1.76, 1.98, 2.10, 2.14}},        {"SHARP", 256, {1.53, 1.53, 1.53, 1.53}},
    {"ring, low latency 128", 4096, {31, 100, 596, 1327}},     {"ring", 4096, {31, 241, 1758, 3993}},
    {"tree, low latency 128", 4096, {37.2, 37.2, 37.3, 37.3}}, {"tree", 4096, {30.1, 30.2, 30.3, 30.3}},
    {"switch and tree", 4096, {24.1, 24.3, 24.5, 24.5}},       {"SHARP", 4096, {23.9, 23.9, 23.9, 23.9}}};

TEST_F(Nccl, ReproducesItsTable) {
  for (const Row& row : kTable) {
    for (size_t i = 0; i < kRanks.size(); ++i) {
      EXPECT_NEAR(time_ms(row.algorithm, row.mib, kRanks[i]) / row.ms[i], 1, 0.025)
          << row.algorithm << ", " << row.mib << " MiB, " << kRanks[i] << " ranks";
    }
  }
}

// One step of a flat ring: 7 hops of 3.4 us inside a node and one of 14 us: 4.7 us a step, 6.6 on the plateau.
TEST_F(Nccl, RingStepIsTheMeanHop) {
  const double slope_us = 1e3 * (time_ms("ring", 4096, 32768) - time_ms("ring", 4096, 16384)) / (2 * 16384.0);
  EXPECT_NEAR(slope_us, 1.4 * (7 * 3.4 + 14) / 8, 0.02);
}

TEST_F(Nccl, OneNodeDropsTheNetwork) {
  const CollectiveCost cost = nccl_cost(CollectiveKind::kAllReduce, system(8));
  EXPECT_NEAR(1e6 * cost.line("ring").alpha_s, 8.4 + 14 * 3.4, 1e-9);
  EXPECT_NEAR(1e6 * cost.line("tree, low latency").alpha_s, 6.8 + 2 * 7 * 0.6, 1e-9);
  EXPECT_NEAR(1e6 * cost.line("switch").alpha_s, 25, 1e-9);  // the base is dropped
  EXPECT_FALSE(cost.has("switch and tree"));
  // 8 channels of 45 GB/s, twice over, 0.85 efficient, one channel lost: bus bandwidth 535.5 GB/s.
  EXPECT_NEAR(1e-9 / cost.line("switch").s_per_byte, 535.5 * 8 / 14, 0.1);
}

TEST_F(Nccl, ScattersHaveNoTree) {
  const CollectiveCost nodes = nccl_cost(CollectiveKind::kReduceScatter, system(512));
  EXPECT_FALSE(nodes.has("tree"));
  EXPECT_FALSE(nodes.has("PAT"));
  const CollectiveCost alone = nccl_cost(CollectiveKind::kAllGather, system(64, 1));
  EXPECT_NEAR(1e6 * alone.line("PAT").alpha_s, 8 + 6 * 14 / 3.5 + 64 * 2.8, 1e-9);
  EXPECT_NEAR(1e6 * alone.line("ring").alpha_s, 8.4 + 63 * 14, 1e-9);
}

TEST_F(Nccl, AmdHostsPostSlower) {
  NcclSystem amd = system(512);
  amd.amd_host = true;
  const double more = nccl_cost(CollectiveKind::kAllReduce, amd).line("ring").alpha_s -
                      nccl_cost(CollectiveKind::kAllReduce, system(512)).line("ring").alpha_s;
  EXPECT_NEAR(1e6 * more, (2 * 511 - 2 * 63) * (6 - 3.4), 1e-6);
}

TEST_F(Nccl, ShortChunksAreFlagged) {
  const CollectiveCost cost = nccl_cost(CollectiveKind::kAllReduce, system(300000));
  EXPECT_FALSE(cost.line("ring").holds(256 * kMiB));  // 112-byte chunks
  EXPECT_TRUE(cost.line("ring").holds(4096 * kMiB));
  EXPECT_TRUE(cost.line("tree").holds(1));
}

TEST_F(Nccl, IsAPriorToChoose) {
  const Workload workload = load_workload("resnet50");
  const PredictOptions nccl{.draws = 50, .collectives = CollectivePrior::kNccl};
  const Prediction p = predict(workload, machine_, 4096, nccl);
  EXPECT_NE(p.breakdown_s.exposed_comm, predict(workload, machine_, 4096, {.draws = 50}).breakdown_s.exposed_comm);
  EXPECT_THAT(p.evidence, testing::Contains(testing::Field(&EvidenceLine::what, testing::HasSubstr("NCCL's own"))));
  EXPECT_THROW(predict(workload, load_hardware("mi300x"), 64, nccl), InputError);
}

}  // namespace
}  // namespace farscale
