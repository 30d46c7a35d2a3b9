// Preparing, checking and running a convolution.
#include "kernels/cuda/convolution.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <vector>

#include "kernels/cuda/arena.h"
#include "kernels/cuda/call.h"
#include "kernels/cuda/convolution_plan.h"
#include "kernels/cuda/gemm_plan.h"
#include "kernels/cuda/launch.h"
#include "kernels/format.h"
#include "kernels/reference_convolution.h"

namespace farscale::cuda {
namespace {

using Prepared = Maybe<std::unique_ptr<Operation>>;

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

  // The fastest of cuDNN's guesses, each timed; the reason when none runs.
  std::string choose();
  Verdict verify() override;
  Facts details() const override {
    Facts facts{{"library", plan_.cudnn().version()},
                {"kernel", "implicit GEMM (cuDNN chooses)"},
                {"algorithm", fmt::format("{}", algorithm_.id)},
                {"heuristic_place", fmt::format("{} of {}", place_ + 1, guesses_)},
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
  double time_alone_s();

  ConvolutionProblem problem_;
  OperationSettings settings_;
  const Device& device_;
  ConvolutionBytes bytes_;
  ConvolutionPlan plan_;
  DeviceMemory own_;
  Tensors at_;
  Algorithm algorithm_;
  size_t place_ = 0;  // among cuDNN's guesses
  size_t guesses_ = 0;
  std::string first_failure_;  // of a guess that did not run
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

// Of one run, after one that loads the code; the shorter of two.
double ConvolutionOperation::time_alone_s() {
  const DeviceMemory workspace(algorithm_.workspace_bytes);
  const CudaEvent start(CudaEvent::Timing::kOn), stop(CudaEvent::Timing::kOn);
  double best_s = std::numeric_limits<double>::infinity();
  for (int run = 0; run < 3; ++run) {
    FARSCALE_CALL(cudaEventRecord(start.get(), device_.work()));
    plan_.run(algorithm_, at_, workspace, device_.work());
    FARSCALE_CALL(cudaEventRecord(stop.get(), device_.work()));
    FARSCALE_CALL(cudaStreamSynchronize(device_.work()));
    float milliseconds = 0;
    FARSCALE_CALL(cudaEventElapsedTime(&milliseconds, start.get(), stop.get()));
    if (run > 0) best_s = std::min(best_s, static_cast<double>(milliseconds) * 1e-3);
  }
  return best_s;
}

std::string ConvolutionOperation::choose() {
  const std::vector<Algorithm> guesses = plan_.algorithms();
  guesses_ = guesses.size();
  double best_s = std::numeric_limits<double>::infinity();
  for (size_t i = 0; i < guesses.size(); ++i) {
    algorithm_ = guesses[i];
    try {
      const double time_s = time_alone_s();
      if (time_s >= best_s) continue;
      best_s = time_s;
      place_ = i;
    } catch (const CallError& error) {
      if (first_failure_.empty()) first_failure_ = error.what();
    }
  }
  if (std::isfinite(best_s)) {
    algorithm_ = guesses[place_];
    return "";
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
    const auto types = convolution_types(problem.type);
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
