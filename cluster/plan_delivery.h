// What a job of some size delivers on one kind of machine: samples/s while it runs, goodput, and their product, for
// every draw. Predicted at a few sizes and interpolated, so that a fleet that grows each day costs little.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "cluster/goodput.h"
#include "cluster/plan.h"
#include "cluster/predict.h"
#include "cluster/predictor.h"

namespace farscale {

// A kind of machine as a plan needs it: the catalogue's (machine_for) or, in tests, one with known answers.
struct PlanMachine {
  int gpus_per_node = 8;
  Quantity node_power_w;  // at training load
  std::function<Prediction(int64_t gpus, const PredictOptions&)> predict;
  // Change of the step time as the machine's inputs move; may be empty.
  std::function<std::vector<Sensitivity>(int64_t gpus, const PredictOptions&)> sensitivities;
};

// A site's machine with the site's network. Throws InputError for a name that is not in the catalogue, and for a host:
// plans are of accelerators.
PlanMachine machine_for(const std::string& workload, const Site& site);
PlanMachine machine_at(const Site& site, Workload workload, const Machine& machine);

using MachineSource = std::function<PlanMachine(const std::string& workload, const Site& site)>;

// Machines that remember what they predicted, for many questions about few kinds of them. Not for several threads.
MachineSource remembering(const MachineSource& machines);

// Machines whose complaints about a layout name the plan's line, and not options of other commands.
MachineSource located(const Plan& plan, const MachineSource& machines);

struct DeliveryOptions {
  std::string layout = "auto";
  int draws = 1000;  // 0: only the nominal column
  uint64_t seed = 1;
  std::optional<Quantity> critical_batch;  // samples a step; see useful_share

  static DeliveryOptions of(const Plan& plan, int draws, uint64_t seed);  // what the plan's own training asks for
};

// A power of two of nodes to round job sizes to, at most a 64th of them: workloads that are split over tensors and
// pipelines need counts that divide.
int64_t round_unit(int64_t nodes);

// Column 0 is nominal (medians of everything); columns 1 … draws are the Monte Carlo draws.
class DeliveryCurve {
 public:
  // For jobs of up to max_gpus. Throws InputError when the workload does not fit the machine.
  DeliveryCurve(const PlanMachine& machine, const FailureModel& failures, double max_gpus,
                const DeliveryOptions& options);

  int columns() const { return columns_; }
  double samples_per_s(int column, double gpus) const;    // of one job while it runs
  double delivered_per_s(int column, double gpus) const;  // times its goodput and useful share
  // Of the samples trained on, those that a small batch would have needed too: 1 / (1 + batch / critical batch)
  // (McCandlish, Kaplan, Amodei, arXiv 1812.06162, eq. 2.11); 1 when no critical batch is given.
  double useful_share(int column, double gpus) const;
  double batch(double gpus) const;                       // samples a step, nominal
  const std::string& layout() const { return layout_; }  // as asked, or as found; without dp
  const FailureDraw& failures(int column) const { return failures_[size_t(column)]; }

  // The job size, up to max_gpus, beyond which a larger job delivers less: by the medians, with its range over the
  // draws.
  const Estimate& best_job_gpus() const { return best_job_gpus_; }
  double best_job_gpus(int column) const { return best_of_column_[size_t(column)]; }
  // The smallest size that delivers 90 % of what the best one does.
  const Estimate& near_best_gpus() const { return near_best_gpus_; }
  // Equal jobs that `gpus` are split into so that none is beyond the best size.
  int64_t jobs_for(double gpus) const;
  // The same, or `asked` of them when that is not 0, as far as each has a node.
  int64_t jobs_for(double gpus, int64_t asked) const;

 private:
  struct Place {
    size_t index;
    double share;
    double below;  // less than the smallest size: a part of a node in proportion, nothing where the workload needs more
  };
  Place place(double gpus) const;
  double look_up(const std::vector<float>& logs, int column, double gpus) const;
  void predict_at(const PlanMachine& machine, double max_gpus, PredictOptions asked);
  void draw_failures(const FailureModel& failures, const DeliveryOptions& options);
  void add_size(double log_gpus, double share, size_t lower, size_t upper);
  struct Best {
    double gpus, near_gpus;
  };
  Best best_of(const std::vector<double>& log_delivered) const;  // one a size
  void find_best();

  double gpus_per_node_;
  std::string layout_;
  double least_gpus_ = 1;
  double step_;  // ln of the ratio of neighbouring sizes
  size_t sizes_;
  int columns_;
  Estimate best_job_gpus_, near_best_gpus_;
  std::vector<double> best_of_column_;
  std::vector<double> predicted_gpus_, predicted_batch_per_gpu_;  // as predicted
  std::vector<std::vector<float>> predicted_log_rates_;           // [size][column], of a GPU
  std::vector<FailureDraw> failures_;                             // [column]
  double replica_nodes_ = 1;                                      // of the largest predicted layout
  std::vector<double> critical_batch_;                            // [column]; empty when not given
  std::vector<float> log_running_, log_delivered_;                // [size][column]
};

}  // namespace farscale
