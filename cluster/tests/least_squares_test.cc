// The fit recovers what made the data, within the intervals it claims, whatever a few outliers say.
#include "cluster/least_squares.h"

#include <gtest/gtest.h>

#include <cmath>

#include "cluster/random.h"

namespace farscale {
namespace {

// alpha + steps * hop + bytes / bandwidth at several sizes and rank counts, with relative noise.
struct Synthetic {
  std::vector<std::vector<double>> rows;
  std::vector<double> times;
};
constexpr double kAlpha = 2e-5, kHop = 3e-6, kPerByte = 1 / 20e9;

Synthetic synthetic(double noise, uint64_t seed) {
  Rng rng(seed);
  Synthetic data;
  for (const double ranks : {2.0, 4.0, 8.0, 16.0, 32.0}) {
    for (double bytes = 1024; bytes < 3e8; bytes *= 8) {
      const std::vector<double> row = {1, 2 * (ranks - 1), 2 * (ranks - 1) / ranks * bytes};
      data.rows.push_back(row);
      data.times.push_back((kAlpha + kHop * row[1] + kPerByte * row[2]) * std::exp(noise * rng.normal()));
    }
  }
  return data;
}

TEST(LeastSquares, RecoversExactParameters) {
  const Synthetic data = synthetic(0, 1);
  const LinearFit fit = fit_relative(data.rows, data.times);
  EXPECT_NEAR(fit.coefficients[0] / kAlpha, 1, 1e-6);
  EXPECT_NEAR(fit.coefficients[1] / kHop, 1, 1e-6);
  EXPECT_NEAR(fit.coefficients[2] / kPerByte, 1, 1e-6);
}

TEST(LeastSquares, CovarianceCoversTheTruth) {
  int inside = 0, total = 0;
  const std::vector<double> far = {1, 2 * 255.0, 2 * 255.0 / 256 * 3e7};
  const double truth = kAlpha + kHop * far[1] + kPerByte * far[2];
  for (uint64_t seed = 1; seed <= 200; ++seed) {
    const Synthetic data = synthetic(0.05, seed);
    const LinearFit fit = fit_relative(data.rows, data.times);
    ++total;
    if (std::abs(fit.at(far) - truth) < 1.645 * fit.standard_error(far)) ++inside;
    EXPECT_NEAR(fit.log_sigma, 0.05, 0.045);
  }
  EXPECT_GT(inside, 0.8 * total);  // 90 % asked for
  EXPECT_LT(inside, 0.98 * total);
}

TEST(LeastSquares, OutliersDoNotMoveIt) {
  Synthetic data = synthetic(0.01, 5);
  for (size_t i = 0; i < data.times.size(); i += 7) data.times[i] *= i % 2 == 0 ? 6 : 0.1;
  const LinearFit fit = fit_relative(data.rows, data.times);
  EXPECT_NEAR(fit.coefficients[1] / kHop, 1, 0.05);
  EXPECT_NEAR(fit.coefficients[2] / kPerByte, 1, 0.05);
}

TEST(LeastSquares, NoCoefficientIsNegative) {
  // Times that fall with the second term.
  const LinearFit fit = fit_relative({{1, 1}, {1, 2}, {1, 4}}, {4, 3, 2});
  EXPECT_GE(fit.coefficients[0], 0);
  EXPECT_EQ(fit.coefficients[1], 0);
}

}  // namespace
}  // namespace farscale
