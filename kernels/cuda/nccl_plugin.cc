// farscale-nccl.so: a profiler plugin for NCCL that keeps what NCCL chose for the last collective. NCCL finds it
// through NCCL_PROFILER_PLUGIN. The layouts are those of version 4 of the plugin interface (NCCL 2.27,
// src/include/plugin/profiler/profiler_v4.h); later releases still take it. Silent unless asked to listen, so that it
// costs a timed collective nothing.
#include <nccl.h>

#include <array>
#include <cstddef>
#include <cstdio>
#include <mutex>

#include "kernels/cuda/nccl_choice.h"

namespace {

using farscale::cuda::NcclChoice;
using farscale::cuda::NcclListener;

constexpr int kCollective = 1 << 1;  // ncclProfileColl

struct CollectiveEvent {
  uint64_t sequence;
  const char* function;
  const void* send;
  void* receive;
  size_t count;
  int root;
  const char* type;
  uint8_t channels;
  uint8_t warps;
  const char* algorithm;
  const char* protocol;
};

struct Event {
  uint8_t type;
  void* parent;
  int rank;
  CollectiveEvent collective;  // of a union: valid for kCollective
};

struct Profiler {
  const char* name;
  ncclResult_t (*init)(void** context, int* mask, const char* name, uint64_t hash, int nodes, int ranks, int rank,
                       void* log);
  ncclResult_t (*start_event)(void* context, void** handle, Event* event);
  ncclResult_t (*stop_event)(void* handle);
  ncclResult_t (*record_state)(void* handle, int state, void* arguments);
  ncclResult_t (*finalize)(void* context);
};

// NCCL's mask of wanted events is the process's: one listener for all communicators.
struct Listening {
  std::mutex mutex;
  int* mask = nullptr;
  bool on = false;
  NcclChoice choice{};
};
Listening& listening() {
  static Listening state;
  return state;
}

template <size_t N>
void keep(const char* from, char (&to)[N]) {
  std::snprintf(to, N, "%s", from == nullptr ? "" : from);
}

ncclResult_t init(void** context, int* mask, const char*, uint64_t, int, int, int, void*) {
  Listening& state = listening();
  const std::lock_guard lock(state.mutex);
  *context = &state;
  state.mask = mask;
  *mask = state.on ? kCollective : 0;
  return ncclSuccess;
}

ncclResult_t start_event(void*, void** handle, Event* event) {
  *handle = nullptr;
  Listening& state = listening();
  const std::lock_guard lock(state.mutex);
  if (!state.on || event->type != kCollective) return ncclSuccess;
  keep(event->collective.function, state.choice.function);
  keep(event->collective.algorithm, state.choice.algorithm);
  keep(event->collective.protocol, state.choice.protocol);
  state.choice.channels = event->collective.channels;
  ++state.choice.seen;
  return ncclSuccess;
}

ncclResult_t stop_event(void*) { return ncclSuccess; }
ncclResult_t record_state(void*, int, void*) { return ncclSuccess; }
ncclResult_t finalize(void*) { return ncclSuccess; }

void listen(bool on) {
  Listening& state = listening();
  state.on = on;
  if (state.mask != nullptr) *state.mask = on ? kCollective : 0;
}

void start() {
  const std::lock_guard lock(listening().mutex);
  listening().choice = {};
  listen(true);
}

NcclChoice stop() {
  const std::lock_guard lock(listening().mutex);
  listen(false);
  return listening().choice;
}

}  // namespace

extern "C" {

// By this name NCCL looks it up.
__attribute__((visibility("default"))) extern const Profiler ncclProfiler_v4;
const Profiler ncclProfiler_v4 = {"farscale", init, start_event, stop_event, record_state, finalize};

__attribute__((visibility("default"))) const NcclListener* farscale_nccl_listener() {
  static constexpr NcclListener kListener{.start = start, .stop = stop};
  return &kListener;
}
}
