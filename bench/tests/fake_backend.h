// Test double: a backend on a clock of its own. Nothing is computed; every operation takes a known time, queues overlap
// exactly, and failures, wrong results and numbers that are none happen where a test asks for them.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "bench/sampler.h"
#include "kernels/backend.h"

namespace farscale {

struct FakeBehaviour {
  double flops_per_s = 1e9;      // GEMMs
  double bytes_per_s = 1e8;      // memory passes
  double bus_bytes_per_s = 1e7;  // collectives: S over this, plus…
  double latency_s = 1e-4;       // …this
  double slowdown = 1;           // compute takes this many times longer while communication is under way
  double input_bytes_per_s = 1e9;
  double memory_bytes = 1e9;     // of the device
  double issue_s = 0;            // the host's time to hand over one run; a graph takes it once
  bool graphs = false;           // the step can be recorded
  bool convolutions = false;     // run as such, at half the time of the GEMM
  double jitter = 0;             // times vary by +- this share, by a fixed sequence
  std::string wrong;             // problems whose name contains this verify as wrong
  std::string absent;            // …cannot be prepared, with a reason
  std::string throws_preparing;  // …throw when prepared
  std::string throws_running;    // …throw when run for the `throws_at`-th time or later
  int throws_at = 1;
  std::string no_time;      // …are timed as NaN
  double real_sleep_s = 0;  // sleep this long in every timed sample: for tests that kill a run
  Telemetry telemetry;
  Facts details;
};

// The state behind one rank's fake: its clock and what was called.
struct FakeState {
  FakeBehaviour behaviour;
  double now_s = 0;            // of the compute queue and the calling thread
  double communication_s = 0;  // when the communication queue is done
  double input_s = 0;          // and the input queue
  bool replaying = false;      // a graph's work is enqueued without the host's time
  uint64_t sequence = 1;
  int runs = 0;
  int prepared = 0;
  int verified = 0;
  int alive = 0;                   // operations that exist
  std::vector<std::string> order;  // names as run
};

std::unique_ptr<Backend> fake_backend(std::shared_ptr<FakeState> state);
Clock fake_clock(std::shared_ptr<FakeState> state);

// Seconds of one run of a problem, without jitter and slow-down.
double fake_seconds(const FakeBehaviour& behaviour, const Problem& problem);

// "wrong=gemm/fp64;absent=bf16;sleep=0.05": how the test module is told by the environment.
FakeBehaviour parse_behaviour(const std::string& text);

}  // namespace farscale
