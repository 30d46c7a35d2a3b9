// A product looked at where it lies: kernels of our own sum its rows and columns and compute single entries in fp64, so
// that checking 8192^3 moves a few vectors to the host and no matrix.
#pragma once

#include "kernels/cuda/device.h"
#include "kernels/cuda/gemm_plan.h"
#include "kernels/cuda/launch.h"
#include "kernels/reference.h"

namespace farscale::cuda {

// The matrices of one product as the kernels of check.cu read them.
struct StoredProduct {
  StoredMatrix a;
  StoredMatrix b;
  StoredMatrix c;
  double scale = 1;
};
StoredProduct stored_product(const GemmProblem& problem, const GemmTypes& types, const GemmPointers& at,
                             const GemmExtras& extras);

class DeviceSight final : public GemmSight {
 public:
  DeviceSight(const GemmProblem& problem, const StoredProduct& product, const Device& device)
      : problem_(problem), product_(product), device_(device) {}
  std::vector<SeenEntry> entries(const std::vector<GemmPlace>& places) override;
  GemmChecksums checksums(int64_t batch, bool columns, uint64_t seed) override;

 private:
  const GemmProblem& problem_;
  StoredProduct product_;
  const Device& device_;
};

// Checksums of the bytes at `data`, one for every slab of slab_bytes(bytes).
std::vector<uint64_t> checksums_of(const Device& device, const std::byte* data, size_t bytes);
size_t slab_bytes(size_t bytes);

}  // namespace farscale::cuda
