// The host backend, and the module's one entry.
#include "kernels/host/host_backend.h"

#include <cblas.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <chrono>
#include <cstdlib>
#include <new>
#include <sstream>

#include "kernels/host/collective.h"
#include "kernels/host/gemm.h"
#include "kernels/host/input.h"
#include "kernels/host/memory.h"
#include "kernels/host/queue.h"
#include "kernels/sysfs.h"

namespace farscale {
namespace {

// OpenBLAS's version out of "OpenBLAS 0.3.21 NO_LAPACKE DYNAMIC_ARCH NO_AFFINITY Haswell MAX_THREADS=64".
std::string openblas_version() {
  std::istringstream words(::openblas_get_config());
  std::string library, version;
  words >> library >> version;
  return library + " " + version;
}

// The cores of each rank on this rank's host.
std::vector<std::vector<int>> gather_cores(const World& world, const HostMachine& machine) {
  const std::vector<std::string> hosts = world.hosts();
  const std::vector<std::string> cores = world.gather(fmt::format("{}", fmt::join(machine.cores, ",")));
  std::vector<std::vector<int>> here;
  for (size_t rank = 0; rank < cores.size(); ++rank) {
    if (hosts[rank] == hosts[static_cast<size_t>(world.rank())]) here.push_back(parse_cpu_list(cores[rank]));
  }
  return here;
}

int positive_number(const char* variable) {
  const char* text = std::getenv(variable);
  return text == nullptr ? 0 : std::max(0, std::atoi(text));
}

}  // namespace

HostBackend::HostBackend(World& world) : world_(world), machine_(read_machine()) {
  const auto here = gather_cores(world, machine_);
  const int asked = positive_number("OMP_NUM_THREADS");
  context_.threads = asked > 0 ? asked : threads_for_rank(machine_, here);
  context_.cache_bytes = machine_.llc_bytes > 0 ? machine_.llc_bytes : 32.0 * 1024 * 1024;
  context_.memory_bytes = 0.8 * machine_.memory_available_bytes / static_cast<double>(here.size());
  context_.rotation_bytes = 0.25 * machine_.memory_available_bytes / static_cast<double>(here.size());
  context_.world = &world;
  ::openblas_set_num_threads(context_.threads);
}

DeviceReport HostBackend::device() const {
  DeviceReport report;
  report.backend = "host";
  const size_t cores = machine_.cores.size();
  report.name = fmt::format("{}, {} core{}", machine_.cpu_model.empty() ? "CPU" : machine_.cpu_model, cores,
                            cores == 1 ? "" : "s");
  report.memory_bytes = context_.memory_bytes;
  report.cache_bytes = context_.cache_bytes;
  report.facts = {{"cpu", machine_.cpu_model},
                  {"cores_usable", fmt::format("{}", cores)},
                  {"hardware_threads", fmt::format("{}", machine_.hardware_threads)},
                  {"threads", fmt::format("{}", context_.threads)},
                  {"l1d_bytes", fmt::format("{:.0f}", machine_.l1d_bytes)},
                  {"l2_bytes", fmt::format("{:.0f}", machine_.l2_bytes)},
                  {"llc_bytes", fmt::format("{:.0f}", machine_.llc_bytes)},
                  {"memory_total_bytes", fmt::format("{:.0f}", machine_.memory_total_bytes)},
                  {"memory_available_bytes", fmt::format("{:.0f}", machine_.memory_available_bytes)},
                  {"blas", openblas_version()},
                  {"blas_core", ::openblas_get_corename()},
                  {"onednn", onednn_version().empty() ? "not built in" : onednn_version()},
                  {"load_average", fmt::format("{:.2f}", machine_.load_average)},
                  {"virtual_machine", machine_.cpu_flags.contains("hypervisor") ? "yes" : "no"},
                  {"world", world_.library()}};
  if (!machine_.governor.empty()) report.facts["governor"] = machine_.governor;
  if (machine_.frequency_hz > 0) report.facts["frequency_hz"] = fmt::format("{:.0f}", machine_.frequency_hz);
  for (const char* variable : {"OPENBLAS_CORETYPE", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"}) {
    if (const char* value = std::getenv(variable)) report.facts[variable] = value;
  }
  report.warnings = steadiness_warnings(machine_);
  const std::string core = blas_core_warning(::openblas_get_corename(), machine_);
  if (!core.empty()) report.warnings.insert(report.warnings.begin(), core);
  return report;
}

Maybe<std::unique_ptr<Operation>> HostBackend::prepare(const Problem& problem, const OperationSettings& settings) {
  validate(problem);
  try {
    if (const auto* gemm = std::get_if<GemmProblem>(&problem)) {
      return make_gemm(*gemm, settings, context_);
    }
    if (const auto* memory = std::get_if<MemoryProblem>(&problem)) return make_memory(*memory, settings, context_);
    if (const auto* collective = std::get_if<CollectiveProblem>(&problem)) {
      return make_collective(*collective, settings, context_);
    }
    return Maybe<std::unique_ptr<Operation>>::absent("the host has no convolutions: they run as GEMMs");
  } catch (const std::bad_alloc&) {
    return Maybe<std::unique_ptr<Operation>>::absent("the system refused the memory");
  }
}

std::unique_ptr<Queue> HostBackend::open_queue(QueueRole role) {
  if (role == QueueRole::kCompute) return std::make_unique<ComputeQueue>();
  if (role == QueueRole::kInput) return std::make_unique<CommunicationQueue>(nullptr);  // a thread that talks to nobody
  return std::make_unique<CommunicationQueue>(world_.duplicate());
}

std::unique_ptr<Event> HostBackend::make_event() { return std::make_unique<HostEvent>(); }

double HostBackend::time_s(Operation& operation, Queue& queue, int64_t runs) {
  const auto start = std::chrono::steady_clock::now();
  for (int64_t i = 0; i < runs; ++i) operation.run(queue);
  queue.synchronize();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

Maybe<std::unique_ptr<Operation>> HostBackend::prepare_input(int64_t bytes) {
  try {
    return make_input(bytes, context_);
  } catch (const std::bad_alloc&) {
    return Maybe<std::unique_ptr<Operation>>::absent("the system refused the memory");
  }
}

Telemetry HostBackend::telemetry() {
  const HostMachine now = read_machine();
  Telemetry telemetry{{"load_average", now.load_average}};
  if (now.frequency_hz > 0) telemetry["frequency_hz"] = now.frequency_hz;
  return telemetry;
}

}  // namespace farscale

extern "C" const farscale::BackendModule* farscale_backend() {
  static constexpr farscale::BackendModule kModule{
      .version = farscale::BackendModule::kVersion, .name = "host", .open = [](farscale::World& world) {
        return farscale::Maybe<std::unique_ptr<farscale::Backend>>(std::make_unique<farscale::HostBackend>(world));
      }};
  return &kModule;
}
