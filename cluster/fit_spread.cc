// How far ranks and steps spread, and the tail, from raw samples.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "cluster/fit.h"
#include "results/statistics.h"

namespace farscale {
namespace {

Quantity spread_of(std::vector<double> values, const std::string& what) {
  if (values.empty())
    return {{0.002, 0.01, 0.05}, Evidence::kAssumed, fmt::format("assumption: no samples for {}", what)};
  return {{quantile(values, 0.1), median(values), quantile(values, 0.9)},
          Evidence::kMeasured,
          fmt::format("measured: {} of {} records", what, values.size())};
}

// Standard deviation over the median, from the middle half of the samples.
double relative_spread(const std::vector<double>& samples) {
  return (quantile(samples, 0.75) - quantile(samples, 0.25)) / 1.349 / median(samples);
}

// 0 for a symmetric spread, 1 where the upper side stretches as an exponential's: (q95 - q50) / (q50 - q05) is 1 and
// 3.59 for the two.
double tail_of(const std::vector<double>& samples) {
  const double middle = median(samples);
  const double below = middle - quantile(samples, 0.05);
  const double above = quantile(samples, 0.95) - middle;
  return below <= 0 ? 0.5 : std::clamp((above / below - 1) / 2.59, 0.0, 1.0);
}

}  // namespace

void fit_spread(const std::vector<Run>& runs, FitReport& report) {
  std::vector<double> transient, persistent, tail;
  for (const Run& run : runs) {
    for (const Record* record : usable(run)) {
      if (record->family != "gemm" && record->family != "step" && record->family != "memory") continue;
      if (record->samples_s.size() >= 8) {
        transient.push_back(relative_spread(record->samples_s));
        tail.push_back(tail_of(record->samples_s));
      }
      const std::vector<double>& ranks = record->rank_medians_s;
      if (ranks.size() >= 2) {
        const double middle = median(ranks);
        double sum = 0;
        for (const double one : ranks) sum += (one / middle - 1) * (one / middle - 1);
        persistent.push_back(std::sqrt(sum / double(ranks.size() - 1)));
      }
    }
  }
  RankSpread& spread = report.model.ranks;
  spread.transient = spread_of(transient, "spread of samples");
  spread.persistent = spread_of(persistent, "spread of ranks");
  if (!tail.empty()) {
    spread.tail = {{quantile(tail, 0.1), median(tail), quantile(tail, 0.9)},
                   Evidence::kMeasured,
                   fmt::format("measured: skew of the samples of {} records", tail.size())};
  }
  if (persistent.empty()) report.notes.push_back("one rank only: the spread between ranks is an assumption");
}

}  // namespace farscale
