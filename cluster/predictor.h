// A workload on a machine, ready to be asked about any number of GPUs: lowered layouts and Monte Carlo draws are made
// once and shared by all sizes. predict() is this for one size.
#pragma once

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
  double spread = 0;  // standard deviation of rank times over compute
  double tail = 0;
  double extrapolation = 0;  // standard normal: how far off communication is for each doubling beyond the known ranks
  double residual = 1;       // whole step
  LinkValues links;
};

// A layout that was considered: its time, or why it was not taken.
struct Candidate {
  Layout layout;
  double step_time_s = 0;
  double samples_per_s = 0;
  std::string why_not;  // empty for the chosen one
};

// Change of the median step time when one input moves to its 5th or 95th percentile.
struct Sensitivity {
  std::string what;
  double low_share = 0;  // step time at the 5th percentile of the input over the median step time, less 1
  double high_share = 0;
};

class Predictor {
 public:
  Predictor(const Workload& workload, const Machine& machine, const PredictOptions& options);

  Prediction at(int64_t gpus);
  // The layouts weighed for `gpus`, the chosen one first.
  std::vector<Candidate> candidates(int64_t gpus);
  // Inputs by how much they move the step time at `gpus`, largest first.
  std::vector<Sensitivity> sensitivities(int64_t gpus);
  // What the communication of the chosen layout is made of: algorithm of each collective size.
  std::vector<std::string> communication_notes(int64_t gpus);

 private:
  const StepProfile& profile(const Layout& layout);
  StepTimes times(const Layout& layout, int64_t gpus, const MachineDraw& draw);
  Layout choose(int64_t gpus, std::vector<Candidate>* weighed);
  double samples_per_step(const Layout& layout);
  Layout reference_layout(const Layout& layout, int64_t gpus, int64_t* reference_gpus);
  void fill_ranges(Prediction& prediction, const Layout& layout);
  void fill_evidence(Prediction& prediction, const Layout& layout);

  const Workload& workload_;
  Machine machine_;
  PredictOptions options_;
  MachineDraw median_;
  std::vector<MachineDraw> draws_;
  std::map<std::string, StepProfile> profiles_;
  std::map<std::string, std::vector<double>> reference_rates_;  // samples/s per GPU of every draw on the reference size
};

}  // namespace farscale
