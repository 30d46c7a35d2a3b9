// Types, bounds and descriptors of cuBLASLt GEMMs.
#include "kernels/cuda/gemm_plan.h"

#include <fmt/format.h>

#include <cmath>

#include "kernels/cuda/call.h"

namespace farscale::cuda {
namespace {

using Types = Maybe<GemmTypes>;

GemmTypes same(NumberType type, cudaDataType_t data, cublasComputeType_t compute = CUBLAS_COMPUTE_32F) {
  GemmTypes types;
  types.compute = compute;
  types.factors = compute == CUBLAS_COMPUTE_64F ? CUDA_R_64F : CUDA_R_32F;
  types.a = types.b = types.c = data;
  types.a_type = types.b_type = types.c_type = type;
  return types;
}

std::string number(int capability) { return fmt::format("{}.{}", capability / 10, capability % 10); }

// cuBLASLt's TN, which is our nt: both operands lie along k.
Types along_k(const GemmProblem& problem, std::string_view what) {
  return Types::absent(fmt::format("{} runs only in layout nt (cuBLASLt's TN), not {}", what, problem.layout()));
}

// Where the scales of a product's operands lie. NVIDIA's cuBLAS documentation, "Narrow Precision Data Types Usage": one
// byte for 16 or 32 elements from compute capability 10.0 on, fp32 for rows, for 128 elements and for 128 x 128 on 9.0
// (cuBLAS 12.9; squares for one operand only: B, as for weights).
struct Blocks {
  BlockScale a = BlockScale::kNone;
  BlockScale b = BlockScale::kNone;
};

Types block_scaled(const GemmProblem& problem, int capability, GemmTypes types, const Blocks& blocks) {
  const std::string what = fmt::format("{} scaling", name(problem.scaling));
  const bool hopper = is_fp32(blocks.a);
  if (hopper ? capability != 90 : capability < 100) {
    return Types::absent(fmt::format("{} needs compute capability {}, this GPU has {}", what,
                                     hopper ? "9.0" : "10.0 or newer (9.0 has block128 and row)", number(capability)));
  }
  if (problem.layout() != "nt") return along_k(problem, what);
  if (problem.batch > 1) return Types::absent(fmt::format("{} is not offered for batches", what));
  const int64_t along = hopper ? 16 : 32;
  if (problem.m % 16 != 0 || problem.n % 16 != 0 || problem.k % along != 0) {
    return Types::absent(fmt::format("{} needs m and n in multiples of 16 and k of {}", what, along));
  }
  types.a_block = blocks.a;
  types.b_block = blocks.b;
  return types;
}

// Of fp8; none for factors of whole tensors.
Blocks fp8_blocks(Scaling scaling) {
  switch (scaling) {
    case Scaling::kBlock:
      return {BlockScale::kUe8m0, BlockScale::kUe8m0};
    case Scaling::kBlock128:
      return {BlockScale::kVector128, BlockScale::kSquare128};
    case Scaling::kRow:
      return {BlockScale::kRow, BlockScale::kRow};
    default:
      return {};
  }
}

int32_t scale_mode(BlockScale scale) {
  switch (scale) {
    case BlockScale::kUe8m0:
      return CUBLASLT_MATMUL_MATRIX_SCALE_VEC32_UE8M0;
    case BlockScale::kUe4m3:
      return CUBLASLT_MATMUL_MATRIX_SCALE_VEC16_UE4M3;
    case BlockScale::kVector128:
      return 4;  // CUBLASLT_MATMUL_MATRIX_SCALE_VEC128_32F: named from cuBLAS 12.9 on, older ones refuse the number
    case BlockScale::kSquare128:
      return 5;  // CUBLASLT_MATMUL_MATRIX_SCALE_BLK128x128_32F
    case BlockScale::kRow:
      return 3;  // CUBLASLT_MATMUL_MATRIX_SCALE_OUTER_VEC_32F
    case BlockScale::kNone:
      break;
  }
  return CUBLASLT_MATMUL_MATRIX_SCALE_SCALAR_32F;
}

Types fp8_types(const GemmProblem& problem, int capability) {
  if (capability < 89) {
    return Types::absent(fmt::format("fp8 needs compute capability 8.9 or newer, this GPU has {}", number(capability)));
  }
  GemmTypes types = same(problem.type, CUDA_R_8F_E4M3);
  if (problem.type == NumberType::kFp8E5M2) types.a = CUDA_R_8F_E5M2;
  types.b_type = NumberType::kFp8E4M3;
  types.c = CUDA_R_16BF;
  types.c_type = NumberType::kBf16;
  types.fp8 = true;
  const Blocks blocks = fp8_blocks(problem.scaling);
  if (blocks.a != BlockScale::kNone) return block_scaled(problem, capability, types, blocks);
  // cuBLAS documentation, cublasLtMatmul: only Blackwell's data center GPUs (10.x) have the other layouts.
  if ((capability < 100 || capability >= 120) && problem.layout() != "nt") {
    return along_k(problem, fmt::format("fp8 on compute capability {}", number(capability)));
  }
  if (problem.m % 16 != 0 || problem.n % 16 != 0 || problem.k % 16 != 0) {
    return Types::absent("fp8 needs m, n and k in multiples of 16 (cuBLASLt)");
  }
  types.tensor_scales = problem.scaling == Scaling::kTensor;
  return types;
}

Types fp4_types(const GemmProblem& problem, int capability) {
  GemmTypes types = same(NumberType::kFp4, CUDA_R_4F_E2M1);
  types.c = CUDA_R_16BF;
  types.c_type = NumberType::kBf16;
  if (problem.scaling != Scaling::kBlock) return Types::absent("fp4 needs block scaling");
  return block_scaled(problem, capability, types, {BlockScale::kUe4m3, BlockScale::kUe4m3});
}

// cuBLAS documentation, cublasLtMatmul: integers in ordinary layouts only as TN, with m, n and k in multiples of 4.
Types int8_types(const GemmProblem& problem) {
  GemmTypes types = same(NumberType::kInt8, CUDA_R_8I, CUBLAS_COMPUTE_32I);
  types.factors = types.c = CUDA_R_32I;
  types.int32 = true;
  if (problem.epilogue != Epilogue::kNone) return Types::absent("int8 has no epilogues here: it is stored as int32");
  if (problem.layout() != "nt") return along_k(problem, "int8");
  if (problem.m % 4 != 0 || problem.n % 4 != 0 || problem.k % 4 != 0) {
    return Types::absent("int8 needs m, n and k in multiples of 4 (cuBLASLt)");
  }
  if (problem.k > (int64_t{1} << 31) / (int64_t{63} * 63) - 1)
    return Types::absent("int8 sums of this k may leave int32");
  return types;
}

cublasLtEpilogue_t epilogue_of(Epilogue epilogue) {
  if (epilogue == Epilogue::kBiasRelu) return CUBLASLT_EPILOGUE_RELU_BIAS;
  return epilogue == Epilogue::kBiasGelu ? CUBLASLT_EPILOGUE_GELU_BIAS : CUBLASLT_EPILOGUE_BIAS;
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
      return fp4_types(problem, capability);
    case NumberType::kInt8:
      return int8_types(problem);
  }
  return Types::absent("an unknown number type");
}

GemmRounding gemm_rounding(const GemmProblem& problem) {
  // Tensor cores align the products of one instruction and cut off what does not fit 24 bits: truncation, 2^-23 a step
  // (Fasi, Higham, Mikaitis and Pranesh, PeerJ Comput. Sci. 7:e330, 2021).
  constexpr double kTruncated = 0x1p-23;
  constexpr double kBf16 = 0x1p-8;
  // Hopper's fp8 units keep about 14 bits of a sum, 32 products an instruction: 2^-13 each. Without fast accumulation
  // cuBLASLt adds the sum of every 128 products in fp32, so that four of them count whatever k is (DeepSeek-V3, arXiv
  // 2412.19437, section 3.3.2). The reference multiplies by k.
  constexpr double kFp8Step = 0x1p-13;
  switch (problem.type) {
    case NumberType::kFp64:  // a large product's reference is fp64 too, and rounds as much
      return {.sum = gemm_is_small(problem) ? 0x1p-53 : 0x1p-52, .output = 0, .random_walk = true};
    case NumberType::kFp32:
      return {.sum = 0x1p-24, .output = 0, .random_walk = true};
    case NumberType::kTf32:
      return {.sum = kTruncated, .output = 0, .random_walk = false};
    case NumberType::kFp16:
      return {.sum = kTruncated, .output = 0x1p-11, .random_walk = false};
    case NumberType::kBf16:
    case NumberType::kFp4:  // products of block formats are exact in fp32: 2 x 3 bits and two scales
      return {.sum = kTruncated, .output = kBf16, .random_walk = false};
    case NumberType::kFp8E4M3:
    case NumberType::kFp8E5M2: {
      const double steps = problem.fast_accumulation ? 1.0 / 32 : 4.0 / static_cast<double>(problem.k);
      return {.sum = steps * kFp8Step + kTruncated, .output = kBf16, .random_walk = false};
    }
    case NumberType::kInt8:
      return {.sum = 0, .output = 0, .random_walk = false};
  }
  return {};
}

GemmBytes gemm_bytes(const GemmProblem& problem, const GemmTypes& types) {
  const auto bytes = [&](int64_t rows, int64_t columns, double each) {
    const double elements = double(rows) * double(columns) * double(problem.batch);
    return static_cast<size_t>(std::llround(elements * each));
  };
  return {.a = bytes(problem.m, problem.k, bytes_per_element(types.a_type)),
          .b = bytes(problem.k, problem.n, bytes_per_element(types.b_type)),
          .c = bytes(problem.m, problem.n, types.c_bytes())};
}

GemmPlan::GemmPlan(std::shared_ptr<const Blas> blas, const GemmProblem& problem, const GemmTypes& types,
                   const GemmExtras& extras)
    : blas_(std::move(blas)),
      factors_(types.factors),
      operation_(blas_, types.compute, types.factors),
      first_(blas_, problem.transpose_b ? shape(types.b, problem.n, problem.k, problem)
                                        : shape(types.b, problem.k, problem.n, problem)),
      second_(blas_, problem.transpose_a ? shape(types.a, problem.k, problem.m, problem)
                                         : shape(types.a, problem.m, problem.k, problem)),
      result_(blas_, shape(types.c, problem.m, problem.n, problem)) {
  const cublasOperation_t transpose_first = problem.transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N;
  const cublasOperation_t transpose_second = problem.transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N;
  operation_.set(CUBLASLT_MATMUL_DESC_TRANSA, transpose_first);
  operation_.set(CUBLASLT_MATMUL_DESC_TRANSB, transpose_second);
  if (types.fp8) {
    const int8_t fast_accumulation = problem.fast_accumulation ? 1 : 0;
    operation_.set(CUBLASLT_MATMUL_DESC_FAST_ACCUM, fast_accumulation);
  }
  set_scales(types, extras);
  if (problem.epilogue != Epilogue::kNone) set_epilogue(problem.epilogue, extras.bias);
}

// cuBLASLt's A is our B.
void GemmPlan::set_scales(const GemmTypes& types, const GemmExtras& extras) {
  if (types.tensor_scales) {
    operation_.set(CUBLASLT_MATMUL_DESC_A_SCALE_POINTER, extras.b_scale);
    operation_.set(CUBLASLT_MATMUL_DESC_B_SCALE_POINTER, extras.a_scale);
  }
  if (!types.block_scaled()) return;
  operation_.set(CUBLASLT_MATMUL_DESC_A_SCALE_MODE, scale_mode(types.b_block));
  operation_.set(CUBLASLT_MATMUL_DESC_B_SCALE_MODE, scale_mode(types.a_block));
  operation_.set(CUBLASLT_MATMUL_DESC_A_SCALE_POINTER, extras.b_blocks);
  operation_.set(CUBLASLT_MATMUL_DESC_B_SCALE_POINTER, extras.a_blocks);
}

// cuBLASLt's bias has an entry a row of its column-major result: a column of our C. All batch items share it.
void GemmPlan::set_epilogue(Epilogue epilogue, const void* bias) {
  operation_.set(CUBLASLT_MATMUL_DESC_EPILOGUE, epilogue_of(epilogue));
  operation_.set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias);
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
  struct Factors {
    const void* one;
    const void* zero;
  };
  static constexpr double kDoubles[] = {1, 0};
  static constexpr float kFloats[] = {1, 0};
  static constexpr int32_t kIntegers[] = {1, 0};
  const Factors factors = factors_ == CUDA_R_64F   ? Factors{&kDoubles[0], &kDoubles[1]}
                          : factors_ == CUDA_R_32I ? Factors{&kIntegers[0], &kIntegers[1]}
                                                   : Factors{&kFloats[0], &kFloats[1]};
  const cublasStatus_t status = blas_->calls().cublasLtMatmul(
      blas_->handle(), operation_.get(), factors.one, at.b, first_.get(), at.a, second_.get(), factors.zero, at.c,
      result_.get(), at.c, result_.get(), &algorithm, workspace.memory, workspace.bytes, stream);
  check(status, "cublasLtMatmul(handle, operation, ...)", std::source_location::current());
}

}  // namespace farscale::cuda
