// The GEMM operation: operands filled and rotated, an algorithm chosen by timing and verified, and the record of both.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>

#include "kernels/cuda/device.h"
#include "kernels/cuda/gemm_tune.h"
#include "kernels/cuda/queue.h"

namespace farscale::cuda {

// The algorithm that won for a shape, kept for the next time the shape is asked for.
struct TunedGemm {
  cublasLtMatmulAlgo_t algorithm{};
  Facts facts;
};
using TunedGemms = std::map<std::string, TunedGemm>;

struct GemmRequest {
  GemmProblem problem;
  OperationSettings settings;
  const Device* device = nullptr;
  std::shared_ptr<const Blas> blas;
  TunedGemms* tuned = nullptr;
};

// The reason when the type is not supported here, cuBLASLt has no algorithm, or the operands do not fit.
Maybe<std::unique_ptr<Operation>> prepare_gemm(const GemmRequest& request);

}  // namespace farscale::cuda
