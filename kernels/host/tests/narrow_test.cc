// The host's branchless conversions against the plain ones of kernels/elements.h.
#include "kernels/host/narrow.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "kernels/elements.h"

namespace farscale {
namespace {

// Floats around every upper half: values, ties, and one bit beside a tie; all signs, subnormal and beyond the largest.
template <typename Format>
void expect_same(NumberType type) {
  using Stored = typename Format::Stored;
  const double most = largest_number(type);
  for (uint32_t upper = 0; upper < 65536; ++upper) {
    for (const uint32_t lower : {0U, 1U, 0x7FFFU, 0x8000U, 0x8001U, 0xFFFFU}) {
      const auto value = std::bit_cast<float>(upper << 16 | lower);
      if (!std::isfinite(value)) continue;
      const double wanted = std::clamp(double(value), -most, most);
      Stored expected = 0;
      encode(type, &wanted, 1, &expected, 0);
      const Stored got = Format::narrow(value);
      ASSERT_EQ(uint32_t{got}, uint32_t{expected}) << name(type) << " of " << value;
      double back = 0;
      decoder(type)(&got, 0, 1, &back);
      ASSERT_EQ(double(Format::widen(got)), back) << name(type) << " " << uint32_t{got};
    }
  }
}

TEST(Narrow, RoundsToEvenAndSaturatesAsTheReference) {
  expect_same<NarrowFp16>(NumberType::kFp16);
  expect_same<NarrowBf16>(NumberType::kBf16);
  expect_same<NarrowE4M3>(NumberType::kFp8E4M3);
  expect_same<NarrowE5M2>(NumberType::kFp8E5M2);
}

TEST(Narrow, KnowsTheLargestNumbers) {
  EXPECT_EQ(NarrowFp16::widen(NarrowFp16::narrow(1e9F)), 65504);
  EXPECT_EQ(NarrowE4M3::widen(NarrowE4M3::narrow(-1e9F)), -448);
  EXPECT_EQ(NarrowE5M2::widen(NarrowE5M2::narrow(1e9F)), 57344);
  EXPECT_EQ(NarrowE4M3::widen(NarrowE4M3::narrow(0x1p-10F)), 0) << "a tie between nothing and the smallest";
  EXPECT_EQ(NarrowE4M3::widen(NarrowE4M3::narrow(0x1.8p-9F)), 0x1p-8F);
}

}  // namespace
}  // namespace farscale
