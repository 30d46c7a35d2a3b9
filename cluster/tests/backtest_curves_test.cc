// Networks told by names, the law of collectives over more nodes, and the solver under the step model.
#include "cluster/backtest_curves.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "cluster/backtest_range.h"
#include "cluster/random.h"
#include "cluster/scaling_solver.h"

namespace farscale {
namespace {

TEST(Fabric, RatesByName) {
  EXPECT_DOUBLE_EQ(fabric_of("A100-SXM4-80GB, 2x p4de.24xlarge, EFA v1 4x100G", 8).domain_bytes_per_s, 50e9);
  EXPECT_DOUBLE_EQ(fabric_of("NVIDIA B200, 2x GCP A4, RoCE 3.2 Tbps", 8).domain_bytes_per_s, 400e9);
  EXPECT_DOUBLE_EQ(fabric_of("H100 80GB SXM, 32 nodes x8, NDR400 IB", 8).domain_bytes_per_s, 400e9);
  EXPECT_DOUBLE_EQ(fabric_of("H100 80GB HBM3, 2x OCI BM.GPU.H100.8, RoCE 16x200G per node", 8).domain_bytes_per_s,
                   400e9);
  EXPECT_DOUBLE_EQ(fabric_of("32 GPUs, 4 nodes (~800 Gb/s per node by level)", 8).domain_bytes_per_s, 100e9);
}

TEST(Fabric, UnnamedRatesAreTheUsualCards) {
  const Fabric fabric = fabric_of("H100 80GB HBM3 SXM, 2 nodes x8", 8);
  EXPECT_FALSE(fabric.named_rate);
  EXPECT_DOUBLE_EQ(fabric.domain_bytes_per_s, 400e9);
  EXPECT_TRUE(fabric_of("A100 p4d.24xlarge, EFA 4x100G", 8).software_transport);
  EXPECT_FALSE(fabric_of("AMD MI300X, RoCE 8x400G, RCCL", 8).boosted);
}

TEST(Fabric, TheSameNetworkAtOtherSizes) {
  const Fabric two = fabric_of("GB200 NVL72, 144 GPUs (2 racks), NDR400 IB between racks, CoreWeave, NCCL 2.26.2", 4);
  const Fabric twenty =
      fabric_of("GB200 NVL72, 1440 GPUs (20 racks), NDR400 IB between racks, CoreWeave, NCCL 2.27.3", 4);
  EXPECT_TRUE(two.same_network(twenty));
  EXPECT_EQ(two.domain, 72);
  EXPECT_FALSE(two.same_network(fabric_of("GB200 NVL72, 144 GPUs, RoCE 400G, GCP A4X", 4)));
  EXPECT_FALSE(fabric_of("A100-SXM4-80GB, 4 nodes x8, HDR IB, CoreWeave", 8)
                   .same_network(fabric_of("A100-SXM4-80GB, 16 nodes x8 (128 GPUs), CoreWeave", 8)));
}

Curve curve_of(const Fabric& fabric, int64_t gpus) {
  return {.system = "made up", .collective = "all_reduce", .fabric = fabric, .gpus = gpus, .points = {}};
}

// A cluster that follows the library: latency in levels of a tree, twice the cards' rate at two nodes.
double truth(double nodes, double bytes) {
  const double alpha = 25e-6 + 2 * std::log2(nodes) * 18e-6;
  const double rate = std::min(470e9, 380e9 * (nodes == 2 ? 1.9 : 1));
  const double flow = 2 * (8 * nodes - 1) / (8 * nodes) * bytes / rate;
  return alpha + flow + 0.7 * std::pow(alpha, 0.75) * std::pow(flow, 0.25);
}

TEST(Law, LearnsFromTwoAndFourNodesWhatSixtyFourDo) {
  const Fabric fabric = fabric_of("H100 80GB SXM, NDR400 IB", 8);
  std::vector<Curve> known = {curve_of(fabric, 16), curve_of(fabric, 32)};
  Rng rng(2);
  for (Curve& curve : known) {
    for (double bytes = 1048576; bytes < 2e10; bytes *= 4) {
      curve.points.push_back({bytes, truth(double(curve.gpus) / 8, bytes) * std::exp(0.02 * rng.normal()), "", ""});
    }
  }
  const FittedLaw law(expected_law(fabric, CollectiveKind::kAllReduce), {&known[0], &known[1]});
  const Curve far = curve_of(fabric, 512);
  for (double bytes = 1048576; bytes < 2e10; bytes *= 8) {
    const double measured = truth(64, bytes);
    EXPECT_NEAR(std::exp(law.log_time(far, bytes)) / measured, 1, 0.12) << bytes;
    EXPECT_LT(std::abs(law.log_time(far, bytes) - std::log(measured)), 3 * law.log_sigma(far, bytes) + 0.02) << bytes;
  }
}

TEST(Law, TwentyRacksFromTheDataSheet) {
  // 426 GB/s over 20 racks of GB200 NVL72 on 50 GB/s cards (CoreWeave's published log), from no row at all.
  const Fabric fabric = fabric_of("GB200 NVL72, 1440 GPUs (20 racks), NDR400 IB between racks", 4);
  const FittedLaw law(expected_law(fabric, CollectiveKind::kAllReduce), {});
  const double bytes = 16.0 * 1024 * 1024 * 1024;
  const double bus = 2 * 1439.0 / 1440 * bytes / std::exp(law.log_time(curve_of(fabric, 1440), bytes));
  EXPECT_NEAR(bus / 426e9, 1, 0.08);
}

TEST(Law, GrowsWithRanksAndFallsWithBandwidth) {
  for (const CollectiveKind kind :
       {CollectiveKind::kAllReduce, CollectiveKind::kReduceScatter, CollectiveKind::kAllToAll}) {
    Fabric fabric = fabric_of("B200, IB 8x400G", 8), faster = fabric_of("B200, IB 8x800G", 8);
    const FittedLaw law(expected_law(fabric, kind), {}), quick(expected_law(faster, kind), {});
    double last = 0;
    for (int64_t gpus = 32; gpus <= 65536; gpus *= 2) {
      Curve curve = curve_of(fabric, gpus), other = curve_of(faster, gpus);
      curve.kind = other.kind = kind;
      const double now = law.log_time(curve, 1e8);
      EXPECT_GT(now, last == 0 ? -INFINITY : last) << gpus;
      EXPECT_LT(quick.log_time(other, 1e8), now) << gpus;
      last = now;
    }
  }
}

TEST(Curves, NamesOfCollectivesMeetAndUnknownOnesAreNoted) {
  const std::string header = "system,nodes,gpus_per_node,gpus,collective,bytes,time_us,busbw_gb_s\n";
  std::vector<std::string> notes;
  const std::vector<Curve> curves = read_curves(
      parse_csv(header + "a,1,8,8,AllReduce,1000,10,\na,1,8,8,reduce-scatter,1000,10,\na,1,8,8,sendrecv,1000,10,\n",
                "t.csv"),
      &notes);
  ASSERT_EQ(curves.size(), 2u);
  EXPECT_EQ(curves[0].kind, CollectiveKind::kAllReduce);
  EXPECT_EQ(curves[1].kind, CollectiveKind::kReduceScatter);
  EXPECT_THAT(notes, testing::ElementsAre(testing::HasSubstr("sendrecv")));
}

TEST(Through, IsExactOnKnownSizesAndMonotonic) {
  const std::vector<CurvePoint> known = {{1e6, 1e-4, "", ""}, {4e6, 1.5e-4, "", ""}, {16e6, 4e-4, "", ""}};
  for (const CurvePoint& point : known) EXPECT_NEAR(through(known, point.bytes) / point.time_s, 1, 1e-9);
  double last = 0;
  for (double bytes = 1e5; bytes < 1e9; bytes *= 1.3) {
    EXPECT_GE(through(known, bytes), last * (1 - 1e-12));
    last = through(known, bytes);
  }
}

TEST(Reach, IsTheQuantileOfTheOthers) {
  std::vector<Surprise> all;
  for (int i = 0; i < 2000; ++i) all.push_back({"a", i / 1000.0});
  for (int i = 0; i < 50; ++i) all.push_back({"wild", 50.0});
  EXPECT_NEAR(reach_of(all, "wild"), 1.8, 0.01);
  EXPECT_DOUBLE_EQ(reach_of({}, "a"), 1.9);
  EXPECT_DOUBLE_EQ(reach_of({{"a", 9.0}}, "a"), 1.9);  // its own surprise does not count
}

TEST(ArrowSystem, AgreesWithTheDenseSolution) {
  constexpr int kShared = 3, kSeries = 4;
  ArrowSystem arrow(kShared, kSeries);
  Eigen::MatrixXd normal = Eigen::MatrixXd::Zero(kShared + kSeries, kShared + kSeries);
  normal.topLeftCorner(kShared, kShared) = Eigen::MatrixXd::Identity(kShared, kShared) * 1e-9;
  Eigen::VectorXd right = Eigen::VectorXd::Zero(kShared + kSeries);
  Rng rng(9);
  Gradient last;
  Eigen::VectorXd slopes;
  for (int i = 0; i < 40; ++i) {
    Gradient g;
    slopes = Eigen::VectorXd::Zero(kShared + kSeries);
    for (int j = 0; j < kShared; ++j) g.add(j, slopes[j] = rng.normal());
    g.series = i % kSeries, g.own = slopes[kShared + g.series] = 1 + rng.uniform();
    const double residual = rng.normal(), weight = 1 + rng.uniform();
    arrow.add(g, residual, weight);
    normal += weight * slopes * slopes.transpose();
    right -= weight * residual * slopes;
    last = g;
  }
  arrow.solve();
  const Eigen::VectorXd dense = normal.ldlt().solve(right);
  for (int j = 0; j < kShared; ++j) EXPECT_NEAR(arrow.shared_step(size_t(j)), dense[j], 1e-9);
  for (int j = 0; j < kSeries; ++j) EXPECT_NEAR(arrow.own_step(size_t(j)), dense[kShared + j], 1e-9);
  EXPECT_NEAR(arrow.variance(last), slopes.dot(normal.ldlt().solve(slopes)), 1e-9);
}

}  // namespace
}  // namespace farscale
