// The sampler: how many runs make a sample, how many samples a case, and why sampling stopped; agreed by all ranks.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "bench/agreement.h"
#include "bench/suite.h"

namespace farscale {

struct Samples {
  std::vector<double> slowest_s;  // per run, the slowest rank's of each sample: the same on every rank
  std::vector<double> own_s;      // per run, this rank's
  int64_t runs_per_sample = 1;
  std::string stop_reason;  // "interval 0.8 % after 12 samples"
  std::string failure;      // why there are no usable samples: agreed; "" when all went well
};

// Seconds for `runs` runs back to back on this rank.
using TimeRuns = std::function<double(int64_t runs)>;
// Seconds since some fixed point, from a clock that never goes back.
using Clock = std::function<double()>;
Clock steady_clock_s();

// Why to stop after these samples and this much time, or "" to go on.
std::string stop_reason(const Sampling& sampling, const std::vector<double>& samples_s, double spent_s);

// Runs per sample from the agreed time of one run: enough for sampling.sample_s, at most a million.
int64_t runs_for(const Sampling& sampling, double run_s);

// One sample of `runs` runs on all ranks, from a barrier. The failure is exchanged in the same reduction as the time,
// so that no rank is left waiting.
struct Sample {
  double own_s = 0;      // per run
  double slowest_s = 0;  // per run, agreed
  std::string failure;   // agreed
};
Sample take_sample(const Agreement& agreement, const TimeRuns& time, int64_t runs);

// Warms up, agrees on the runs per sample, then samples until rank 0 says stop. All ranks call it together; a rank
// whose `time` throws or returns no positive time ends the case on all ranks.
Samples take_samples(const Agreement& agreement, const Sampling& sampling, const TimeRuns& time, const Clock& clock);

}  // namespace farscale
