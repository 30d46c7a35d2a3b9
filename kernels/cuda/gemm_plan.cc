// Types, bounds and descriptors of cuBLASLt GEMMs.
#include "kernels/cuda/gemm_plan.h"

#include <fmt/format.h>

#include "kernels/cuda/call.h"

namespace farscale::cuda {
namespace {

using Types = Maybe<GemmTypes>;

GemmTypes same(NumberType type, cudaDataType_t data, cublasComputeType_t compute = CUBLAS_COMPUTE_32F) {
  GemmTypes types;
  types.compute = compute;
  types.scale = compute == CUBLAS_COMPUTE_64F ? CUDA_R_64F : CUDA_R_32F;
  types.a = types.b = types.c = data;
  types.a_type = types.b_type = types.c_type = type;
  return types;
}

GemmTypes fp8(NumberType a) {
  GemmTypes types;
  types.a = a == NumberType::kFp8E5M2 ? CUDA_R_8F_E5M2 : CUDA_R_8F_E4M3;
  types.b = CUDA_R_8F_E4M3;
  types.c = CUDA_R_16BF;
  types.a_type = a;
  types.b_type = NumberType::kFp8E4M3;
  types.c_type = NumberType::kBf16;
  types.fp8 = true;
  return types;
}

Types fp8_types(const GemmProblem& problem, int capability) {
  if (capability < 89) {
    return Types::absent(
        fmt::format("fp8 needs compute capability 8.9 or newer, this GPU has {}.{}", capability / 10, capability % 10));
  }
  // cuBLAS documentation, cublasLtMatmul: before Blackwell fp8 runs only as TN (column-major), which is our nt.
  if (capability < 100 && problem.layout() != "nt") {
    return Types::absent(fmt::format("fp8 runs only in layout nt on compute capability {}.{} (cuBLASLt's TN), not {}",
                                     capability / 10, capability % 10, problem.layout()));
  }
  if (problem.m % 16 != 0 || problem.n % 16 != 0 || problem.k % 16 != 0) {
    return Types::absent("fp8 needs m, n and k in multiples of 16 (cuBLASLt)");
  }
  return fp8(problem.type);
}

MatrixShape shape(cudaDataType_t type, int64_t rows, int64_t columns, const GemmProblem& problem) {
  return {.type = type,
          .rows = static_cast<uint64_t>(columns),  // row-major rows x columns is column-major columns x rows
          .columns = static_cast<uint64_t>(rows),
          .batch = static_cast<int32_t>(problem.batch)};
}

}  // namespace

Types gemm_types(const GemmProblem& problem, int capability) {
  if (capability < 80 && (problem.type == NumberType::kTf32 || problem.type == NumberType::kBf16)) {
    return Types::absent(fmt::format("{} needs compute capability 8.0 or newer", name(problem.type)));
  }
  switch (problem.type) {
    case NumberType::kFp64:
      return same(NumberType::kFp64, CUDA_R_64F, CUBLAS_COMPUTE_64F);
    case NumberType::kFp32:
      return same(NumberType::kFp32, CUDA_R_32F);
    case NumberType::kTf32:
      return same(NumberType::kTf32, CUDA_R_32F, CUBLAS_COMPUTE_32F_FAST_TF32);
    case NumberType::kFp16:
      return same(NumberType::kFp16, CUDA_R_16F);
    case NumberType::kBf16:
      return same(NumberType::kBf16, CUDA_R_16BF);
    case NumberType::kFp8E4M3:
    case NumberType::kFp8E5M2:
      return fp8_types(problem, capability);
    case NumberType::kFp4:
    case NumberType::kInt8:
      break;
  }
  return Types::absent(fmt::format("{} GEMM is not implemented in the cuda module", name(problem.type)));
}

GemmRounding gemm_rounding(NumberType type, int64_t k) {
  // Tensor cores align the products of one instruction and cut off what does not fit 24 bits: truncation, 2^-23 a step
  // (Fasi, Higham, Mikaitis and Pranesh, PeerJ Comput. Sci. 7:e330, 2021).
  constexpr double kTruncated = 0x1p-23;
  switch (type) {
    case NumberType::kFp64:
      return {.sum = 0x1p-53, .output = 0, .random_walk = true};
    case NumberType::kTf32:
      return {.sum = kTruncated, .output = 0, .random_walk = false};
    case NumberType::kFp16:
      return {.sum = kTruncated, .output = 0x1p-11, .random_walk = false};
    case NumberType::kBf16:
      return {.sum = kTruncated, .output = 0x1p-8, .random_walk = false};
    case NumberType::kFp8E4M3:
    case NumberType::kFp8E5M2:
      // Hopper's fp8 units keep about 14 bits of a sum; without fast accumulation cuBLASLt adds the sum of every 128
      // products in fp32: four instructions of 32 products, 2^-13 each, whatever k is (DeepSeek-V3, arXiv 2412.19437,
      // section 3.3.2). The reference multiplies by k.
      return {.sum = 4 * 0x1p-13 / static_cast<double>(k) + kTruncated, .output = 0x1p-8, .random_walk = false};
    default:
      return {.sum = 0x1p-24, .output = 0, .random_walk = true};
  }
}

GemmBytes gemm_bytes(const GemmProblem& problem, const GemmTypes& types) {
  const auto bytes = [&](int64_t rows, int64_t columns, NumberType type) {
    return static_cast<size_t>(rows) * static_cast<size_t>(columns) * static_cast<size_t>(problem.batch) *
           static_cast<size_t>(bytes_per_element(type));
  };
  return {.a = bytes(problem.m, problem.k, types.a_type),
          .b = bytes(problem.k, problem.n, types.b_type),
          .c = bytes(problem.m, problem.n, types.c_type)};
}

GemmPlan::GemmPlan(std::shared_ptr<const Blas> blas, const GemmProblem& problem, const GemmTypes& types,
                   const float* scales)
    : blas_(blas),
      fp64_(problem.type == NumberType::kFp64),
      operation_(blas, types.compute, types.scale),
      first_(blas, problem.transpose_b ? shape(types.b, problem.n, problem.k, problem)
                                       : shape(types.b, problem.k, problem.n, problem)),
      second_(blas, problem.transpose_a ? shape(types.a, problem.k, problem.m, problem)
                                        : shape(types.a, problem.m, problem.k, problem)),
      result_(blas, shape(types.c, problem.m, problem.n, problem)) {
  const cublasOperation_t transpose_first = problem.transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N;
  const cublasOperation_t transpose_second = problem.transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N;
  operation_.set(CUBLASLT_MATMUL_DESC_TRANSA, transpose_first);
  operation_.set(CUBLASLT_MATMUL_DESC_TRANSB, transpose_second);
  if (!types.fp8) return;
  const int8_t fast_accumulation = 0;  // as torch's scaled_mm by default; a product of its own when on
  operation_.set(CUBLASLT_MATMUL_DESC_A_SCALE_POINTER, scales);
  operation_.set(CUBLASLT_MATMUL_DESC_B_SCALE_POINTER, scales);
  operation_.set(CUBLASLT_MATMUL_DESC_FAST_ACCUM, fast_accumulation);
}

std::vector<cublasLtMatmulHeuristicResult_t> GemmPlan::candidates(int most, size_t workspace_bytes) const {
  const MatmulPreference preference(blas_, workspace_bytes);
  std::vector<cublasLtMatmulHeuristicResult_t> found(static_cast<size_t>(most));
  int count = 0;
  const BlasCalls& calls = blas_->calls();
  const cublasStatus_t status =
      calls.cublasLtMatmulAlgoGetHeuristic(blas_->handle(), operation_.get(), first_.get(), second_.get(),
                                           result_.get(), result_.get(), preference.get(), most, found.data(), &count);
  if (status == CUBLAS_STATUS_NOT_SUPPORTED) return {};
  check(status, "cublasLtMatmulAlgoGetHeuristic(handle, operation, ...)", std::source_location::current());
  found.resize(static_cast<size_t>(count));
  std::erase_if(found, [](const auto& result) { return result.state != CUBLAS_STATUS_SUCCESS; });
  return found;
}

void GemmPlan::multiply(const cublasLtMatmulAlgo_t& algorithm, const GemmPointers& at, const Workspace& workspace,
                        cudaStream_t stream) const {
  static constexpr double kOne64 = 1;
  static constexpr double kZero64 = 0;
  static constexpr float kOne32 = 1;
  static constexpr float kZero32 = 0;
  const void* alpha = fp64_ ? static_cast<const void*>(&kOne64) : &kOne32;
  const void* beta = fp64_ ? static_cast<const void*>(&kZero64) : &kZero32;
  const cublasStatus_t status = blas_->calls().cublasLtMatmul(
      blas_->handle(), operation_.get(), alpha, at.b, first_.get(), at.a, second_.get(), beta, at.c, result_.get(),
      at.c, result_.get(), &algorithm, workspace.memory, workspace.bytes, stream);
  check(status, "cublasLtMatmul(handle, operation, ...)", std::source_location::current());
}

}  // namespace farscale::cuda
