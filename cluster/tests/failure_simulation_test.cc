// Failures one by one against Daly's closed form, published fleets, and queueing theory.
#include "cluster/failure_simulation.h"

#include <gtest/gtest.h>

namespace farscale {
namespace {

TEST(FailureSimulation, AgreesWithDalyWithinOnePercent) {
  for (const double gpus : {1024.0, 16384.0, 100000.0, 300000.0})
    for (const FailureDraw& draw : {FailureDraw{6.5e-3, 30, 600, 0}, FailureDraw{3.79e-3, 10, 420, 10}}) {
      const double nodes = gpus / 8;
      const FailureRun run{.failures = draw, .nodes = nodes, .days = 200};
      const FailureStudy study = study_failures(run, 60, 1);
      EXPECT_NEAR(study.mean_goodput / draw.goodput(nodes), 1, 0.01) << gpus;
    }
}

TEST(FailureSimulation, AgreesWithDalyAwayFromTheBestInterval) {
  const FailureDraw draw{6.5e-3, 60, 300, 0};
  for (const double interval : {100.0, 1000.0, 5000.0}) {
    const FailureRun run{.failures = draw, .nodes = 2048, .days = 400, .interval_s = interval};
    const double exact = daly_goodput(draw.mtbf_s(2048), 60, 300, interval);
    EXPECT_NEAR(study_failures(run, 60, 7).mean_goodput / exact, 1, 0.01);
  }
}

TEST(FailureSimulation, LlamaThree) {
  // 419 unexpected interruptions in 54 days on 2,048 nodes, over 90 % effective training time (arXiv 2407.21783).
  const FailureRun run{.failures = {419.0 / 54 / 2048, 10, 420, 0}, .nodes = 2048, .days = 54};
  double failures = 0;
  for (uint64_t seed = 1; seed <= 100; ++seed) failures += double(simulate_failures(run, seed).failures) / 100;
  EXPECT_NEAR(failures, 419, 10);
  EXPECT_GT(study_failures(run, 100, 1).mean_goodput, 0.90);
}

TEST(FailureSimulation, SameSeedSameAnswerOnAnyNumberOfThreads) {
  const FailureRun run{.failures = {6.5e-3, 30, 600, 0},
                       .nodes = 2048,
                       .days = 50,
                       .spare_nodes = 20,
                       .repair_share = 0.5,
                       .repair_days = 3};
  const FailureStudy one = study_failures(run, 16, 5, 1), four = study_failures(run, 16, 5, 4);
  EXPECT_EQ(one.mean_goodput, four.mean_goodput);
  EXPECT_EQ(one.waiting_share.p95, four.waiting_share.p95);
  EXPECT_NE(one.mean_goodput, study_failures(run, 16, 50, 1).mean_goodput);
}

TEST(FailureSimulation, SparesThatRunOutStopTheJob) {
  FailureRun run{.failures = {6.5e-3, 30, 600, 0}, .nodes = 2048, .days = 300, .repair_share = 1, .repair_days = 3};
  const double in_repair = 6.5e-3 * 2048 * 3;  // about 40 on average: Little's law
  run.spare_nodes = 2 * int64_t(in_repair);
  const FailureStudy enough = study_failures(run, 20, 1);
  run.spare_nodes = int64_t(in_repair / 2);
  const FailureStudy few = study_failures(run, 20, 1);
  EXPECT_LT(enough.waiting_share.p95, 1e-3);
  EXPECT_GT(few.waiting_share.p50, 0.4);  // half the repairs a day that the failures need
  EXPECT_LT(few.mean_goodput, 0.6 * enough.mean_goodput);
}

TEST(FailureSimulation, SparesNeededForThreeNines) {
  // 37,500 nodes at 6.5e-3 a day and one day of repair: 244 down on average, 293 spares for 99.9 %; three days: 816.
  FailureRun run{.failures = {6.5e-3, 30, 600, 0}, .nodes = 37500, .repair_share = 1, .repair_days = 1};
  EXPECT_NEAR(double(spares_needed(run, 0.999)), 293, 1.5);
  run.repair_days = 3;
  EXPECT_NEAR(double(spares_needed(run, 0.999)), 816, 2);
}

}  // namespace
}  // namespace farscale
