// Monte Carlo draws of a machine's quantities, each input from a stream of its own so that adding one moves no other.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "cluster/machine.h"
#include "cluster/predictor.h"

namespace farscale {

// Inputs that are drawn, in the order of their streams.
enum class Input : uint8_t {
  kLinear,
  kConvolution,
  kGrouped,
  kAttention,
  kMemory,
  kLaunch,
  kOverhead,
  kRing,
  kSwitch,
  kNetwork,
  kLatency,
  kChannels,
  kSpine,
  kInterference,
  kSpread,
  kTail,
  kExtrapolation,
  kResidual,
  kShapes,
  kFittedCurves,
  kScatter
};
inline constexpr size_t kInputs = 21;
std::string_view name(Input input);

// The machine with every input at its median but `moved`, which is at quantile u.
MachineDraw moved_draw(const Machine::Data& machine, Input moved, double u);
MachineDraw median_draw(const Machine::Data& machine);
std::vector<MachineDraw> make_draws(const Machine::Data& machine, int count, uint64_t seed);

}  // namespace farscale
