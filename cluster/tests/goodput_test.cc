// Goodput against published projections and a table evaluated independently from Daly's closed form.
#include "cluster/goodput.h"

#include <gtest/gtest.h>

#include <cmath>

#include "kernels/error.h"

namespace farscale {
namespace {

constexpr double kRsc1 = 6.5e-3, kRsc2 = 2.34e-3, kLlama3 = 3.79e-3;

double best_goodput(double rate, double gpus, double checkpoint_s, double restart_s) {
  return FailureDraw{rate, checkpoint_s, restart_s, 0}.goodput(gpus / 8);
}

Quantity exactly(double value) {
  return {.value = {value, value, value}, .evidence = Evidence::kAssumed, .source = "t"};
}

TEST(Goodput, TimeBetweenFailuresIsMetasProjection) {
  const FailureDraw rsc1{kRsc1, 30, 600, 0};
  EXPECT_NEAR(rsc1.mtbf_s(16384 / 8) / 3600, 1.8, 0.01);     // arXiv 2410.21680: 1.8 h at 16,384 GPUs
  EXPECT_NEAR(rsc1.mtbf_s(131072 / 8) / 3600, 0.23, 0.005);  // and 0.23 h at 131,072
}

TEST(Goodput, DalyExactTable) {
  struct Row {
    double rate, checkpoint_s, restart_s, at16384, at50k, at100k, at200k, at300k;
  };
  for (const Row& row :
       {Row{kRsc1, 5, 300, 91.8, 81.0, 68.3, 49.4, 36.1}, Row{kRsc1, 30, 600, 82.7, 63.4, 44.4, 22.7, 11.8},
        Row{kRsc1, 60, 1200, 72.3, 44.4, 22.7, 6.2, 1.8}, Row{kLlama3, 30, 600, 88.0, 74.4, 59.7, 39.6, 26.8},
        Row{kRsc2, 5, 300, 96.1, 91.2, 85.2, 75.1, 66.6}, Row{kRsc1, 1, 60, 97.4, 94.3, 90.5, 84.0, 78.2}}) {
    EXPECT_NEAR(100 * best_goodput(row.rate, 16384, row.checkpoint_s, row.restart_s), row.at16384, 0.06);
    EXPECT_NEAR(100 * best_goodput(row.rate, 50000, row.checkpoint_s, row.restart_s), row.at50k, 0.06);
    EXPECT_NEAR(100 * best_goodput(row.rate, 100000, row.checkpoint_s, row.restart_s), row.at100k, 0.06);
    EXPECT_NEAR(100 * best_goodput(row.rate, 200000, row.checkpoint_s, row.restart_s), row.at200k, 0.06);
    EXPECT_NEAR(100 * best_goodput(row.rate, 300000, row.checkpoint_s, row.restart_s), row.at300k, 0.06);
  }
}

TEST(Goodput, MoreGpusInOneJobDeliverLessBeyondThePeak) {
  double best = 0, best_gpus = 0;
  for (double gpus = 8; gpus <= 400000; gpus += 8) {
    const double delivered = gpus * best_goodput(kRsc1, gpus, 30, 600);
    if (delivered > best) best = delivered, best_gpus = gpus;
  }
  EXPECT_NEAR(best_gpus, 150e3, 4e3);  // a flat top
  EXPECT_NEAR(best, 47.4e3, 0.1e3);
}

TEST(Goodput, BestIntervalBeatsItsNeighboursAndTheExpansions) {
  for (const double mtbf : {60.0, 600.0, 6490.0, 1e6})
    for (const double checkpoint : {1e-3, 1.0, 30.0, 300.0}) {
      const double best = best_checkpoint_interval(mtbf, checkpoint, 100);
      const double goodput = daly_goodput(mtbf, checkpoint, 100, best);
      for (const double factor : {0.5, 0.99, 0.9999, 1.0001, 1.01, 2.0})
        EXPECT_GE(goodput, daly_goodput(mtbf, checkpoint, 100, best * factor));
      EXPECT_GE(goodput * (1 + 1e-12), daly_goodput(mtbf, checkpoint, 100, young_interval(mtbf, checkpoint)));
      // Daly's expansion is within 1 % of the optimum while checkpoints are short against failures.
      if (checkpoint < 0.1 * mtbf) {
        EXPECT_NEAR(daly_interval(mtbf, checkpoint) / best, 1, 0.01);
      }
    }
}

TEST(Goodput, Limits) {
  EXPECT_NEAR(daly_goodput(1e12, 10, 100, 1000), 1000.0 / 1010.0, 1e-6);  // no failures: only checkpoints cost
  EXPECT_DOUBLE_EQ(best_checkpoint_interval(1000, 0, 100), 0);
  EXPECT_DOUBLE_EQ(daly_goodput(1000, 0, 100, 0), std::exp(-0.1));  // free checkpoints: only restarts cost
  EXPECT_DOUBLE_EQ(daly_goodput(1000, 1, 100, 0), 0);               // never anything but checkpoints
  EXPECT_LT(linear_goodput(60, 30, 600, 60),
            0);  // the linear form fails where restarts outlast failures; the exact not
  EXPECT_GT(daly_goodput(60, 30, 600, 60), 0);
  EXPECT_NEAR(linear_goodput(1e6, 5, 60, 3162), daly_goodput(1e6, 5, 60, 3162), 1e-4);
}

TEST(Goodput, RejectsWhatCannotBe) {
  EXPECT_THROW(daly_goodput(0, 1, 1, 1), InputError);
  EXPECT_THROW(daly_goodput(-5, 1, 1, 1), InputError);
  EXPECT_THROW(daly_goodput(10, -1, 1, 1), InputError);
  EXPECT_THROW(best_checkpoint_interval(10, 1, -1), InputError);
  EXPECT_THROW(daly_goodput(10, 1, 1, std::nan("")), InputError);
  EXPECT_THROW(job_goodput(default_failure_model(), 0, 8, 10, 1), InputError);
  EXPECT_THROW(job_goodput(default_failure_model(), 8, 0, 10, 1), InputError);
  EXPECT_THROW(job_goodput(default_failure_model(), 8, 8, 0, 1), InputError);
}

TEST(JobGoodput, OrderedRangesThatScale) {
  const FailureModel model = default_failure_model();
  const GoodputEstimate small = job_goodput(model, 16384, 8, 2000, 1);
  const GoodputEstimate large = job_goodput(model, 131072, 8, 2000, 1);
  EXPECT_LT(small.goodput.p05, small.goodput.p50);
  EXPECT_LT(small.goodput.p50, small.goodput.p95);
  EXPECT_NEAR(small.mtbf_s.p50 / large.mtbf_s.p50, 8, 1e-9);  // time between failures falls as 1/N
  EXPECT_NEAR(small.mtbf_s.p05 / 3600, 1.8, 0.05);            // the pessimistic end is RSC-1
  EXPECT_GT(small.goodput.p50, large.goodput.p50);
  EXPECT_GT(small.checkpoint_interval_s.p50, large.checkpoint_interval_s.p50);
}

TEST(JobGoodput, Llama3EffectiveTrainingTime) {
  FailureModel model = default_failure_model();
  model.node_failures_per_day = exactly(419.0 / 54 / 2048);  // over 90 % effective at 16,384 GPUs (arXiv 2407.21783)
  const GoodputEstimate llama = job_goodput(model, 16384, 8, 2000, 1);
  EXPECT_NEAR(llama.mtbf_s.p50, 54.0 * 86400 / 419, 1);
  EXPECT_GT(llama.goodput.p50, 0.90);
  EXPECT_LT(llama.goodput.p05, 0.90);
}

TEST(JobGoodput, SameSeedSameAnswerOtherSeedNear) {
  const FailureModel model = default_failure_model();
  const GoodputEstimate a = job_goodput(model, 50000, 8, 2000, 7), b = job_goodput(model, 50000, 8, 2000, 7);
  const GoodputEstimate c = job_goodput(model, 50000, 8, 2000, 8);
  EXPECT_EQ(a.goodput.p05, b.goodput.p05);
  EXPECT_EQ(a.goodput.p95, b.goodput.p95);
  EXPECT_NE(a.goodput.p50, c.goodput.p50);
  EXPECT_NEAR(a.goodput.p50, c.goodput.p50, 0.01);
}

TEST(JobGoodput, ExactInputsGiveThePoint) {
  const FailureModel model{exactly(kRsc1), exactly(30), exactly(600), exactly(0)};
  const GoodputEstimate point = job_goodput(model, 50000, 8, 100, 1);
  EXPECT_NEAR(point.goodput.p50, 0.634, 0.0006);
  EXPECT_DOUBLE_EQ(point.goodput.p05, point.goodput.p95);
}

TEST(JobGoodput, RestartGrowsWithTheJob) {
  const FailureDraw draw{kRsc1, 10, 300, 20};
  EXPECT_DOUBLE_EQ(draw.restart_of_job_s(1000), 320);
  EXPECT_DOUBLE_EQ(draw.restart_of_job_s(37500), 1050);
  EXPECT_EQ(nodes_of(12, 8), 2);
  EXPECT_EQ(nodes_of(16, 8), 2);
}

TEST(JobGoodput, CheckpointGrowsWithTheJob) {
  FailureDraw draw{kRsc1, 10, 300, 0};
  const double flat = draw.goodput(10000);
  draw.checkpoint_s_per_1000_nodes = 3;
  EXPECT_DOUBLE_EQ(draw.checkpoint_of_job_s(10000), 40);
  EXPECT_DOUBLE_EQ(draw.goodput(10000), (FailureDraw{kRsc1, 40, 300, 0}.goodput(10000)));
  EXPECT_LT(draw.goodput(10000), flat);
}

TEST(JobGoodput, SilentCorruptionCostsItsDelay) {
  FailureDraw draw{1e-12, 0, 0, 0};
  draw.silent_per_node_day = 1e-4;
  draw.silent_found_s = 3600;
  // Free checkpoints and restarts: a moment is kept when no corruption is found within the hour after it.
  EXPECT_NEAR(draw.goodput(10000), std::exp(-1e-4 * 10000 / 24), 1e-9);
  draw.silent_found_s = 0;
  EXPECT_NEAR(draw.goodput(10000), 1, 1e-9);
}

TEST(JobGoodput, IsolatedReplicasLoseLess) {
  FailureDraw draw{kRsc1, 30, 600, 0};
  const double whole = draw.goodput(12500);
  draw.isolated = true;
  draw.resync_s = 30;
  draw.job_wide_share = 1;
  EXPECT_NEAR(draw.goodput(12500), whole, 1e-12);  // nothing is survived
  draw.job_wide_share = 0;
  const double failures_per_s = kRsc1 * 12500 / 86400;
  EXPECT_NEAR(draw.goodput(12500), std::exp(-failures_per_s * 30) * (1 - failures_per_s * 600 / 12500), 1e-3);
  EXPECT_GT(draw.goodput(12500), 2 * whole);
  draw.replica_nodes = 100;
  EXPECT_NEAR(draw.goodput(12500), std::exp(-failures_per_s * 30) * (1 - failures_per_s * 600 * 100 / 12500), 1e-3);
}

TEST(JobGoodput, NewNodesFailMore) {
  const FailureDraw draw{kRsc1, 10, 420, 0}, twice{2 * kRsc1, 10, 420, 0};
  EXPECT_DOUBLE_EQ(draw.goodput(1000, 1.0), twice.goodput(1000));
}

}  // namespace
}  // namespace farscale
