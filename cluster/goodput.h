// Goodput: the share of time in which a synchronous job makes progress, under node failures, checkpoints and restarts.
#pragma once

#include <cstdint>
#include <vector>

#include "cluster/quantity.h"

namespace farscale {

// Daly's exact expectation: share of time that is progress with checkpoint cost `checkpoint_s` each `interval_s` of
// work, mean time between failures `mtbf_s`, and `restart_s` from failure to progress (J. T. Daly, "A higher order
// estimate of the optimum checkpoint interval for restart dumps", FGCS 22, 2006, eq. 13 rearranged):
// interval * exp(-restart/mtbf) / (mtbf * (exp((interval + checkpoint)/mtbf) - 1)). Failures during restart count.
// Throws InputError unless mtbf_s > 0 and the others are not negative.
double daly_goodput(double mtbf_s, double checkpoint_s, double restart_s, double interval_s);

// Young's first-order interval sqrt(2 * checkpoint * mtbf) (CACM 17, 1974) and Daly's higher-order one (as above,
// eq. 37): cross-checks of the numerical optimum, not used for results.
double young_interval(double mtbf_s, double checkpoint_s);
double daly_interval(double mtbf_s, double checkpoint_s);

// Meta's linear form of the same share (Kokolis et al., "Revisiting Reliability in Large-Scale Machine Learning
// Research Clusters", arXiv 2410.21680): a cross-check while failures are rare; below zero, and wrong, when they are
// not.
double linear_goodput(double mtbf_s, double checkpoint_s, double restart_s, double interval_s);

// The interval that maximises daly_goodput (found numerically; Daly's own expansion is the starting point). It does not
// depend on the restart cost. 0 when checkpoints are free.
double best_checkpoint_interval(double mtbf_s, double checkpoint_s, double restart_s);

struct FailureModel {
  Quantity node_failures_per_day;        // of one node
  Quantity checkpoint_s;                 // blocking time of one checkpoint
  Quantity restart_s;                    // detection, replacement, load and warm-up
  Quantity restart_s_per_1000_nodes;     // what a restart takes longer for each 1,000 nodes of the job
  Quantity checkpoint_s_per_1000_nodes;  // and what a checkpoint takes longer
  Quantity silent_per_node_day;          // silent data corruptions that are found in the end; not among the failures
  Quantity silent_found_s;  // from a corruption to its detection: what was trained in between is thrown away
  bool isolated = false;    // elastic: a failure takes out the data parallel replica it hits, the others go on
  Quantity resync_s;        // after which they do
  Quantity job_wide_share;  // of the failures, those that stop an isolated job as a whole nevertheless
};

// Rates from the published fleets (RSC-1, RSC-2, Llama 3) and checkpoint and restart costs that are assumptions.
FailureModel default_failure_model();

// Nodes a job of `gpus` occupies, the last one perhaps in part.
double nodes_of(double gpus, int gpus_per_node);

// One draw of a failure model, and what it means for a job of `nodes` nodes at its best checkpoint interval.
struct FailureDraw {
  double node_failures_per_day = 0;
  double checkpoint_s = 0;
  double restart_s = 0;
  double restart_s_per_1000_nodes = 0;
  double checkpoint_s_per_1000_nodes = 0;
  double silent_per_node_day = 0;
  double silent_found_s = 0;
  bool isolated = false;
  double resync_s = 0;
  double job_wide_share = 1;
  double replica_nodes = 1;  // nodes that an isolated job misses until the failed one is replaced

  double mtbf_s(double nodes) const;  // between failures of nodes, infant mortality and silent corruptions aside
  double restart_of_job_s(double nodes) const;
  double checkpoint_of_job_s(double nodes) const;
  // Time between rollbacks: failures that stop the whole job, and corruptions. `excess`: the failure rate over the
  // settled one, less 1.
  double stop_mtbf_s(double nodes, double excess = 0) const;
  double best_interval_s(double nodes, double excess = 0) const;  // a day at most
  // Daly's share for what stops the job, times exp(-rate x delay) for the work that no corruption is found in soon
  // (a moment is kept when none strikes within the delay), times what an isolated job loses: resync_s a failure, and a
  // replica for the time of a restart (Little's law).
  double goodput(double nodes, double excess = 0) const;
};

// The draws of a model: independent streams for its figures, the same for the same seed.
std::vector<FailureDraw> failure_draws(const FailureModel& model, int draws, uint64_t seed);
FailureDraw median_failures(const FailureModel& model);

struct GoodputEstimate {
  Estimate goodput;
  Estimate mtbf_s;
  Estimate checkpoint_interval_s;
};

// `replica_nodes`: nodes of one replica of an isolated job. Throws InputError for fewer than one GPU, GPU per node or
// draw.
GoodputEstimate job_goodput(const FailureModel& model, int64_t gpus, int gpus_per_node, int draws, uint64_t seed,
                            double replica_nodes = 1);

}  // namespace farscale
