// Conversions between float and the narrow types without branches, so that loops over them become vector code. Rounded
// to nearest, ties to even; what is beyond the largest finite number becomes that number. Not for NaN.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>

namespace farscale {

constexpr float power_of_two(int exponent) { return std::bit_cast<float>(static_cast<uint32_t>(exponent + 127) << 23); }

// A binary format of kExponent and kMantissa bits in `Bits`; kLargest: the bits of its largest finite number.
template <typename Bits, int kExponent, int kMantissa, uint32_t kLargest>
struct Narrow {
  using Stored = Bits;
  static constexpr int kShift = 23 - kMantissa;
  static constexpr int kBias = (1 << (kExponent - 1)) - 1;
  static constexpr uint32_t kRebias = static_cast<uint32_t>(127 - kBias) << kMantissa;
  static constexpr uint32_t kSign = 1U << (kExponent + kMantissa);
  static constexpr float kMost = std::bit_cast<float>((kLargest + kRebias) << kShift);

  static float widen(Stored stored) {
    const uint32_t bits = stored;
    // The exponent is too small by 127 - kBias: a product sets it right, for subnormal numbers too.
    const float magnitude = std::bit_cast<float>((bits & (kSign - 1)) << kShift) * kUnbias;
    return std::bit_cast<float>(std::bit_cast<uint32_t>(magnitude) | ((bits & kSign) << (31 - kExponent - kMantissa)));
  }

  static Stored narrow(float value) {
    const uint32_t bits = std::bit_cast<uint32_t>(value);
    const float magnitude = std::min(std::bit_cast<float>(bits & 0x7FFFFFFFU), kMost);
    const uint32_t wide = std::bit_cast<uint32_t>(magnitude);
    const uint32_t normal = ((wide + ((1U << (kShift - 1)) - 1) + ((wide >> kShift) & 1U)) >> kShift) - kRebias;
    // Subnormal: beside a number whose last bit is worth the smallest step, the sum is rounded to whole steps.
    const uint32_t tiny = std::bit_cast<uint32_t>(magnitude + kSteps) - std::bit_cast<uint32_t>(kSteps);
    const uint32_t sign = bits >> 31 << (kExponent + kMantissa);
    return static_cast<Stored>(sign | (magnitude < kSmallestNormal ? tiny : normal));
  }

 private:
  static constexpr float kUnbias = power_of_two(127 - kBias);
  static constexpr float kSmallestNormal = power_of_two(1 - kBias);
  static constexpr float kSteps = power_of_two(24 - kBias - kMantissa);
};

using NarrowFp16 = Narrow<uint16_t, 5, 10, 0x7BFF>;
using NarrowE4M3 = Narrow<uint8_t, 4, 3, 0x7E>;
using NarrowE5M2 = Narrow<uint8_t, 5, 2, 0x7B>;

// The upper half of a float.
struct NarrowBf16 {
  using Stored = uint16_t;
  static float widen(Stored stored) { return std::bit_cast<float>(static_cast<uint32_t>(stored) << 16); }
  static Stored narrow(float value) {
    const uint32_t bits = std::bit_cast<uint32_t>(value);
    const uint32_t rounded = (bits + 0x7FFFU + ((bits >> 16) & 1U)) >> 16;
    const bool beyond = (rounded & 0x7FFFU) == 0x7F80U;
    return static_cast<Stored>(beyond ? rounded - 1 : rounded);
  }
};

// No conversion at all.
template <typename T>
struct Plain {
  using Stored = T;
  static T widen(T stored) { return stored; }
  static T narrow(T value) { return value; }
};

}  // namespace farscale
