// How far ranks and steps spread, and the tail, from raw samples.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "cluster/fit.h"
#include "cluster/tail_fit.h"
#include "kernels/format.h"
#include "results/statistics.h"

namespace farscale {
namespace {

constexpr size_t kLeastSamples = 8;  // of a record, to say how they spread

// A spread that a record shows, and how much the record counts: the seconds it takes. Cases of microseconds spread
// most, and are least of a step.
struct Observed {
  double value = 0, weight = 0;
};

// The value with this share of the weight below it.
double weighted_quantile(std::vector<Observed> all, double share) {
  std::sort(all.begin(), all.end(), [](const Observed& a, const Observed& b) { return a.value < b.value; });
  double total = 0, below = 0;
  for (const Observed& one : all) total += one.weight;
  for (const Observed& one : all) {
    below += one.weight;
    if (below >= share * total) return one.value;
  }
  return all.back().value;
}

Quantity spread_of(const std::vector<Observed>& all, const std::string& what) {
  if (all.empty()) return {{0.002, 0.01, 0.05}, Evidence::kAssumed, fmt::format("assumption: no samples for {}", what)};
  return {{weighted_quantile(all, 0.1), weighted_quantile(all, 0.5), weighted_quantile(all, 0.9)},
          Evidence::kMeasured,
          fmt::format("measured: {} of {} records, weighed by their time", what, all.size())};
}

// Standard deviation over the median, from the middle half of the samples.
double relative_spread(const std::vector<double>& samples) {
  return (quantile(samples, 0.75) - quantile(samples, 0.25)) / 1.349 / median(samples);
}

double standard_deviation(const std::vector<double>& values, double middle) {
  double sum = 0;
  for (const double one : values) sum += (one - middle) * (one - middle);
  return std::sqrt(sum / double(values.size() - 1));
}

// Samples of all records on one scale: distance from their own median, in their own standard deviations.
void standardise(const std::vector<double>& samples, std::vector<double>& pooled) {
  const double middle = median(samples), deviation = relative_spread(samples) * middle;
  if (deviation <= 0) return;
  for (const double one : samples) pooled.push_back((one - middle) / deviation);
}

// Which tail the samples have, and how sure that is; returns by how much quartiles understate the spread that it needs.
double fit_tail_of(const std::vector<double>& pooled, FitReport& report) {
  if (pooled.size() < kLeastTailSamples) {
    report.notes.push_back(fmt::format(
        "{} samples are too few to see a tail: it is an assumption, and the slowest of many ranks hangs on it",
        pooled.size()));
    return 1;
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
  return fit.stretch;
}

// What the records of one family show, by the seconds they take.
struct Spreads {
  std::vector<Observed> quartiles;   // spread of samples over their median, by quartiles
  std::vector<Observed> deviations;  // the same by standard deviation: with what the tail adds
  std::vector<Observed> persistent;  // of the ranks' medians
};

void add(const Record& record, Spreads& spreads) {
  if (record.samples_s.empty()) return;
  const double time_s = median(record.samples_s);
  if (record.samples_s.size() >= kLeastSamples) {
    spreads.quartiles.push_back({relative_spread(record.samples_s), time_s});
    spreads.deviations.push_back({standard_deviation(record.samples_s, time_s) / time_s, time_s});
  }
  if (record.rank_medians_s.size() >= 2) {
    const double middle = median(record.rank_medians_s);
    spreads.persistent.push_back({standard_deviation(record.rank_medians_s, middle) / middle, time_s});
  }
}

// The tail of all samples stretches the spread of a record, but to no more than its own samples show.
std::vector<Observed> stretched(const Spreads& spreads, double stretch) {
  std::vector<Observed> all = spreads.quartiles;
  for (size_t i = 0; i < all.size(); ++i) {
    all[i].value = std::min(all[i].value * stretch, std::max(all[i].value, spreads.deviations[i].value));
  }
  return all;
}

}  // namespace

std::string busy_note(const RankSpread& ranks) {
  constexpr double kBusy = 0.2;  // of an idle machine: a few per cent
  const Quantity& spread = ranks.transient;
  if (spread.evidence != Evidence::kMeasured || spread.value.p50 <= kBusy) return "";
  return fmt::format("samples spread by {}: the machine was not idle, and stragglers are overstated",
                     format_percent(spread.value.p50));
}

// The passing spread is that of steps where there are step records, else of kernels. The ranks of a step wait for each
// other, and their medians are alike: the lasting spread is that of kernels, and of steps only without them.
void fit_spread(const std::vector<Run>& runs, FitReport& report) {
  Spreads steps, kernels;
  std::vector<double> pooled;
  for (const Run& run : runs) {
    for (const Record* record : usable(run)) {
      if (record->family != "gemm" && record->family != "step" && record->family != "memory") continue;
      add(*record, record->family == "step" ? steps : kernels);
      if (record->samples_s.size() >= kLeastSamples) standardise(record->samples_s, pooled);
    }
  }
  RankSpread& spread = report.model.ranks;
  const bool stepped = !steps.quartiles.empty();
  const std::vector<Observed>& lasting = kernels.persistent.empty() ? steps.persistent : kernels.persistent;
  const double stretch = fit_tail_of(pooled, report);
  spread.transient =
      spread_of(stretched(stepped ? steps : kernels, stretch), stepped ? "spread of steps" : "spread of samples");
  spread.persistent = spread_of(lasting, "spread of ranks");
  if (const std::string busy = busy_note(spread); !busy.empty()) report.notes.push_back(busy);
  if (lasting.empty()) report.notes.push_back("one rank only: the spread between ranks is an assumption");
}

}  // namespace farscale
