// One piece of device memory that the products of a step lay their operands over.
#pragma once

#include <vector>

#include "kernels/cuda/device.h"

namespace farscale::cuda {

// What products read lies in one part, filled once with inputs, what they write in another: a result is never read as
// an operand, so numbers do not grow from step to step.
class CudaArena final : public Arena {
 public:
  struct Sizes {
    size_t read = 0, written = 0;
    NumberType type = NumberType::kBf16;  // of the inputs
  };
  // As large as the largest product among `problems` needs; read parts are laid out over at least four times the L2, so
  // that a product does not find the operands of the one before it in the cache.
  static Sizes sizes(const std::vector<Problem>& problems, const Device& device);
  CudaArena(const Sizes& sizes, const Device& device);

  double bytes() const override { return static_cast<double>(read_.bytes() + written_.bytes()); }

  struct Place {
    std::byte* read = nullptr;
    std::byte* written = nullptr;
  };
  // Memory for one more product: the read part moves on from product to product.
  Place place(size_t read, size_t written) const;

 private:
  DeviceMemory read_, written_;
  mutable size_t next_ = 0;
};

}  // namespace farscale::cuda
