// A GEMM as cuBLASLt sees it: types, descriptors, layouts and one call. cuBLASLt is asked for column-major matrices
// (fp8 accepts nothing else), our problems are row-major: C = op(A) op(B) row-major is C' = op(B)' op(A)' column-major,
// so B goes in as the first operand and A as the second, each with its own transpose.
#pragma once

#include <cublasLt.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "kernels/cuda/blas.h"
#include "kernels/cuda/block_scale.h"
#include "kernels/cuda/device.h"
#include "kernels/problem.h"
#include "kernels/reference.h"

namespace farscale::cuda {

// How one number type is computed. fp8_e5m2 is what training does with gradients: A in e5m2, B in e4m3 (cuBLASLt has no
// product of two e5m2 matrices).
struct GemmTypes {
  cublasComputeType_t compute = CUBLAS_COMPUTE_32F;
  cudaDataType_t factors = CUDA_R_32F;  // of alpha and beta
  cudaDataType_t a = CUDA_R_32F;
  cudaDataType_t b = CUDA_R_32F;
  cudaDataType_t c = CUDA_R_32F;
  NumberType a_type = NumberType::kFp32;
  NumberType b_type = NumberType::kFp32;
  NumberType c_type = NumberType::kFp32;  // of int8: int8, and `int32` is set
  bool int32 = false;
  bool fp8 = false;
  bool tensor_scales = false;
  BlockScale a_block = BlockScale::kNone;
  BlockScale b_block = BlockScale::kNone;
  bool block_scaled() const { return a_block != BlockScale::kNone; }

  // What scales of whole tensors multiply the product with.
  double scale() const { return tensor_scales ? double(kTensorScaleA) * double(kTensorScaleB) : 1; }
  double c_bytes() const { return int32 ? 4 : bytes_per_element(c_type); }

  // Powers of two, so that scaling rounds nothing, and different, so that none can be left out.
  static constexpr float kTensorScaleA = 2;
  static constexpr float kTensorScaleB = 0.25;
};

// The reason when this GPU or cuBLASLt does not have the type in this layout.
Maybe<GemmTypes> gemm_types(const GemmProblem& problem, int capability);

// Roundings of one dot product on these units, for kernels/reference.h.
GemmRounding gemm_rounding(const GemmProblem& problem);
inline GemmRounding gemm_rounding(NumberType type, int64_t k) {
  return gemm_rounding({.m = 1, .n = 1, .k = k, .type = type});
}

// What a product reads beside its operands, in device memory; unused ones are null.
struct GemmExtras {
  const float* a_scale = nullptr;
  const float* b_scale = nullptr;
  const void* a_blocks = nullptr;
  const void* b_blocks = nullptr;
  const void* bias = nullptr;  // n elements of C's type
};

// Bytes of one set of operands, each 256-byte aligned.
struct GemmBytes {
  size_t a = 0;
  size_t b = 0;
  size_t c = 0;
  size_t set() const { return aligned(a) + aligned(b) + aligned(c); }
};
GemmBytes gemm_bytes(const GemmProblem& problem, const GemmTypes& types);

struct GemmPointers {
  std::byte* a = nullptr;
  std::byte* b = nullptr;
  std::byte* c = nullptr;
};

struct Workspace {
  void* memory = nullptr;
  size_t bytes = 0;
};

class GemmPlan {
 public:
  GemmPlan(std::shared_ptr<const Blas> blas, const GemmProblem& problem, const GemmTypes& types,
           const GemmExtras& extras);

  // cuBLASLt's candidates, best guess first; empty when it has none.
  std::vector<cublasLtMatmulHeuristicResult_t> candidates(int most, size_t workspace_bytes) const;

  // Enqueues one product. Throws CallError: a candidate of the autotuner may fail.
  void multiply(const cublasLtMatmulAlgo_t& algorithm, const GemmPointers& at, const Workspace& workspace,
                cudaStream_t stream) const;

  const Blas& blas() const { return *blas_; }

 private:
  void set_scales(const GemmTypes& types, const GemmExtras& extras);
  void set_epilogue(Epilogue epilogue, const void* bias);

  std::shared_ptr<const Blas> blas_;
  cudaDataType_t factors_;
  MatmulDescriptor operation_;
  MatrixLayout first_;   // B
  MatrixLayout second_;  // A
  MatrixLayout result_;  // C
};

}  // namespace farscale::cuda
