// Expected maxima of n numbers.
#include "cluster/jitter.h"

#include <cmath>

#include "cluster/random.h"

namespace farscale {

// E[max] = integral of x dF(x)^n. With u = F(x)^n uniform, x = F^-1(u^(1/n)): average over the midpoints of u, in the
// upper tail through 1 - u^(1/n) = -expm1(log(u)/n), which keeps its digits for any n.
double expected_max_normal(int64_t n) {
  if (n <= 1) return 0;
  constexpr int kPoints = 512;
  double sum = 0;
  for (int i = 0; i < kPoints; ++i) {
    const double u = (i + 0.5) / kPoints;
    sum -= normal_quantile(-std::expm1(std::log(u) / double(n)));
  }
  return sum / kPoints;
}

double expected_max_exponential(int64_t n) {
  if (n <= 1) return 0;
  if (n <= 64) {
    double harmonic = 0;
    for (int64_t i = 1; i <= n; ++i) harmonic += 1 / double(i);
    return harmonic - 1;
  }
  constexpr double kEulerGamma = 0.57721566490153286;
  return std::log(double(n)) + kEulerGamma + 0.5 / double(n) - 1;
}

double expected_max_pareto(int64_t n, double a) {
  return n <= 1 ? a / (a - 1) : std::tgamma(1 - 1 / a) * std::pow(double(n), 1 / a);
}

namespace {

constexpr double kExponential = 1e-6;  // shapes below are exponential

// Standard deviation of a generalised Pareto number of scale 1, and its mean.
double pareto_mean(double shape) { return 1 / (1 - shape); }
double pareto_deviation(double shape) { return pareto_mean(shape) / std::sqrt(1 - 2 * shape); }

}  // namespace

double expected_max_generalised_pareto(int64_t n, double shape) {
  if (n <= 1) return 0;
  if (shape < kExponential) return expected_max_exponential(n);
  // n B(n, 1 - xi) = Gamma(n + 1) Gamma(1 - xi) / Gamma(n + 1 - xi)
  const double grown =
      std::exp(std::lgamma(double(n) + 1) - std::lgamma(double(n) + 1 - shape)) * std::tgamma(1 - shape);
  return ((grown - 1) / shape - pareto_mean(shape)) / pareto_deviation(shape);
}

double upper_normal(double upper) { return -normal_quantile(upper); }

double upper_generalised_pareto(double upper, double shape) {
  if (shape < kExponential) return -std::log(upper) - 1;
  return ((std::pow(upper, -shape) - 1) / shape - pareto_mean(shape)) / pareto_deviation(shape);
}

double expected_max(int64_t n, double tail, double shape) {
  return (1 - tail) * expected_max_normal(n) + tail * expected_max_generalised_pareto(n, shape);
}

}  // namespace farscale
