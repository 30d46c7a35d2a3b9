// A fake cuBLASLt: descriptors that remember, four algorithms of different speed, and products in a plain loop.
#include <cublasLt.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <optional>
#include <thread>
#include <vector>

#include "kernels/cuda/block_scale.h"
#include "kernels/cuda/fake/stream.h"
#include "kernels/elements.h"
#include "kernels/reference.h"

using farscale::Decode;
using farscale::decoder;
using farscale::encode;
using farscale::NumberType;
using farscale::cuda::BlockScale;
using farscale::cuda::factor_of;
using farscale::cuda::is_fp32;
using farscale::cuda::ScaledShape;
using farscale::fake::count_alive;
using farscale::fake::fails;
using farscale::fake::kCandidates;
using farscale::fake::state;

struct cublasLtContext {};

namespace {

struct Descriptor {
  cublasComputeType_t compute;
  cudaDataType_t scale;
  cublasOperation_t first = CUBLAS_OP_N;
  cublasOperation_t second = CUBLAS_OP_N;
  const void* first_scale = nullptr;
  const void* second_scale = nullptr;
  int32_t first_mode = CUBLASLT_MATMUL_MATRIX_SCALE_SCALAR_32F;
  int32_t second_mode = CUBLASLT_MATMUL_MATRIX_SCALE_SCALAR_32F;
  int8_t fast_accumulation = 0;
  cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_DEFAULT;
  const void* bias = nullptr;
};

struct Layout {
  cudaDataType type;
  uint64_t rows;
  uint64_t columns;
  int64_t leading;
  int32_t batch = 1;
  int64_t stride = 0;
};

template <typename To, typename Handle>
To& as(Handle* handle) {
  return *reinterpret_cast<To*>(handle);
}

std::optional<NumberType> number_type(cudaDataType type) {
  switch (type) {
    case CUDA_R_64F:
      return NumberType::kFp64;
    case CUDA_R_32F:
      return NumberType::kFp32;
    case CUDA_R_16F:
      return NumberType::kFp16;
    case CUDA_R_16BF:
      return NumberType::kBf16;
    case CUDA_R_8F_E4M3:
      return NumberType::kFp8E4M3;
    case CUDA_R_8F_E5M2:
      return NumberType::kFp8E5M2;
    case CUDA_R_4F_E2M1:
      return NumberType::kFp4;
    case CUDA_R_8I:
      return NumberType::kInt8;
    default:
      return std::nullopt;
  }
}

// Types that cuBLASLt multiplies only along k.
bool along_k_only(const Layout& layout) {
  return layout.type == CUDA_R_8F_E4M3 || layout.type == CUDA_R_8F_E5M2 || layout.type == CUDA_R_4F_E2M1 ||
         layout.type == CUDA_R_8I;
}

BlockScale block_of(int32_t mode) {
  switch (mode) {
    case CUBLASLT_MATMUL_MATRIX_SCALE_VEC32_UE8M0:
      return BlockScale::kUe8m0;
    case CUBLASLT_MATMUL_MATRIX_SCALE_VEC16_UE4M3:
      return BlockScale::kUe4m3;
    case 3:
      return BlockScale::kRow;
    case 4:
      return BlockScale::kVector128;
    case 5:
      return BlockScale::kSquare128;
    default:
      return BlockScale::kNone;
  }
}

// Whether this GPU has the two modes together (cuBLAS documentation, "Narrow Precision Data Types Usage").
bool scales_fit(int32_t first_mode, int32_t second_mode) {
  const BlockScale first = block_of(first_mode), second = block_of(second_mode);
  if (first == BlockScale::kNone || second == BlockScale::kNone) return first == second;
  if (!is_fp32(first)) return first == second && state().machine.major >= 10;
  if ((first == BlockScale::kRow) != (second == BlockScale::kRow) || state().machine.major != 9) return false;
  return is_fp32(second) && (first != BlockScale::kSquare128 || second != BlockScale::kSquare128);
}

// One product as it was asked for, copied: descriptors may be gone when the stream gets to it.
struct Product {
  Descriptor operation;
  Layout first, second, result;
  const void* a;
  const void* b;
  void* c;
  bool wrong = false;

  uint64_t m() const { return operation.first == CUBLAS_OP_N ? first.rows : first.columns; }
  uint64_t k() const { return operation.first == CUBLAS_OP_N ? first.columns : first.rows; }
  uint64_t n() const { return operation.second == CUBLAS_OP_N ? second.columns : second.rows; }
  uint64_t second_k() const { return operation.second == CUBLAS_OP_N ? second.rows : second.columns; }
  bool fits() const {
    return k() == second_k() && result.rows == m() && result.columns == n() && first.batch == result.batch &&
           second.batch == result.batch && number_type(first.type) && number_type(second.type);
  }
  double flops() const { return 2.0 * double(m()) * double(n()) * double(k()) * result.batch; }
};

// The elements of one matrix, each times its scale. Blocks run along the rows of the column-major matrix, which are k.
std::vector<double> decoded(const Layout& layout, const void* data, int64_t batch, const void* scale, int32_t mode) {
  const auto count = static_cast<int64_t>(layout.rows * layout.columns);
  const auto k = static_cast<int64_t>(layout.rows);
  std::vector<double> values(static_cast<size_t>(count));
  decoder (*number_type(layout.type))(data, batch * layout.stride, count, values.data());
  if (scale == nullptr) return values;
  const ScaledShape shape{block_of(mode), static_cast<int64_t>(layout.columns), k};
  const double whole = shape.scale == BlockScale::kNone ? double(*static_cast<const float*>(scale)) : 1;
  for (int64_t i = 0; i < count; ++i) {
    values[static_cast<size_t>(i)] *= whole * factor_of(shape, scale, i / k, i % k);
  }
  return values;
}

double entry(const Product& p, const std::vector<double>& a, const std::vector<double>& b, uint64_t i, uint64_t j) {
  const uint64_t a_i = p.operation.first == CUBLAS_OP_N ? 1 : p.first.rows;
  const uint64_t a_k = p.operation.first == CUBLAS_OP_N ? p.first.rows : 1;
  const uint64_t b_k = p.operation.second == CUBLAS_OP_N ? 1 : p.second.rows;
  const uint64_t b_j = p.operation.second == CUBLAS_OP_N ? p.second.rows : 1;
  double sum = 0;
  for (uint64_t l = 0; l < p.k(); ++l) sum += a[i * a_i + l * a_k] * b[l * b_k + j * b_j];
  return sum;
}

// Bias, one a row of the column-major result, and activation; cuBLASLt's gelu is the one with tanh.
double finished(cublasLtEpilogue_t epilogue, double value, double bias) {
  value += bias;
  if (epilogue == CUBLASLT_EPILOGUE_RELU_BIAS) return std::max(value, 0.0);
  return epilogue == CUBLASLT_EPILOGUE_GELU_BIAS ? farscale::gelu_tanh(value) : value;
}

void write(const Product& p, const std::vector<double>& c, int64_t batch) {
  const auto count = static_cast<int64_t>(c.size());
  if (p.result.type == CUDA_R_32I) {
    auto* to = static_cast<int32_t*>(p.c) + batch * p.result.stride;
    for (int64_t i = 0; i < count; ++i) to[i] = static_cast<int32_t>(c[static_cast<size_t>(i)]);
    return;
  }
  encode(*number_type(p.result.type), c.data(), count, p.c, batch * p.result.stride);
}

void multiply(const Product& p) {
  const Descriptor& d = p.operation;
  std::vector<double> bias(p.m(), 0.0);
  if (d.bias != nullptr) decoder (*number_type(p.result.type))(d.bias, 0, static_cast<int64_t>(p.m()), bias.data());
  for (int64_t batch = 0; batch < p.result.batch; ++batch) {
    const auto a = decoded(p.first, p.a, batch, d.first_scale, d.first_mode);
    const auto b = decoded(p.second, p.b, batch, d.second_scale, d.second_mode);
    std::vector<double> c(p.m() * p.n());
    for (uint64_t j = 0; j < p.n(); ++j) {
      for (uint64_t i = 0; i < p.m(); ++i) c[j * p.m() + i] = finished(d.epilogue, entry(p, a, b, i, j), bias[i]);
    }
    if (p.wrong) c[c.size() / 2] += 1;
    write(p, c, batch);
  }
}

// CUDA loads a kernel's code when it is first launched.
void load(size_t id) {
  const double load_s = state().machine.load_s;
  if (load_s > 0 && state().loaded.insert(id).second)
    std::this_thread::sleep_for(std::chrono::duration<double>(load_s));
}

template <typename Value>
cublasStatus_t store(Value& to, const void* from, size_t bytes) {
  if (bytes != sizeof to) return CUBLAS_STATUS_INVALID_VALUE;
  std::memcpy(&to, from, bytes);
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t destroyed(const char* call, const char* kind) {
  count_alive(kind, -1);
  return fails(call) ? CUBLAS_STATUS_INTERNAL_ERROR : CUBLAS_STATUS_SUCCESS;
}

}  // namespace

extern "C" {

size_t cublasLtGetVersion() { return CUBLAS_VERSION; }

cublasStatus_t cublasLtCreate(cublasLtHandle_t* handle) {
  if (fails("cublasLtCreate")) return CUBLAS_STATUS_NOT_INITIALIZED;
  *handle = new cublasLtContext();
  count_alive("cuBLASLt handle", 1);
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle) {
  delete handle;
  return destroyed("cublasLtDestroy", "cuBLASLt handle");
}

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t* handle, cublasComputeType_t compute,
                                        cudaDataType_t scale) {
  if (fails("cublasLtMatmulDescCreate")) return CUBLAS_STATUS_ALLOC_FAILED;
  *handle = reinterpret_cast<cublasLtMatmulDesc_t>(new Descriptor{.compute = compute, .scale = scale});
  count_alive("matmul descriptor", 1);
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t handle) {
  delete &as<Descriptor>(handle);
  return destroyed("cublasLtMatmulDescDestroy", "matmul descriptor");
}

cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t handle, cublasLtMatmulDescAttributes_t attribute,
                                              const void* value, size_t bytes) {
  if (fails("cublasLtMatmulDescSetAttribute")) return CUBLAS_STATUS_INTERNAL_ERROR;
  Descriptor& descriptor = as<Descriptor>(handle);
  switch (attribute) {
    case CUBLASLT_MATMUL_DESC_TRANSA:
      return store(descriptor.first, value, bytes);
    case CUBLASLT_MATMUL_DESC_TRANSB:
      return store(descriptor.second, value, bytes);
    case CUBLASLT_MATMUL_DESC_A_SCALE_POINTER:
      return store(descriptor.first_scale, value, bytes);
    case CUBLASLT_MATMUL_DESC_B_SCALE_POINTER:
      return store(descriptor.second_scale, value, bytes);
    case CUBLASLT_MATMUL_DESC_FAST_ACCUM:
      return store(descriptor.fast_accumulation, value, bytes);
    case CUBLASLT_MATMUL_DESC_A_SCALE_MODE:
      return store(descriptor.first_mode, value, bytes);
    case CUBLASLT_MATMUL_DESC_B_SCALE_MODE:
      return store(descriptor.second_mode, value, bytes);
    case CUBLASLT_MATMUL_DESC_EPILOGUE:
      return store(descriptor.epilogue, value, bytes);
    case CUBLASLT_MATMUL_DESC_BIAS_POINTER:
      return store(descriptor.bias, value, bytes);
    default:
      return CUBLAS_STATUS_INVALID_VALUE;
  }
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t* handle, cudaDataType type, uint64_t rows,
                                          uint64_t columns, int64_t leading) {
  if (fails("cublasLtMatrixLayoutCreate")) return CUBLAS_STATUS_ALLOC_FAILED;
  *handle = reinterpret_cast<cublasLtMatrixLayout_t>(
      new Layout{.type = type, .rows = rows, .columns = columns, .leading = leading});
  count_alive("matrix layout", 1);
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t handle) {
  delete &as<Layout>(handle);
  return destroyed("cublasLtMatrixLayoutDestroy", "matrix layout");
}

cublasStatus_t cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t handle,
                                                cublasLtMatrixLayoutAttribute_t attribute, const void* value,
                                                size_t bytes) {
  if (fails("cublasLtMatrixLayoutSetAttribute")) return CUBLAS_STATUS_INTERNAL_ERROR;
  Layout& layout = as<Layout>(handle);
  if (attribute == CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT) return store(layout.batch, value, bytes);
  if (attribute == CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET) return store(layout.stride, value, bytes);
  return CUBLAS_STATUS_INVALID_VALUE;
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t* handle) {
  if (fails("cublasLtMatmulPreferenceCreate")) return CUBLAS_STATUS_ALLOC_FAILED;
  *handle = reinterpret_cast<cublasLtMatmulPreference_t>(new uint64_t(0));
  count_alive("matmul preference", 1);
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t handle) {
  delete &as<uint64_t>(handle);
  return destroyed("cublasLtMatmulPreferenceDestroy", "matmul preference");
}

cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t handle,
                                                    cublasLtMatmulPreferenceAttributes_t attribute, const void* value,
                                                    size_t bytes) {
  if (fails("cublasLtMatmulPreferenceSetAttribute")) return CUBLAS_STATUS_INTERNAL_ERROR;
  if (attribute != CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES) return CUBLAS_STATUS_INVALID_VALUE;
  return store(as<uint64_t>(handle), value, bytes);
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t, cublasLtMatmulDesc_t operation,
                                              cublasLtMatrixLayout_t first, cublasLtMatrixLayout_t second,
                                              cublasLtMatrixLayout_t, cublasLtMatrixLayout_t result,
                                              cublasLtMatmulPreference_t, int most,
                                              cublasLtMatmulHeuristicResult_t results[], int* count) {
  if (fails("cublasLtMatmulAlgoGetHeuristic")) return CUBLAS_STATUS_INTERNAL_ERROR;
  const Product product{
      as<Descriptor>(operation), as<Layout>(first), as<Layout>(second), as<Layout>(result), nullptr, nullptr, nullptr};
  if (!product.fits()) return CUBLAS_STATUS_INVALID_VALUE;
  const Descriptor& d = product.operation;
  const bool tn = d.first == CUBLAS_OP_T && d.second == CUBLAS_OP_N;
  const bool two_e5m2 = product.first.type == CUDA_R_8F_E5M2 && product.second.type == CUDA_R_8F_E5M2;
  if ((along_k_only(product.first) && !tn) || two_e5m2 || !scales_fit(d.first_mode, d.second_mode)) {
    return CUBLAS_STATUS_NOT_SUPPORTED;
  }
  *count = std::min(most, state().machine.offered);
  for (int i = 0; i < *count; ++i) {
    results[i] = {};
    results[i].algo.data[0] = static_cast<uint64_t>(i + 1);
    results[i].workspaceSize = static_cast<size_t>(i) << 20;
  }
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulAlgoConfigGetAttribute(const cublasLtMatmulAlgo_t* algorithm,
                                                    cublasLtMatmulAlgoConfigAttributes_t attribute, void* value,
                                                    size_t bytes, size_t* written) {
  if (fails("cublasLtMatmulAlgoConfigGetAttribute")) return CUBLAS_STATUS_INTERNAL_ERROR;
  const auto id = static_cast<uint32_t>(algorithm->data[0]);
  const uint32_t answer = attribute == CUBLASLT_ALGO_CONFIG_ID        ? id
                          : attribute == CUBLASLT_ALGO_CONFIG_TILE_ID ? static_cast<uint32_t>(state().machine.tile)
                                                                      : 1;
  std::memcpy(value, &answer, std::min(bytes, sizeof answer));
  *written = bytes;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t, cublasLtMatmulDesc_t operation, const void*, const void* a,
                              cublasLtMatrixLayout_t first, const void* b, cublasLtMatrixLayout_t second, const void*,
                              const void*, cublasLtMatrixLayout_t, void* c, cublasLtMatrixLayout_t result,
                              const cublasLtMatmulAlgo_t* algorithm, void*, size_t, cudaStream_t stream) {
  if (fails("cublasLtMatmul")) return CUBLAS_STATUS_EXECUTION_FAILED;
  const auto id = static_cast<size_t>(algorithm->data[0]);
  if (id < 1 || id > static_cast<size_t>(state().machine.offered)) return CUBLAS_STATUS_INVALID_VALUE;
  const farscale::fake::Candidate candidate = state().machine.candidates[std::min<size_t>(id, kCandidates) - 1];
  load(id);
  if (candidate.fails) return CUBLAS_STATUS_EXECUTION_FAILED;
  const bool corrupted = state().machine.corrupt_products > 0 && --state().machine.corrupt_products == 0;
  Product product{as<Descriptor>(operation),   as<Layout>(first), as<Layout>(second), as<Layout>(result), a, b, c,
                  candidate.wrong || corrupted};
  const double cost_s = candidate.cost * (1e-3 + product.flops() / 1e10);
  farscale::fake::enqueue(stream, cost_s, [product] { multiply(product); });
  return CUBLAS_STATUS_SUCCESS;
}

}  // extern "C"
