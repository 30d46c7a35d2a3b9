// The seam to the kernels of our own: launched on a GPU in kernels.cu, looped over on the host in fake/launch.cc. Each
// puts its work on the stream and returns the status of the launch.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/backend.h"
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

// y = x, whole bytes of memory that is 256-byte aligned.
cudaError_t launch_copy(const void* x, void* y, int64_t bytes, cudaStream_t stream);

// z = x + scale y, fp32 or fp64.
struct TriadTask {
  NumberType type = NumberType::kFp32;
  const void* x = nullptr;
  const void* y = nullptr;
  void* z = nullptr;
  double scale = 0;
  int64_t count = 0;
};
cudaError_t launch_triad(const TriadTask& task, cudaStream_t stream);

// One AdamW step with the constants of kernels/reference.h: p, m, v updated from g, fp32 or fp64.
struct AdamWTask {
  NumberType type = NumberType::kFp32;
  void* p = nullptr;
  void* m = nullptr;
  void* v = nullptr;
  const void* g = nullptr;
  int64_t count = 0;
};
cudaError_t launch_adamw(const AdamWTask& task, cudaStream_t stream);

}  // namespace farscale::cuda
