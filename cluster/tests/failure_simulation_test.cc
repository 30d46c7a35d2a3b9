// Failures one by one against the closed form, published fleets, and queueing theory.
#include "cluster/failure_simulation.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

namespace farscale {
namespace {

// Means over histories of `days` days of a fleet of equal jobs.
struct Mean {
  double kept = 0;                                                                    // of all jobs
  double failures = 0, to_repair = 0, repaired = 0, in_repair = 0, waiting_days = 0;  // of a history
};

Mean play(const FleetFigures& figures, const FleetShape& shape, int days, int histories, uint64_t seed = 1) {
  Mean mean;
  for (int h = 0; h < histories; ++h) {
    FleetHistory history(figures, seed + uint64_t(h));
    for (int d = 0; d < days; ++d) {
      const FleetDay& day = history.play(shape);
      mean.kept += std::accumulate(day.kept.begin(), day.kept.end(), 0.0) / double(day.kept.size()) / days / histories;
      mean.failures += day.failures / histories;
      mean.to_repair += day.to_repair / histories;
      mean.repaired += day.repaired / histories;
      mean.waiting_days += day.waiting_days / histories;
    }
    mean.in_repair += history.in_repair() / histories;
  }
  return mean;
}

FleetShape one_job(double nodes, double spares = 0) { return {.nodes = nodes + spares, .job_nodes = {nodes}}; }

TEST(FleetHistory, AgreesWithDalyWithinOnePercent) {
  for (const double gpus : {1024.0, 16384.0, 100000.0, 300000.0})
    for (const FailureDraw& draw : {FailureDraw{6.5e-3, 30, 600, 0}, FailureDraw{3.79e-3, 10, 420, 10}}) {
      const double nodes = gpus / 8;
      const double mtbf_s = draw.mtbf_s(nodes), restart_s = draw.restart_of_job_s(nodes);
      const double daly = daly_goodput(mtbf_s, draw.checkpoint_s, restart_s,
                                       best_checkpoint_interval(mtbf_s, draw.checkpoint_s, restart_s));
      EXPECT_NEAR(draw.goodput(nodes), daly, 1e-12);  // no corruption, nothing isolated: Daly's form and no more
      EXPECT_NEAR(play({.failures = draw}, one_job(nodes), 200, 40).kept / daly, 1, 0.01) << gpus;
    }
}

TEST(FleetHistory, SeveralJobsAreAsGoodAsTheirSize) {
  const FailureDraw draw{6.5e-3, 30, 600, 0};
  const FleetShape shape{.nodes = 10000, .job_nodes = {5000, 2500, 2500}};
  const FleetFigures figures{.failures = draw};
  FleetHistory history(figures, 3);
  std::vector<double> sum(3);
  for (int d = 0; d < 4000; ++d) {
    const FleetDay& day = history.play(shape);
    for (size_t j = 0; j < 3; ++j) sum[j] += day.kept[j] / 4000;
  }
  EXPECT_NEAR(sum[0] / draw.goodput(5000), 1, 0.015);
  EXPECT_NEAR(sum[1] / draw.goodput(2500), 1, 0.015);
  EXPECT_NEAR(sum[2] / draw.goodput(2500), 1, 0.015);
}

TEST(FleetHistory, SilentCorruptionAgreesWithItsClosedForm) {
  for (const double found_s : {1800.0, 14400.0}) {
    FailureDraw draw{3.79e-3, 10, 420, 0};
    draw.silent_per_node_day = 1e-4;
    draw.silent_found_s = found_s;
    EXPECT_NEAR(play({.failures = draw}, one_job(6250), 300, 30).kept / draw.goodput(6250), 1, 0.015) << found_s;
  }
}

TEST(FleetHistory, IsolatedJobsAgreeWithTheirClosedForm) {
  for (const double wide : {0.0, 0.1}) {
    FailureDraw draw{6.5e-3, 30, 600, 0};
    draw.isolated = true;
    draw.resync_s = 20;
    draw.job_wide_share = wide;
    draw.replica_nodes = 4;
    EXPECT_NEAR(play({.failures = draw}, one_job(12500), 100, 20).kept / draw.goodput(12500), 1, 0.01) << wide;
  }
}

TEST(FleetHistory, LlamaThree) {
  // 419 unexpected interruptions in 54 days on 2,048 nodes, over 90 % effective training time (arXiv 2407.21783).
  const Mean mean = play({.failures = {419.0 / 54 / 2048, 10, 420, 0}}, one_job(2048), 54, 200);
  EXPECT_NEAR(mean.failures, 419, 6);
  EXPECT_GT(mean.kept, 0.90);
  EXPECT_LT(mean.kept, 0.98);
}

TEST(FleetHistory, MetasProjectionsOfTheTimeBetweenFailures) {
  // RSC-1's 6.5 failures per 1,000 node-days: 1.8 h at 16,384 GPUs, 0.23 h at 131,072 (arXiv 2410.21680).
  for (const auto& [gpus, hours] : {std::pair{16384.0, 1.8}, {131072.0, 0.23}}) {
    const Mean mean = play({.failures = {6.5e-3, 10, 420, 0}}, one_job(gpus / 8), 100, 20);
    EXPECT_NEAR(100 * 24 / mean.failures / hours, 1, 0.03) << gpus;
  }
}

TEST(FleetHistory, SameSeedSameHistory) {
  const FleetFigures figures{.failures = {6.5e-3, 30, 600, 0}, .repair_share = 0.5, .repair_days = 3};
  const Mean a = play(figures, one_job(2048, 20), 50, 4), b = play(figures, one_job(2048, 20), 50, 4);
  EXPECT_EQ(a.kept, b.kept);
  EXPECT_EQ(a.to_repair, b.to_repair);
  EXPECT_NE(a.kept, play(figures, one_job(2048, 20), 50, 4, 100).kept);
}

TEST(FleetHistory, RepairsObeyLittlesLawAndNoNodeVanishes) {
  const FleetFigures figures{.failures = {6.5e-3, 30, 600, 0}, .repair_share = 0.5, .repair_days = 4};
  const Mean mean = play(figures, one_job(2000, 200), 400, 50);
  EXPECT_NEAR(mean.in_repair, 6.5e-3 * 2200 * 0.5 * 4, 2);
  EXPECT_NEAR(mean.to_repair, mean.repaired + mean.in_repair, 1e-6);
  EXPECT_NEAR(mean.to_repair / mean.failures, 0.5, 0.01);
}

TEST(FleetHistory, FewHandsMakeAQueue) {
  FleetFigures figures{.failures = {6.5e-3, 30, 600, 0}, .repair_share = 1, .repair_days = 2};
  const double failures_a_day = 6.5e-3 * 2000;  // 13
  figures.repairs_per_day = 20;
  const Mean enough = play(figures, one_job(1800, 200), 200, 20);
  figures.repairs_per_day = 10;
  const Mean few = play(figures, one_job(1800, 200), 200, 20);
  EXPECT_LT(enough.in_repair, 2 * 2.5 * failures_a_day);
  EXPECT_NEAR(few.in_repair, 200 * (failures_a_day - 10) + 10 * 2, 60);  // the queue grows by what hands cannot do
}

TEST(FleetHistory, SparesThatRunOutStopTheJob) {
  // All in one day, without spares: half of the failures on average wait half a day for the morning.
  const FleetFigures figures{.failures = {1e-2, 0, 0, 0}, .repair_share = 1, .repair_days = 3};
  const Mean none = play(figures, one_job(100), 1, 4000), some = play(figures, one_job(100, 10), 1, 4000);
  EXPECT_LT(none.kept, 0.75);
  EXPECT_GT(none.waiting_days, 0.3);
  EXPECT_EQ(some.waiting_days, 0);
  EXPECT_GT(some.kept, 0.999);
}

TEST(FleetHistory, SparesNeededForThreeNines) {
  // 37,500 nodes at 6.5e-3 a day and one day of repair: 244 down on average, 293 spares for 99.9 %; three days: 816.
  FleetFigures figures{.failures = {6.5e-3, 30, 600, 0}, .repair_share = 1, .repair_days = 1};
  EXPECT_NEAR(double(spares_needed(figures, 37500, 0.999)), 293, 1.5);
  figures.repair_days = 3;
  EXPECT_NEAR(double(spares_needed(figures, 37500, 0.999)), 816, 2);
}

}  // namespace
}  // namespace farscale
