// cuBLASLt, opened at run time: its functions as a table, and its handle and descriptors as move-only values.
#pragma once

#include <cublasLt.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "kernels/cuda/library.h"
#include "kernels/error.h"

// Every cuBLASLt function this module calls; the table, its loading and the fake are made from this list.
#define FARSCALE_CUBLASLT_CALLS(X)        \
  X(cublasLtGetVersion)                   \
  X(cublasLtCreate)                       \
  X(cublasLtDestroy)                      \
  X(cublasLtMatmulDescCreate)             \
  X(cublasLtMatmulDescDestroy)            \
  X(cublasLtMatmulDescSetAttribute)       \
  X(cublasLtMatrixLayoutCreate)           \
  X(cublasLtMatrixLayoutDestroy)          \
  X(cublasLtMatrixLayoutSetAttribute)     \
  X(cublasLtMatmulPreferenceCreate)       \
  X(cublasLtMatmulPreferenceDestroy)      \
  X(cublasLtMatmulPreferenceSetAttribute) \
  X(cublasLtMatmulAlgoGetHeuristic)       \
  X(cublasLtMatmulAlgoConfigGetAttribute) \
  X(cublasLtMatmul)

namespace farscale::cuda {

struct BlasCalls {
  FARSCALE_CUBLASLT_CALLS(FARSCALE_MEMBER)
};

// The library, open, with one handle.
class Blas {
 public:
  // The reason when the library, a function of it or the right major version is missing.
  static Maybe<std::shared_ptr<const Blas>> open();

  ~Blas();
  Blas(const Blas&) = delete;
  Blas& operator=(const Blas&) = delete;

  const BlasCalls& calls() const { return calls_; }
  cublasLtHandle_t handle() const { return handle_; }
  std::string version() const;  // "cuBLASLt 13.1.0 (libcublasLt.so.13)"

 private:
  Blas() = default;
  std::unique_ptr<Library> library_;  // outlives the handle
  BlasCalls calls_;
  cublasLtHandle_t handle_ = nullptr;
};

// The operation: types, transposes, scales.
class MatmulDescriptor {
 public:
  MatmulDescriptor(std::shared_ptr<const Blas> blas, cublasComputeType_t compute, cudaDataType_t scale);
  template <typename Value>
  void set(cublasLtMatmulDescAttributes_t attribute, const Value& value) {
    set(attribute, &value, sizeof value);
  }
  cublasLtMatmulDesc_t get() const { return handle_.get(); }

 private:
  void set(cublasLtMatmulDescAttributes_t attribute, const void* value, size_t bytes);
  struct Destroy {
    std::shared_ptr<const Blas> blas;
    void operator()(cublasLtMatmulDesc_t handle) const noexcept;
  };
  std::unique_ptr<cublasLtMatmulDescOpaque_t, Destroy> handle_;
};

// A column-major matrix, `batch` of them `stride` elements apart.
struct MatrixShape {
  cudaDataType_t type = CUDA_R_32F;
  uint64_t rows = 0;
  uint64_t columns = 0;
  int32_t batch = 1;
};

class MatrixLayout {
 public:
  MatrixLayout(std::shared_ptr<const Blas> blas, const MatrixShape& shape);
  cublasLtMatrixLayout_t get() const { return handle_.get(); }

 private:
  struct Destroy {
    std::shared_ptr<const Blas> blas;
    void operator()(cublasLtMatrixLayout_t handle) const noexcept;
  };
  std::unique_ptr<cublasLtMatrixLayoutOpaque_t, Destroy> handle_;
};

// What algorithms may use.
class MatmulPreference {
 public:
  MatmulPreference(std::shared_ptr<const Blas> blas, uint64_t workspace_bytes);
  cublasLtMatmulPreference_t get() const { return handle_.get(); }

 private:
  struct Destroy {
    std::shared_ptr<const Blas> blas;
    void operator()(cublasLtMatmulPreference_t handle) const noexcept;
  };
  std::unique_ptr<cublasLtMatmulPreferenceOpaque_t, Destroy> handle_;
};

// What cuBLASLt tells about an algorithm, for the record; -1 where it does not tell.
struct AlgorithmFacts {
  int id = -1;
  int tile = -1;
  int split_k = -1;
  int stages = -1;
  int cluster = -1;
};
AlgorithmFacts facts_of(const Blas& blas, const cublasLtMatmulAlgo_t& algorithm);

// "128x256" for the tile numbers that cublasLt.h named when this was built, "tile 700" for later ones.
std::string tile_name(int tile);

}  // namespace farscale::cuda
