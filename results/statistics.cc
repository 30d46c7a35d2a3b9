// Medians, quantiles, order-statistic intervals and the bootstrap of a ratio of medians.
#include "results/statistics.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>
#include <random>

#include "kernels/error.h"

namespace farscale {
namespace {

std::vector<double> sorted(std::span<const double> values) {
  if (values.empty()) throw InputError("statistics of no samples: expected at least one");
  std::vector<double> result(values.begin(), values.end());
  std::sort(result.begin(), result.end());
  return result;
}

double quantile_of_sorted(std::span<const double> values, double q) {
  const double at = q * double(values.size() - 1);
  const auto below = static_cast<size_t>(std::floor(at));
  const size_t above = std::min(below + 1, values.size() - 1);
  const double weight = at - double(below);
  return weight == 0 ? values[below] : values[below] + weight * (values[above] - values[below]);
}

double median_of_sorted(std::span<const double> values) {
  const size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : values[half - 1] + (values[half] - values[half - 1]) / 2;
}

// The largest d with P(Binomial(n, 1/2) < d) <= 2.5 %: the order statistics d and n+1-d (counted from 1) enclose the
// median with at least 95 %. 0 when there is none (n < 6).
size_t enclosing_order(size_t n) {
  const double log_half_n = -double(n) * std::log(2.0);
  double log_choose = 0;  // log of C(n, i)
  double below = 0;       // P(Binomial <= i)
  for (size_t i = 0; i < n; ++i) {
    below += std::exp(log_choose + log_half_n);
    if (below > 0.025) return i;
    log_choose += std::log(double(n - i)) - std::log(double(i + 1));
  }
  return 0;
}

Launches sorted_each(const Launches& launches) {
  if (launches.empty()) throw InputError("statistics of no launches: expected at least one");
  Launches result;
  for (const auto& launch : launches) result.push_back(sorted(launch));
  return result;
}

// The spread inside a launch, of the launch in the middle.
double median_spread(const Launches& launches) {
  std::vector<double> spreads;
  for (const auto& launch : launches) spreads.push_back(log_spread(launch));
  return median(spreads);
}

// P(U >= u) for n and m distinct values: every order is equally likely, and the number of orders of i and j values with
// U = k is that of (i - 1, j) with k - j plus that of (i, j - 1) with k.
double exact_rank_sum(size_t n, size_t m, size_t u) {
  // shares[j][k]: of orders of i and j values, for the i of the moment; as shares, so that nothing overflows.
  std::vector<std::vector<double>> shares(n + 1, std::vector<double>(n * m + 1, 0.0));
  for (auto& row : shares) row[0] = 1;  // no value of the other side: U = 0
  for (size_t i = 1; i <= m; ++i) {
    for (size_t j = 1; j <= n; ++j) {
      const double top = double(i) / double(i + j);  // chance that the largest of all is one of the i
      std::vector<double>& row = shares[j];
      for (size_t k = n * m + 1; k-- > 0;) {
        row[k] = top * (k >= j ? row[k - j] : 0) + (1 - top) * shares[j - 1][k];
      }
    }
  }
  return std::accumulate(shares[n].begin() + static_cast<std::ptrdiff_t>(u), shares[n].end(), 0.0);
}

double normal_rank_sum(const std::vector<double>& low, const std::vector<double>& high, double above) {
  std::vector<double> all = low;
  all.insert(all.end(), high.begin(), high.end());
  std::sort(all.begin(), all.end());
  const double n = double(low.size()), m = double(high.size()), total = n + m;
  double tied = 0;  // sum of t^3 - t over groups of equal values
  for (size_t begin = 0, end = 0; begin < all.size(); begin = end) {
    while (end < all.size() && all[end] == all[begin]) ++end;
    const double t = double(end - begin);
    tied += t * t * t - t;
  }
  const double variance = n * m / 12 * (total + 1 - tied / (total * (total - 1)));
  if (!(variance > 0)) return 1;  // all equal
  return std::erfc((above - n * m / 2 - 0.5) / std::sqrt(2 * variance)) / 2;
}

// std::mt19937_64 is the same on every platform, the standard distributions are not: so indices are mapped here.
class Resampler {
 public:
  explicit Resampler(uint64_t seed) : random_(seed) {}

  // The median over a resample of the launches of the median of a resample of each. One launch needs no choice.
  double median_of_medians(const Launches& launches) {
    if (launches.size() == 1) return median(launches[0]);
    medians_.clear();
    for (size_t i = 0; i < launches.size(); ++i) medians_.push_back(median(launches[index(launches.size())]));
    std::sort(medians_.begin(), medians_.end());
    return median_of_sorted(medians_);
  }

  // The median of a resample of `values` (sorted): only how often each was drawn is kept.
  double median(std::span<const double> values) {
    const size_t n = values.size();
    counts_.assign(n, 0);
    for (size_t i = 0; i < n; ++i) ++counts_[index(n)];
    const size_t low_rank = (n - 1) / 2, high_rank = n / 2;  // equal for odd n
    size_t low = n, at = 0, seen = 0;
    for (;; ++at) {
      seen += counts_[at];
      if (low == n && seen > low_rank) low = at;
      if (seen > high_rank) break;
    }
    return values[low] + (values[at] - values[low]) / 2;
  }

  // Standard normal, by Box and Muller.
  double normal() {
    const double u = (double(random_() >> 11) + 0.5) / 9007199254740992.0,
                 v = double(random_() >> 11) / 9007199254740992.0;
    return std::sqrt(-2 * std::log(u)) * std::cos(2 * std::numbers::pi * v);
  }

 private:
  // Uniform in [0, n) by multiply and shift of the upper 32 bits: biased by at most n / 2^32.
  size_t index(size_t n) { return static_cast<size_t>(((random_() >> 32) * uint64_t{n}) >> 32); }

  std::mt19937_64 random_;
  std::vector<uint32_t> counts_;
  std::vector<double> medians_;
};

}  // namespace

double median(std::span<const double> values) { return median_of_sorted(sorted(values)); }

double quantile(std::span<const double> values, double q) {
  if (!(q >= 0 && q <= 1)) throw InputError("a quantile's share must lie from 0 to 1");
  return quantile_of_sorted(sorted(values), q);
}

Interval median_interval95(std::span<const double> values) {
  const std::vector<double> order = sorted(values);
  const size_t d = enclosing_order(order.size());
  if (d == 0) return {order.front(), order.back()};
  return {order[d - 1], order[order.size() - d]};
}

double relative_interval95(std::span<const double> values) {
  const Interval interval = median_interval95(values);
  const double centre = median(values);
  const double width = interval.high - interval.low;
  return width == 0 ? 0 : width / 2 / std::abs(centre);
}

RatioEstimate bootstrap_median_ratio(std::span<const double> baseline, std::span<const double> other, int draws,
                                     uint64_t seed) {
  const Launches base = {{baseline.begin(), baseline.end()}}, changed = {{other.begin(), other.end()}};
  const std::vector<double> ratios = bootstrap_ratio_draws(base, changed, draws, seed);
  return {.ratio = median_of_medians(changed) / median_of_medians(base),
          .interval95 = {quantile_of_sorted(ratios, 0.025), quantile_of_sorted(ratios, 0.975)}};
}

double log_spread(std::span<const double> values) {
  const std::vector<double> order = sorted(values);
  if (!(order.front() > 0)) throw InputError("a spread of logarithms needs values above 0");
  return std::log(quantile_of_sorted(order, 0.75) / quantile_of_sorted(order, 0.25)) / 1.349;
}

std::vector<double> bootstrap_ratio_draws(const Launches& baseline, const Launches& other, int draws, uint64_t seed,
                                          double shared) {
  const Launches base = sorted_each(baseline), changed = sorted_each(other);
  if (draws < 1) throw InputError("a bootstrap needs at least one draw");
  for (const auto& launch : base) {
    if (launch.front() <= 0) throw InputError("a ratio needs a baseline above 0");
  }
  Resampler resampler(seed);
  const double spread = shared > 0 ? shared * std::hypot(median_spread(base), median_spread(changed)) : 0;
  std::vector<double> ratios(static_cast<size_t>(draws));
  for (double& ratio : ratios) {
    const double denominator = resampler.median_of_medians(base);
    ratio = resampler.median_of_medians(changed) / denominator;
    if (spread > 0) ratio *= std::exp(spread * resampler.normal());
  }
  std::sort(ratios.begin(), ratios.end());
  return ratios;
}

double median_of_medians(const Launches& launches) {
  std::vector<double> medians;
  for (const auto& launch : launches) medians.push_back(median(launch));
  return median(medians);
}

double rank_sum_probability(std::span<const double> baseline, std::span<const double> other) {
  const std::vector<double> low = sorted(baseline), high = sorted(other);
  double above = 0;  // pairs in which other lies above baseline; equal ones count half
  bool ties = false;
  for (const double value : high) {
    const auto [first, last] = std::equal_range(low.begin(), low.end(), value);
    above += double(first - low.begin()) + double(last - first) / 2;
    ties = ties || first != last;
  }
  constexpr size_t kExact = 20;
  const bool exact = !ties && low.size() <= kExact && high.size() <= kExact;
  return exact ? exact_rank_sum(low.size(), high.size(), static_cast<size_t>(above))
               : normal_rank_sum(low, high, above);
}

std::vector<bool> holm(std::span<const double> probabilities, double alpha) {
  std::vector<size_t> order(probabilities.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return probabilities[a] < probabilities[b]; });
  std::vector<bool> significant(probabilities.size(), false);
  for (size_t i = 0; i < order.size(); ++i) {
    if (!(probabilities[order[i]] <= alpha / double(order.size() - i))) break;
    significant[order[i]] = true;
  }
  return significant;
}

bool bimodal(std::span<const double> values) {
  constexpr size_t kLeast = 8;
  if (values.size() < kLeast) return false;
  const std::vector<double> order = sorted(values);
  const size_t n = order.size();
  const double centre = std::accumulate(order.begin(), order.end(), 0.0) / double(n);
  double total = 0;
  for (double value : order) total += (value - centre) * (value - centre);
  double below = 0, between = 0;  // sum of deviations left of the split; variance explained by the best split
  for (size_t i = 1; i < n; ++i) {
    below += order[i - 1] - centre;
    const bool fair = i * 5 >= n && (n - i) * 5 >= n;
    if (fair) between = std::max(between, below * below * (1 / double(i) + 1 / double(n - i)));
  }
  return total > 0 && total - between < total / 8;
}

}  // namespace farscale
