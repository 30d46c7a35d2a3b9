// GEMM time: quantisation by hand, records recovered, uncertainty growing away from them, published tables covered.
#include "cluster/gemm_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "cluster/compute_model.h"
#include "cluster/predict.h"
#include "kernels/error.h"
#include "results/csv.h"
#include "results/statistics.h"

namespace farscale {
namespace {

GemmProblem gemm(int64_t m, int64_t n, int64_t k) { return {.m = m, .n = n, .k = k, .type = NumberType::kBf16}; }

TEST(Quantised, WholeWavesOfLargeTilesCostLittle) {
  // 132 multiprocessors, one 256 x 128 tile each: nothing is lost but filling the pipeline.
  const GemmProblem whole = gemm(256 * 12, 128 * 11, 8192);
  EXPECT_NEAR(quantised_flops(whole, 132) / whole.flops(), (8192 + 96) / 8192.0, 1e-9);
}

TEST(Quantised, OneTileMoreOpensAWave) {
  const double before = quantised_flops(gemm(256 * 12, 128 * 11, 8192), 132);
  const double after = quantised_flops(gemm(256 * 12 + 1, 128 * 11, 8192), 132);
  EXPECT_GT(after, 1.2 * before);
}

TEST(Quantised, NarrowProductsPadTheirTiles) {
  const GemmProblem narrow = gemm(65536, 16, 4096);
  EXPECT_GT(quantised_flops(narrow, 132), 2.9 * narrow.flops());
  EXPECT_GE(quantised_flops(gemm(1, 1, 1), 132), 2);
  for (const int64_t size : {100, 1000, 5000, 20000}) {
    EXPECT_GE(quantised_flops(gemm(size, size, size), 108), gemm(size, size, size).flops());
  }
}

constexpr double kRate = 800e12, kLaunch = 4e-6, kBandwidth = 3e12;

double truth(const GemmProblem& one) { return kLaunch + quantised_flops(one, 132) / kRate + one.bytes() / kBandwidth; }

std::vector<GemmPoint> records() {
  std::vector<GemmPoint> all;
  for (const int64_t m : {256, 1111, 2048, 8192}) {
    for (const int64_t n : {96, 1024, 4096}) {
      for (const int64_t k : {256, 1024, 8192}) all.push_back({gemm(m, n, k), truth(gemm(m, n, k))});
    }
  }
  return all;
}

TEST(Records, AreRecoveredThroughQuantisation) {
  const GemmFit fit = fit_gemms(records(), 132);
  EXPECT_NEAR(fit.s_per_flop * kRate, 1, 0.02);
  EXPECT_NEAR(fit.launch_s / kLaunch, 1, 0.1);
  // Shapes never measured, with tiles and waves of their own.
  for (const GemmProblem& one : {gemm(1111, 777, 2222), gemm(5000, 300, 600), gemm(4096, 4096, 4096)}) {
    EXPECT_NEAR(gemm_estimate(fit, one).total() / truth(one), 1, 0.03) << one.name();
  }
  // Without quantisation the same records leave a spread.
  EXPECT_GT(fit_gemms(records(), 1).log_sigma, 2 * fit.log_sigma);
}

TEST(Records, PullTheTimeTowardsThem) {
  std::vector<GemmPoint> all = records();
  const GemmProblem odd = gemm(2048, 1024, 1024);
  for (GemmPoint& point : all) {
    if (point.gemm == odd) point.time_s *= 1.5;  // a shape for which the library has no good kernel
  }
  const GemmFit fit = fit_gemms(all, 132);
  EXPECT_NEAR(gemm_estimate(fit, odd).total() / (1.5 * truth(odd)), 1, 0.08);
  EXPECT_GT(gemm_estimate(fit, gemm(2048, 1024, 1100)).total(), 1.3 * truth(gemm(2048, 1024, 1100)));
  EXPECT_NEAR(gemm_estimate(fit, gemm(8192, 4096, 8192)).total() / truth(gemm(8192, 4096, 8192)), 1, 0.05);
}

TEST(Records, UncertaintyGrowsAwayFromThem) {
  std::vector<GemmPoint> all = records();
  for (size_t i = 0; i < all.size(); ++i) all[i].time_s *= i % 2 == 0 ? 1.1 : 0.9;
  const GemmFit fit = fit_gemms(all, 132);
  double last = -1;
  for (const int64_t n : {4096, 6000, 8192, 16384, 65536, 262144}) {
    const GemmEstimate one = gemm_estimate(fit, gemm(8192, n, 8192));
    EXPECT_GT(one.log_sigma, last) << n;
    last = one.log_sigma;
  }
  EXPECT_LT(gemm_estimate(fit, gemm(8192, 4096, 8192)).log_sigma, 0.02);
  EXPECT_GT(last, 0.3);
  EXPECT_GT(shape_distance(gemm(64, 64, 64), gemm(64, 64, 128)), 0.99);
  EXPECT_THROW(fit_gemms({}, 132), InputError);
}

TEST(Records, WidenPredictionsOfOtherShapes) {
  auto data = std::make_shared<Machine::Data>(load_hardware("h100-sxm").data());
  std::vector<GemmPoint> all = records();
  for (size_t i = 0; i < all.size(); ++i) all[i].time_s *= i % 2 == 0 ? 1.2 : 0.8;
  data->gemm_fits[NumberType::kBf16] = fit_gemms(all, 132);
  StepTask near{.kind = KernelClass::kLinear, .gemm = gemm(8192, 4096, 8192)};
  near.flops = near.gemm.flops(), near.bytes = near.gemm.bytes();
  StepTask far = near;
  far.gemm = gemm(8192, 4096, 1 << 20);
  EXPECT_LT(task_log_sigma(*data, near), 0.02);
  EXPECT_GT(task_log_sigma(*data, far), 0.2);
  EXPECT_EQ(task_log_sigma(load_hardware("h100-sxm").data(), far), 0);  // ranges of learned efficiency speak instead
}

// A published GEMM: shape and time.
std::vector<GemmPoint> published(const std::string& hardware, const std::string& precision) {
  const CsvTable table = read_csv(std::string(FARSCALE_SOURCE_DIR) + "/results/published/gemm.csv");
  std::vector<GemmPoint> all;
  for (size_t i = 0; i < table.rows(); ++i) {
    const auto rate = table.maybe_number(i, "tflops", 0.001, 1e5), m = table.maybe_number(i, "m", 1, 1e7),
               n = table.maybe_number(i, "n", 1, 1e7), k = table.maybe_number(i, "k", 1, 1e7);
    if (!table.text(i, "hardware").starts_with(hardware) || !table.text(i, "precision").starts_with(precision))
      continue;
    if (!rate || !m || !n || !k) continue;
    GemmProblem one = gemm(int64_t(*m), int64_t(*n), int64_t(*k));
    const std::string layout = table.text(i, "layout");
    one.transpose_a = layout.starts_with('T'), one.transpose_b = layout.ends_with('T');
    all.push_back({one, one.flops() / (*rate * 1e12)});
  }
  return all;
}

struct Table {
  const char* hardware;
  const char* precision;
  const char* shipped;
  NumberType type;
};

// Data sheet x learned efficiency with tile and wave quantisation, against rates that others published above 1 GFLOP.
TEST(Published, DataSheetsTimesLearnedEfficiencyAreNear) {
  for (const Table& table : {Table{"A100-SXM4", "fp16", "a100-40gb", NumberType::kFp16},
                             Table{"NVIDIA V100", "fp16", "v100", NumberType::kFp16},
                             Table{"NVIDIA H800", "fp8", "h800", NumberType::kFp8E4M3},
                             Table{"H100 SXM 80GB (Azure", "fp8", "h100-sxm", NumberType::kFp8E4M3}}) {
    const Machine machine = load_hardware(table.shipped);
    std::vector<double> errors;
    for (const GemmPoint& point : published(table.hardware, table.precision)) {
      StepTask task{.kind = KernelClass::kLinear, .gemm = point.gemm};
      task.gemm.type = table.type;
      task.flops = task.gemm.flops(), task.bytes = task.gemm.bytes();
      if (task.flops > 1e9) errors.push_back(std::log(sum(task_time(machine.data(), task)) / point.time_s));
    }
    ASSERT_GE(errors.size(), 8u) << table.hardware;
    EXPECT_NEAR(median(errors), 0, 0.15) << table.hardware << ", " << errors.size() << " shapes";
  }
}

// Every other shape of DeepBench on a V100 predicted from the rest: near, and as sure as it says.
TEST(Published, ShapesArePredictedFromOtherShapes) {
  for (const char* precision : {"fp16", "fp32"}) {
    const std::vector<GemmPoint> all = published("NVIDIA V100", precision);
    ASSERT_EQ(all.size(), 160u);
    std::vector<GemmPoint> known;
    for (size_t i = 0; i < all.size(); i += 2) known.push_back(all[i]);
    const GemmFit fit = fit_gemms(known, 80);
    std::vector<double> errors;
    double inside = 0;
    for (size_t i = 1; i < all.size(); i += 2) {
      const GemmEstimate one = gemm_estimate(fit, all[i].gemm);
      errors.push_back(std::abs(std::log(one.total() / all[i].time_s)));
      inside += errors.back() < 1.645 * one.log_sigma ? 1 : 0;
    }
    EXPECT_LT(median(errors), 0.10) << precision;
    EXPECT_GT(inside / double(errors.size()), 0.75) << precision;
  }
}

}  // namespace
}  // namespace farscale
