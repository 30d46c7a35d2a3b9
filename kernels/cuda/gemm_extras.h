// What a product reads beside its operands: scales of tensors or blocks, and the bias of its epilogue.
#pragma once

#include <vector>

#include "kernels/cuda/device.h"
#include "kernels/cuda/gemm_plan.h"

namespace farscale::cuda {

// Made and filled, in one piece of device memory.
class ExtraMemory {
 public:
  ExtraMemory(const GemmProblem& problem, const GemmTypes& types, const OperationSettings& settings,
              const Device& device);
  const GemmExtras& get() const { return extras_; }
  std::vector<double> bias(const Device& device) const;

 private:
  void fill_blocks(std::byte* to, size_t bytes, BlockScale block, uint64_t seed, const Device& device) const;

  int64_t columns_ = 0;
  NumberType bias_type_;
  GemmExtras extras_;
  DeviceMemory memory_;
};

}  // namespace farscale::cuda
