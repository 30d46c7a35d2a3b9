// What is uncertain in a fit reaches the prediction: covariance of collectives, distance from measured shapes and
// ranks.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cluster/draws.h"
#include "cluster/fit.h"
#include "cluster/gemm_model.h"
#include "cluster/model_file.h"
#include "cluster/predictor.h"

namespace farscale {
namespace {

// An H100 whose all-reduce was measured on 4 to 8 ranks: latency and slope known to a tenth, and not independently.
class FittedMachine : public testing::Test {
 protected:
  FittedMachine() : data_(load_hardware("h100-sxm").data()) {
    data_.collective_fits[CollectiveKind::kAllReduce] = {.ring = true,
                                                         .base_s = 1e-5,
                                                         .hop_s = 2e-6,
                                                         .from_bytes = {0},
                                                         .s_per_byte = {1e-9},
                                                         .log_sigma = 0.02,
                                                         .least_ranks = 4,
                                                         .most_ranks = 8};
    data_.fitted_ranks = 8;
    // Nothing else is uncertain.
    Efficiency& e = data_.efficiency;
    for (auto& [kind, share] : e.tensor) settle(share);
    for (Quantity* one : {&e.memory, &e.gather, &e.launch_s, &e.overhead, &data_.collectives.interference})
      settle(*one);
    data_.ranks = {};
    data_.model_log_sigma = 0;
  }
  static void settle(Quantity& quantity) { quantity.value.p05 = quantity.value.p95 = quantity.value.p50; }
  CollectiveFit& fit() { return data_.collective_fits[CollectiveKind::kAllReduce]; }
  Machine machine() const { return Machine(std::make_shared<Machine::Data>(data_)); }
  double width(int64_t gpus) const {
    const Prediction p = predict(load_workload("resnet50"), machine(), gpus, {.layout = "zero=0", .draws = 2000});
    return p.exposed_comm_share.p95 - p.exposed_comm_share.p05;
  }
  Machine::Data data_;
};

TEST_F(FittedMachine, DrawsFollowTheCovariance) {
  const double hop = 2e-6, slope = 1e-9, correlation = -0.8;
  const double cross = correlation * 0.1 * hop * 0.1 * slope;
  fit().covariance = {0, 0, 0, 0, 0.01 * hop * hop, cross, 0, cross, 0.01 * slope * slope};
  fit().log_sigma = 0;
  double hops = 0, slopes = 0, together = 0;
  const std::vector<MachineDraw> draws = make_draws(data_, 4000, 3);
  for (const MachineDraw& draw : draws) {
    const CollectiveFit& drawn = draw.links.fits->at(CollectiveKind::kAllReduce);
    EXPECT_EQ(drawn.base_s, 1e-5);  // known exactly
    const double h = drawn.hop_s / hop - 1, s = drawn.s_per_byte[0] / slope - 1;
    hops += h * h, slopes += s * s, together += h * s;
  }
  const double n = double(draws.size());
  EXPECT_NEAR(std::sqrt(hops / n), 0.1, 0.005);
  EXPECT_NEAR(std::sqrt(slopes / n), 0.1, 0.005);
  EXPECT_NEAR(together / std::sqrt(hops * slopes), correlation, 0.03);
}

TEST_F(FittedMachine, ALooserFitGivesAWiderAnswer) {
  fit().covariance = {0, 0, 0, 0, 0, 0, 0, 0, 1e-22};
  const double tight = width(8);
  fit().covariance = {0, 0, 0, 0, 0, 0, 0, 0, 2e-19};
  EXPECT_GT(width(8), 1.3 * tight);
  fit().covariance.clear();
  fit().relative_error = 0.4;
  EXPECT_GT(width(8), 1.3 * tight);
}

TEST_F(FittedMachine, RanksBeyondTheFitAreLessSure) {
  EXPECT_EQ(predict(load_workload("resnet50"), machine(), 64, {.layout = "zero=0", .draws = 50}).extrapolated_from_gpus,
            8);
  const auto relative = [&](int64_t gpus) {
    const Prediction p = predict(load_workload("resnet50"), machine(), gpus, {.layout = "zero=0", .draws = 2000});
    return p.exposed_comm_share.p95 / p.exposed_comm_share.p05;
  };
  EXPECT_GT(relative(512) - 1, 2 * (relative(8) - 1));
}

TEST_F(FittedMachine, CovarianceAndRecordsSurviveTheFile) {
  fit().covariance = {1, 2, 3, 4, 5, 6, 7, 8, 9};
  GemmProblem gemm{.m = 96, .n = 128, .k = 256, .batch = 3, .type = NumberType::kBf16, .transpose_b = true};
  data_.gemm_fits[NumberType::kBf16] =
      fit_gemms({{gemm, 1e-5}, {{.m = 64, .n = 64, .k = 64, .type = NumberType::kBf16}, 1e-6}}, 132);
  const auto back = model_from_json(model_to_json(data_), "m.json");
  EXPECT_EQ(back->collective_fits.at(CollectiveKind::kAllReduce).covariance, fit().covariance);
  const GemmFit& read = back->gemm_fits.at(NumberType::kBf16);
  ASSERT_EQ(read.points.size(), 2u);
  EXPECT_EQ(read.points[0].gemm, gemm);
  EXPECT_EQ(gemm_estimate(read, gemm).total(), gemm_estimate(data_.gemm_fits[NumberType::kBf16], gemm).total());
  EXPECT_EQ(back->ranks.shape.value.p95, data_.ranks.shape.value.p95);
}

}  // namespace
}  // namespace farscale
