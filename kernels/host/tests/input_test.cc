// The input copy: every byte arrives, on a queue that runs beside the caller, and what does not fit has a reason.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "kernels/host/host_backend.h"

namespace farscale {
namespace {

TEST(Input, ArrivesAndATamperedOneIsSeen) {
  const auto world = single_world();
  HostBackend backend(*world);
  auto copy = backend.prepare_input(100'003);
  ASSERT_TRUE(copy) << copy.reason();
  EXPECT_TRUE((*copy)->verify().correct);
  const auto queue = backend.open_queue(QueueRole::kInput);
  for (int i = 0; i < 3; ++i) (*copy)->run(*queue);
  queue->synchronize();
  backend.context().tamper = [](void* result, int64_t bytes) { static_cast<unsigned char*>(result)[bytes / 2] ^= 1; };
  auto broken = backend.prepare_input(1000);
  ASSERT_TRUE(broken);
  EXPECT_FALSE((*broken)->verify().correct);
}

TEST(Input, TooLargeIsAReason) {
  const auto world = single_world();
  HostBackend backend(*world);
  backend.context().memory_bytes = 1e6;
  EXPECT_TRUE(backend.prepare_input(400'000));
  const auto copy = backend.prepare_input(600'000);
  ASSERT_FALSE(copy) << "two buffers of it";
  EXPECT_FALSE(copy.reason().empty());
}

}  // namespace
}  // namespace farscale
