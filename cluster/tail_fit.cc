// Likelihoods of three tails.
#include "cluster/tail_fit.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "cluster/random.h"
#include "kernels/error.h"
#include "results/statistics.h"

namespace farscale {
namespace {

constexpr double kThreshold = 0.8;     // quantile above which the tail is looked at
constexpr double kMostShape = 0.45;    // at 0.5 the variance is infinite
constexpr int kDraws = 100;            // of the bootstrap
constexpr double kExponential = 1e-6;  // shapes below are exponential

// Of exceedances over a threshold.
struct Candidate {
  TailKind kind = TailKind::kNormal;
  double scale = 0, shape = 0;
  double aic = INFINITY;
};

double normal_log_likelihood(const std::vector<double>& exceedances, double threshold) {
  constexpr double kLogRoot2Pi = 0.9189385332046727;
  const double rest = std::log(std::max(1e-300, normal_cdf(-threshold)));
  double sum = 0;
  for (const double y : exceedances) sum += -0.5 * (threshold + y) * (threshold + y) - kLogRoot2Pi - rest;
  return sum;
}

double pareto_log_likelihood(const std::vector<double>& exceedances, double scale, double shape) {
  double sum = -double(exceedances.size()) * std::log(scale);
  for (const double y : exceedances) {
    sum -= shape < kExponential ? y / scale : (1 / shape + 1) * std::log1p(shape * y / scale);
  }
  return sum;
}

// The likeliest scale for a shape, by golden section on its logarithm around the mean exceedance.
Candidate pareto(const std::vector<double>& exceedances, double shape) {
  double mean = 0;
  for (const double y : exceedances) mean += y / double(exceedances.size());
  double low = std::log(mean) - 1.5, high = std::log(mean) + 0.5;
  const double golden = (std::sqrt(5.0) - 1) / 2;
  while (high - low > 1e-3) {
    const double left = high - golden * (high - low), right = low + golden * (high - low);
    const bool better = pareto_log_likelihood(exceedances, std::exp(left), shape) >
                        pareto_log_likelihood(exceedances, std::exp(right), shape);
    (better ? high : low) = better ? right : left;
  }
  const double scale = std::exp((low + high) / 2);
  return {TailKind::kPareto, scale, shape, 4 - 2 * pareto_log_likelihood(exceedances, scale, shape)};
}

Candidate best_of(const std::vector<double>& exceedances, double threshold) {
  double mean = 0;
  for (const double y : exceedances) mean += y / double(exceedances.size());
  Candidate best{TailKind::kNormal, 0, 0, -2 * normal_log_likelihood(exceedances, threshold)};
  const Candidate exponential{TailKind::kExponential, mean, 0, 2 - 2 * pareto_log_likelihood(exceedances, mean, 0)};
  if (exponential.aic < best.aic) best = exponential;
  for (double shape = 0.05; shape <= kMostShape + 1e-9; shape += 0.05) {
    const Candidate one = pareto(exceedances, shape);
    if (one.aic < best.aic) best = one;
  }
  return best;
}

// Share of a spread of standard deviation 1 that its heavy part must have for exceedances of this scale: a generalised
// Pareto number of deviation 1 exceeds its own quantile by scale * (1 - q)^-shape.
double heavy_share(const Candidate& one) {
  if (one.kind == TailKind::kNormal) return 0;
  const double unit = (1 - one.shape) * std::sqrt(1 - 2 * one.shape) * std::pow(1 - kThreshold, -one.shape);
  return one.scale / unit;
}

Candidate fit_once(std::vector<double> values) {
  const double threshold = quantile(values, kThreshold);
  std::vector<double> exceedances;
  for (const double value : values) {
    if (value > threshold) exceedances.push_back(value - threshold);
  }
  if (exceedances.empty()) return {};
  return best_of(exceedances, threshold);
}

}  // namespace

std::string_view name(TailKind kind) {
  constexpr std::array<std::string_view, 3> kNames = {"normal", "exponential", "generalised Pareto"};
  return kNames[size_t(kind)];
}

TailFit fit_tail(std::span<const double> standardised, uint64_t seed) {
  if (standardised.size() < kLeastTailSamples) throw InputError("a tail needs 50 samples or more");
  const std::vector<double> values(standardised.begin(), standardised.end());
  const Candidate chosen = fit_once(values);
  std::vector<double> heavy, shape, drawn(values.size());
  Rng rng(seed);
  for (int draw = 0; draw < kDraws; ++draw) {
    for (double& one : drawn) {
      one = values[std::min(values.size() - 1, size_t(rng.uniform() * double(values.size())))];
    }
    const Candidate one = fit_once(drawn);
    heavy.push_back(std::min(1.0, heavy_share(one))), shape.push_back(one.shape);
  }
  const auto around = [](const std::vector<double>& draws, double value) {
    return Estimate{std::min(value, quantile(draws, 0.05)), value, std::max(value, quantile(draws, 0.95))};
  };
  const double share = heavy_share(chosen);
  return {.kind = chosen.kind,
          .heavy = around(heavy, std::min(1.0, share)),
          .shape = around(shape, chosen.shape),
          .stretch = std::max(1.0, share),
          .above = size_t(double(values.size()) * (1 - kThreshold))};
}

}  // namespace farscale
