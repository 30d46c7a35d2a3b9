// Goodput: the share of time in which a synchronous job makes progress, under node failures, checkpoints and restarts.
#pragma once

#include <cstdint>

#include "cluster/quantity.h"

namespace farscale {

// Daly's exact expectation: share of time that is progress with checkpoint cost `checkpoint_s` each `interval_s` of
// work, mean time between failures `mtbf_s`, and `restart_s` from failure to progress (J. T. Daly, "A higher order
// estimate of the optimum checkpoint interval for restart dumps", FGCS 22, 2006, eq. 13 rearranged).
double daly_goodput(double mtbf_s, double checkpoint_s, double restart_s, double interval_s);

// The interval that maximises daly_goodput (found numerically; Daly's own expansion is the starting point).
double best_checkpoint_interval(double mtbf_s, double checkpoint_s, double restart_s);

struct FailureModel {
  Quantity node_failures_per_day;  // of one node
  Quantity checkpoint_s;           // blocking time of one checkpoint
  Quantity restart_s;              // detection, replacement, load and warm-up
};

// Rates from the published fleets (RSC-1, RSC-2, Llama 3) and checkpoint and restart costs that are assumptions.
FailureModel default_failure_model();

struct GoodputEstimate {
  Estimate goodput;
  Estimate mtbf_s;
  Estimate checkpoint_interval_s;
};

GoodputEstimate job_goodput(const FailureModel& model, int64_t gpus, int gpus_per_node, int draws, uint64_t seed);

}  // namespace farscale
