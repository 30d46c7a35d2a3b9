// The memory kernels of *.cu as plain loops on the host.
#include "kernels/cuda/launch.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "kernels/cuda/fake/stream.h"
#include "kernels/elements.h"
#include "kernels/reference.h"

namespace farscale::cuda {
namespace {

double cost_s(double bytes) { return 2e-6 + bytes / 1e12; }

double array_bytes(NumberType type, int64_t count) { return bytes_per_element(type) * static_cast<double>(count); }

bool wide(NumberType type) { return type == NumberType::kFp32 || type == NumberType::kFp64; }

std::vector<double> decoded(NumberType type, const void* data, int64_t first, int64_t count) {
  std::vector<double> values(static_cast<size_t>(count));
  decoder(type)(data, first, count, values.data());
  return values;
}

// tf32 inputs are fp32 numbers with the 13 lowest mantissa bits zero.
void round_to_tf32(void* data, int64_t count) {
  auto* bits = static_cast<uint32_t*>(data);
  for (int64_t i = 0; i < count; ++i) bits[i] = (bits[i] + 0x1000U) & 0xFFFFE000U;
}

void triad(const TriadTask& task) {
  std::vector<double> x = decoded(task.type, task.x, 0, task.count);
  const std::vector<double> y = decoded(task.type, task.y, 0, task.count);
  for (size_t i = 0; i < x.size(); ++i) {
    const double exact = x[i] + task.scale * y[i];
    x[i] = task.type == NumberType::kFp64 ? exact : double(static_cast<float>(exact));
  }
  encode(task.type, x.data(), task.count, task.z, 0);
}

std::vector<TensorPiece> pieces_of(const TensorPiece* pieces, int64_t piece_count, int64_t count) {
  if (pieces == nullptr) return {{.before = 0, .after = 0, .count = count}};
  return {pieces, pieces + piece_count};
}

template <typename T>
void adamw(const AdamWTask& task) {
  const AdamWStep<T> step;
  for (const TensorPiece& piece : pieces_of(task.pieces, task.piece_count, task.count)) {
    auto* p = static_cast<T*>(task.p) + piece.before;
    auto* m = static_cast<T*>(task.m) + piece.before;
    auto* v = static_cast<T*>(task.v) + piece.before;
    const auto* g = static_cast<const T*>(task.g) + piece.before;
    for (int64_t i = 0; i < piece.count; ++i) adamw_update(p[i], m[i], v[i], g[i], step);
  }
}

void convert(const ConvertTask& task) {
  const double most = largest_number(task.to);
  for (const TensorPiece& piece : pieces_of(task.pieces, task.piece_count, task.count)) {
    std::vector<double> values = decoded(task.type, task.x, piece.before, piece.count);
    for (double& value : values) value = std::clamp(value * double(task.factor), -most, most);
    encode(task.to, values.data(), piece.count, task.y, piece.after);
  }
}

void bias_gelu(const RowTask& task) {
  const std::vector<double> b = decoded(task.type, task.b, 0, kMemoryRow);
  for (int64_t row = 0; row < task.rows; ++row) {
    std::vector<double> x = decoded(task.type, task.x, row * kMemoryRow, kMemoryRow);
    for (size_t i = 0; i < x.size(); ++i) x[i] = gelu(x[i] + b[i]);
    encode(task.type, x.data(), kMemoryRow, task.y, row * kMemoryRow);
  }
}

void layer_norm(const RowTask& task) {
  const std::vector<double> g = decoded(task.type, task.g, 0, kMemoryRow);
  const std::vector<double> b = decoded(task.type, task.b, 0, kMemoryRow);
  for (int64_t row = 0; row < task.rows; ++row) {
    std::vector<double> x = decoded(task.type, task.x, row * kMemoryRow, kMemoryRow);
    double mean = 0;
    double variance = 0;
    for (const double value : x) mean += value / kMemoryRow;
    for (const double value : x) variance += (value - mean) * (value - mean) / kMemoryRow;
    for (size_t i = 0; i < x.size(); ++i) x[i] = (x[i] - mean) / std::sqrt(variance + kNormEpsilon) * g[i] + b[i];
    encode(task.type, x.data(), kMemoryRow, task.y, row * kMemoryRow);
  }
}

// Refuses what the kernels refuse.
cudaError_t launch(const char* call, bool supported, cudaStream_t stream, double bytes, std::function<void()> compute) {
  if (fake::fails(call)) return cudaErrorLaunchFailure;
  if (!supported) return cudaErrorNotSupported;
  fake::enqueue(stream, cost_s(bytes), std::move(compute));
  return cudaSuccess;
}

bool supported(MemoryKind kind, NumberType type, NumberType to = NumberType::kFp32) {
  return no_memory_kernel({.kind = kind, .elements = kMemoryRow, .type = type, .to = to}).empty();
}

}  // namespace

cudaError_t launch_fill(const FillTask& task, cudaStream_t stream) {
  return launch("launch_fill", true, stream, array_bytes(task.type, task.count), [task] {
    fill(task.type, task.to, {.first = 0, .count = task.count}, task.data, task.seed);
    if (task.type == NumberType::kTf32) round_to_tf32(task.to, task.count);
  });
}

cudaError_t launch_copy(const void* x, void* y, int64_t bytes, cudaStream_t stream) {
  return launch("launch_copy", true, stream, 2.0 * static_cast<double>(bytes),
                [=] { std::memcpy(y, x, static_cast<size_t>(bytes)); });
}

cudaError_t launch_triad(const TriadTask& task, cudaStream_t stream) {
  return launch("launch_triad", supported(MemoryKind::kTriad, task.type), stream,
                3 * array_bytes(task.type, task.count), [task] { triad(task); });
}

cudaError_t launch_adamw(const AdamWTask& task, cudaStream_t stream) {
  return launch("launch_adamw", wide(task.type), stream, 7 * array_bytes(task.type, task.count),
                [task] { task.type == NumberType::kFp64 ? adamw<double>(task) : adamw<float>(task); });
}

cudaError_t launch_convert(const ConvertTask& task, cudaStream_t stream) {
  return launch("launch_convert", supported(MemoryKind::kConvert, task.type, task.to), stream,
                array_bytes(task.type, task.count) + array_bytes(task.to, task.count), [task] { convert(task); });
}

cudaError_t launch_bias_gelu(const RowTask& task, cudaStream_t stream) {
  return launch("launch_bias_gelu", supported(MemoryKind::kBiasGelu, task.type), stream,
                2 * array_bytes(task.type, task.rows * kMemoryRow), [task] { bias_gelu(task); });
}

cudaError_t launch_layer_norm(const RowTask& task, cudaStream_t stream) {
  return launch("launch_layer_norm", supported(MemoryKind::kLayerNorm, task.type), stream,
                2 * array_bytes(task.type, task.rows * kMemoryRow), [task] { layer_norm(task); });
}

}  // namespace farscale::cuda
