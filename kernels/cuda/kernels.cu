// Inputs, copy, triad and AdamW. All kernels are bound by memory: 16-byte accesses, neighbouring threads on
// neighbouring addresses, and several independent loads in flight before the first use. Arrays are 256-byte aligned;
// what is left over after whole 16-byte pieces is done element by element by the last block.
#include "kernels/cuda/elements.cuh"
#include "kernels/reference.h"

namespace farscale::cuda {
namespace {

constexpr int kUnroll = 4;  // independent 16-byte loads a thread and an array

// ---- Inputs ----

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

// The nearest of 0, 0.5, 1, 1.5, 2, 3, 4 and 6, ties to the even bit pattern; the sign is the fourth bit.
__device__ uint32_t fp4_bits(float value) {
  const float x = fabsf(value);
  uint32_t bits = 0;
  bits += x > 0.25f ? 1 : 0;
  bits += x >= 0.75f ? 1 : 0;
  bits += x > 1.25f ? 1 : 0;
  bits += x >= 1.75f ? 1 : 0;
  bits += x > 2.5f ? 1 : 0;
  bits += x >= 3.5f ? 1 : 0;
  bits += x > 5.0f ? 1 : 0;
  return bits | (value < 0 ? 8U : 0U);
}

__global__ void fill_fp4_kernel(uint8_t* to, int64_t pairs, InputData data, uint64_t seed) {
  const int64_t pair = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (pair >= pairs) return;
  uint32_t bits = data == InputData::kConstant ? 0x22 : 0;
  if (data == InputData::kNormal) {
    const float2 values = normal_pair(seed, static_cast<uint64_t>(pair));
    bits = fp4_bits(values.x) | fp4_bits(values.y) << 4;
  }
  to[pair] = static_cast<uint8_t>(bits);
}

cudaError_t fill_fp4(const FillTask& task, cudaStream_t stream) {
  const int64_t pairs = (task.count + 1) / 2;
  fill_fp4_kernel<<<blocks_for(pairs, kThreads), kThreads, 0, stream>>>(static_cast<uint8_t*>(task.to), pairs,
                                                                        task.data, task.seed);
  return cudaGetLastError();
}

template <typename T>
cudaError_t fill(const FillTask& task, cudaStream_t stream) {
  fill_kernel<T><<<blocks_for((task.count + 1) / 2, kThreads), kThreads, 0, stream>>>(static_cast<T*>(task.to),
                                                                                      task.count, task.data, task.seed);
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
__device__ T triad_element(T x, T y, typename ComputedIn<T>::Type scale) {
  return narrow<T>(widen(x) + scale * widen(y));
}

template <typename T>
__global__ void __launch_bounds__(kThreads)
    triad_kernel(const Pack<T>* x, const Pack<T>* y, Pack<T>* z, typename ComputedIn<T>::Type scale, int64_t count) {
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
    for (int e = 0; e < Pack<T>::kSize; ++e) a[j].value[e] = triad_element(a[j].value[e], b[j].value[e], scale);
    z[start + j * kThreads] = a[j];
  }
  const int64_t rest = packs * Pack<T>::kSize + threadIdx.x;
  if (blockIdx.x == gridDim.x - 1 && rest < count) {
    reinterpret_cast<T*>(z)[rest] =
        triad_element(reinterpret_cast<const T*>(x)[rest], reinterpret_cast<const T*>(y)[rest], scale);
  }
}

template <typename T>
cudaError_t triad(const TriadTask& task, cudaStream_t stream) {
  triad_kernel<T><<<blocks_for(task.count / Pack<T>::kSize, kThreads * kUnroll), kThreads, 0, stream>>>(
      static_cast<const Pack<T>*>(task.x), static_cast<const Pack<T>*>(task.y), static_cast<Pack<T>*>(task.z),
      static_cast<typename ComputedIn<T>::Type>(task.scale), task.count);
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
struct AdamWArrays {
  T* p;
  T* m;
  T* v;
  const T* g;
};

// A block takes one piece: of the table, or the next kPieceElements of single arrays.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    adamw_kernel(AdamWArrays<T> arrays, AdamWStep<T> step, int64_t count, const TensorPiece* pieces) {
  const int64_t start = int64_t{blockIdx.x} * kPieceElements;
  const int64_t first = pieces != nullptr ? pieces[blockIdx.x].before : start;
  const int64_t size = pieces != nullptr ? pieces[blockIdx.x].count : min(kPieceElements, count - start);
  const auto at = [&](auto* array) { return reinterpret_cast<Pack<T>*>(const_cast<T*>(array) + first); };
  const int64_t packs = size / Pack<T>::kSize;
  for (int64_t i = threadIdx.x; i < packs; i += kThreads) {
    Pack<T> p = at(arrays.p)[i];
    Pack<T> m = at(arrays.m)[i];
    Pack<T> v = at(arrays.v)[i];
    const Pack<T> g = at(arrays.g)[i];
#pragma unroll
    for (int e = 0; e < Pack<T>::kSize; ++e) adamw_element(p.value[e], m.value[e], v.value[e], g.value[e], step);
    at(arrays.p)[i] = p;
    at(arrays.m)[i] = m;
    at(arrays.v)[i] = v;
  }
  const int64_t rest = packs * Pack<T>::kSize + threadIdx.x;
  if (rest < size) {
    const int64_t i = first + rest;
    adamw_element(arrays.p[i], arrays.m[i], arrays.v[i], arrays.g[i], step);
  }
}

template <typename T>
cudaError_t adamw(const AdamWTask& task, cudaStream_t stream) {
  const unsigned blocks =
      task.pieces != nullptr ? static_cast<unsigned>(task.piece_count) : blocks_for(task.count, kPieceElements);
  const AdamWArrays<T> arrays{static_cast<T*>(task.p), static_cast<T*>(task.m), static_cast<T*>(task.v),
                              static_cast<const T*>(task.g)};
  adamw_kernel<T><<<blocks, kThreads, 0, stream>>>(arrays, AdamWStep<T>{}, task.count, task.pieces);
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
      return fill_fp4(task, stream);
  }
  return cudaErrorNotSupported;
}

cudaError_t launch_copy(const void* x, void* y, int64_t bytes, cudaStream_t stream) {
  const int64_t pieces = bytes / 16;
  copy_kernel<<<blocks_for(pieces, kThreads * kUnroll), kThreads, 0, stream>>>(static_cast<const int4*>(x),
                                                                               static_cast<int4*>(y), pieces, bytes);
  return cudaGetLastError();
}

cudaError_t launch_triad(const TriadTask& task, cudaStream_t stream) {
  switch (task.type) {
    case NumberType::kFp64:
      return triad<double>(task, stream);
    case NumberType::kFp32:
      return triad<float>(task, stream);
    case NumberType::kFp16:
      return triad<__half>(task, stream);
    case NumberType::kBf16:
      return triad<__nv_bfloat16>(task, stream);
    default:
      return cudaErrorNotSupported;
  }
}

cudaError_t launch_adamw(const AdamWTask& task, cudaStream_t stream) {
  if (task.type == NumberType::kFp64) return adamw<double>(task, stream);
  return task.type == NumberType::kFp32 ? adamw<float>(task, stream) : cudaErrorNotSupported;
}

}  // namespace farscale::cuda
