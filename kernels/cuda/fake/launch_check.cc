// The kernels of check.cu as plain loops on the host.
#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/cuda/fake/stream.h"
#include "kernels/cuda/launch.h"
#include "kernels/elements.h"

namespace farscale::cuda {
namespace {

constexpr double kCost_s = 1e-5;

double element_at(const StoredMatrix& m, int64_t i) {
  double value = 0;
  (m.int32 ? decode_int32 : decoder(m.type))(m.data, i, 1, &value);
  return value;
}

double value_at(const StoredMatrix& m, int64_t row, int64_t column) {
  const double value = element_at(m, m.first + row * m.columns + column);
  return value * factor_of({m.block, m.rows, m.columns}, m.scales, row, column);
}

void sums(const MatrixSumsTask& task) {
  for (int64_t i = 0; i < task.matrix.rows; ++i) {
    for (int64_t j = 0; j < task.matrix.columns; ++j) {
      const double value = value_at(task.matrix, i, j);
      task.sums[task.transposed ? j : i] += value * task.vector[task.transposed ? i : j];
      task.squares[task.transposed ? j : i] += value * value;
    }
  }
}

void entry(const EntriesTask& task, int64_t index) {
  const int64_t* place = task.places + 3 * index;
  StoredMatrix a = task.a;
  StoredMatrix b = task.b;
  a.first += place[0] * a.rows * a.columns;
  b.first += place[0] * b.rows * b.columns;
  double* seen = task.seen + 3 * index;
  seen[0] = seen[1] = 0;
  for (int64_t p = 0; p < (task.transpose_a ? a.rows : a.columns); ++p) {
    const double x = task.transpose_a ? value_at(a, p, place[1]) : value_at(a, place[1], p);
    const double y = task.transpose_b ? value_at(b, place[2], p) : value_at(b, p, place[2]);
    seen[0] += x * y;
    seen[1] += std::abs(x * y);
  }
  const int64_t row = place[0] * task.c.rows + place[1];
  seen[2] = element_at(task.c, task.c.first + row * task.c.columns + place[2]);
}

void checksums(const ChecksumTask& task) {
  const auto* bytes = static_cast<const uint8_t*>(task.data);
  for (int64_t i = 0; i < task.bytes; ++i) task.sums[i / task.slab] += mixed(bytes[i], static_cast<uint64_t>(i));
}

cudaError_t launch(const char* call, cudaStream_t stream, std::function<void()> compute) {
  if (fake::fails(call)) return cudaErrorLaunchFailure;
  fake::enqueue(stream, kCost_s, std::move(compute));
  return cudaSuccess;
}

}  // namespace

cudaError_t launch_matrix_sums(const MatrixSumsTask& task, cudaStream_t stream) {
  return launch("launch_matrix_sums", stream, [task] { sums(task); });
}

cudaError_t launch_entries(const EntriesTask& task, cudaStream_t stream) {
  return launch("launch_entries", stream, [task] {
    for (int64_t index = 0; index < task.count; ++index) entry(task, index);
  });
}

cudaError_t launch_checksums(const ChecksumTask& task, cudaStream_t stream) {
  return launch("launch_checksums", stream, [task] { checksums(task); });
}

}  // namespace farscale::cuda
