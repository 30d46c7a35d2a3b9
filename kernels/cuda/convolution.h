// Convolutions as cuDNN runs them: one implicit GEMM over images with channels last. Opened at run time; a build
// without cuDNN's headers has the reason instead (convolution_absent.cc).
#pragma once

#include <memory>

#include "kernels/cuda/device.h"
#include "kernels/cuda/queue.h"

namespace farscale::cuda {

class Convolutions {
 public:
  virtual ~Convolutions() = default;
  // The reason when cuDNN is missing, has no algorithm for the problem, or the tensors do not fit.
  virtual Maybe<std::unique_ptr<Operation>> prepare(const ConvolutionProblem& problem,
                                                    const OperationSettings& settings, const Device& device) = 0;
  virtual std::string version() = 0;  // "cuDNN 9.13.1", or why there is none
};

// Opens cuDNN when the first convolution is asked for.
std::unique_ptr<Convolutions> make_convolutions();

// Bytes of the two tensors a pass reads and of the one it writes.
struct ConvolutionBytes {
  size_t input = 0, filters = 0, output = 0;
  size_t written(ConvolutionPass pass) const {
    return pass == ConvolutionPass::kForward ? output : pass == ConvolutionPass::kDataGradient ? input : filters;
  }
  size_t read(ConvolutionPass pass) const { return input + filters + output - written(pass); }
};
ConvolutionBytes convolution_bytes(const ConvolutionProblem& problem);

}  // namespace farscale::cuda
