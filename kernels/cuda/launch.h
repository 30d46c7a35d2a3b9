// The seam to the kernels of our own: launched on a GPU in *.cu, looped over on the host in fake/launch*.cc. Each puts
// its work on the stream and returns the status of the launch. Types that a kernel does not come in are refused with
// cudaErrorNotSupported (kernels/reference.h, no_memory_kernel). Arrays start at multiples of 256 bytes.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/backend.h"
#include "kernels/cuda/block_scale.h"
#include "kernels/number_type.h"

namespace farscale::cuda {

// Independent inputs that depend on seed and position only: normal (mean 0, variance 1), zeros or ones. tf32 inputs are
// rounded to tf32, so that reading them rounds no more.
struct FillTask {
  NumberType type = NumberType::kFp32;
  InputData data = InputData::kNormal;
  uint64_t seed = 1;
  void* to = nullptr;
  int64_t count = 0;
};
cudaError_t launch_fill(const FillTask& task, cudaStream_t stream);

// ---- Memory kernels ----

// y = x, whole bytes.
cudaError_t launch_copy(const void* x, void* y, int64_t bytes, cudaStream_t stream);

// z = x + scale y.
struct TriadTask {
  NumberType type = NumberType::kFp32;
  const void* x = nullptr;
  const void* y = nullptr;
  void* z = nullptr;
  double scale = 0;
  int64_t count = 0;
};
cudaError_t launch_triad(const TriadTask& task, cudaStream_t stream);

// A piece of one tensor: where it starts in the arrays that are read and in those that are written. The table of pieces
// lies in device memory; a block of threads takes one piece.
struct TensorPiece {
  int64_t before = 0;
  int64_t after = 0;
  int64_t count = 0;  // at most kPieceElements
};
inline constexpr int64_t kPieceElements = 4096;

// One AdamW step with the constants of kernels/reference.h: p, m, v updated from g. With pieces: those of many tensors
// in one launch; without: `count` elements.
struct AdamWTask {
  NumberType type = NumberType::kFp32;
  void* p = nullptr;
  void* m = nullptr;
  void* v = nullptr;
  const void* g = nullptr;
  int64_t count = 0;
  const TensorPiece* pieces = nullptr;
  int64_t piece_count = 0;
};
cudaError_t launch_adamw(const AdamWTask& task, cudaStream_t stream);

// Rows of kMemoryRow elements; b and g are one row. bias_gelu: y = gelu(x + b). layer_norm: y = norm(x) g + b.
struct RowTask {
  NumberType type = NumberType::kFp32;
  const void* x = nullptr;
  const void* g = nullptr;
  const void* b = nullptr;
  void* y = nullptr;
  int64_t rows = 0;
};
cudaError_t launch_bias_gelu(const RowTask& task, cudaStream_t stream);
cudaError_t launch_layer_norm(const RowTask& task, cudaStream_t stream);

// y of `to` = factor x of `type`, to nearest even, saturated. With pieces: pack and unpack, where either side of a
// piece may start at any element; without: `count` elements from the start of both.
struct ConvertTask {
  NumberType type = NumberType::kFp32;
  NumberType to = NumberType::kFp32;
  const void* x = nullptr;
  void* y = nullptr;
  float factor = 1;
  int64_t count = 0;
  const TensorPiece* pieces = nullptr;
  int64_t piece_count = 0;
};
cudaError_t launch_convert(const ConvertTask& task, cudaStream_t stream);

// ---- Checking a product where it lies ----

// A row-major matrix in memory, from element `first` of `data` on.
struct StoredMatrix {
  const void* data = nullptr;
  NumberType type = NumberType::kFp32;
  bool int32 = false;  // sums of int8: not `type`
  int64_t rows = 0;
  int64_t columns = 0;
  int64_t first = 0;
  BlockScale block = BlockScale::kNone;
  const void* scales = nullptr;  // along the columns
};

// sums = M v, or M' v when transposed, and the sums of the squares of the same rows (columns). Both arrays are zero
// before.
struct MatrixSumsTask {
  StoredMatrix matrix;
  bool transposed = false;
  const double* vector = nullptr;
  double* sums = nullptr;
  double* squares = nullptr;
};
cudaError_t launch_matrix_sums(const MatrixSumsTask& task, cudaStream_t stream);

// For `count` places, each three numbers (batch, row, column): three numbers, sum of a b, sum of |a b|, and what C
// holds. Batch items lie one after the other.
struct EntriesTask {
  StoredMatrix a;
  StoredMatrix b;
  StoredMatrix c;
  bool transpose_a = false;
  bool transpose_b = false;
  const int64_t* places = nullptr;
  double* seen = nullptr;
  int64_t count = 0;
};
cudaError_t launch_entries(const EntriesTask& task, cudaStream_t stream);

// A 64-bit checksum of every `slab` bytes (a multiple of 8): the same bytes at the same places give the same sums.
struct ChecksumTask {
  const void* data = nullptr;
  int64_t bytes = 0;
  int64_t slab = 0;
  uint64_t* sums = nullptr;
};
cudaError_t launch_checksums(const ChecksumTask& task, cudaStream_t stream);

}  // namespace farscale::cuda
