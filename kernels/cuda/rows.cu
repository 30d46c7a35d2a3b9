// Kernels on rows of kMemoryRow elements: bias with gelu, and layer norm with a warp a row that holds it in registers.
#include "kernels/cuda/elements.cuh"
#include "kernels/reference.h"

namespace farscale::cuda {
namespace {

constexpr int kUnroll = 4;
constexpr int kRow = static_cast<int>(kMemoryRow);
constexpr int kWarps = kThreads / 32;

__device__ float gelu_of(float x) { return 0.5f * x * (1.0f + erff(x * 0.70710678118654752f)); }

template <typename T>
__global__ void __launch_bounds__(kThreads)
    bias_gelu_kernel(const Pack<T>* x, const Pack<T>* b, Pack<T>* y, int64_t packs) {
  constexpr int kRowPacks = kRow / Pack<T>::kSize;
  const int64_t start = int64_t{blockIdx.x} * kThreads * kUnroll + threadIdx.x;
  Pack<T> held[kUnroll];
#pragma unroll
  for (int j = 0; j < kUnroll; ++j) {
    if (start + j * kThreads < packs) held[j] = x[start + j * kThreads];
  }
#pragma unroll
  for (int j = 0; j < kUnroll; ++j) {
    const int64_t i = start + j * kThreads;
    if (i >= packs) continue;
    const Pack<T> bias = b[i % kRowPacks];
#pragma unroll
    for (int e = 0; e < Pack<T>::kSize; ++e) {
      held[j].value[e] = narrow<T>(gelu_of(widen(held[j].value[e]) + widen(bias.value[e])));
    }
    y[i] = held[j];
  }
}

template <typename T>
__global__ void __launch_bounds__(kThreads)
    layer_norm_kernel(const Pack<T>* x, const Pack<T>* g, const Pack<T>* b, Pack<T>* y, int64_t rows) {
  constexpr int kSize = Pack<T>::kSize;
  constexpr int kPacks = kRow / kSize / 32;  // of a lane
  const int lane = static_cast<int>(threadIdx.x % 32);
  const int64_t row = int64_t{blockIdx.x} * kWarps + threadIdx.x / 32;
  if (row >= rows) return;  // the whole warp
  const int64_t first = row * (kRow / kSize) + lane;
  float value[kPacks][kSize];
  float sum = 0;
#pragma unroll
  for (int j = 0; j < kPacks; ++j) {
    const Pack<T> pack = x[first + j * 32];
#pragma unroll
    for (int e = 0; e < kSize; ++e) {
      value[j][e] = widen(pack.value[e]);
      sum += value[j][e];
    }
  }
  const float mean = warp_sum(sum) / kRow;
  float squares = 0;
#pragma unroll
  for (int j = 0; j < kPacks; ++j) {
#pragma unroll
    for (int e = 0; e < kSize; ++e) {
      const float off = value[j][e] - mean;
      squares += off * off;
    }
  }
  const float factor = rsqrtf(warp_sum(squares) / kRow + static_cast<float>(kNormEpsilon));
#pragma unroll
  for (int j = 0; j < kPacks; ++j) {
    const Pack<T> scale = g[j * 32 + lane];
    const Pack<T> bias = b[j * 32 + lane];
    Pack<T> out;
#pragma unroll
    for (int e = 0; e < kSize; ++e) {
      out.value[e] = narrow<T>((value[j][e] - mean) * factor * widen(scale.value[e]) + widen(bias.value[e]));
    }
    y[first + j * 32] = out;
  }
}

template <typename T>
cudaError_t bias_gelu(const RowTask& task, cudaStream_t stream) {
  const int64_t packs = task.rows * (kRow / Pack<T>::kSize);
  bias_gelu_kernel<T><<<blocks_for(packs, kThreads * kUnroll), kThreads, 0, stream>>>(
      static_cast<const Pack<T>*>(task.x), static_cast<const Pack<T>*>(task.b), static_cast<Pack<T>*>(task.y), packs);
  return cudaGetLastError();
}

template <typename T>
cudaError_t layer_norm(const RowTask& task, cudaStream_t stream) {
  layer_norm_kernel<T><<<blocks_for(task.rows, kWarps), kThreads, 0, stream>>>(
      static_cast<const Pack<T>*>(task.x), static_cast<const Pack<T>*>(task.g), static_cast<const Pack<T>*>(task.b),
      static_cast<Pack<T>*>(task.y), task.rows);
  return cudaGetLastError();
}

}  // namespace

cudaError_t launch_bias_gelu(const RowTask& task, cudaStream_t stream) {
  if (task.type == NumberType::kFp32) return bias_gelu<float>(task, stream);
  if (task.type == NumberType::kFp16) return bias_gelu<__half>(task, stream);
  return task.type == NumberType::kBf16 ? bias_gelu<__nv_bfloat16>(task, stream) : cudaErrorNotSupported;
}

cudaError_t launch_layer_norm(const RowTask& task, cudaStream_t stream) {
  if (task.type == NumberType::kFp32) return layer_norm<float>(task, stream);
  if (task.type == NumberType::kFp16) return layer_norm<__half>(task, stream);
  return task.type == NumberType::kBf16 ? layer_norm<__nv_bfloat16>(task, stream) : cudaErrorNotSupported;
}

}  // namespace farscale::cuda
