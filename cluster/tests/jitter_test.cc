// Expected maxima against closed forms and published integrals.
#include "cluster/jitter.h"

#include <gtest/gtest.h>

#include <cmath>

#include "cluster/random.h"

namespace farscale {
namespace {

TEST(Random, QuantileInvertsCdf) {
  for (const double p : {1e-12, 1e-5, 0.024, 0.3, 0.5, 0.9, 0.99999})
    EXPECT_NEAR(normal_cdf(normal_quantile(p)) / p, 1, 1e-9);
  EXPECT_NEAR(normal_quantile(0.95), 1.6448536269514722, 1e-12);
}

TEST(Random, SameSeedSameNumbers) {
  Rng a(7), b(7), c(8);
  for (int i = 0; i < 10; ++i) {
    const double x = a.uniform();
    EXPECT_EQ(x, b.uniform());
    EXPECT_NE(x, c.uniform());
    EXPECT_GT(x, 0);
    EXPECT_LT(x, 1);
  }
}

TEST(ExpectedMax, NormalMatchesTheExactIntegral) {
  EXPECT_EQ(expected_max_normal(1), 0);
  EXPECT_NEAR(expected_max_normal(2), 1 / std::sqrt(M_PI), 0.01);  // closed form
  EXPECT_NEAR(expected_max_normal(8), 1.42, 0.01);
  EXPECT_NEAR(expected_max_normal(512), 3.04, 0.01);
  EXPECT_NEAR(expected_max_normal(16384), 3.97, 0.01);
  EXPECT_NEAR(expected_max_normal(100000), 4.38, 0.01);
  EXPECT_NEAR(expected_max_normal(300000), 4.62, 0.01);
}

TEST(ExpectedMax, ExponentialIsHarmonic) {
  EXPECT_EQ(expected_max_exponential(1), 0);
  EXPECT_NEAR(expected_max_exponential(2), 0.5, 1e-12);
  EXPECT_NEAR(expected_max_exponential(64), expected_max_exponential(65) - 1.0 / 65, 1e-4);
  EXPECT_NEAR(expected_max_exponential(300000), 12.19, 0.01);
}

TEST(ExpectedMax, ParetoGrowsWithAPower) {
  EXPECT_NEAR(expected_max_pareto(300000, 3), 90, 1);
  EXPECT_NEAR(expected_max_pareto(300000, 5), 14.5, 0.1);
}

TEST(ExpectedMax, AgreesWithSimulation) {
  Rng rng(3);
  double sum = 0;
  constexpr int kTrials = 4000;
  for (int t = 0; t < kTrials; ++t) {
    double most = -1e9;
    for (int i = 0; i < 64; ++i) most = std::max(most, rng.normal());
    sum += most;
  }
  EXPECT_NEAR(sum / kTrials, expected_max_normal(64), 0.03);
}

TEST(ExpectedMax, GrowsWithRanksAndTail) {
  double last = 0;
  for (int64_t n = 2; n < 1'000'000; n *= 4) {
    EXPECT_GT(expected_max(n, 0.3), last);
    last = expected_max(n, 0.3);
    EXPECT_GE(expected_max(n, 0.8), expected_max(n, 0.2) - 0.2);
  }
}

// Shape 0 is exponential; the mean of n draws' maxima by the quantiles of the distribution elsewhere.
TEST(GeneralisedPareto, BridgesExponentialAndHeavy) {
  for (const int64_t n : {2, 8, 512, 300000}) {
    EXPECT_NEAR(expected_max_generalised_pareto(n, 1e-4) / expected_max_exponential(n), 1, 2e-3) << n;
    EXPECT_GT(expected_max_generalised_pareto(n, 0.2), expected_max_generalised_pareto(n, 0.1) * (n > 8 ? 1 : 0.9));
    double sum = 0;
    constexpr int kPoints = 20000;
    for (int i = 0; i < kPoints; ++i) {
      const double u = (i + 0.5) / kPoints;
      sum += upper_generalised_pareto(-std::expm1(std::log(u) / double(n)), 0.2);
    }
    EXPECT_NEAR(expected_max_generalised_pareto(n, 0.2) / (sum / kPoints), 1, 0.02) << n;
  }
  EXPECT_EQ(expected_max_generalised_pareto(1, 0.3), 0);
  EXPECT_NEAR(upper_normal(0.01), 2.3263, 1e-4);
  EXPECT_NEAR(upper_generalised_pareto(0.01, 0), std::log(100) - 1, 1e-12);
}

}  // namespace
}  // namespace farscale
