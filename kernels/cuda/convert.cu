// Conversion between types, and with it packing tensors into a bucket and spreading a bucket into tensors. Both sides
// are read and written 16 bytes at a time. Where a tensor starts between two such pieces, shared memory does the
// shifting.
#include "kernels/cuda/elements.cuh"

namespace farscale::cuda {
namespace {

template <typename From, typename To>
__device__ To converted(From value, float factor) {
  return narrow<To>(widen(value) * factor);
}

__device__ bool aligned16(const void* at) { return reinterpret_cast<uintptr_t>(at) % 16 == 0; }

// Both sides start at 16 bytes: as many elements at a time as make 16 bytes of the narrower type.
template <typename From, typename To>
__device__ void convert_aligned(const From* x, To* y, int64_t count, float factor) {
  constexpr int kEach = 16 / static_cast<int>(sizeof(From) < sizeof(To) ? sizeof(From) : sizeof(To));
  constexpr int kLoads = kEach / Pack<From>::kSize;
  constexpr int kStores = kEach / Pack<To>::kSize;
  const int64_t groups = count / kEach;
#pragma unroll 2
  for (int64_t i = threadIdx.x; i < groups; i += kThreads) {
    Pack<From> in[kLoads];
    Pack<To> out[kStores];
#pragma unroll
    for (int j = 0; j < kLoads; ++j) in[j] = reinterpret_cast<const Pack<From>*>(x)[i * kLoads + j];
#pragma unroll
    for (int e = 0; e < kEach; ++e) {
      out[e / Pack<To>::kSize].value[e % Pack<To>::kSize] =
          converted<From, To>(in[e / Pack<From>::kSize].value[e % Pack<From>::kSize], factor);
    }
#pragma unroll
    for (int j = 0; j < kStores; ++j) reinterpret_cast<Pack<To>*>(y)[i * kStores + j] = out[j];
  }
  const int64_t rest = groups * kEach + threadIdx.x;
  if (rest < count) y[rest] = converted<From, To>(x[rest], factor);
}

// Any start: the 16-byte pieces that hold x go to shared memory (what is beside x in them lies within the same
// allocation), and y gets its first and last elements one by one.
template <typename From, typename To>
__device__ void convert_shifted(const From* x, To* y, int64_t count, float factor) {
  __shared__ int4 staged[kPieceElements * sizeof(From) / 16 + 2];
  const auto shift = reinterpret_cast<uintptr_t>(x) % 16;
  const auto* from = reinterpret_cast<const int4*>(reinterpret_cast<const char*>(x) - shift);
  const auto pieces = static_cast<int64_t>((shift + static_cast<size_t>(count) * sizeof(From) + 15) / 16);
  for (int64_t i = threadIdx.x; i < pieces; i += kThreads) staged[i] = from[i];
  __syncthreads();
  const From* held = reinterpret_cast<const From*>(reinterpret_cast<const char*>(staged) + shift);
  const auto beyond = static_cast<int64_t>(reinterpret_cast<uintptr_t>(y) % 16 / sizeof(To));
  const int64_t head = min(count, beyond == 0 ? int64_t{0} : Pack<To>::kSize - beyond);
  const int64_t packs = (count - head) / Pack<To>::kSize;
  for (int64_t i = threadIdx.x; i < packs; i += kThreads) {
    Pack<To> out;
#pragma unroll
    for (int e = 0; e < Pack<To>::kSize; ++e) {
      out.value[e] = converted<From, To>(held[head + i * Pack<To>::kSize + e], factor);
    }
    reinterpret_cast<Pack<To>*>(y + head)[i] = out;
  }
  const int64_t tail = head + packs * Pack<To>::kSize;
  if (threadIdx.x < head) y[threadIdx.x] = converted<From, To>(held[threadIdx.x], factor);
  if (tail + threadIdx.x < count) y[tail + threadIdx.x] = converted<From, To>(held[tail + threadIdx.x], factor);
}

template <typename From, typename To>
__global__ void __launch_bounds__(kThreads)
    convert_kernel(const From* x, To* y, float factor, int64_t count, const TensorPiece* pieces) {
  const int64_t start = int64_t{blockIdx.x} * kPieceElements;
  const TensorPiece piece =
      pieces != nullptr ? pieces[blockIdx.x] : TensorPiece{start, start, min(kPieceElements, count - start)};
  x += piece.before;
  y += piece.after;
  if (aligned16(x) && aligned16(y)) {
    convert_aligned(x, y, piece.count, factor);
  } else {
    convert_shifted(x, y, piece.count, factor);
  }
}

template <typename From, typename To>
cudaError_t convert(const ConvertTask& task, cudaStream_t stream) {
  const unsigned blocks =
      task.pieces != nullptr ? static_cast<unsigned>(task.piece_count) : blocks_for(task.count, kPieceElements);
  convert_kernel<From, To><<<blocks, kThreads, 0, stream>>>(static_cast<const From*>(task.x), static_cast<To*>(task.y),
                                                            task.factor, task.count, task.pieces);
  return cudaGetLastError();
}

template <typename From>
cudaError_t from_wide(const ConvertTask& task, cudaStream_t stream) {
  switch (task.to) {
    case NumberType::kFp32:
      return convert<From, float>(task, stream);
    case NumberType::kFp16:
      return convert<From, __half>(task, stream);
    case NumberType::kBf16:
      return convert<From, __nv_bfloat16>(task, stream);
    case NumberType::kFp8E4M3:
      return convert<From, __nv_fp8_e4m3>(task, stream);
    case NumberType::kFp8E5M2:
      return convert<From, __nv_fp8_e5m2>(task, stream);
    default:
      return cudaErrorNotSupported;
  }
}

template <typename From>
cudaError_t from_narrow(const ConvertTask& task, cudaStream_t stream) {
  if (task.to == NumberType::kFp32) return convert<From, float>(task, stream);
  return task.to == NumberType::kBf16 ? convert<From, __nv_bfloat16>(task, stream) : cudaErrorNotSupported;
}

}  // namespace

cudaError_t launch_convert(const ConvertTask& task, cudaStream_t stream) {
  switch (task.type) {
    case NumberType::kFp32:
      return from_wide<float>(task, stream);
    case NumberType::kBf16:
      return from_wide<__nv_bfloat16>(task, stream);
    case NumberType::kFp16:
      return from_narrow<__half>(task, stream);
    case NumberType::kFp8E4M3:
      return from_narrow<__nv_fp8_e4m3>(task, stream);
    case NumberType::kFp8E5M2:
      return from_narrow<__nv_fp8_e5m2>(task, stream);
    default:
      return cudaErrorNotSupported;
  }
}

}  // namespace farscale::cuda
