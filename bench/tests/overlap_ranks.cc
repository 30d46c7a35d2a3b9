// The same with ranks that are processes: started by a launcher, rank 0 prints what all of them saw.
#include <fmt/format.h>

#include <cstdio>

#include "bench/tests/overlap.h"
#include "kernels/error.h"
#include "kernels/module.h"

int main() {
  try {
    const auto world = farscale::open_world();
    const farscale::Overlap seen = farscale::measure_overlap(*world);
    if (world->rank() == 0) {
      fmt::print(
          "{{\"ranks\": {}, \"compute_s\": {:.6f}, \"communication_s\": {:.6f}, \"both_s\": {:.6f}, "
          "\"saved\": {:.4f}, \"exposed_s\": {:.6f}, \"slow_exposed_s\": {:.6f}}}\n",
          world->size(), seen.compute_s, seen.communication_s, seen.both_s, seen.saved(), seen.exposed_s(),
          seen.slow_exposed_s());
    }
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "overlap_ranks: %s\n", error.what());
    return 1;
  }
}
