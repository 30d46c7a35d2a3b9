// Descriptors, guesses and calls, one of each for every pass.
#include "kernels/cuda/convolution_plan.h"

#include <array>

namespace farscale::cuda {
namespace {

constexpr size_t kMostWorkspace = size_t{1} << 30;
constexpr int kMostAlgorithms = 8;

}  // namespace

std::optional<ConvolutionTypes> convolution_types(NumberType type) {
  switch (type) {
    case NumberType::kFp32:
      return ConvolutionTypes{CUDNN_DATA_FLOAT, CUDNN_FMA_MATH};
    case NumberType::kTf32:
      return ConvolutionTypes{CUDNN_DATA_FLOAT, CUDNN_DEFAULT_MATH};
    case NumberType::kFp16:
      return ConvolutionTypes{CUDNN_DATA_HALF, CUDNN_TENSOR_OP_MATH};
    case NumberType::kBf16:
      return ConvolutionTypes{CUDNN_DATA_BFLOAT16, CUDNN_TENSOR_OP_MATH};
    default:
      return std::nullopt;
  }
}

ConvolutionPlan::ConvolutionPlan(std::shared_ptr<const Cudnn> cudnn, const ConvolutionProblem& p,
                                 const ConvolutionTypes& types)
    : cudnn_(std::move(cudnn)),
      pass_(p.pass),
      input_("cudnnCreateTensorDescriptor", cudnn_->calls().cudnnCreateTensorDescriptor,
             cudnn_->calls().cudnnDestroyTensorDescriptor),
      output_("cudnnCreateTensorDescriptor", cudnn_->calls().cudnnCreateTensorDescriptor,
              cudnn_->calls().cudnnDestroyTensorDescriptor),
      filters_("cudnnCreateFilterDescriptor", cudnn_->calls().cudnnCreateFilterDescriptor,
               cudnn_->calls().cudnnDestroyFilterDescriptor),
      convolution_("cudnnCreateConvolutionDescriptor", cudnn_->calls().cudnnCreateConvolutionDescriptor,
                   cudnn_->calls().cudnnDestroyConvolutionDescriptor) {
  const CudnnCalls& calls = cudnn_->calls();
  const auto i = [](int64_t value) { return static_cast<int>(value); };
  const int pad = i(p.kernel / 2), stride = i(p.stride);
  FARSCALE_CUDNN_CALL(calls.cudnnSetTensor4dDescriptor(input_.get(), CUDNN_TENSOR_NHWC, types.data, i(p.images),
                                                       i(p.channels), i(p.height), i(p.width)));
  FARSCALE_CUDNN_CALL(calls.cudnnSetTensor4dDescriptor(output_.get(), CUDNN_TENSOR_NHWC, types.data, i(p.images),
                                                       i(p.filters), i(p.output_height()), i(p.output_width())));
  FARSCALE_CUDNN_CALL(calls.cudnnSetFilter4dDescriptor(filters_.get(), types.data, CUDNN_TENSOR_NHWC, i(p.filters),
                                                       i(p.channels / p.groups), i(p.kernel), i(p.kernel)));
  FARSCALE_CUDNN_CALL(calls.cudnnSetConvolution2dDescriptor(convolution_.get(), pad, pad, stride, stride, 1, 1,
                                                            CUDNN_CROSS_CORRELATION, CUDNN_DATA_FLOAT));
  FARSCALE_CUDNN_CALL(calls.cudnnSetConvolutionGroupCount(convolution_.get(), i(p.groups)));
  FARSCALE_CUDNN_CALL(calls.cudnnSetConvolutionMathType(convolution_.get(), types.math));
}

template <typename Found, typename Ask>
std::vector<Algorithm> ConvolutionPlan::ask(const Ask& ask) const {
  std::array<Found, kMostAlgorithms> found{};
  int count = 0;
  ask(&count, found.data());
  std::vector<Algorithm> usable;
  for (int i = 0; i < count; ++i) {
    const Found& one = found[static_cast<size_t>(i)];
    if (one.status != CUDNN_STATUS_SUCCESS || one.memory > kMostWorkspace) continue;
    usable.push_back({.id = static_cast<int>(one.algo), .workspace_bytes = one.memory});
  }
  return usable;
}

std::vector<Algorithm> ConvolutionPlan::algorithms() const {
  const CudnnCalls& calls = cudnn_->calls();
  switch (pass_) {
    case ConvolutionPass::kForward:
      return ask<cudnnConvolutionFwdAlgoPerf_t>([&](int* count, cudnnConvolutionFwdAlgoPerf_t* found) {
        FARSCALE_CUDNN_CALL(calls.cudnnGetConvolutionForwardAlgorithm_v7(cudnn_->handle(), input_.get(), filters_.get(),
                                                                         convolution_.get(), output_.get(),
                                                                         kMostAlgorithms, count, found));
      });
    case ConvolutionPass::kDataGradient:
      return ask<cudnnConvolutionBwdDataAlgoPerf_t>([&](int* count, cudnnConvolutionBwdDataAlgoPerf_t* found) {
        FARSCALE_CUDNN_CALL(calls.cudnnGetConvolutionBackwardDataAlgorithm_v7(
            cudnn_->handle(), filters_.get(), output_.get(), convolution_.get(), input_.get(), kMostAlgorithms, count,
            found));
      });
    case ConvolutionPass::kWeightGradient:
      return ask<cudnnConvolutionBwdFilterAlgoPerf_t>([&](int* count, cudnnConvolutionBwdFilterAlgoPerf_t* found) {
        FARSCALE_CUDNN_CALL(calls.cudnnGetConvolutionBackwardFilterAlgorithm_v7(
            cudnn_->handle(), input_.get(), output_.get(), convolution_.get(), filters_.get(), kMostAlgorithms, count,
            found));
      });
  }
  return {};
}

void ConvolutionPlan::run(const Algorithm& algorithm, const Tensors& at, const DeviceMemory& workspace,
                          cudaStream_t stream) const {
  const CudnnCalls& calls = cudnn_->calls();
  const float one = 1, zero = 0;
  FARSCALE_CUDNN_CALL(calls.cudnnSetStream(cudnn_->handle(), stream));
  switch (pass_) {
    case ConvolutionPass::kForward:
      FARSCALE_CUDNN_CALL(
          calls.cudnnConvolutionForward(cudnn_->handle(), &one, input_.get(), at.input, filters_.get(), at.filters,
                                        convolution_.get(), static_cast<cudnnConvolutionFwdAlgo_t>(algorithm.id),
                                        workspace.get(), workspace.bytes(), &zero, output_.get(), at.output));
      return;
    case ConvolutionPass::kDataGradient:
      FARSCALE_CUDNN_CALL(calls.cudnnConvolutionBackwardData(
          cudnn_->handle(), &one, filters_.get(), at.filters, output_.get(), at.output, convolution_.get(),
          static_cast<cudnnConvolutionBwdDataAlgo_t>(algorithm.id), workspace.get(), workspace.bytes(), &zero,
          input_.get(), at.input));
      return;
    case ConvolutionPass::kWeightGradient:
      FARSCALE_CUDNN_CALL(calls.cudnnConvolutionBackwardFilter(
          cudnn_->handle(), &one, input_.get(), at.input, output_.get(), at.output, convolution_.get(),
          static_cast<cudnnConvolutionBwdFilterAlgo_t>(algorithm.id), workspace.get(), workspace.bytes(), &zero,
          filters_.get(), at.filters));
      return;
  }
}

}  // namespace farscale::cuda
