// The machine as Google Benchmark describes it, read from Linux: date, host, CPUs, clock, caches, load.
#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <ctime>
#include <fstream>

#include "kernels/sysfs.h"
#include "results/result_json.h"

namespace farscale {
namespace {

std::string date_now() {
  const std::time_t now = std::time(nullptr);
  std::tm local{};
  ::localtime_r(&now, &local);
  std::array<char, 40> text{};
  std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%S%z", &local);  // the offset comes as +0200
  std::string date = text.data();
  if (date.size() > 2) date.insert(date.size() - 2, 1, ':');
  return date;
}

std::string host_name() {
  std::array<char, 256> host{};
  ::gethostname(host.data(), host.size() - 1);
  return host.data();
}

int mhz() {
  const std::string khz = first_line("/sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq");
  if (!khz.empty()) return std::atoi(khz.c_str()) / 1000;
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    const size_t colon = line.find(':');
    if (line.starts_with("cpu MHz") && colon != std::string::npos) return std::atoi(line.c_str() + colon + 1);
  }
  return 0;
}

std::vector<MachineContext::Cache> caches() {
  std::vector<MachineContext::Cache> found;
  for (int index = 0; index < 8; ++index) {
    const std::string folder = fmt::format("/sys/devices/system/cpu/cpu0/cache/index{}/", index);
    const std::string size = first_line(folder + "size");
    if (size.empty()) break;
    found.push_back(
        {.type = first_line(folder + "type"),
         .level = std::atoi(first_line(folder + "level").c_str()),
         .size = static_cast<int64_t>(parse_cache_size(size)),
         .num_sharing = std::max(1, static_cast<int>(parse_cpu_list(first_line(folder + "shared_cpu_list")).size()))});
  }
  return found;
}

}  // namespace

MachineContext machine_context() {
  std::array<double, 3> load{};
  const int loads = ::getloadavg(load.data(), 3);
  return {.date = date_now(),
          .host_name = host_name(),
          .executable = "farscale",
          .num_cpus = static_cast<int>(::sysconf(_SC_NPROCESSORS_ONLN)),
          .mhz_per_cpu = mhz(),
          .caches = caches(),
          .load_avg = {load.begin(), load.begin() + std::max(0, loads)}};
}

}  // namespace farscale
