// Sizes of a convolution's tensors, known without cuDNN.
#include "kernels/cuda/convolution.h"

namespace farscale::cuda {

ConvolutionBytes convolution_bytes(const ConvolutionProblem& p) {
  const auto element = static_cast<int64_t>(bytes_per_element(p.type));
  const auto bytes = [&](int64_t elements) { return aligned(static_cast<size_t>(elements * element)); };
  return {.input = bytes(p.images * p.height * p.width * p.channels),
          .filters = bytes(p.filters * p.kernel * p.kernel * (p.channels / p.groups)),
          .output = bytes(p.images * p.output_height() * p.output_width() * p.filters)};
}

}  // namespace farscale::cuda
