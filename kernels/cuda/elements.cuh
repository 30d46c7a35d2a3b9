// What the kernels share: 16 bytes of elements at a time, and elements as floats and back.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp8.h>

#include "kernels/cuda/launch.h"

namespace farscale::cuda {

inline constexpr int kThreads = 256;

template <typename T>
struct alignas(16) Pack {
  static constexpr int kSize = 16 / sizeof(T);
  T value[kSize];
};

inline unsigned blocks_for(int64_t items, int64_t per_block) {
  return static_cast<unsigned>(items == 0 ? 1 : (items + per_block - 1) / per_block);
}

// Narrow types are computed in fp32.
template <typename T>
struct ComputedIn {
  using Type = float;
};
template <>
struct ComputedIn<double> {
  using Type = double;
};

__device__ inline double widen(double value) { return value; }
__device__ inline float widen(float value) { return value; }
__device__ inline float widen(__half value) { return __half2float(value); }
__device__ inline float widen(__nv_bfloat16 value) { return __bfloat162float(value); }
__device__ inline float widen(__nv_fp8_e4m3 value) { return static_cast<float>(value); }
__device__ inline float widen(__nv_fp8_e5m2 value) { return static_cast<float>(value); }

// Comparisons and not fmin: they let NaN pass.
__device__ inline float clamped(float value, float most) {
  return value > most ? most : (value < -most ? -most : value);
}

// To nearest even, saturated.
template <typename T>
__device__ T narrow(typename ComputedIn<T>::Type value) {
  return T(value);  // the fp8 types saturate
}
template <>
__device__ inline __half narrow<__half>(float value) {
  return __float2half_rn(clamped(value, 65504.0f));
}
template <>
__device__ inline __nv_bfloat16 narrow<__nv_bfloat16>(float value) {
  return __float2bfloat16_rn(clamped(value, 0x1.FEp127f));
}

__device__ inline uint64_t mix(uint64_t seed, uint64_t index) {  // SplitMix64's output function
  uint64_t bits = seed * 0xD1B54A32D192ED03U + (index + 1) * 0x9E3779B97F4A7C15U;
  bits = (bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9U;
  bits = (bits ^ (bits >> 27)) * 0x94D049BB133111EBU;
  return bits ^ (bits >> 31);
}

template <typename T>
__device__ T warp_sum(T value) {
#pragma unroll
  for (int lanes = 16; lanes > 0; lanes /= 2) value += __shfl_xor_sync(0xFFFFFFFFU, value, lanes);
  return value;
}

}  // namespace farscale::cuda
