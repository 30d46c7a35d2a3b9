// A convolution as cuDNN sees it: descriptors, its guesses at an algorithm, and one call.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "kernels/cuda/cudnn_library.h"
#include "kernels/cuda/handles.h"
#include "kernels/problem.h"

namespace farscale::cuda {

struct ConvolutionTypes {
  cudnnDataType_t data = CUDNN_DATA_FLOAT;
  cudnnMathType_t math = CUDNN_DEFAULT_MATH;
};

// Nothing where cuDNN has no such convolutions.
std::optional<ConvolutionTypes> convolution_types(NumberType type);

// A descriptor: made by one call, given back by another.
template <typename Handle>
class Descriptor {
 public:
  using Create = cudnnStatus_t (*)(Handle*);
  using Destroy = cudnnStatus_t (*)(Handle);
  Descriptor(const char* call, Create create, Destroy destroy) : destroy_(destroy) {
    check_cudnn(create(&handle_), call);
  }
  ~Descriptor() { (void)destroy_(handle_); }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  Handle get() const { return handle_; }

 private:
  Destroy destroy_;
  Handle handle_ = nullptr;
};

struct Algorithm {
  int id = 0;
  size_t workspace_bytes = 0;
};

struct Tensors {
  std::byte* input = nullptr;
  std::byte* filters = nullptr;
  std::byte* output = nullptr;
};

// The convolution as cuDNN sees it.
class ConvolutionPlan {
 public:
  ConvolutionPlan(std::shared_ptr<const Cudnn> cudnn, const ConvolutionProblem& problem, const ConvolutionTypes& types);
  std::vector<Algorithm> algorithms() const;  // cuDNN's guesses, best first, that need little enough workspace
  void run(const Algorithm& algorithm, const Tensors& at, const DeviceMemory& workspace, cudaStream_t stream) const;
  const Cudnn& cudnn() const { return *cudnn_; }

 private:
  template <typename Found, typename Ask>
  std::vector<Algorithm> ask(const Ask& ask) const;

  std::shared_ptr<const Cudnn> cudnn_;
  ConvolutionPass pass_;
  Descriptor<cudnnTensorDescriptor_t> input_, output_;
  Descriptor<cudnnFilterDescriptor_t> filters_;
  Descriptor<cudnnConvolutionDescriptor_t> convolution_;
};

}  // namespace farscale::cuda
