// Burst and sustained (bench/suites/README.md): the two speeds of one operation on a device that heats up and then
// clocks down. Burst is what a rested device does at first, sustained what it keeps up once clock and power are steady:
// what training gets.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "bench/sampler.h"
#include "kernels/backend.h"

namespace farscale {

// What pacing needs of the case under measurement.
struct PaceTask {
  Sampling sampling;
  TimeRuns time;
  Clock clock;
  std::function<void(double seconds)> pause;
  std::function<Telemetry()> telemetry;             // of the last sample, while it ran
  std::function<std::optional<Verdict>()> recheck;  // whether results are still right
};

struct Paced {
  Samples burst;      // all there is where the device tells neither clock nor power
  Samples sustained;  // those from when it was steady; if it never was, the second half
  bool has_sustained = false;
  std::map<std::string, std::vector<double>> burst_telemetry;  // one value a sample of each
  std::map<std::string, std::vector<double>> telemetry;
  std::string pace;     // "steady after 640 ms, 5 readings of power", "not steady after 1.00 s: sm_clock_hz ± 3.1 %"
  std::string wrong;    // agreed: a result that changed while it ran
  double heated_s = 0;  // the sustained run, from its start to its last sample
  int64_t rechecks = 0;
};

// All ranks call it together; rank 0's telemetry and clock decide.
Paced take_paced_samples(const Agreement& agreement, const PaceTask& task);

// "" when clock and power stayed within a band over the last `samples`; otherwise what did not: "power_w ± 4.0 %".
std::string unsteady(const std::map<std::string, std::vector<double>>& telemetry, size_t samples);

}  // namespace farscale
