// Ranks differ: the expected slowest of n ranks, for the tails that step times show.
#pragma once

#include <cstdint>

namespace farscale {

// Expected maximum of n standard normal numbers: exact integral for any n >= 1 (0 for n = 1; 1.42 at 8, 4.62 at
// 300,000).
double expected_max_normal(int64_t n);

// Expected maximum of n exponential numbers of scale 1, less their mean: H(n) - 1.
double expected_max_exponential(int64_t n);

// Expected maximum of n Pareto numbers with shape a > 1 and least value 1: Gamma(1 - 1/a) * n^(1/a), large n.
double expected_max_pareto(int64_t n, double a);

// Expected maximum of n generalised Pareto numbers of shape 0 <= xi < 1/2, mean 0 and standard deviation 1:
// scale/xi (n B(n, 1 - xi) - 1) less the mean; exponential as xi -> 0.
double expected_max_generalised_pareto(int64_t n, double shape);

// Quantile 1 - upper of the same numbers: normal, and generalised Pareto of a shape.
double upper_normal(double upper);
double upper_generalised_pareto(double upper, double shape);

// A tail between normal (0) and generalised Pareto (1), both with standard deviation 1 around a mean of 0.
double expected_max(int64_t n, double tail, double shape = 0);

}  // namespace farscale
