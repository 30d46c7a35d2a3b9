// Statistics of samples: medians with distribution-free intervals, quantiles, bootstrap ratios. No mean is reported
// anywhere: under foreign load it is off by factors where the median holds.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace farscale {

struct Interval {
  double low = 0;
  double high = 0;
};

double median(std::span<const double> values);              // of a non-empty set; even counts average the middle two
double quantile(std::span<const double> values, double q);  // linear interpolation between order statistics (type 7)

// 95 % interval of the median from order statistics and the binomial distribution; below 6 samples, where no such
// interval exists, the whole range. (Conover, Practical Nonparametric Statistics, 3.2.)
Interval median_interval95(std::span<const double> values);

// Half the width of median_interval95 over the median.
double relative_interval95(std::span<const double> values);

// Bootstrap 95 % interval of median(other)/median(baseline): both resampled `draws` times, seeded.
struct RatioEstimate {
  double ratio = 1;
  Interval interval95;
};
RatioEstimate bootstrap_median_ratio(std::span<const double> baseline, std::span<const double> other, int draws = 10000,
                                     uint64_t seed = 1);

// The draws behind it, ascending, for samples taken in several launches of the program: launches are resampled first,
// then the samples inside each, because two launches differ by more than two samples of one (allocation, placement,
// core frequency). The figure of a side is the median of its launches' medians. One launch each is the plain bootstrap.
using Launches = std::vector<std::vector<double>>;
//
// Samples of one launch are not independent: they share its conditions (placement, frequency, what else ran), and so a
// part of their spread does not average out. `shared` is that part: every draw is multiplied by exp(shared * s * z), z
// standard normal and s the robust spread of the logarithms of both sides together. 0: independent samples.
std::vector<double> bootstrap_ratio_draws(const Launches& baseline, const Launches& other, int draws, uint64_t seed,
                                          double shared = 0);
double log_spread(std::span<const double> values);  // quartile distance of the logarithms over that of a normal, 1.349
double median_of_medians(const Launches& launches);

// Mann and Whitney's rank sum test, one-sided: how likely `other` is to lie as high above `baseline` as it does when
// both are draws of one distribution, whatever that is. Exact for up to 20 samples a side without ties (counted by the
// recurrence of their paper, Ann. Math. Stat. 18, 1947), else by the normal approximation corrected for ties and
// continuity. Two sets of n and m samples are never believed beyond 1 / C(n + m, n).
double rank_sum_probability(std::span<const double> baseline, std::span<const double> other);

// Holm's step-down: which of these one-sided probabilities are significant at `alpha` over all of them together.
// (Holm, A simple sequentially rejective multiple test procedure, Scand. J. Statist. 6, 1979.)
std::vector<bool> holm(std::span<const double> probabilities, double alpha);

// Two modes: the best split in two leaves under an eighth of the variance inside the parts (a normal distribution keeps
// 36 %, a uniform one 25 %), and each part has at least a fifth of the samples. Never below 8 samples.
bool bimodal(std::span<const double> values);

}  // namespace farscale
