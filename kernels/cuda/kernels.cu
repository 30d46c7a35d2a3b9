// Our own CUDA kernels. All are bound by memory: 16-byte accesses, neighbouring threads on neighbouring addresses, and
// several independent loads in flight before the first use. Arrays are 256-byte aligned; what is left over after whole
// 16-byte pieces is done element by element by the last block.
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp8.h>

#include "kernels/cuda/launch.h"
#include "kernels/reference.h"

namespace farscale::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kUnroll = 4;  // independent 16-byte loads a thread and an array

template <typename T>
struct alignas(16) Pack {
  static constexpr int kSize = 16 / sizeof(T);
  T value[kSize];
};

int64_t blocks_for(int64_t pieces, int64_t per_block) { return pieces == 0 ? 1 : (pieces + per_block - 1) / per_block; }

// ---- Inputs ----

__device__ uint64_t mix(uint64_t seed, uint64_t index) {  // SplitMix64's output function
  uint64_t bits = seed * 0xD1B54A32D192ED03U + (index + 1) * 0x9E3779B97F4A7C15U;
  bits = (bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9U;
  bits = (bits ^ (bits >> 27)) * 0x94D049BB133111EBU;
  return bits ^ (bits >> 31);
}

// Two independent normal numbers from one hash (Box and Muller, Ann. Math. Statist. 29, 1958).
__device__ float2 normal_pair(uint64_t seed, uint64_t index) {
  const uint64_t bits = mix(seed, index);
  const float u = (static_cast<float>(bits >> 40) + 1.0f) * 0x1p-24f;
  const float v = static_cast<float>((bits >> 16) & 0xFFFFFF) * 0x1p-24f;
  const float radius = sqrtf(-2.0f * logf(u));
  return {radius * cospif(2.0f * v), radius * sinpif(2.0f * v)};
}

struct Tf32 {
  float value;
};

template <typename T>
__device__ T rounded(float value) {
  return T(value);
}
template <>
__device__ Tf32 rounded<Tf32>(float value) {  // fp32 with the 13 lowest mantissa bits rounded away
  return {__uint_as_float((__float_as_uint(value) + 0x1000U) & 0xFFFFE000U)};
}
template <>
__device__ int8_t rounded<int8_t>(float value) {  // deviation 21, clipped, as kernels/elements.h
  return static_cast<int8_t>(fminf(fmaxf(rintf(21.0f * value), -63.0f), 63.0f));
}
template <typename T>
__device__ T one() {
  return rounded<T>(1.0f);
}
template <>
__device__ int8_t one<int8_t>() {
  return 1;
}

template <typename T>
__global__ void fill_kernel(T* to, int64_t count, InputData data, uint64_t seed) {
  const int64_t pair = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  const int64_t i = 2 * pair;
  if (i >= count) return;
  T first = rounded<T>(0.0f);
  T second = first;
  if (data == InputData::kConstant) first = second = one<T>();
  if (data == InputData::kNormal) {
    const float2 values = normal_pair(seed, static_cast<uint64_t>(pair));
    first = rounded<T>(values.x);
    second = rounded<T>(values.y);
  }
  to[i] = first;
  if (i + 1 < count) to[i + 1] = second;
}

template <typename T>
cudaError_t fill(const FillTask& task, cudaStream_t stream) {
  const auto blocks = static_cast<unsigned>(blocks_for((task.count + 1) / 2, kThreads));
  fill_kernel<T><<<blocks, kThreads, 0, stream>>>(static_cast<T*>(task.to), task.count, task.data, task.seed);
  return cudaGetLastError();
}

// ---- Copy ----

__global__ void __launch_bounds__(kThreads) copy_kernel(const int4* x, int4* y, int64_t pieces, int64_t bytes) {
  const int64_t start = int64_t{blockIdx.x} * kThreads * kUnroll + threadIdx.x;
  int4 held[kUnroll];
#pragma unroll
  for (int j = 0; j < kUnroll; ++j) {
    if (start + j * kThreads < pieces) held[j] = x[start + j * kThreads];
  }
#pragma unroll
  for (int j = 0; j < kUnroll; ++j) {
    if (start + j * kThreads < pieces) y[start + j * kThreads] = held[j];
  }
  const int64_t rest = pieces * 16 + threadIdx.x;
  if (blockIdx.x == gridDim.x - 1 && rest < bytes) {
    reinterpret_cast<char*>(y)[rest] = reinterpret_cast<const char*>(x)[rest];
  }
}

// ---- Triad ----

template <typename T>
__global__ void __launch_bounds__(kThreads)
    triad_kernel(const Pack<T>* x, const Pack<T>* y, Pack<T>* z, T scale, int64_t count) {
  const int64_t packs = count / Pack<T>::kSize;
  const int64_t start = int64_t{blockIdx.x} * kThreads * kUnroll + threadIdx.x;
  Pack<T> a[kUnroll];
  Pack<T> b[kUnroll];
#pragma unroll
  for (int j = 0; j < kUnroll; ++j) {
    if (start + j * kThreads < packs) {
      a[j] = x[start + j * kThreads];
      b[j] = y[start + j * kThreads];
    }
  }
#pragma unroll
  for (int j = 0; j < kUnroll; ++j) {
    if (start + j * kThreads >= packs) continue;
#pragma unroll
    for (int e = 0; e < Pack<T>::kSize; ++e) a[j].value[e] += scale * b[j].value[e];
    z[start + j * kThreads] = a[j];
  }
  const int64_t rest = packs * Pack<T>::kSize + threadIdx.x;
  if (blockIdx.x == gridDim.x - 1 && rest < count) {
    reinterpret_cast<T*>(z)[rest] = reinterpret_cast<const T*>(x)[rest] + scale * reinterpret_cast<const T*>(y)[rest];
  }
}

template <typename T>
cudaError_t triad(const TriadTask& task, cudaStream_t stream) {
  const auto blocks = static_cast<unsigned>(blocks_for(task.count / Pack<T>::kSize, kThreads * kUnroll));
  triad_kernel<T><<<blocks, kThreads, 0, stream>>>(static_cast<const Pack<T>*>(task.x),
                                                   static_cast<const Pack<T>*>(task.y), static_cast<Pack<T>*>(task.z),
                                                   static_cast<T>(task.scale), task.count);
  return cudaGetLastError();
}

// ---- AdamW ----

template <typename T>
__device__ void adamw_element(T& p, T& m, T& v, T g, const AdamWStep<T>& s) {
  m = s.beta1 * m + s.rest1 * g;
  v = s.beta2 * v + s.rest2 * g * g;
  p = p * s.keep - s.step * m / (sqrt(v) * s.inverse_root_bias2 + s.epsilon);
}

template <typename T>
__global__ void __launch_bounds__(kThreads)
    adamw_kernel(Pack<T>* p, Pack<T>* m, Pack<T>* v, const Pack<T>* g, AdamWStep<T> step, int64_t count) {
  const int64_t packs = count / Pack<T>::kSize;
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i < packs) {
    Pack<T> new_p = p[i];
    Pack<T> new_m = m[i];
    Pack<T> new_v = v[i];
    const Pack<T> gradient = g[i];
#pragma unroll
    for (int e = 0; e < Pack<T>::kSize; ++e) {
      adamw_element(new_p.value[e], new_m.value[e], new_v.value[e], gradient.value[e], step);
    }
    p[i] = new_p;
    m[i] = new_m;
    v[i] = new_v;
  }
  const int64_t rest = packs * Pack<T>::kSize + threadIdx.x;
  if (blockIdx.x == gridDim.x - 1 && rest < count) {
    adamw_element(reinterpret_cast<T*>(p)[rest], reinterpret_cast<T*>(m)[rest], reinterpret_cast<T*>(v)[rest],
                  reinterpret_cast<const T*>(g)[rest], step);
  }
}

template <typename T>
cudaError_t adamw(const AdamWTask& task, cudaStream_t stream) {
  const auto blocks = static_cast<unsigned>(blocks_for(task.count / Pack<T>::kSize, kThreads));
  adamw_kernel<T><<<blocks, kThreads, 0, stream>>>(static_cast<Pack<T>*>(task.p), static_cast<Pack<T>*>(task.m),
                                                   static_cast<Pack<T>*>(task.v), static_cast<const Pack<T>*>(task.g),
                                                   AdamWStep<T>{}, task.count);
  return cudaGetLastError();
}

}  // namespace

cudaError_t launch_fill(const FillTask& task, cudaStream_t stream) {
  switch (task.type) {
    case NumberType::kFp64:
      return fill<double>(task, stream);
    case NumberType::kFp32:
      return fill<float>(task, stream);
    case NumberType::kTf32:
      return fill<Tf32>(task, stream);
    case NumberType::kFp16:
      return fill<__half>(task, stream);
    case NumberType::kBf16:
      return fill<__nv_bfloat16>(task, stream);
    case NumberType::kFp8E4M3:
      return fill<__nv_fp8_e4m3>(task, stream);
    case NumberType::kFp8E5M2:
      return fill<__nv_fp8_e5m2>(task, stream);
    case NumberType::kInt8:
      return fill<int8_t>(task, stream);
    case NumberType::kFp4:
      break;
  }
  return cudaErrorNotSupported;
}

cudaError_t launch_copy(const void* x, void* y, int64_t bytes, cudaStream_t stream) {
  const int64_t pieces = bytes / 16;
  const auto blocks = static_cast<unsigned>(blocks_for(pieces, kThreads * kUnroll));
  copy_kernel<<<blocks, kThreads, 0, stream>>>(static_cast<const int4*>(x), static_cast<int4*>(y), pieces, bytes);
  return cudaGetLastError();
}

cudaError_t launch_triad(const TriadTask& task, cudaStream_t stream) {
  if (task.type == NumberType::kFp64) return triad<double>(task, stream);
  return task.type == NumberType::kFp32 ? triad<float>(task, stream) : cudaErrorNotSupported;
}

cudaError_t launch_adamw(const AdamWTask& task, cudaStream_t stream) {
  if (task.type == NumberType::kFp64) return adamw<double>(task, stream);
  return task.type == NumberType::kFp32 ? adamw<float>(task, stream) : cudaErrorNotSupported;
}

}  // namespace farscale::cuda
