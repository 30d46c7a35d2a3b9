// Reading the machine, from an allow-list.
#include "bench/environment.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <sys/utsname.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <set>
#include <string_view>
#include <thread>

#include "farscale_commit.h"  // written at build time: FARSCALE_COMMIT
#include "kernels/launch.h"

extern char** environ;  // NOLINT: POSIX

namespace farscale {
namespace {

// Whole names, or prefixes ending in '*'. Of Open MPI's parameters only the frameworks that move data: the launcher
// puts addresses and keys of the job into others.
constexpr std::array<std::string_view, 36> kAllowed = {"OMPI_MCA_btl*",
                                                       "OMPI_MCA_pml*",
                                                       "OMPI_MCA_mtl*",
                                                       "OMPI_MCA_coll*",
                                                       "OMPI_MCA_osc*",
                                                       "OMPI_MCA_mpi_*",
                                                       "OMPI_MCA_hwloc_*",
                                                       "OMPI_MCA_rmaps_*",
                                                       "MPICH_*",
                                                       "MPIR_CVAR_*",
                                                       "UCX_*",
                                                       "FI_PROVIDER",
                                                       "OPENBLAS_CORETYPE",
                                                       "OPENBLAS_NUM_THREADS",
                                                       "OPENBLAS_MAIN_FREE",
                                                       "GOTO_NUM_THREADS",
                                                       "OMP_NUM_THREADS",
                                                       "OMP_PROC_BIND",
                                                       "OMP_PLACES",
                                                       "OMP_WAIT_POLICY",
                                                       "GOMP_CPU_AFFINITY",
                                                       "KMP_AFFINITY",
                                                       "DNNL_*",
                                                       "ONEDNN_*",
                                                       "NCCL_*",
                                                       "CUDA_VISIBLE_DEVICES",
                                                       "CUDA_DEVICE_ORDER",
                                                       "CUDA_MODULE_LOADING",
                                                       "CUBLAS_WORKSPACE_CONFIG",
                                                       "CUBLASLT_*",
                                                       "NVIDIA_TF32_OVERRIDE",
                                                       "SLURM_JOB_NUM_NODES",
                                                       "SLURM_NTASKS",
                                                       "SLURM_CPUS_PER_TASK",
                                                       "FARSCALE_MODULE_PATH",
                                                       "FARSCALE_DATA"};

std::string first_line(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

std::string kernel_name() {
  utsname names{};
  if (::uname(&names) != 0) return "unknown";
  return fmt::format("{} {} {}", names.sysname, names.release, names.machine);
}

std::string distribution() {
  std::ifstream file("/etc/os-release");
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with("PRETTY_NAME=")) continue;
    std::string value = line.substr(12);
    std::erase(value, '"');
    return value;
  }
  return "unknown";
}

}  // namespace

bool is_allowed_variable(const std::string& name) {
  return std::any_of(kAllowed.begin(), kAllowed.end(), [&](std::string_view allowed) {
    return allowed.ends_with('*') ? name.starts_with(allowed.substr(0, allowed.size() - 1)) : name == allowed;
  });
}

std::string load_average() {
  std::array<double, 3> load{};
  if (::getloadavg(load.data(), 3) != 3) return "unknown";
  return fmt::format("{:.2f} {:.2f} {:.2f}", load[0], load[1], load[2]);
}

std::string utc_now() { return fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(std::time(nullptr))); }

std::string cpu_name() {
  std::ifstream file("/proc/cpuinfo");
  std::string name = "unknown CPU";
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with("model name")) continue;
    name = line.substr(std::min(line.find(':') + 2, line.size()));
    break;
  }
  return fmt::format("{}, {} CPUs", name, std::thread::hardware_concurrency());
}

std::string launcher_name() {
  if (std::getenv("SLURM_STEP_ID") != nullptr) return "srun";  // through MPI's PMI or not
  const WorldLaunch launch = find_launch([](const char* name) -> const char* { return std::getenv(name); });
  return launch.by.empty() ? "none" : launch.by;
}

std::string program_version() {
  return std::string(FARSCALE_COMMIT).empty() ? FARSCALE_VERSION
                                              : fmt::format("{} (commit {})", FARSCALE_VERSION, FARSCALE_COMMIT);
}

std::map<std::string, std::string> capture_environment(const World& world, const DeviceReport& device) {
  std::map<std::string, std::string> facts = {
      {"farscale", program_version()},
      {"compiler", FARSCALE_COMPILER},
      {"build_type", FARSCALE_BUILD_TYPE},
      {"date_utc", utc_now()},
      {"cpu", cpu_name()},
      {"kernel", kernel_name()},
      {"distribution", distribution()},
      {"governor", first_line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")},
      {"mpi", world.library()},
      {"launcher", launcher_name()},
      {"load_average_start", load_average()}};
  if (facts["governor"].empty()) facts["governor"] = "unknown";
  // What changes from minute to minute would make every two runs differ.
  const std::set<std::string> momentary = {"load_average", "memory_available_bytes"};
  for (const auto& [key, value] : device.facts) {
    if (!momentary.contains(key)) facts["backend." + key] = value;
  }
  for (char** variable = environ; *variable != nullptr; ++variable) {
    const std::string text = *variable;
    const std::string name = text.substr(0, text.find('='));
    if (is_allowed_variable(name)) facts["env." + name] = text.substr(std::min(name.size() + 1, text.size()));
  }
  return facts;
}

}  // namespace farscale
