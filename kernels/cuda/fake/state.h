// The fakes' shared state: which call fails, what is alive, what the machine looks like. One lock for all of it.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <mutex>
#include <set>
#include <string>

#include "kernels/cuda/fake/controls.h"

namespace farscale::fake {

inline constexpr int kCandidates = 4;

struct Machine {
  int devices = 2;
  int major = 9;
  int minor = 0;
  int64_t memory_bytes = int64_t{1} << 30;
  int cache_bytes = 64 << 10;  // small, so that rotating through it is quick
  std::set<std::string> hidden_libraries;
  std::set<std::string> hidden_symbols;
  int offered = kCandidates;
  int tile = 20;  // 128x128
  double load_s = 0;
  std::array<Candidate, kCandidates> candidates{{{.cost = 3}, {.cost = 1}, {.cost = 2}, {.cost = 1.5}}};
  int64_t corrupt_products = 0;
  unsigned clock_mhz = 1500;
  uint64_t throttle_reasons = 0x4;  // power limit
  int async_error = 0;
  bool corrupt_collectives = false;
  bool corrupt_convolutions = false;
  int nccl_version = 23004;
  bool windows = true;  // of NCCL: the GPUs can map each other's memory
};

struct State {
  std::recursive_mutex mutex;
  Machine machine;
  int64_t calls = 0;
  int64_t fail_at = 0;    // of `calls`; 0: none
  std::string fail_name;  // with fail_name_left: the call that fails by name
  int64_t fail_name_left = 0;
  std::string failed;
  std::map<std::string, int64_t> alive;  // kind -> how many
  std::map<void*, int64_t> memory;       // allocation -> bytes
  int64_t aborted = 0;
  int64_t finalised = 0;
  int64_t group_threads = 0;
  std::set<size_t> loaded;  // algorithms that have run
};

State& state();

using Lock = std::lock_guard<std::recursive_mutex>;

// Counts a call, and says whether this one has to fail.
bool fails(const char* call);

// Counts handles: made(+1), gone(-1).
void count_alive(const char* kind, int64_t change);

}  // namespace farscale::fake
