// The tail that made the samples is the one that is found, and what it says of many ranks agrees with closed forms.
#include "cluster/tail_fit.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "cluster/jitter.h"
#include "cluster/random.h"
#include "kernels/error.h"
#include "results/statistics.h"

namespace farscale {
namespace {

std::vector<double> standardised(std::vector<double> values) {
  const double middle = median(values);
  const double deviation = (quantile(values, 0.75) - quantile(values, 0.25)) / 1.349;
  for (double& one : values) one = (one - middle) / deviation;
  return values;
}

std::vector<double> normal(size_t count, uint64_t seed) {
  Rng rng(seed);
  std::vector<double> values;
  for (size_t i = 0; i < count; ++i) values.push_back(rng.normal());
  return standardised(values);
}

// Generalised Pareto by inversion; shape 0 is exponential.
std::vector<double> pareto(size_t count, double shape, uint64_t seed) {
  Rng rng(seed);
  std::vector<double> values;
  for (size_t i = 0; i < count; ++i) {
    const double u = rng.uniform();
    values.push_back(shape == 0 ? -std::log(u) : (std::pow(u, -shape) - 1) / shape);
  }
  return standardised(values);
}

TEST(TailFit, NormalSamplesHaveNoHeavyTail) {
  int found = 0;
  for (uint64_t seed = 1; seed <= 10; ++seed) found += fit_tail(normal(800, seed)).kind == TailKind::kNormal;
  EXPECT_GE(found, 7);
  EXPECT_LT(fit_tail(normal(3000, 3)).heavy.p50, 0.6);
}

TEST(TailFit, ExponentialSamplesAreFoundWithTheirScale) {
  for (uint64_t seed = 1; seed <= 4; ++seed) {
    const TailFit fit = fit_tail(pareto(3000, 0, seed));
    EXPECT_NE(fit.kind, TailKind::kNormal);
    EXPECT_LE(fit.shape.p05, 0.0);
    // One scale of the exponential over the quartiles' deviation of it: 1.349 / ln 3.
    if (fit.kind == TailKind::kExponential) {
      EXPECT_NEAR(fit.stretch, 1.349 / std::log(3), 0.12);
    }
  }
}

TEST(TailFit, ParetoSamplesAreFoundWithTheirShape) {
  for (uint64_t seed = 1; seed <= 2; ++seed) {
    const TailFit fit = fit_tail(pareto(5000, 0.3, seed));
    EXPECT_EQ(fit.kind, TailKind::kPareto);
    EXPECT_LE(fit.shape.p05, 0.3);
    EXPECT_GE(fit.shape.p95, 0.3);
  }
}

TEST(TailFit, TheSlowestOfManyFollowsTheTailThatWasFound) {
  const auto slowest = [](const TailFit& fit) {
    return fit.stretch * expected_max(100'000, fit.heavy.p50, fit.shape.p50);
  };
  const double light = slowest(fit_tail(normal(4000, 7))), heavy = slowest(fit_tail(pareto(4000, 0, 7))),
               heavier = slowest(fit_tail(pareto(4000, 0.3, 7)));
  EXPECT_NEAR(light, 4.38, 1.5);                                             // exact integral of the normal
  EXPECT_NEAR(heavy, 1.349 / std::log(3) * (std::log(1e5) + 0.577 - 1), 3);  // harmonic number
  EXPECT_GT(heavier, 1.5 * heavy);
}

TEST(TailFit, FewSamplesAreLessSureThanMany) {
  const TailFit few = fit_tail(pareto(80, 0, 4)), many = fit_tail(pareto(5000, 0, 4));
  EXPECT_GE(few.shape.p95 - few.shape.p05, many.shape.p95 - many.shape.p05);
  EXPECT_THROW(fit_tail(std::vector<double>(20, 1.0)), InputError);
}

}  // namespace
}  // namespace farscale
