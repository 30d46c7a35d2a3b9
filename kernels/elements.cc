// Decoding, encoding and filling of elements.
#include "kernels/elements.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <numbers>

namespace farscale {
namespace {

// What the largest exponent of a small format holds: infinity and NaN; numbers and one NaN; numbers alone.
enum class Top { kInfinity, kOneNan, kNumbers };

// A binary floating-point format of 4 to 16 bits.
struct SmallFloat {
  int exponent_bits;
  int mantissa_bits;
  Top top;

  constexpr int bias() const { return (1 << (exponent_bits - 1)) - 1; }
  constexpr uint32_t sign_bit() const { return 1U << (exponent_bits + mantissa_bits); }
  constexpr uint32_t infinity_bits() const { return ((1U << exponent_bits) - 1) << mantissa_bits; }
  constexpr uint32_t largest_bits() const {
    if (top == Top::kInfinity) return infinity_bits() - 1;
    return sign_bit() - (top == Top::kOneNan ? 2 : 1);
  }
  constexpr bool infinity() const { return top == Top::kInfinity; }
};

constexpr SmallFloat kFp16{5, 10, Top::kInfinity};
constexpr SmallFloat kE4M3{4, 3, Top::kOneNan};
constexpr SmallFloat kE5M2{5, 2, Top::kInfinity};
constexpr SmallFloat kE2M1{2, 1, Top::kNumbers};

double to_double(uint32_t bits, const SmallFloat& format) {
  const double sign = (bits & format.sign_bit()) != 0 ? -1 : 1;
  const uint32_t magnitude = bits & (format.sign_bit() - 1);
  if (magnitude > (format.infinity() ? format.infinity_bits() : format.largest_bits())) return std::nan("");
  if (format.infinity() && magnitude == format.infinity_bits()) return sign * HUGE_VAL;
  const int exponent = static_cast<int>(magnitude >> format.mantissa_bits);
  const uint32_t hidden = exponent == 0 ? 0 : 1U << format.mantissa_bits;
  const uint32_t mantissa = (magnitude & ((1U << format.mantissa_bits) - 1)) | hidden;
  return sign * std::ldexp(mantissa, std::max(exponent, 1) - format.bias() - format.mantissa_bits);
}

uint32_t from_double(double value, const SmallFloat& format) {
  const uint32_t sign = std::signbit(value) ? format.sign_bit() : 0;
  if (std::isnan(value)) return sign | (format.sign_bit() - 1);
  const uint32_t beyond = format.infinity() ? format.infinity_bits() : format.largest_bits();
  if (value == 0) return sign;
  if (std::isinf(value)) return sign | beyond;
  const int exponent = std::max(std::ilogb(value), 1 - format.bias());
  // The mantissa as an integer; a carry into the next exponent comes out right because the bits follow each other.
  const double scaled = std::nearbyint(std::ldexp(std::abs(value), format.mantissa_bits - exponent));
  const double bits = std::ldexp(exponent + format.bias() - 1, format.mantissa_bits) + scaled;
  return sign | (bits > format.largest_bits() ? beyond : static_cast<uint32_t>(bits));
}

float bf16_to_float(uint16_t bits) { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }

uint16_t float_to_bf16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  if (std::isnan(value)) return static_cast<uint16_t>((bits >> 16) | 0x40U);
  return static_cast<uint16_t>((bits + 0x7FFFU + ((bits >> 16) & 1U)) >> 16);
}

// Through fp32 only when that step is exact: rounding twice is not rounding once.
uint16_t double_to_bf16(double value) {
  const auto narrow = static_cast<float>(value);
  if (static_cast<double>(narrow) == value || std::isnan(value)) return float_to_bf16(narrow);
  const uint32_t bits = std::bit_cast<uint32_t>(narrow);
  const bool tie = (bits & 0xFFFFU) == 0x8000U;
  if (!tie || std::isinf(narrow)) return float_to_bf16(narrow);
  const bool down = std::abs(value) < std::abs(static_cast<double>(narrow));
  return float_to_bf16(std::bit_cast<float>(down ? bits - 1 : bits + 1));
}

template <typename Stored, auto Convert>
void decode_with(const void* data, int64_t first, int64_t count, double* to) {
  const auto* from = static_cast<const Stored*>(data) + first;
  for (int64_t i = 0; i < count; ++i) to[i] = static_cast<double>(Convert(from[i]));
}

template <typename Stored, auto Convert>
void encode_with(const double* from, int64_t count, void* data, int64_t first) {
  auto* to = static_cast<Stored*>(data) + first;
  for (int64_t i = 0; i < count; ++i) to[i] = static_cast<Stored>(Convert(from[i]));
}

// Two numbers a byte: neither has an address of its own.
void decode_fp4(const void* data, int64_t first, int64_t count, double* to) {
  const auto* bytes = static_cast<const uint8_t*>(data);
  for (int64_t i = 0; i < count; ++i) {
    const int64_t at = first + i;
    to[i] = to_double((bytes[at / 2] >> (at % 2 * 4)) & 0xFU, kE2M1);
  }
}

void encode_fp4(const double* from, int64_t count, void* data, int64_t first) {
  auto* bytes = static_cast<uint8_t*>(data);
  for (int64_t i = 0; i < count; ++i) {
    const int64_t at = first + i;
    const auto shift = static_cast<uint32_t>(at % 2 * 4);
    const uint32_t other = bytes[at / 2] & ~(0xFU << shift);
    bytes[at / 2] = static_cast<uint8_t>(other | (from_double(from[i], kE2M1) << shift));
  }
}

constexpr auto kAsIs = [](auto value) { return static_cast<double>(value); };
constexpr auto kToFloat = [](double value) { return static_cast<float>(value); };
constexpr auto kToByte = [](double value) { return std::clamp(std::nearbyint(value), -128.0, 127.0); };
// tf32 is fp32 with 10 mantissa bits; it is stored as fp32, and the device does the rounding.
constexpr auto kFromFp16 = [](uint16_t bits) { return to_double(bits, kFp16); };
constexpr auto kFromE4M3 = [](uint8_t bits) { return to_double(bits, kE4M3); };
constexpr auto kFromE5M2 = [](uint8_t bits) { return to_double(bits, kE5M2); };
constexpr auto kToFp16 = [](double value) { return from_double(value, kFp16); };
constexpr auto kToE4M3 = [](double value) { return from_double(value, kE4M3); };
constexpr auto kToE5M2 = [](double value) { return from_double(value, kE5M2); };

using Encode = void (*)(const double* from, int64_t count, void* data, int64_t first);

Encode encoder(NumberType type) {
  switch (type) {
    case NumberType::kFp64:
      return encode_with<double, kAsIs>;
    case NumberType::kFp32:
    case NumberType::kTf32:
      return encode_with<float, kToFloat>;
    case NumberType::kFp16:
      return encode_with<uint16_t, kToFp16>;
    case NumberType::kBf16:
      return encode_with<uint16_t, double_to_bf16>;
    case NumberType::kFp8E4M3:
      return encode_with<uint8_t, kToE4M3>;
    case NumberType::kFp8E5M2:
      return encode_with<uint8_t, kToE5M2>;
    case NumberType::kInt8:
      return encode_with<int8_t, kToByte>;
    case NumberType::kFp4:
      return encode_fp4;
  }
  return nullptr;
}

// Uniform in (0, 1]: never 0, whose logarithm Box-Muller takes.
float uniform(uint64_t bits) { return (static_cast<float>(bits >> 40) + 1.0F) * 0x1p-24F; }

// Two normal numbers a hash (Box and Muller, Ann. Math. Statist. 29, 1958).
void fill_normal(double* to, int64_t first, int64_t count, uint64_t seed, double deviation) {
  for (int64_t i = 0; i < count; i += 2) {
    const uint64_t bits = mixed(seed, static_cast<uint64_t>(first + i));
    const float radius = std::sqrt(-2.0F * std::log(uniform(bits)));
    const float angle = 2.0F * std::numbers::pi_v<float> * uniform(bits << 24);
    to[i] = deviation * static_cast<double>(radius * std::cos(angle));
    if (i + 1 < count) to[i + 1] = deviation * static_cast<double>(radius * std::sin(angle));
  }
}

}  // namespace

Decode decoder(NumberType type) {
  switch (type) {
    case NumberType::kFp64:
      return decode_with<double, kAsIs>;
    case NumberType::kFp32:
    case NumberType::kTf32:
      return decode_with<float, kAsIs>;
    case NumberType::kFp16:
      return decode_with<uint16_t, kFromFp16>;
    case NumberType::kBf16:
      return decode_with<uint16_t, bf16_to_float>;
    case NumberType::kFp8E4M3:
      return decode_with<uint8_t, kFromE4M3>;
    case NumberType::kFp8E5M2:
      return decode_with<uint8_t, kFromE5M2>;
    case NumberType::kInt8:
      return decode_with<int8_t, kAsIs>;
    case NumberType::kFp4:
      return decode_fp4;
  }
  return nullptr;
}

void decode_int32(const void* data, int64_t first, int64_t count, double* to) {
  decode_with<int32_t, kAsIs>(data, first, count, to);
}

void encode(NumberType type, const double* from, int64_t count, void* data, int64_t first) {
  encoder(type)(from, count, data, first);
}

double largest_number(NumberType type) {
  switch (type) {
    case NumberType::kFp64:
      return std::numeric_limits<double>::max();
    case NumberType::kFp32:
    case NumberType::kTf32:
      return double(std::numeric_limits<float>::max());
    case NumberType::kFp16:
      return to_double(kFp16.largest_bits(), kFp16);
    case NumberType::kBf16:
      return double(bf16_to_float(0x7F7F));
    case NumberType::kFp8E4M3:
      return to_double(kE4M3.largest_bits(), kE4M3);
    case NumberType::kFp8E5M2:
      return to_double(kE5M2.largest_bits(), kE5M2);
    case NumberType::kFp4:
      return to_double(kE2M1.largest_bits(), kE2M1);
    case NumberType::kInt8:
      return 127;
  }
  return 0;
}

double unit_roundoff(NumberType type) {
  switch (type) {
    case NumberType::kFp64:
      return 0x1p-53;
    case NumberType::kFp32:
      return 0x1p-24;
    case NumberType::kTf32:
    case NumberType::kFp16:
      return 0x1p-11;
    case NumberType::kBf16:
      return 0x1p-8;
    case NumberType::kFp8E4M3:
      return 0x1p-4;
    case NumberType::kFp8E5M2:
      return 0x1p-3;
    case NumberType::kFp4:
      return 0x1p-2;
    case NumberType::kInt8:
      return 0;
  }
  return 0;
}

void fill(NumberType type, void* data, Slice slice, InputData inputs, uint64_t seed) {
  const Encode put = encoder(type);
  const double deviation = type == NumberType::kInt8 ? 21 : 1;
  const double most = type == NumberType::kInt8 ? 63 : HUGE_VAL;
  std::array<double, 4096> block;
  block.fill(inputs == InputData::kConstant ? 1.0 : 0.0);
  for (int64_t done = 0; done < slice.count; done += int64_t(block.size())) {
    const int64_t count = std::min(slice.count - done, int64_t(block.size()));
    if (inputs == InputData::kNormal) fill_normal(block.data(), slice.first + done, count, seed, deviation);
    for (int64_t i = 0; i < count; ++i) block[i] = std::clamp(block[i], -most, most);
    put(block.data(), count, data, slice.first + done);
  }
}

uint64_t mixed(uint64_t seed, uint64_t index) {
  uint64_t bits = seed * 0xD1B54A32D192ED03U + (index + 1) * 0x9E3779B97F4A7C15U;
  bits = (bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9U;
  bits = (bits ^ (bits >> 27)) * 0x94D049BB133111EBU;
  return bits ^ (bits >> 31);
}

}  // namespace farscale
