// What this machine is: processor, cores this process may use, caches, memory, and what makes timings unsteady here.
#pragma once

#include <set>
#include <string>
#include <vector>

namespace farscale {

struct HostMachine {
  std::string cpu_model;
  std::set<std::string> cpu_flags;  // "avx512f", "avx512_bf16", "amx_bf16", "hypervisor", …
  std::vector<int> cores;           // physical cores this process may run on, each by its first hardware thread
  int hardware_threads = 1;         // of the whole machine
  double cpu_quota = 0;             // cores a container may use; 0: no limit
  double l1d_bytes = 0;             // of one core
  double l2_bytes = 0;              // of one core
  double llc_bytes = 0;             // last-level caches of all usable cores together
  double memory_total_bytes = 0;
  double memory_available_bytes = 0;  // the container's limit included
  double load_average = 0;            // over the last minute
  std::string governor;               // "performance", "" when not readable
  double frequency_hz = 0;            // now, of the first usable core; 0 when not readable
};

// Reads /proc and /sys below `root` ("" is this machine); missing files leave their fields empty.
HostMachine read_machine(const std::string& root = "");

// Threads for this rank: each of its cores, shared with the other ranks on this host that may run there (rank_cores
// holds one entry per rank of the host, this one included). At least 1, at most the container's quota over the ranks.
int threads_for_rank(const HostMachine& machine, const std::vector<std::vector<int>>& rank_cores);

// The warning when OpenBLAS chose kernels far below what this processor can do, or "".
std::string blas_core_warning(const std::string& core, const HostMachine& machine);

// Everything else here that makes timings unsteady.
std::vector<std::string> steadiness_warnings(const HostMachine& machine);

}  // namespace farscale
