// Preparing, checking and running a convolution.
#include "kernels/cuda/convolution.h"

#include <fmt/format.h>

#include <array>
#include <optional>
#include <vector>

#include "kernels/cuda/arena.h"
#include "kernels/cuda/call.h"
#include "kernels/cuda/cudnn_library.h"
#include "kernels/cuda/gemm_plan.h"
#include "kernels/cuda/launch.h"
#include "kernels/format.h"
#include "kernels/reference_convolution.h"

namespace farscale::cuda {
namespace {

using Prepared = Maybe<std::unique_ptr<Operation>>;

constexpr size_t kMostWorkspace = size_t{1} << 30;
constexpr int kMostAlgorithms = 8;

struct ConvolutionTypes {
  cudnnDataType_t data = CUDNN_DATA_FLOAT;
  cudnnMathType_t math = CUDNN_DEFAULT_MATH;
};

std::optional<ConvolutionTypes> types_of(NumberType type) {
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

class ConvolutionOperation final : public CudaOperation {
 public:
  ConvolutionOperation(std::shared_ptr<const Cudnn> cudnn, const ConvolutionProblem& problem,
                       const ConvolutionTypes& types, const OperationSettings& settings, const Device& device)
      : problem_(problem),
        settings_(settings),
        device_(device),
        bytes_(convolution_bytes(problem)),
        plan_(std::move(cudnn), problem, types) {
    place();
  }

  // The first of cuDNN's guesses that runs; the reason when there is none.
  std::string choose();
  Verdict verify() override;
  Facts details() const override {
    Facts facts{{"library", plan_.cudnn().version()},
                {"kernel", "implicit GEMM (cuDNN chooses)"},
                {"algorithm", fmt::format("{}", algorithm_.id)},
                {"workspace_used", format_bytes(static_cast<double>(algorithm_.workspace_bytes))},
                {"operands", own_.bytes() > 0 ? "own" : "in the step's arena"}};
    if (!first_failure_.empty()) facts["first_failure"] = first_failure_;
    return facts;
  }

 protected:
  void enqueue(CudaQueue& queue) override {
    plan_.run(algorithm_, at_, queue.workspace(algorithm_.workspace_bytes), queue.stream());
  }

 private:
  void place();
  void fill(std::byte* to, size_t bytes, uint64_t seed) const;
  std::byte* result() const {
    return problem_.pass == ConvolutionPass::kForward        ? at_.output
           : problem_.pass == ConvolutionPass::kDataGradient ? at_.input
                                                             : at_.filters;
  }
  void run_alone();

  ConvolutionProblem problem_;
  OperationSettings settings_;
  const Device& device_;
  ConvolutionBytes bytes_;
  ConvolutionPlan plan_;
  DeviceMemory own_;
  Tensors at_;
  Algorithm algorithm_;
  std::string first_failure_;  // of a guess before the one taken
};

// In the arena, or in memory of its own: the two tensors that are read, then the one that is written.
void ConvolutionOperation::place() {
  const size_t read = bytes_.read(problem_.pass), written = bytes_.written(problem_.pass);
  CudaArena::Place place;
  if (const auto* arena = dynamic_cast<const CudaArena*>(settings_.arena)) place = arena->place(read, written);
  const bool in_arena = place.read != nullptr;
  if (!in_arena) {
    own_ = DeviceMemory(read + written);
    place = {.read = own_.get(), .written = own_.get() + read};
  }
  switch (problem_.pass) {
    case ConvolutionPass::kForward:
      at_ = {.input = place.read, .filters = place.read + bytes_.input, .output = place.written};
      break;
    case ConvolutionPass::kDataGradient:
      at_ = {.input = place.written, .filters = place.read, .output = place.read + bytes_.filters};
      break;
    case ConvolutionPass::kWeightGradient:
      at_ = {.input = place.read, .filters = place.written, .output = place.read + bytes_.input};
      break;
  }
  if (in_arena) return;
  fill(place.read, read, settings_.seed);
  FARSCALE_CALL(cudaStreamSynchronize(device_.work()));
}

void ConvolutionOperation::fill(std::byte* to, size_t bytes, uint64_t seed) const {
  const auto count = static_cast<int64_t>(static_cast<double>(bytes) / bytes_per_element(problem_.type));
  const FillTask task{.type = problem_.type, .data = settings_.data, .seed = seed, .to = to, .count = count};
  FARSCALE_CALL(launch_fill(task, device_.work()));
}

void ConvolutionOperation::run_alone() {
  const DeviceMemory workspace(algorithm_.workspace_bytes);
  plan_.run(algorithm_, at_, workspace, device_.work());
  FARSCALE_CALL(cudaStreamSynchronize(device_.work()));
}

std::string ConvolutionOperation::choose() {
  for (const Algorithm& algorithm : plan_.algorithms()) {
    algorithm_ = algorithm;
    try {
      run_alone();
      return "";
    } catch (const CallError& error) {
      if (first_failure_.empty()) first_failure_ = error.what();
    }
  }
  return first_failure_.empty() ? "cuDNN has no algorithm for it on this GPU" : first_failure_;
}

Verdict ConvolutionOperation::verify() {
  device_.poison(result(), bytes_.written(problem_.pass));
  run_alone();
  const auto input = device_.to_host(at_.input, bytes_.input), filters = device_.to_host(at_.filters, bytes_.filters),
             output = device_.to_host(at_.output, bytes_.output);
  // Each entry is a dot product, rounded as those of a GEMM.
  const GemmProblem product{.m = 1, .n = 1, .k = convolution_terms(problem_), .type = problem_.type};
  return check_convolution(problem_, {.input = input.data(), .filters = filters.data(), .output = output.data()},
                           gemm_rounding(product), settings_.seed);
}

class CudnnConvolutions final : public Convolutions {
 public:
  Prepared prepare(const ConvolutionProblem& problem, const OperationSettings& settings,
                   const Device& device) override {
    const auto types = types_of(problem.type);
    if (!types) return Prepared::absent(fmt::format("cuDNN runs no {} convolutions here", name(problem.type)));
    if (!cudnn()) return Prepared::absent(cudnn().reason());
    const ConvolutionBytes bytes = convolution_bytes(problem);
    const size_t needed = bytes.input + bytes.filters + bytes.output, free = device.free_bytes();
    if (settings.arena == nullptr && needed > free) {
      return Prepared::absent(fmt::format("does not fit: {} of device memory needed, {} free",
                                          format_bytes(double(needed)), format_bytes(double(free))));
    }
    auto operation = std::make_unique<ConvolutionOperation>(*cudnn(), problem, *types, settings, device);
    const std::string reason = operation->choose();
    if (!reason.empty()) return Prepared::absent(reason);
    return std::unique_ptr<Operation>(std::move(operation));
  }

  std::string version() override { return cudnn() ? (*cudnn())->version() : cudnn().reason(); }

 private:
  const Maybe<std::shared_ptr<const Cudnn>>& cudnn() {
    if (!cudnn_) cudnn_ = Cudnn::open();
    return *cudnn_;
  }
  std::optional<Maybe<std::shared_ptr<const Cudnn>>> cudnn_;
};

}  // namespace

std::unique_ptr<Convolutions> make_convolutions() { return std::make_unique<CudnnConvolutions>(); }

}  // namespace farscale::cuda
