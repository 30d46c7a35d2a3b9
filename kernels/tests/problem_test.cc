#include "kernels/problem.h"

#include <gtest/gtest.h>

namespace farscale {
TEST(Problem, GemmCounts) {
  const GemmProblem p{.m = 2, .n = 3, .k = 5, .batch = 7, .type = NumberType::kBf16};
  EXPECT_EQ(p.flops(), 2.0 * 2 * 3 * 5 * 7);
  EXPECT_EQ(p.bytes(), 2.0 * 7 * (10 + 15 + 6));
}
}  // namespace farscale
