// cuDNN, opened at run time: its convolution functions as a table. They are those that releases 8 and 9 share.
#pragma once

#include <cudnn.h>

#include <memory>
#include <source_location>
#include <string>

#include "kernels/cuda/library.h"
#include "kernels/error.h"

// Every cuDNN function this module calls; the table, its loading and the fake are made from this list.
#define FARSCALE_CUDNN_CALLS(X)                    \
  X(cudnnGetVersion)                               \
  X(cudnnCreate)                                   \
  X(cudnnDestroy)                                  \
  X(cudnnSetStream)                                \
  X(cudnnCreateTensorDescriptor)                   \
  X(cudnnDestroyTensorDescriptor)                  \
  X(cudnnSetTensor4dDescriptor)                    \
  X(cudnnCreateFilterDescriptor)                   \
  X(cudnnDestroyFilterDescriptor)                  \
  X(cudnnSetFilter4dDescriptor)                    \
  X(cudnnCreateConvolutionDescriptor)              \
  X(cudnnDestroyConvolutionDescriptor)             \
  X(cudnnSetConvolution2dDescriptor)               \
  X(cudnnSetConvolutionGroupCount)                 \
  X(cudnnSetConvolutionMathType)                   \
  X(cudnnGetConvolutionForwardAlgorithm_v7)        \
  X(cudnnGetConvolutionBackwardDataAlgorithm_v7)   \
  X(cudnnGetConvolutionBackwardFilterAlgorithm_v7) \
  X(cudnnConvolutionForward)                       \
  X(cudnnConvolutionBackwardData)                  \
  X(cudnnConvolutionBackwardFilter)

namespace farscale::cuda {

struct CudnnCalls {
  FARSCALE_CUDNN_CALLS(FARSCALE_MEMBER)
};

// The library, open, with one handle: used by one thread.
class Cudnn {
 public:
  // The reason when the library or a function of it is missing.
  static Maybe<std::shared_ptr<const Cudnn>> open();
  ~Cudnn();
  Cudnn(const Cudnn&) = delete;
  Cudnn& operator=(const Cudnn&) = delete;

  const CudnnCalls& calls() const { return calls_; }
  cudnnHandle_t handle() const { return handle_; }
  std::string version() const;  // "cuDNN 9.13.1"

 private:
  Cudnn() = default;
  std::unique_ptr<Library> library_;  // outlives the handle
  CudnnCalls calls_;
  cudnnHandle_t handle_ = nullptr;
};

// Throws CallError with the call's text, the code and the place unless the call succeeded.
void check_cudnn(cudnnStatus_t status, const char* call,
                 const std::source_location& where = std::source_location::current());

}  // namespace farscale::cuda

#define FARSCALE_CUDNN_CALL(call) ::farscale::cuda::check_cudnn((call), #call)
