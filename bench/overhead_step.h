// What the step benchmark itself costs the host: the time to hand out every launch, event and bucket of a step, taken
// on a backend that does nothing, over the time of the same step on a real one.
#pragma once

#include <cstddef>
#include <vector>

#include "kernels/backend.h"
#include "kernels/world.h"

namespace farscale {

struct IssueCost {
  std::vector<double> issue_s;  // one step on the backend that does nothing, start to end
  std::vector<double> step_s;   // one step on the real one
  size_t launches = 0;
};

// The default workload's step at 1/2048, its buckets included where there are ranks to send to. All ranks together.
IssueCost measure_issue(World& world, Backend& backend, int64_t rounds);

}  // namespace farscale
