// Medians, quantiles and intervals against known values, and their coverage by simulation.
#include "results/statistics.h"

#include <gmock/gmock.h>

#include <cmath>
#include <numeric>

#include "kernels/error.h"
#include "results/tests/noise.h"

namespace farscale {
namespace {

using Values = std::vector<double>;

Values first_integers(int n) {
  Values values(static_cast<size_t>(n));
  std::iota(values.begin(), values.end(), 1.0);
  return values;
}

TEST(Statistics, MedianOfOddEvenOneAndUnordered) {
  EXPECT_EQ(median(Values{3, 1, 2}), 2);
  EXPECT_EQ(median(Values{4, 1, 3, 2}), 2.5);
  EXPECT_EQ(median(Values{7}), 7);
  EXPECT_EQ(median(Values{1, 1, 1, 1000}), 1);
}

TEST(Statistics, EmptySetIsRefused) {
  EXPECT_THROW(median(Values{}), InputError);
  EXPECT_THROW(quantile(Values{}, 0.5), InputError);
  EXPECT_THROW(median_interval95(Values{}), InputError);
  EXPECT_THROW(bootstrap_median_ratio(Values{}, Values{1}), InputError);
  EXPECT_THROW(bootstrap_median_ratio(Values{0, 1}, Values{1}), InputError);
}

// Type 7 of Hyndman and Fan (R's and numpy's default): quantile(1:10, p) = 1 + 9p.
TEST(Statistics, QuantileType7) {
  const Values values = first_integers(10);
  for (double q : {0.0, 0.1, 0.25, 0.5, 0.9, 0.99, 1.0}) EXPECT_NEAR(quantile(values, q), 1 + 9 * q, 1e-12) << q;
  EXPECT_NEAR(quantile(Values{1, 2, 4, 8}, 0.4), 2.4, 1e-12);  // at 1.2: 2 + 0.2 * (4 - 2)
  EXPECT_THROW(quantile(values, 1.5), InputError);
  EXPECT_THROW(quantile(values, std::nan("")), InputError);
}

// Order statistics of the 95 % sign-test interval as tables of the binomial give them (e.g. Conover, table A3):
// n = 6: 1 and 6; n = 10: 2 and 9; n = 20: 6 and 15; n = 25: 8 and 18; n = 100: 40 and 61.
TEST(Statistics, MedianIntervalFromBinomialTables) {
  const std::vector<std::array<int, 3>> table = {{6, 1, 6},   {8, 1, 8},   {9, 2, 8},   {10, 2, 9},
                                                 {15, 4, 12}, {20, 6, 15}, {25, 8, 18}, {100, 40, 61}};
  for (const auto& [n, low, high] : table) {
    const Interval interval = median_interval95(first_integers(n));
    EXPECT_EQ(interval.low, low) << n;
    EXPECT_EQ(interval.high, high) << n;
  }
}

TEST(Statistics, FewSamplesGiveTheWholeRange) {
  EXPECT_EQ(median_interval95(Values{5}).low, 5);
  const Interval interval = median_interval95(Values{3, 9, 1, 2, 8});
  EXPECT_EQ(interval.low, 1);
  EXPECT_EQ(interval.high, 9);
}

// Large sets: the interval approaches n/2 -+ 1.96 sqrt(n)/2, with no overflow of the binomial.
TEST(Statistics, ManySamplesApproachTheNormalApproximation) {
  const int n = 100000;
  const Interval interval = median_interval95(first_integers(n));
  EXPECT_NEAR(interval.high - interval.low, 1.96 * std::sqrt(n), 3);
  EXPECT_NEAR(interval.low + interval.high, n + 1, 1e-9);
}

TEST(Statistics, RelativeIntervalIsHalfTheWidthOverTheMedian) {
  EXPECT_NEAR(relative_interval95(first_integers(10)), (9 - 2) / 2.0 / 5.5, 1e-15);
  EXPECT_EQ(relative_interval95(Values(9, 4.2)), 0);
}

TEST(Statistics, MedianIntervalCoversAsPromised) {
  Noise noise(7);
  int covered = 0;
  constexpr int kTrials = 2000;
  for (int trial = 0; trial < kTrials; ++trial) {
    const Interval interval = median_interval95(noise.timings(15, 1.0, 0.1));
    covered += interval.low <= 1 && 1 <= interval.high;
  }
  EXPECT_GE(covered, 0.94 * kTrials);  // the exact probability for n = 15 is 96.5 %
  EXPECT_LE(covered, 0.985 * kTrials);
}

TEST(Bootstrap, RatioOfConstantsIsExact) {
  const RatioEstimate estimate = bootstrap_median_ratio(Values(5, 2.0), Values(7, 3.0));
  EXPECT_EQ(estimate.ratio, 1.5);
  EXPECT_EQ(estimate.interval95.low, 1.5);
  EXPECT_EQ(estimate.interval95.high, 1.5);
}

TEST(Bootstrap, SeededAndPinned) {
  const Values a = {1, 1.1, 0.9, 1.05, 1.2, 0.97, 1.01}, b = {1.3, 1.25, 1.4, 1.31, 1.22, 1.5};
  const RatioEstimate one = bootstrap_median_ratio(a, b, 1000, 3), same = bootstrap_median_ratio(a, b, 1000, 3);
  EXPECT_EQ(one.interval95.low, same.interval95.low);
  EXPECT_EQ(one.interval95.high, same.interval95.high);
  EXPECT_NEAR(one.ratio, 1.305 / 1.01, 1e-15);
  EXPECT_LE(one.interval95.low, one.ratio);
  EXPECT_GE(one.interval95.high, one.ratio);
  EXPECT_GT(one.interval95.high - one.interval95.low, 0.05);
  // Doubling every time of one side doubles the whole estimate.
  Values twice = b;
  for (double& value : twice) value *= 2;
  const RatioEstimate scaled = bootstrap_median_ratio(a, twice, 1000, 3);
  EXPECT_DOUBLE_EQ(scaled.interval95.high, 2 * one.interval95.high);
}

// The bootstrap distribution of a median of three distinct values has a closed form: the middle one with probability
// 13/27, each outer one with 7/27 (at least two of three draws hit it), so the 95 % interval is the whole range.
TEST(Bootstrap, MedianOfThreeSpansTheRange) {
  const RatioEstimate estimate = bootstrap_median_ratio(Values{1}, Values{10, 11, 12});
  EXPECT_EQ(estimate.interval95.low, 10);
  EXPECT_EQ(estimate.interval95.high, 12);
}

TEST(Bootstrap, CoversTheTrueRatio) {
  Noise noise(11);
  int covered = 0;
  constexpr int kTrials = 400;
  for (int trial = 0; trial < kTrials; ++trial) {
    const Values a = noise.timings(20, 1.0, 0.05), b = noise.timings(20, 1.1, 0.05);
    const Interval interval = bootstrap_median_ratio(a, b, 500, uint64_t(trial)).interval95;
    covered += interval.low <= 1.1 && 1.1 <= interval.high;
  }
  EXPECT_GE(covered, 0.91 * kTrials);
  EXPECT_LE(covered, 0.99 * kTrials);
}

// Launches that differ by 10 % with samples inside that do not: only the launches say how unsure the median is.
TEST(Bootstrap, LaunchesWidenTheInterval) {
  const Launches base = {Values(20, 1.0), Values(20, 1.1), Values(20, 1.2), Values(20, 1.3), Values(20, 1.4)};
  const Launches other = {Values(20, 1.2)};
  const std::vector<double> draws = bootstrap_ratio_draws(base, other, 5000, 1);
  EXPECT_EQ(median_of_medians(base), 1.2);
  EXPECT_LE(quantile(draws, 0.025), 1.2 / 1.3);
  EXPECT_GE(quantile(draws, 0.975), 1.2 / 1.1);
  Values pooled;
  for (const Values& launch : base) pooled.insert(pooled.end(), launch.begin(), launch.end());
  const RatioEstimate flat = bootstrap_median_ratio(pooled, other[0], 5000, 1);
  EXPECT_LT(flat.interval95.high - flat.interval95.low, quantile(draws, 0.975) - quantile(draws, 0.025));
}

TEST(Bootstrap, SharedSpreadWidensAsItSays) {
  Noise noise(4);
  const Launches base = {noise.timings(4000, 1, 0.1)}, other = {noise.timings(4000, 1, 0.1)};
  EXPECT_NEAR(log_spread(base[0]), 0.1, 0.005);
  const std::vector<double> draws = bootstrap_ratio_draws(base, other, 4000, 1, 0.5);
  // Medians of 4000 samples are sharp, so all of the width is 0.5 * 0.1 * sqrt(2).
  EXPECT_NEAR(std::log(quantile(draws, 0.975) / quantile(draws, 0.025)), 2 * 1.96 * 0.5 * 0.1 * std::sqrt(2.0), 0.015);
  EXPECT_THROW(log_spread(Values{0, 1}), InputError);
}

// By counting: of C(10, 5) = 252 orders 1, 1 and 2 have U = 25, 24 and 23.
TEST(Significance, RankSumByCounting) {
  const Values low = {1, 2, 3, 4, 5};
  EXPECT_NEAR(rank_sum_probability(low, Values{6, 7, 8, 9, 10}), 1.0 / 252, 1e-12);
  EXPECT_NEAR(rank_sum_probability(low, Values{4.5, 7, 8, 9, 10}), 2.0 / 252, 1e-12);
  EXPECT_NEAR(rank_sum_probability(low, Values{3.5, 7, 8, 9, 10}), 4.0 / 252, 1e-12);
  EXPECT_NEAR(rank_sum_probability(Values{6, 7, 8, 9, 10}, low), 1, 1e-12);
  EXPECT_NEAR(rank_sum_probability(Values{1, 2}, Values{3, 4, 5}), 1.0 / 10, 1e-12);
  EXPECT_EQ(rank_sum_probability(Values(4, 1.0), Values(4, 1.0)), 1);
}

// By hand: U = 2.5 + 3.5 + 4 + 4 + 4 = 18, mean 10, variance 20/12 (10 - 18/72); scipy's mannwhitneyu agrees: 0.03141.
TEST(Significance, RankSumWithTies) {
  EXPECT_NEAR(rank_sum_probability(Values{1, 2, 7, 8}, Values{7, 8, 9, 9, 10}), 0.03140592375804933, 1e-12);
}

TEST(Significance, ExactAndNormalMeet) {
  const Values low = first_integers(20);
  Values high = first_integers(20);
  for (double& value : high) value += 5.5;
  const double exact = rank_sum_probability(low, high);
  high.push_back(16.2);  // 21 samples: the normal approximation
  const double normal = rank_sum_probability(low, high);
  EXPECT_NEAR(exact, 0.0047418035956, 1e-12);  // scipy's mannwhitneyu, method = exact
  EXPECT_NEAR(normal / exact, 1, 0.15);
}

// Holm by hand for alpha = 0.05 over four: limits 0.0125, 0.01667, 0.025, 0.05, stopping at the first above its limit.
TEST(Significance, HolmByHand) {
  const auto at = [](Values p) { return holm(p, 0.05); };
  EXPECT_EQ(at({0.01, 0.04, 0.03, 0.005}), (std::vector<bool>{true, false, false, true}));
  EXPECT_EQ(at({0.013, 0.014, 0.02, 0.04}), (std::vector<bool>{false, false, false, false}));
  EXPECT_EQ(at({0.01, 0.016, 0.024, 0.05}), (std::vector<bool>{true, true, true, true}));
  EXPECT_TRUE(at({}).empty());
}

TEST(Significance, BimodalSetsAreSeen) {
  Noise noise(3);
  int normal = 0, two = 0;
  for (int trial = 0; trial < 200; ++trial) {
    Values one = noise.timings(20, 1, 0.03);
    normal += bimodal(one);
    for (size_t i = 0; i < 8; ++i) one[i] *= 1.5;
    two += bimodal(one);
  }
  EXPECT_LE(normal, 4);
  EXPECT_GE(two, 190);
  EXPECT_FALSE(bimodal(Values{1, 1, 1, 2, 2, 2}));              // too few
  EXPECT_FALSE(bimodal(Values{1, 1, 1, 1, 1, 1, 1, 1, 1, 9}));  // an outlier is not a mode
  EXPECT_FALSE(bimodal(Values(10, 4.0)));
}

}  // namespace
}  // namespace farscale
