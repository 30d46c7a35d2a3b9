// Failures one by one: a synchronous job with every node failure, restart and repair as an event. What Daly's closed
// form (goodput.h) says on average, this shows happening, and it adds what the form leaves out: spares that run out.
#pragma once

#include <cstdint>
#include <functional>

#include "cluster/goodput.h"

namespace farscale {

struct FailureRun {
  FailureDraw failures;           // rate, checkpoint, restart
  double nodes = 1;               // of the job
  double days = 365;              // simulated
  double interval_s = 0;          // work between checkpoints; 0: the best one
  int64_t spare_nodes = 1 << 30;  // beside the job's
  double repair_share = 0;        // of failures: the node goes to repair, a spare takes its place; others reboot
  double repair_days = 0;         // turnaround
};

struct FailureOutcome {
  double goodput = 0;
  int64_t failures = 0;
  double waiting_share = 0;  // of the time in which the job stands still because no spare is left
  double most_in_repair = 0;
};

// One history. The same seed gives the same history on every machine.
FailureOutcome simulate_failures(const FailureRun& run, uint64_t seed);

// `replicas` histories, seeds seed, seed + 1, …, over `threads` threads (0: all cores); the answer does not depend on
// how many. Percentiles over the histories.
struct FailureStudy {
  Estimate goodput, waiting_share;
  double mean_goodput = 0;
  double failures = 0;  // all histories together
};
// `progress`, when given, is told the share done, from one thread.
FailureStudy study_failures(const FailureRun& run, int replicas, uint64_t seed, int threads = 0,
                            const std::function<void(double)>& progress = {});

// Spare nodes with which a failure finds one free with probability `certainty`, when nodes in repair are Poisson
// distributed with mean rate x turnaround (Palm's theorem).
int64_t spares_needed(const FailureRun& run, double certainty);

}  // namespace farscale
