// The tail of a spread, chosen by fit: does the slow side fall as a normal distribution's, as an exponential's, or as a
// power (generalised Pareto)? The expected slowest of many ranks hangs on it (cluster/jitter.h).
//
// Peaks over a threshold (Pickands 1975): what lies above the 80th percentile, in standard deviations, follows a normal
// distribution's own tail (no parameter), an exponential (its scale) or a generalised Pareto distribution (scale and
// shape); the least AIC wins. Uncertainty, that of the choice included, by bootstrap.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "cluster/quantity.h"

namespace farscale {

enum class TailKind : uint8_t { kNormal, kExponential, kPareto };
std::string_view name(TailKind kind);

struct TailFit {
  TailKind kind = TailKind::kNormal;
  Estimate heavy;      // 0 normal … 1 all of the spread in a heavy tail; percentiles over bootstrap draws
  Estimate shape;      // of the heavy part: 0 exponential, above it generalised Pareto
  double stretch = 1;  // by which the quartiles understate the standard deviation that the tail needs
  size_t above = 0;    // samples over the threshold
};

// Standardised samples (median 0, standard deviation 1 by quartiles). Throws InputError below kLeastTailSamples.
inline constexpr size_t kLeastTailSamples = 50;
TailFit fit_tail(std::span<const double> standardised, uint64_t seed = 1);

}  // namespace farscale
