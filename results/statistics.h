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

}  // namespace farscale
