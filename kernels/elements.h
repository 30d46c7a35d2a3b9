// Elements of any number type in host memory: rounding numbers into them, reading them back, filling buffers with
// inputs. The modules make their inputs here and the references read them here, so both see the same numbers.
#pragma once

#include <cstdint>

#include "kernels/backend.h"
#include "kernels/number_type.h"

namespace farscale {

// Reads `count` elements from the `first`-th on into doubles (exact for every type).
using Decode = void (*)(const void* data, int64_t first, int64_t count, double* to);

// fp4 lies in pairs, the first of two in the low half of a byte.
Decode decoder(NumberType type);
void decode_int32(const void* data, int64_t first, int64_t count, double* to);  // what int8 products are summed in

// Rounds `count` doubles to nearest, ties to even, into elements from the `first`-th on. Beyond the largest number:
// infinity where the type has one; fp8_e4m3, fp4 and int8 saturate (OCP 8-bit Floating Point Specification 1.0, 2023).
void encode(NumberType type, const double* from, int64_t count, void* data, int64_t first);

// The largest finite number: 448 in fp8_e4m3. What a saturating conversion makes of all that is beyond it.
double largest_number(NumberType type);

// Half the distance from 1 to the next number: 2^-53, 2^-24 (fp32), 2^-11 (tf32, fp16), 2^-8 (bf16), 2^-4, 2^-3; int8:
// 0.
double unit_roundoff(NumberType type);

// Which part of a buffer to fill; `first` is even, so that threads filling slices and one filling all agree.
struct Slice {
  int64_t first = 0;
  int64_t count = 0;
};

// Inputs: normal (mean 0, variance 1; int8: deviation 21, clipped to ±63, so that no sum of two products of an
// unsigned and a signed byte leaves 16 bits on CPUs without VNNI), zeros, or ones. Depends on seed and position only.
void fill(NumberType type, void* data, Slice slice, InputData inputs, uint64_t seed);

// A well mixed 64-bit value of (seed, index): SplitMix64's output function (Steele, Lea and Flood, OOPSLA 2014).
uint64_t mixed(uint64_t seed, uint64_t index);

}  // namespace farscale
