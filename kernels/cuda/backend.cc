// The backend: libraries opened when first needed, and the reason kept when they are missing.
#include "kernels/cuda/backend.h"

#include <fmt/format.h>

#include <cstdlib>
#include <exception>
#include <optional>
#include <utility>

#include "kernels/cuda/arena.h"
#include "kernels/cuda/call.h"
#include "kernels/cuda/collective.h"
#include "kernels/cuda/communicators.h"
#include "kernels/cuda/convolution.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/gemm.h"
#include "kernels/cuda/graph.h"
#include "kernels/cuda/input.h"
#include "kernels/cuda/memory.h"
#include "kernels/cuda/nvml_library.h"

#ifndef FARSCALE_CUDA_MODULE_NAME
#define FARSCALE_CUDA_MODULE_NAME "cuda"
#endif

namespace farscale::cuda {
namespace {

using Prepared = Maybe<std::unique_ptr<Operation>>;

// FARSCALE_DEADLINE_S sets how long collectives may make no progress; four times that for making a communicator.
Deadlines deadlines() {
  Deadlines deadlines;
  const char* text = std::getenv("FARSCALE_DEADLINE_S");
  if (text == nullptr) return deadlines;
  char* end = nullptr;
  const double seconds = std::strtod(text, &end);
  if (end == text || *end != '\0' || !(seconds > 0 && seconds <= 86400)) {
    throw InputError(fmt::format("FARSCALE_DEADLINE_S is '{}': expected seconds from 0 to 86400", text));
  }
  return {.setup_s = 4 * seconds, .operation_s = seconds};
}

class CudaBackend final : public Backend {
 public:
  CudaBackend(const World& world, int devices)
      : world_(world),
        devices_(devices),
        device_(world.local_rank() % devices),
        communicators_(world, devices, deadlines()) {
    auto nvml = Nvml::open(device_.pci_bus_id());
    if (nvml) {
      nvml_ = std::move(*nvml);
    } else {
      no_telemetry_ = nvml.reason();
    }
  }

  DeviceReport device() const override;
  Prepared prepare(const Problem& problem, const OperationSettings& settings) override;
  std::unique_ptr<Queue> open_queue(QueueRole role) override {
    device_.use();
    const bool products = role == QueueRole::kCompute;
    return std::make_unique<CudaQueue>(role, products ? device_.workspace_bytes() : 0);
  }
  std::unique_ptr<Event> make_event() override {
    device_.use();
    return std::make_unique<QueueEvent>();
  }
  double time_s(Operation& operation, Queue& queue, int64_t runs) override;
  Prepared prepare_input(int64_t bytes) override;
  Maybe<std::unique_ptr<Arena>> make_arena(const std::vector<Problem>& problems) override;
  Maybe<std::unique_ptr<Recording>> record_graph(Queue& queue, const std::function<void()>& enqueue) override;
  // What was read during the last time_s(), once; then what is now.
  Telemetry telemetry() override {
    if (during_) return *std::exchange(during_, std::nullopt);
    return nvml_ ? nvml_->sample() : Telemetry{};
  }

 private:
  Prepared prepare(const GemmProblem& problem, const OperationSettings& settings);
  Prepared prepare(const CollectiveProblem& problem, const OperationSettings& settings);
  Facts facts() const;
  const Maybe<std::shared_ptr<const Blas>>& blas() const;
  const Maybe<std::shared_ptr<const Nccl>>& nccl() const;
  Maybe<std::shared_ptr<const Nccl>> nccl_or_reason() const;

  const World& world_;
  int devices_;
  Device device_;
  std::unique_ptr<Nvml> nvml_;
  std::string no_telemetry_;
  std::optional<Telemetry> during_;
  mutable std::optional<Maybe<std::shared_ptr<const Blas>>> blas_;
  mutable std::optional<Maybe<std::shared_ptr<const Nccl>>> nccl_;
  Communicators communicators_;
  TunedGemms tuned_;
  std::unique_ptr<Convolutions> convolutions_ = make_convolutions();
};

const Maybe<std::shared_ptr<const Blas>>& CudaBackend::blas() const {
  if (!blas_) blas_ = Blas::open();
  return *blas_;
}

const Maybe<std::shared_ptr<const Nccl>>& CudaBackend::nccl() const {
  if (!nccl_) nccl_ = Nccl::open();
  return *nccl_;
}

// A failed call as a reason too: the ranks must still agree.
Maybe<std::shared_ptr<const Nccl>> CudaBackend::nccl_or_reason() const {
  try {
    return nccl();
  } catch (const CallError& error) {
    return Maybe<std::shared_ptr<const Nccl>>::absent(error.what());
  }
}

Facts CudaBackend::facts() const {
  Facts facts;
  if (nvml_) facts = nvml_->facts();
  int runtime = 0;
  int driver = 0;
  FARSCALE_CALL(cudaRuntimeGetVersion(&runtime));
  FARSCALE_CALL(cudaDriverGetVersion(&driver));
  facts["cuda_runtime"] = fmt::format("{}.{}", runtime / 1000, runtime % 1000 / 10);
  facts["cuda_driver_api"] = fmt::format("{}.{}", driver / 1000, driver % 1000 / 10);
  facts["compute_capability"] = fmt::format("{}.{}", device_.capability() / 10, device_.capability() % 10);
  facts["multiprocessors"] = fmt::format("{}", device_.multiprocessors());
  facts["pci_bus_id"] = device_.pci_bus_id();
  facts["gpus_here"] = fmt::format("{}", devices_);
  if (blas()) facts["blas"] = (*blas())->version();
  if (nccl()) facts["collectives"] = (*nccl())->version();
  return facts;
}

DeviceReport CudaBackend::device() const {
  device_.use();
  DeviceReport report{.backend = FARSCALE_CUDA_MODULE_NAME,
                      .name = device_.name(),
                      .memory_bytes = static_cast<double>(device_.free_bytes()),
                      .cache_bytes = device_.cache_bytes(),
                      .facts = facts(),
                      .warnings = {}};
  if (!blas()) report.warnings.push_back("no GEMM: " + blas().reason());
  if (!nccl()) report.warnings.push_back("no collectives: " + nccl().reason());
  if (nccl() && !(*nccl())->lacks().empty()) report.warnings.push_back("less of NCCL: " + (*nccl())->lacks());
  if (!nvml_) report.warnings.push_back("no clocks, power or temperature: " + no_telemetry_);
  if (world_.local_rank() >= devices_) {
    report.warnings.push_back(
        fmt::format("{} GPUs for more ranks than that on this host: two ranks share {} and its "
                    "figures mean nothing",
                    devices_, device_.pci_bus_id()));
  }
  return report;
}

Prepared CudaBackend::prepare(const Problem& problem, const OperationSettings& settings) {
  validate(problem);
  device_.use();
  try {
    if (const auto* gemm = std::get_if<GemmProblem>(&problem)) return prepare(*gemm, settings);
    if (const auto* memory = std::get_if<MemoryProblem>(&problem)) return prepare_memory(*memory, settings, device_);
    if (const auto* collective = std::get_if<CollectiveProblem>(&problem)) return prepare(*collective, settings);
    return convolutions_->prepare(std::get<ConvolutionProblem>(problem), settings, device_);
  } catch (const OutOfDeviceMemory& error) {
    return Prepared::absent(fmt::format("does not fit: {}", error.what()));
  }
}

Prepared CudaBackend::prepare(const GemmProblem& problem, const OperationSettings& settings) {
  if (!blas()) return Prepared::absent(blas().reason());
  return prepare_gemm(
      {.problem = problem, .settings = settings, .device = &device_, .blas = *blas(), .tuned = &tuned_});
}

Prepared CudaBackend::prepare(const CollectiveProblem& problem, const OperationSettings& settings) {
  const World& world = settings.world != nullptr ? *settings.world : world_;
  if (problem.ranks != world.size()) {
    return Prepared::absent(fmt::format("needs {} ranks, this run has {}", problem.ranks, world.size()));
  }
  const auto communicator = communicators_.connect(world, nccl_or_reason(), settings.most_ctas);
  if (!communicator) return Prepared::absent(communicator.reason());
  return prepare_collective({.problem = problem,
                             .settings = settings,
                             .device = &device_,
                             .communicator = *communicator,
                             .shared_gpus = communicators_.shared_gpus()});
}

Prepared CudaBackend::prepare_input(int64_t bytes) {
  device_.use();
  try {
    return cuda::prepare_input(bytes, device_);
  } catch (const OutOfDeviceMemory& error) {
    return Prepared::absent(fmt::format("does not fit: {}", error.what()));
  }
}

Maybe<std::unique_ptr<Arena>> CudaBackend::make_arena(const std::vector<Problem>& problems) {
  device_.use();
  try {
    return std::unique_ptr<Arena>(std::make_unique<CudaArena>(CudaArena::sizes(problems, device_), device_));
  } catch (const OutOfDeviceMemory& error) {
    return Maybe<std::unique_ptr<Arena>>::absent(fmt::format("does not fit: {}", error.what()));
  }
}

Maybe<std::unique_ptr<Recording>> CudaBackend::record_graph(Queue& queue, const std::function<void()>& enqueue) {
  device_.use();
  auto* ours = dynamic_cast<CudaQueue*>(&queue);
  if (ours == nullptr) throw InputError("a queue of another backend was given to the CUDA backend");
  return cuda::record_graph(*ours, enqueue);
}

double CudaBackend::time_s(Operation& operation, Queue& queue, int64_t runs) {
  device_.use();
  auto* ours = dynamic_cast<CudaQueue*>(&queue);
  if (ours == nullptr) throw InputError("a queue of another backend was given to the CUDA backend");
  return ours->time_s(operation, runs, [this] {
    if (nvml_) during_ = nvml_->sample();
  });
}

}  // namespace

Maybe<std::unique_ptr<Backend>> open_cuda(World& world, int devices) {
  return std::unique_ptr<Backend>(std::make_unique<CudaBackend>(world, devices));
}

}  // namespace farscale::cuda
