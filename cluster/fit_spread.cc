// How far ranks and steps spread, and the tail, from raw samples.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "cluster/fit.h"
#include "cluster/tail_fit.h"
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

// Samples of all records on one scale: distance from their own median, in their own standard deviations.
void standardise(const std::vector<double>& samples, std::vector<double>& pooled) {
  const double middle = median(samples), deviation = relative_spread(samples) * middle;
  if (deviation <= 0) return;
  for (const double one : samples) pooled.push_back((one - middle) / deviation);
}

void scale(Quantity& quantity, double factor) {
  quantity.value = {quantity.value.p05 * factor, quantity.value.p50 * factor, quantity.value.p95 * factor};
}

// Which tail the samples have, and how sure that is.
void fit_tail_of(const std::vector<double>& pooled, FitReport& report) {
  if (pooled.size() < kLeastTailSamples) {
    report.notes.push_back(fmt::format(
        "{} samples are too few to see a tail: it is an assumption, and the slowest of many ranks hangs on it",
        pooled.size()));
    return;
  }
  // Enough to tell the tails apart; more would only take longer.
  constexpr size_t kEnough = 4000;
  std::vector<double> kept;
  const size_t stride = 1 + pooled.size() / kEnough;
  for (size_t i = 0; i < pooled.size(); i += stride) kept.push_back(pooled[i]);
  const TailFit fit = fit_tail(kept);
  const std::string source = fmt::format("measured: {} samples, {} tail above the 80th percentile by AIC, bootstrap",
                                         pooled.size(), name(fit.kind));
  RankSpread& spread = report.model.ranks;
  spread.tail = {fit.heavy, Evidence::kMeasured, source};
  spread.shape = {fit.shape, Evidence::kMeasured, source};
  scale(spread.transient, fit.stretch);
}

}  // namespace

void fit_spread(const std::vector<Run>& runs, FitReport& report) {
  std::vector<double> transient, persistent, pooled;
  for (const Run& run : runs) {
    for (const Record* record : usable(run)) {
      if (record->family != "gemm" && record->family != "step" && record->family != "memory") continue;
      if (record->samples_s.size() >= 8) {
        transient.push_back(relative_spread(record->samples_s));
        standardise(record->samples_s, pooled);
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
  fit_tail_of(pooled, report);
  if (persistent.empty()) report.notes.push_back("one rank only: the spread between ranks is an assumption");
}

}  // namespace farscale
