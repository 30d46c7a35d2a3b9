// Four ranks as threads, the host backend, a network that sleeps: communication hides behind compute.
#include "bench/tests/overlap.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

#include "kernels/tests/thread_world.h"

namespace farscale {
namespace {

// Every figure is a ratio of times taken one after the other; a machine with other work gets more than one try.
TEST(Overlap, HidesCommunicationAndASlowerNetworkShowsMore) {
  if (!std::filesystem::exists(FARSCALE_BINARY_DIR "/farscale-host.so"))
    GTEST_SKIP() << "farscale-host.so was not built";
  ::setenv("FARSCALE_MODULE_PATH", FARSCALE_BINARY_DIR, 1);
  Overlap seen;
  for (int tries = 0; tries < 6; ++tries) {
    seen = on_ranks<Overlap>(4, [](World& world) { return measure_overlap(world); })[0];
    if (seen.saved() > 0.15 && seen.slow_exposed_s() > seen.exposed_s() + 0.5 * seen.compute_s) break;
  }
  EXPECT_GT(seen.saved(), 0.15) << "compute " << seen.compute_s << " s, communication " << seen.communication_s
                                << " s, both " << seen.both_s << " s";
  EXPECT_GT(seen.slow_exposed_s(), seen.exposed_s() + 0.5 * seen.compute_s);
  RecordProperty("saved_percent", static_cast<int>(100 * seen.saved()));
}

}  // namespace
}  // namespace farscale
