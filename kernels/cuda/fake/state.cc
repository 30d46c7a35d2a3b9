// Counting calls and handles, and the table of controls.
#include "kernels/cuda/fake/state.h"

#include <cstdlib>

namespace farscale::fake {
namespace {

void reset() {
  State& s = state();
  const Lock lock(s.mutex);
  s.machine = {};
  s.calls = s.fail_at = s.fail_name_left = s.aborted = s.finalised = s.group_threads = 0;
  s.failed.clear();
}

void fail_call(int64_t n) {
  State& s = state();
  const Lock lock(s.mutex);
  s.fail_at = n == 0 ? 0 : s.calls + n;
  s.failed.clear();
}

void fail_named(const char* call, int64_t n) {
  State& s = state();
  const Lock lock(s.mutex);
  s.fail_name = call;
  s.fail_name_left = n;
  s.failed.clear();
}

const char* alive() {
  static thread_local std::string text;
  State& s = state();
  const Lock lock(s.mutex);
  text.clear();
  for (const auto& [kind, count] : s.alive) {
    if (count != 0) text += (text.empty() ? "" : ", ") + std::to_string(count) + " " + kind;
  }
  return text.c_str();
}

// With the lock held while the value is changed.
template <typename Change>
void change(Change&& apply) {
  State& s = state();
  const Lock lock(s.mutex);
  apply(s);
}

constexpr Controls kControls{
    .reset = reset,
    .fail_call = fail_call,
    .fail_named = fail_named,
    .calls = [] { return state().calls; },
    .failed_call = [] { return state().failed.c_str(); },
    .alive = alive,
    .communicators_aborted = [] { return state().aborted; },
    .communicators_finalised = [] { return state().finalised; },
    .group_threads = [] { return state().group_threads; },
    .set_devices = [](int count) { change([=](State& s) { s.machine.devices = count; }); },
    .set_capability =
        [](int major, int minor) {
          change([=](State& s) {
            s.machine.major = major;
            s.machine.minor = minor;
          });
        },
    .set_memory = [](int64_t bytes) { change([=](State& s) { s.machine.memory_bytes = bytes; }); },
    .set_cache = [](int64_t bytes) { change([=](State& s) { s.machine.cache_bytes = static_cast<int>(bytes); }); },
    .hide_library = [](const char* soname) { change([=](State& s) { s.machine.hidden_libraries.insert(soname); }); },
    .hide_symbol = [](const char* name) { change([=](State& s) { s.machine.hidden_symbols.insert(name); }); },
    .set_loading =
        [](int offered, double load_s) {
          change([=](State& s) {
            s.machine.offered = offered;
            s.machine.load_s = load_s;
            s.loaded.clear();
          });
        },
    .set_candidate =
        [](int id, Candidate candidate) {
          change([=](State& s) { s.machine.candidates.at(static_cast<size_t>(id - 1)) = candidate; });
        },
    .set_tile = [](int tile) { change([=](State& s) { s.machine.tile = tile; }); },
    .set_async_error = [](int result) { change([=](State& s) { s.machine.async_error = result; }); },
    .corrupt_products = [](int64_t n) { change([=](State& s) { s.machine.corrupt_products = n; }); },
    .set_clock =
        [](unsigned mhz, uint64_t throttle_reasons) {
          change([=](State& s) {
            s.machine.clock_mhz = mhz;
            s.machine.throttle_reasons = throttle_reasons;
          });
        },
    .corrupt_collectives = [](bool on) { change([=](State& s) { s.machine.corrupt_collectives = on; }); },
    .corrupt_convolutions = [](bool on) { change([=](State& s) { s.machine.corrupt_convolutions = on; }); },
    .set_nccl =
        [](int version, bool windows) {
          change([=](State& s) {
            s.machine.nccl_version = version;
            s.machine.windows = windows;
          });
        }};

}  // namespace

// Never destroyed: handles may be closed while the process ends. FARSCALE_FAKE_FAIL_CALL fails a call of a program.
State& state() {
  static State* const kState = [] {
    auto* fresh = new State();
    if (const char* n = std::getenv("FARSCALE_FAKE_FAIL_CALL")) fresh->fail_at = std::atoll(n);
    return fresh;
  }();
  return *kState;
}

bool fails(const char* call) {
  State& s = state();
  const Lock lock(s.mutex);
  ++s.calls;
  const bool by_name = s.fail_name_left > 0 && s.fail_name == call && --s.fail_name_left == 0;
  if (s.calls != s.fail_at && !by_name) return false;
  s.failed = call;
  return true;
}

void count_alive(const char* kind, int64_t change) {
  State& s = state();
  const Lock lock(s.mutex);
  s.alive[kind] += change;
}

}  // namespace farscale::fake

extern "C" const farscale::fake::Controls* farscale_fake() { return &farscale::fake::kControls; }
