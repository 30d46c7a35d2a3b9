#include "kernels/elements.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <limits>
#include <vector>

namespace farscale {
namespace {

double through(NumberType type, double value) {
  std::array<std::byte, 8> memory{};
  double out = 0;
  encode(type, &value, 1, memory.data(), 0);
  decoder(type)(memory.data(), 0, 1, &out);
  return out;
}

TEST(Elements, RoundsToNearestEven) {
  EXPECT_EQ(through(NumberType::kBf16, 1 + 0x1p-8), 1);                     // a tie goes to the even mantissa
  EXPECT_EQ(through(NumberType::kBf16, 1 + 0x1p-8 + 0x1p-40), 1 + 0x1p-7);  // and no second rounding on the way
  EXPECT_EQ(through(NumberType::kBf16, 1 + 0x1.8p-7), 1 + 0x1p-6);
  EXPECT_EQ(through(NumberType::kFp16, 1 + 0x1p-11), 1);
  EXPECT_EQ(through(NumberType::kFp16, 1 + 0x1.8p-10), 1 + 0x1p-9);
  EXPECT_EQ(through(NumberType::kFp8E4M3, 17), 16);
  EXPECT_EQ(through(NumberType::kFp8E5M2, -9), -8);
  EXPECT_EQ(through(NumberType::kFp32, 1 + 0x1p-25), 1);
  EXPECT_EQ(through(NumberType::kFp64, 0.1), 0.1);
  EXPECT_EQ(through(NumberType::kInt8, -2.5), -2);
}

TEST(Elements, KnowsTheEndsOfEachType) {
  EXPECT_EQ(through(NumberType::kFp16, 65504), 65504);
  EXPECT_EQ(through(NumberType::kFp16, 65519), 65504);
  EXPECT_TRUE(std::isinf(through(NumberType::kFp16, 65520)));
  EXPECT_EQ(through(NumberType::kFp16, 0x1p-24), 0x1p-24);  // the smallest subnormal
  EXPECT_EQ(through(NumberType::kFp8E4M3, 448), 448);
  EXPECT_EQ(through(NumberType::kFp8E4M3, 1e9), 448);  // saturates
  EXPECT_EQ(through(NumberType::kFp8E4M3, 0x1p-9), 0x1p-9);
  EXPECT_EQ(through(NumberType::kFp8E5M2, 57344), 57344);
  EXPECT_TRUE(std::isinf(through(NumberType::kFp8E5M2, 1e9)));
  EXPECT_TRUE(std::isnan(through(NumberType::kFp8E4M3, std::nan(""))));
  EXPECT_TRUE(std::isnan(through(NumberType::kBf16, std::nan(""))));
  EXPECT_TRUE(std::isinf(through(NumberType::kBf16, std::numeric_limits<double>::max())));
  EXPECT_EQ(through(NumberType::kInt8, 200), 127);
}

TEST(Elements, EveryBitPatternComesBack) {
  for (const NumberType type : {NumberType::kFp16, NumberType::kBf16}) {
    for (uint32_t bits = 0; bits < 65536; ++bits) {
      const auto pattern = static_cast<uint16_t>(bits);
      double value = 0;
      decoder(type)(&pattern, 0, 1, &value);
      if (std::isnan(value)) continue;
      uint16_t again = 0;
      encode(type, &value, 1, &again, 0);
      ASSERT_EQ(again, pattern) << name(type);
    }
  }
  for (const NumberType type : {NumberType::kFp8E4M3, NumberType::kFp8E5M2, NumberType::kInt8}) {
    for (uint32_t bits = 0; bits < 256; ++bits) {
      const auto pattern = static_cast<uint8_t>(bits);
      double value = 0;
      decoder(type)(&pattern, 0, 1, &value);
      if (std::isnan(value)) continue;
      uint8_t again = 0;
      encode(type, &value, 1, &again, 0);
      ASSERT_EQ(again, pattern) << name(type);
    }
  }
}

TEST(Elements, NormalInputsHaveTheirMoments) {
  constexpr int64_t kCount = 200'000;
  std::vector<float> data(kCount);
  fill(NumberType::kFp32, data.data(), {.count = kCount}, InputData::kNormal, 7);
  double sum = 0, squares = 0, fourth = 0;
  for (const float x : data) {
    sum += x;
    squares += double(x) * x;
    fourth += std::pow(double(x), 4);
  }
  EXPECT_NEAR(sum / kCount, 0, 5 / std::sqrt(kCount));
  EXPECT_NEAR(squares / kCount, 1, 5 * std::sqrt(2.0 / kCount));
  EXPECT_NEAR(fourth / kCount, 3, 0.15);
}

TEST(Elements, SlicesAgreeWithTheWholeAndSeedsDiffer) {
  std::vector<float> whole(10'001), sliced(10'001), other(10'001);
  fill(NumberType::kFp32, whole.data(), {.count = 10'001}, InputData::kNormal, 1);
  fill(NumberType::kFp32, sliced.data(), {.first = 0, .count = 5'002}, InputData::kNormal, 1);
  fill(NumberType::kFp32, sliced.data(), {.first = 5'002, .count = 4'999}, InputData::kNormal, 1);
  fill(NumberType::kFp32, other.data(), {.count = 10'001}, InputData::kNormal, 2);
  EXPECT_EQ(whole, sliced);
  EXPECT_NE(whole, other);
}

TEST(Elements, ZerosAndConstantsOnRequest) {
  std::vector<float> data(100, 5.0F);
  fill(NumberType::kFp32, data.data(), {.count = 100}, InputData::kZeros, 1);
  EXPECT_EQ(data, std::vector<float>(100, 0.0F));
  fill(NumberType::kFp32, data.data(), {.count = 100}, InputData::kConstant, 1);
  EXPECT_EQ(data, std::vector<float>(100, 1.0F));
}

TEST(Elements, Fp4LiesInPairs) {
  const std::array<double, 6> values = {0.5, -6, 2.5, 100, -0.2, 5};  // ties and the rest to 2, 6, 0 and 4
  std::array<uint8_t, 3> bytes{};
  encode(NumberType::kFp4, values.data(), 6, bytes.data(), 0);
  EXPECT_EQ(bytes[0], 0xF1) << "the first of two in the low half";
  std::array<double, 6> out{};
  decoder(NumberType::kFp4)(bytes.data(), 0, 6, out.data());
  EXPECT_EQ(out, (std::array<double, 6>{0.5, -6, 2, 6, 0, 4}));
  const double one = 1;
  encode(NumberType::kFp4, &one, 1, bytes.data(), 3);  // alone: its neighbour stays
  decoder(NumberType::kFp4)(bytes.data(), 2, 2, out.data());
  EXPECT_EQ(out[0], 2);
  EXPECT_EQ(out[1], 1);
}

TEST(Elements, LargestNumbersComeBackAndNothingIsBeyond) {
  for (const NumberType type : kNumberTypes) {
    EXPECT_EQ(through(type, largest_number(type)), largest_number(type)) << name(type);
  }
  EXPECT_EQ(largest_number(NumberType::kFp8E4M3), 448);
  EXPECT_EQ(largest_number(NumberType::kFp8E5M2), 57344);
  EXPECT_EQ(largest_number(NumberType::kFp4), 6);
}

}  // namespace
}  // namespace farscale
