// Number types a kernel computes in, and their sizes.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace farscale {

enum class NumberType : uint8_t { kFp64, kFp32, kTf32, kFp16, kBf16, kFp8E4M3, kFp8E5M2, kFp4, kInt8 };

inline constexpr std::array kNumberTypes = {NumberType::kFp64,    NumberType::kFp32, NumberType::kTf32,
                                            NumberType::kFp16,    NumberType::kBf16, NumberType::kFp8E4M3,
                                            NumberType::kFp8E5M2, NumberType::kFp4,  NumberType::kInt8};

// "fp64", "fp32", "tf32", "fp16", "bf16", "fp8_e4m3", "fp8_e5m2", "fp4", "int8".
std::string_view name(NumberType type);

// Bytes of one element in memory (tf32 is stored as fp32: 4; fp4 is packed in pairs: 0.5).
double bytes_per_element(NumberType type);

// Throws InputError with the nearest valid name.
NumberType parse_number_type(std::string_view text);

}  // namespace farscale
