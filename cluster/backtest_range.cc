// Quantiles of surprises.
#include "cluster/backtest_range.h"

#include "results/statistics.h"

namespace farscale {

double reach_of(const std::vector<Surprise>& all, const std::string& series) {
  constexpr double kExpected = 1.9, kWeight = 20;
  std::vector<double> others;
  for (const Surprise& one : all) {
    if (one.series != series) others.push_back(one.size);
  }
  if (others.empty()) return kExpected;
  const double rows = double(others.size());
  return (rows * quantile(others, 0.9) + kWeight * kExpected) / (rows + kWeight);
}

}  // namespace farscale
