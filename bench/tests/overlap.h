// Whether communication hides behind compute, on a backend that really computes and a network that takes the time it is
// told to: shared by the ranks that are threads (overlap_test.cc) and those that are processes (overlap_ranks.cc).
#pragma once

#include "kernels/world.h"

namespace farscale {

// Medians of a few interleaved rounds, in seconds, the same on every rank.
struct Overlap {
  double compute_s = 0, communication_s = 0, both_s = 0;
  double slow_both_s = 0;  // both together on a network five times slower
  double saved() const { return 1 - both_s / (compute_s + communication_s); }
  double exposed_s() const { return both_s - compute_s; }
  double slow_exposed_s() const { return slow_both_s - compute_s; }
};

// Runs a small training step of the host backend over the ranks of `world`, whose messages are made to take time: the
// communication thread sleeps for it, so that it takes no processor from the compute beside it. The network is sized so
// that all buckets together take 0.6 of the compute as it is timed here. All ranks call it together.
Overlap measure_overlap(World& world);

}  // namespace farscale
