// Launching the checks and fetching their few numbers.
#include "kernels/cuda/gemm_check.h"

#include <algorithm>
#include <cmath>

#include "kernels/cuda/call.h"

namespace farscale::cuda {
namespace {

constexpr size_t kMostSlabs = 4096;
constexpr size_t kLeastSlab = 64 << 10;

// Fresh device memory that holds `values`.
template <typename Value>
DeviceMemory on_device(const Device& device, const std::vector<Value>& values) {
  DeviceMemory memory(values.size() * sizeof(Value));
  device.to_device(memory.get(), values.data(), memory.bytes());
  return memory;
}

// Fresh device memory of zeros.
DeviceMemory zeros(const Device& device, size_t bytes) {
  DeviceMemory memory(bytes);
  FARSCALE_CALL(cudaMemsetAsync(memory.get(), 0, bytes, device.work()));
  return memory;
}

template <typename Value>
std::vector<Value> fetched(const Device& device, const DeviceMemory& memory) {
  const std::vector<std::byte> bytes = device.to_host(memory.get(), memory.bytes());
  std::vector<Value> values(bytes.size() / sizeof(Value));
  std::copy(bytes.begin(), bytes.end(), reinterpret_cast<std::byte*>(values.data()));
  return values;
}

// A stored matrix, read as it is or transposed.
struct Turned {
  StoredMatrix matrix;
  bool transposed = false;
  size_t rows() const { return static_cast<size_t>(transposed ? matrix.columns : matrix.rows); }
};

struct RowSums {
  std::vector<double> sums;
  std::vector<double> norms;
};

RowSums times(const Device& device, const Turned& turned, const std::vector<double>& vector) {
  const DeviceMemory v = on_device(device, vector);
  const DeviceMemory sums = zeros(device, turned.rows() * sizeof(double));
  const DeviceMemory squares = zeros(device, turned.rows() * sizeof(double));
  FARSCALE_CALL(launch_matrix_sums({.matrix = turned.matrix,
                                    .transposed = turned.transposed,
                                    .vector = reinterpret_cast<const double*>(v.get()),
                                    .sums = reinterpret_cast<double*>(sums.get()),
                                    .squares = reinterpret_cast<double*>(squares.get())},
                                   device.work()));
  RowSums out{.sums = fetched<double>(device, sums), .norms = fetched<double>(device, squares)};
  for (double& value : out.norms) value = std::sqrt(value);
  return out;
}

StoredMatrix stored(const std::byte* data, NumberType type, int64_t rows, int64_t columns) {
  return {.data = data, .type = type, .rows = rows, .columns = columns};
}

StoredMatrix item(StoredMatrix matrix, int64_t batch) {
  matrix.first += batch * matrix.rows * matrix.columns;
  return matrix;
}

double norm_of(const std::vector<double>& norms) {
  double squares = 0;
  for (const double norm : norms) squares += norm * norm;
  return std::sqrt(squares);
}

}  // namespace

StoredProduct stored_product(const GemmProblem& problem, const GemmTypes& types, const GemmPointers& at,
                             const GemmExtras& extras) {
  const auto turned = [](bool transposed, StoredMatrix matrix) {
    if (transposed) std::swap(matrix.rows, matrix.columns);
    return matrix;
  };
  StoredProduct product{.a = turned(problem.transpose_a, stored(at.a, types.a_type, problem.m, problem.k)),
                        .b = turned(problem.transpose_b, stored(at.b, types.b_type, problem.k, problem.n)),
                        .c = stored(at.c, types.c_type, problem.m, problem.n),
                        .scale = types.scale()};
  product.c.int32 = types.int32;
  product.a.block = types.a_block;
  product.b.block = types.b_block;
  product.a.scales = extras.a_blocks;
  product.b.scales = extras.b_blocks;
  return product;
}

std::vector<SeenEntry> DeviceSight::entries(const std::vector<GemmPlace>& places) {
  std::vector<int64_t> numbers;
  for (const GemmPlace& place : places) numbers.insert(numbers.end(), {place.batch, place.row, place.column});
  const DeviceMemory where = on_device(device_, numbers);
  const DeviceMemory seen = zeros(device_, numbers.size() * sizeof(double));
  FARSCALE_CALL(launch_entries({.a = product_.a,
                                .b = product_.b,
                                .c = product_.c,
                                .transpose_a = problem_.transpose_a,
                                .transpose_b = problem_.transpose_b,
                                .places = reinterpret_cast<const int64_t*>(where.get()),
                                .seen = reinterpret_cast<double*>(seen.get()),
                                .count = static_cast<int64_t>(places.size())},
                               device_.work()));
  const std::vector<double> values = fetched<double>(device_, seen);
  std::vector<SeenEntry> entries;
  for (size_t i = 0; i < values.size(); i += 3) {
    entries.push_back({product_.scale * values[i], product_.scale * values[i + 1], values[i + 2]});
  }
  return entries;
}

GemmChecksums DeviceSight::checksums(int64_t batch, bool columns, uint64_t seed) {
  Turned a{item(product_.a, batch), problem_.transpose_a};
  Turned b{item(product_.b, batch), problem_.transpose_b};
  Turned c{item(product_.c, batch), false};
  if (columns) {  // C' = B' A'
    std::swap(a, b);
    for (Turned* matrix : {&a, &b, &c}) matrix->transposed = !matrix->transposed;
  }
  std::vector<double> signs(static_cast<size_t>(columns ? problem_.m : problem_.n));
  for (size_t j = 0; j < signs.size(); ++j) signs[j] = checksum_sign(seed, j) ? 1 : -1;
  const RowSums first = times(device_, b, signs);
  RowSums second = times(device_, a, first.sums);
  RowSums got = times(device_, c, signs);
  GemmChecksums sums{.strays = {},
                     .a_norms = std::move(second.norms),
                     .c_norms = std::move(got.norms),
                     .b_norm = norm_of(first.norms)};
  for (double& norm : sums.a_norms) norm *= product_.scale;
  for (size_t i = 0; i < got.sums.size(); ++i) {
    sums.strays.push_back(got.sums[i] - product_.scale * second.sums[i]);
  }
  return sums;
}

size_t slab_bytes(size_t bytes) { return aligned(std::max(kLeastSlab, bytes / kMostSlabs)); }

std::vector<uint64_t> checksums_of(const Device& device, const std::byte* data, size_t bytes) {
  const size_t slab = slab_bytes(bytes);
  const DeviceMemory sums = zeros(device, (bytes + slab - 1) / slab * sizeof(uint64_t));
  FARSCALE_CALL(launch_checksums({.data = data,
                                  .bytes = static_cast<int64_t>(bytes),
                                  .slab = static_cast<int64_t>(slab),
                                  .sums = reinterpret_cast<uint64_t*>(sums.get())},
                                 device.work()));
  return fetched<uint64_t>(device, sums);
}

}  // namespace farscale::cuda
