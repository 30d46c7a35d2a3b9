// Reading /proc and /sys, the thread count, and the warnings.
#include "kernels/host/machine.h"

#include <fmt/format.h>
#include <sched.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <fstream>
#include <map>
#include <sstream>

#include "kernels/sysfs.h"

namespace farscale {
namespace {

double leading_number(const std::string& text) {
  std::istringstream stream(text);
  double value = 0;
  return stream >> value ? value : 0;
}

std::vector<int> allowed_cpus() {
  std::array<cpu_set_t, 16> mask{};  // 16384 hardware threads
  std::vector<int> cpus;
  if (::sched_getaffinity(0, sizeof(mask), mask.data()) != 0) return {0};
  for (int cpu = 0; cpu < static_cast<int>(mask.size()) * CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET_S(cpu, sizeof(mask), mask.data())) cpus.push_back(cpu);
  }
  return cpus;
}

void read_cpuinfo(const std::string& path, HostMachine& machine) {
  std::ifstream file(path);
  std::string line;
  int processors = 0;
  while (std::getline(file, line)) {
    const size_t colon = line.find(':');
    if (colon == std::string::npos) continue;
    const std::string key = line.substr(0, line.find_last_not_of(" \t", colon - 1) + 1);
    const std::string value = colon + 2 < line.size() ? line.substr(colon + 2) : "";
    if (key == "processor") ++processors;
    if (key == "model name" && machine.cpu_model.empty()) machine.cpu_model = value;
    if ((key == "flags" || key == "Features") && machine.cpu_flags.empty()) {
      std::istringstream words(value);
      for (std::string word; words >> word;) machine.cpu_flags.insert(word);
    }
  }
  machine.hardware_threads = std::max(1, processors);
}

void read_caches(const std::string& cpu_folder, const std::vector<int>& cpus, HostMachine& machine) {
  std::map<int, std::map<std::string, double>> levels;  // level -> who shares it -> bytes
  for (const int cpu : cpus) {
    for (int index = 0; index < 8; ++index) {
      const std::string cache = fmt::format("{}/cpu{}/cache/index{}/", cpu_folder, cpu, index);
      const int level = static_cast<int>(leading_number(first_line(cache + "level")));
      if (level == 0 || first_line(cache + "type") == "Instruction") continue;
      levels[level][first_line(cache + "shared_cpu_list")] = parse_cache_size(first_line(cache + "size"));
    }
  }
  if (levels.empty()) return;
  if (levels.contains(1)) machine.l1d_bytes = levels[1].begin()->second;
  if (levels.contains(2)) machine.l2_bytes = levels[2].begin()->second;
  for (const auto& [shared, bytes] : levels.rbegin()->second) machine.llc_bytes += bytes;
}

void read_memory(const std::string& root, HostMachine& machine) {
  std::ifstream file(root + "/proc/meminfo");
  std::string line;
  while (std::getline(file, line)) {
    const double bytes =
        line.find(':') == std::string::npos ? 0 : leading_number(line.substr(line.find(':') + 1)) * 1024;
    if (line.starts_with("MemTotal:")) machine.memory_total_bytes = bytes;
    if (line.starts_with("MemAvailable:")) machine.memory_available_bytes = bytes;
  }
  const double limit = leading_number(first_line(root + "/sys/fs/cgroup/memory.max"));  // "max" reads as 0: no limit
  const double used = leading_number(first_line(root + "/sys/fs/cgroup/memory.current"));
  if (limit > 0) machine.memory_available_bytes = std::min(machine.memory_available_bytes, std::max(0.0, limit - used));
}

double read_quota(const std::string& root) {  // "200000 100000": microseconds of each period, or "max 100000"
  std::istringstream words(first_line(root + "/sys/fs/cgroup/cpu.max"));
  double quota = 0, period = 0;
  return words >> quota >> period && period > 0 ? quota / period : 0;
}

}  // namespace

HostMachine read_machine(const std::string& root) {
  HostMachine machine;
  const std::string cpu_folder = root + "/sys/devices/system/cpu";
  read_cpuinfo(root + "/proc/cpuinfo", machine);
  const std::vector<int> cpus = allowed_cpus();
  std::set<int> cores;
  for (const int cpu : cpus) {
    const std::vector<int> siblings =
        parse_cpu_list(first_line(fmt::format("{}/cpu{}/topology/thread_siblings_list", cpu_folder, cpu)));
    cores.insert(siblings.empty() ? cpu : siblings.front());
  }
  machine.cores.assign(cores.begin(), cores.end());
  read_caches(cpu_folder, cpus, machine);
  read_memory(root, machine);
  machine.cpu_quota = read_quota(root);
  machine.load_average = leading_number(first_line(root + "/proc/loadavg"));
  const std::string clock = fmt::format("{}/cpu{}/cpufreq/", cpu_folder, cpus.empty() ? 0 : cpus.front());
  machine.governor = first_line(clock + "scaling_governor");
  machine.frequency_hz = 1e3 * leading_number(first_line(clock + "scaling_cur_freq"));
  return machine;
}

int threads_for_rank(const HostMachine& machine, const std::vector<std::vector<int>>& rank_cores) {
  double share = 0;
  for (const int core : machine.cores) {
    const auto sharing = std::count_if(rank_cores.begin(), rank_cores.end(), [&](const std::vector<int>& cores) {
      return std::find(cores.begin(), cores.end(), core) != cores.end();
    });
    share += 1.0 / static_cast<double>(std::max<int64_t>(1, sharing));
  }
  const double ranks = static_cast<double>(std::max<size_t>(1, rank_cores.size()));
  if (machine.cpu_quota > 0) share = std::min(share, machine.cpu_quota / ranks);
  return std::max(1, static_cast<int>(std::floor(share + 1e-9)));
}

std::string blas_core_warning(const std::string& core, const HostMachine& machine) {
  // Names of OpenBLAS's x86-64 cores (its TargetList.txt) by the widest vectors their kernels use.
  static const std::set<std::string> kAvx512 = {"SkylakeX", "Cooperlake", "SapphireRapids", "Zen4", "Zen5"};
  static const std::set<std::string> kAvx2 = {"Haswell", "Zen", "Excavator"};
  const auto has = [&](const char* flag) { return machine.cpu_flags.contains(flag); };
  if (!has("sse2")) return "";  // another architecture: nothing known
  std::string better, why;
  if (has("avx512f") && has("avx512bw") && has("avx512vl") && !kAvx512.contains(core)) {
    better = "SkylakeX";
    why = "AVX-512";
  } else if (has("avx2") && has("fma") && !kAvx512.contains(core) && !kAvx2.contains(core)) {
    better = "Haswell";
    why = "AVX2";
  }
  if (better.empty()) return "";
  return fmt::format(
      "OpenBLAS runs its {} kernels on a processor with {} ({}): fp32 and fp64 may run at half speed; "
      "compare with OPENBLAS_CORETYPE={} farscale run ...",
      core, why, machine.cpu_model, better);
}

std::vector<std::string> steadiness_warnings(const HostMachine& machine) {
  std::vector<std::string> warnings;
  if (machine.cpu_flags.contains("hypervisor")) {
    warnings.emplace_back(
        "virtual machine: other guests may share its cores, caches and clocks; expect wider intervals");
  }
  if (machine.load_average > machine.hardware_threads / 2.0) {
    warnings.push_back(fmt::format("load average {:.1f} on {} hardware threads: other work is running here",
                                   machine.load_average, machine.hardware_threads));
  }
  if (!machine.governor.empty() && machine.governor != "performance") {
    warnings.push_back(fmt::format("clock governor '{}': cpupower frequency-set -g performance", machine.governor));
  }
  return warnings;
}

}  // namespace farscale
