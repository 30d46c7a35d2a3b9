// Draws for Monte Carlo ranges: each uncertain figure has a stream of its own, found by its name, so that two plans
// that share a figure share its draws (common random numbers) and their difference is not drowned in noise.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "cluster/quantity.h"

namespace farscale {

// `count` numbers in (0, 1), one in each of `count` equal strata, in an order that depends on seed and name alone
// (Latin hypercube sampling: McKay, Beckman, Conover, Technometrics 21, 1979).
std::vector<double> uniform_draws(uint64_t seed, std::string_view name, int count);

// The same as values of a quantity. A quantity without a range gives its value every time.
std::vector<double> quantity_draws(const Quantity& quantity, uint64_t seed, std::string_view name, int count);

// The columns of a plan: the median first, then `count` draws.
std::vector<double> column_values(const Quantity& quantity, uint64_t seed, std::string_view name, int count);

// The 5th, 50th and 95th percentile of draws; reorders them. Zeros for none.
Estimate percentiles(std::vector<double>& draws);

}  // namespace farscale
