// Sizing and filling the arena.
#include "kernels/cuda/arena.h"

#include <algorithm>

#include "kernels/cuda/call.h"
#include "kernels/cuda/convolution.h"
#include "kernels/cuda/gemm_plan.h"
#include "kernels/cuda/launch.h"

namespace farscale::cuda {

CudaArena::Sizes CudaArena::sizes(const std::vector<Problem>& problems, const Device& device) {
  Sizes sizes;
  for (const Problem& problem : problems) {
    size_t read = 0, written = 0;
    if (const auto* gemm = std::get_if<GemmProblem>(&problem)) {
      const auto types = gemm_types(*gemm, device.capability());
      if (!types) continue;
      const GemmBytes bytes = gemm_bytes(*gemm, *types);
      read = aligned(bytes.a) + aligned(bytes.b), written = aligned(bytes.c);
      sizes.type = types->a_type;
    } else if (const auto* convolution = std::get_if<ConvolutionProblem>(&problem)) {
      const ConvolutionBytes bytes = convolution_bytes(*convolution);
      read = bytes.read(convolution->pass), written = bytes.written(convolution->pass);
      sizes.type = convolution->type;
    }
    sizes.read = std::max(sizes.read, read);
    sizes.written = std::max(sizes.written, written);
  }
  if (sizes.read > 0) sizes.read = std::max(sizes.read, aligned(static_cast<size_t>(4 * device.cache_bytes())));
  return sizes;
}

CudaArena::CudaArena(const Sizes& sizes, const Device& device) : read_(sizes.read), written_(sizes.written) {
  if (sizes.read == 0) return;
  const FillTask fill{.type = sizes.type,
                      .data = InputData::kNormal,
                      .seed = 1,
                      .to = read_.get(),
                      .count = static_cast<int64_t>(double(sizes.read) / bytes_per_element(sizes.type))};
  FARSCALE_CALL(launch_fill(fill, device.work()));
  FARSCALE_CALL(cudaStreamSynchronize(device.work()));
}

CudaArena::Place CudaArena::place(size_t read, size_t written) const {
  if (read > read_.bytes() || written > written_.bytes()) return {};
  if (next_ + read > read_.bytes()) next_ = 0;
  const Place place{.read = read_.get() + next_, .written = written_.get()};
  next_ += aligned(read);
  return place;
}

}  // namespace farscale::cuda
