// A workload on a machine, ready to be asked about any number of GPUs: lowered layouts and Monte Carlo draws are made
// once and shared by all sizes. predict() is this for one size.
#pragma once

#include <array>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cluster/predict.h"
#include "cluster/timeline.h"

namespace farscale {

// One draw of everything uncertain about a machine.
struct MachineDraw {
  ComponentTimes factors{};
  double overhead = 1;
  double interference = 0;
  double persistent = 0;  // standard deviations of rank times over compute: the same every step,
  double transient = 0;   // and drawn anew each micro-batch
  double tail = 0;        // 0 normal … 1 generalised Pareto of this shape
  double shape = 0;
  double extrapolation = 0;  // standard normal: how far off communication is for each doubling beyond the known ranks
  double unfamiliar = 0;     // standard normal: how far off GEMMs of shapes away from the measured ones are
  double residual = 1;       // whole step
  LinkValues links;
};

// Expected slowest of n ranks in standard deviations, by how heavy the tail is; made once a size.
struct Slowest {
  double normal = 0, exponential = 0;
  int64_t ranks = 1;
  explicit Slowest(int64_t ranks);
  double at(const MachineDraw& draw) const;
};

// A layout and the size of its gradient buckets (0: PyTorch's rule).
struct Choice {
  Layout layout;
  double bucket_bytes = 0;
  std::string str() const;
};

// A layout that was considered: its time, or why it was not taken.
struct Candidate {
  Choice choice;
  double memory_bytes = 0;  // one GPU; 0 when it could not be lowered, its gradients alone when they do not fit
  StepTimes parts;          // at the median inputs; of the best ones of the draws' median
  double step_time_s = 0;
  double samples_per_s = 0;
  std::string why_not;  // empty for the chosen one
};

// Change of the median step time when one input moves to its 5th or 95th percentile.
struct Sensitivity {
  std::string what;
  double low_share = 0;  // step time at the 5th percentile of the input over the median step time, less 1
  double high_share = 0;
  double reach() const { return std::abs(high_share - low_share); }
};

// A collective of the chosen step: what the library would run and what one costs.
struct CollectiveNote {
  std::string what;       // "reduce_scatter of 128 MiB over 64 ranks"
  std::string algorithm;  // "ring", "fitted", …
  double time_s = 0;
  bool holds = true;  // the formula's chunks are no shorter than a line of its protocol
};

// The median of a step's draws, in parts as the draws next to it have them: lines through the middle half of them.
StepTimes middle_of(std::vector<StepTimes> draws);

// Ranks whose collectives somebody measured: with the records of a fit, or on the kinds of GPU that the published
// tables are of, which are those of NCCL's tuning tables. Of others a data sheet says how fast a domain's links are, no
// more.
int64_t known_ranks(const Machine::Data& machine);

// Memory of one GPU that a layout may use: the rest is context, workspace and fragmentation.
double usable_bytes(const Machine::Data& machine);

class Predictor {
 public:
  Predictor(const Workload& workload, const Machine& machine, const PredictOptions& options);

  Prediction at(int64_t gpus);
  // The layouts weighed for `gpus`, the chosen one first.
  const std::vector<Candidate>& candidates(int64_t gpus);
  // Inputs by how much they move the step time at `gpus`, largest first.
  std::vector<Sensitivity> sensitivities(int64_t gpus);
  // What the communication of the chosen layout is made of: algorithm of each collective size.
  std::vector<CollectiveNote> communication_notes(int64_t gpus);
  const BucketTotals& buckets(int64_t gpus) { return profile(choose(gpus)).buckets; }
  // Seconds of one step of a layout at the median inputs: what the search weighs first.
  StepTimes median_times(const Choice& choice, int64_t gpus) { return times(choice, gpus, median_); }

 private:
  const StepProfile& profile(const Choice& choice);
  const std::vector<double>& costs_of_blocks(const Choice& choice);
  double memory_needed(const Choice& choice);
  StepTimes times(const Choice& choice, int64_t gpus, const MachineDraw& draw);
  std::vector<StepTimes> times_of_draws(const Choice& choice, int64_t gpus, size_t count = SIZE_MAX);
  const Choice& choose(int64_t gpus) { return candidates(gpus).front().choice; }
  const Slowest& slowest(int64_t ranks);
  StepConditions conditions_of(const MachineDraw& draw, const StepProfile& step, const Layout& layout, int64_t gpus);
  double samples_per_step(const Choice& choice);
  Choice reference_of(const Choice& choice, int64_t gpus, int64_t* reference_gpus);
  const std::vector<double>& reference_rates(const Choice& choice, int64_t gpus);
  void fill_ranges(Prediction& prediction, const Choice& choice);
  void fill_evidence(Prediction& prediction, const Choice& choice);
  void fill_warnings(Prediction& prediction, const Choice& choice);

  // Search (layout_search.cc).
  std::vector<Candidate> search(int64_t gpus);
  Candidate weigh(const Choice& choice, int64_t gpus);
  void refine(std::vector<Candidate>& all, int64_t gpus);
  void rank_on_draws(std::vector<Candidate>& all, int64_t gpus);
  Candidate asked_for(int64_t gpus);
  [[noreturn]] void nothing_fits(const std::vector<Candidate>& all, int64_t gpus);

  const Workload workload_;
  Machine machine_;
  PredictOptions options_;
  MachineDraw median_;
  std::vector<MachineDraw> draws_;
  std::map<std::string, StepProfile> profiles_;
  std::map<std::array<int64_t, 5>, std::vector<double>> block_costs_;
  std::map<int64_t, Slowest> slowest_;
  std::map<int64_t, std::vector<Candidate>> searched_;
  std::map<std::string, std::vector<double>> reference_rates_;  // samples/s per GPU of every draw on the reference size
};

}  // namespace farscale
