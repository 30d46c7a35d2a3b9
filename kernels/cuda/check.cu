// Looking at a product where it lies: sums over rows and columns, single entries, and checksums of bytes. Types are
// told apart at run time: reading memory is all these kernels wait for.
#include "kernels/cuda/elements.cuh"

namespace farscale::cuda {
namespace {

constexpr int64_t kColumnSlab = 8192;  // columns a warp sums
constexpr int64_t kRowSlab = 512;      // rows a thread sums
constexpr int64_t kMostBlocksY = 65535;

__device__ double fp4_value(uint32_t bits) {
  const double half = bits & 1U;
  const uint32_t exponent = (bits >> 1) & 3U;
  const double magnitude = exponent == 0 ? half / 2 : (1 + half / 2) * (1 << (exponent - 1));
  return (bits & 8U) != 0 ? -magnitude : magnitude;
}

__device__ double element_at(const StoredMatrix& m, int64_t i) {
  if (m.int32) return static_cast<const int32_t*>(m.data)[i];
  switch (m.type) {
    case NumberType::kFp64:
      return static_cast<const double*>(m.data)[i];
    case NumberType::kFp32:
    case NumberType::kTf32:
      return static_cast<const float*>(m.data)[i];
    case NumberType::kFp16:
      return widen(static_cast<const __half*>(m.data)[i]);
    case NumberType::kBf16:
      return widen(static_cast<const __nv_bfloat16*>(m.data)[i]);
    case NumberType::kFp8E4M3:
      return widen(static_cast<const __nv_fp8_e4m3*>(m.data)[i]);
    case NumberType::kFp8E5M2:
      return widen(static_cast<const __nv_fp8_e5m2*>(m.data)[i]);
    case NumberType::kInt8:
      return static_cast<const int8_t*>(m.data)[i];
    case NumberType::kFp4:
      return fp4_value(static_cast<const uint8_t*>(m.data)[i / 2] >> (i % 2 * 4));
  }
  return 0;
}

__device__ double value_at(const StoredMatrix& m, int64_t row, int64_t column) {
  const double value = element_at(m, m.first + row * m.columns + column);
  return value * factor_of({m.block, m.rows, m.columns}, m.scales, row, column);
}

__global__ void row_sums_kernel(MatrixSumsTask task) {
  const int64_t row = int64_t{blockIdx.x} * (kThreads / 32) + threadIdx.x / 32;
  if (row >= task.matrix.rows) return;
  const int64_t slab = (task.matrix.columns + gridDim.y - 1) / gridDim.y;
  const int64_t last = min(task.matrix.columns, slab * (blockIdx.y + 1));
  double sum = 0;
  double squares = 0;
  for (int64_t j = slab * blockIdx.y + threadIdx.x % 32; j < last; j += 32) {
    const double value = value_at(task.matrix, row, j);
    sum += value * task.vector[j];
    squares += value * value;
  }
  sum = warp_sum(sum);
  squares = warp_sum(squares);
  if (threadIdx.x % 32 != 0) return;
  atomicAdd(task.sums + row, sum);
  atomicAdd(task.squares + row, squares);
}

__global__ void column_sums_kernel(MatrixSumsTask task) {
  const int64_t column = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (column >= task.matrix.columns) return;
  const int64_t slab = (task.matrix.rows + gridDim.y - 1) / gridDim.y;
  const int64_t last = min(task.matrix.rows, slab * (blockIdx.y + 1));
  double sum = 0;
  double squares = 0;
  for (int64_t i = slab * blockIdx.y; i < last; ++i) {
    const double value = value_at(task.matrix, i, column);
    sum += value * task.vector[i];
    squares += value * value;
  }
  atomicAdd(task.sums + column, sum);
  atomicAdd(task.squares + column, squares);
}

// A warp an entry.
__global__ void entries_kernel(EntriesTask task) {
  const int64_t entry = int64_t{blockIdx.x} * (kThreads / 32) + threadIdx.x / 32;
  if (entry >= task.count) return;
  const int64_t batch = task.places[3 * entry];
  const int64_t row = task.places[3 * entry + 1];
  const int64_t column = task.places[3 * entry + 2];
  StoredMatrix a = task.a;
  StoredMatrix b = task.b;
  a.first += batch * a.rows * a.columns;
  b.first += batch * b.rows * b.columns;
  const int64_t k = task.transpose_a ? a.rows : a.columns;
  double sum = 0;
  double magnitude = 0;
  for (int64_t p = threadIdx.x % 32; p < k; p += 32) {
    const double x = task.transpose_a ? value_at(a, p, row) : value_at(a, row, p);
    const double y = task.transpose_b ? value_at(b, column, p) : value_at(b, p, column);
    sum += x * y;
    magnitude += fabs(x * y);
  }
  sum = warp_sum(sum);
  magnitude = warp_sum(magnitude);
  if (threadIdx.x % 32 != 0) return;
  task.seen[3 * entry] = sum;
  task.seen[3 * entry + 1] = magnitude;
  task.seen[3 * entry + 2] = element_at(task.c, task.c.first + (batch * task.c.rows + row) * task.c.columns + column);
}

// A block a slab. Sums of mixed words come out the same in any order.
__global__ void checksums_kernel(ChecksumTask task) {
  const int64_t start = int64_t{blockIdx.x} * task.slab;
  const int64_t end = min(task.bytes, start + task.slab);
  const auto* words = static_cast<const uint64_t*>(task.data);
  uint64_t sum = 0;
  for (int64_t i = start / 8 + threadIdx.x; i < end / 8; i += kThreads) sum += mix(words[i], static_cast<uint64_t>(i));
  for (int64_t i = end / 8 * 8 + threadIdx.x; i < end; i += kThreads) {
    sum += mix(static_cast<const uint8_t*>(task.data)[i], ~static_cast<uint64_t>(i));
  }
  sum = warp_sum(sum);
  if (threadIdx.x % 32 == 0) {
    atomicAdd(reinterpret_cast<unsigned long long*>(task.sums + blockIdx.x), static_cast<unsigned long long>(sum));
  }
}

unsigned slabs(int64_t items, int64_t each) {
  return static_cast<unsigned>(std::min(kMostBlocksY, (items + each - 1) / each));
}

}  // namespace

cudaError_t launch_matrix_sums(const MatrixSumsTask& task, cudaStream_t stream) {
  const StoredMatrix& m = task.matrix;
  if (task.transposed) {
    const dim3 blocks(blocks_for(m.columns, kThreads), slabs(m.rows, kRowSlab));
    column_sums_kernel<<<blocks, kThreads, 0, stream>>>(task);
  } else {
    const dim3 blocks(blocks_for(m.rows, kThreads / 32), slabs(m.columns, kColumnSlab));
    row_sums_kernel<<<blocks, kThreads, 0, stream>>>(task);
  }
  return cudaGetLastError();
}

cudaError_t launch_entries(const EntriesTask& task, cudaStream_t stream) {
  entries_kernel<<<blocks_for(task.count, kThreads / 32), kThreads, 0, stream>>>(task);
  return cudaGetLastError();
}

cudaError_t launch_checksums(const ChecksumTask& task, cudaStream_t stream) {
  checksums_kernel<<<blocks_for(task.bytes, task.slab), kThreads, 0, stream>>>(task);
  return cudaGetLastError();
}

}  // namespace farscale::cuda
