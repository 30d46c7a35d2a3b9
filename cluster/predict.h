// Prediction: a workload on a number of GPUs of one kind, as step time with its breakdown and range. Cost is
// independent of the number of GPUs. Used by the predict and backtest commands and by the fleet planner.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "cluster/quantity.h"
#include "workloads/workload.h"

namespace farscale {

// A kind of machine as the model sees it: from cluster/hardware/*.toml (data sheet x learned efficiency) or from a
// model.json fitted to results. Cheap to copy, immutable.
class Machine {
 public:
  struct Data;  // cluster/machine.h
  explicit Machine(std::shared_ptr<const Data> data) : data_(std::move(data)) {}
  const Data& data() const { return *data_; }
  const std::string& name() const;
  int gpus_per_node() const;
  const Quantity& gpu_power_w() const;             // at training load, per GPU, without the rest of the node
  const Quantity& node_power_w() const;            // whole node at training load
  double peak_flops_per_s(NumberType type) const;  // dense data sheet rate; 0 when unknown

 private:
  std::shared_ptr<const Data> data_;
};

Machine load_hardware(const std::string& name_or_path);  // shipped name or TOML file; throws InputError
Machine load_model(const std::string& path);             // model.json of `farscale fit`; throws InputError
std::vector<std::string> shipped_hardware();

// Whose formulas price collectives.
enum class CollectivePrior : uint8_t {
  kModel,         // fitted curves where there are records, else closed forms on attained bandwidths
  kHierarchical,  // kModel, and algorithms of two levels: inside domains, then across
  kSharp,         // kModel, and reduction in the network's switches
  kNccl           // NCCL's own tuning model as it stands: nothing measured, no draws
};

struct PredictOptions {
  std::string layout = "auto";  // "auto" or "dp=.. tp=.."
  int draws = 2000;             // Monte Carlo draws for the range
  uint64_t seed = 1;
  CollectivePrior collectives = CollectivePrior::kModel;
  int64_t batch = 0;             // samples a step of the whole job; 0: the workload's micro-batch on every GPU
  double bucket_bytes = 0;       // gradient buckets; 0: PyTorch's rule, or what auto finds best
  double eject = 0;              // share of the GPUs, the slowest, that are taken out and replaced
  double input_bytes_per_s = 0;  // what the loader gives one GPU; 0: it keeps up
  bool ignore_memory = false;    // a layout that does not fit is a warning, not an error
};

struct Breakdown {  // seconds of the median step; they sum to it
  double compute = 0, memory = 0, exposed_comm = 0, bubble = 0, straggler = 0, input = 0;
};

struct Prediction {
  int64_t gpus = 0;
  Layout layout;
  double bucket_bytes = 0;  // of gradient buckets; 0: PyTorch's rule
  double memory_bytes = 0;  // one GPU holds at the peak
  Estimate step_time_s;
  Estimate samples_per_s;       // whole job, while it runs (without failures)
  Estimate mfu;                 // model FLOPs over dense data sheet peak
  Estimate scaling_efficiency;  // samples/s per GPU over that of the smallest single node of this machine
  Breakdown breakdown_s;
  Estimate exposed_comm_share;           // exposed communication over step time
  int64_t extrapolated_from_gpus = 0;    // largest GPU count the communication model was fitted on; 0: none, data sheet
  std::string binding;                   // "compute", "memory", "exposed communication", "stragglers", …
  std::string largest_uncertainty;       // input that moves the step time most between its 5th and 95th percentile
  double largest_uncertainty_share = 0;  // by this share of the median, from one to the other
  std::vector<EvidenceLine> evidence;
  std::vector<std::string> warnings;
  // samples_per_s of every draw, so that a plan can combine it with its own draws of the same index and seed.
  std::vector<double> samples_per_s_draws;
};

// Throws InputError when the workload cannot run (no layout fits the memory: the message gives the bytes needed).
Prediction predict(const Workload& workload, const Machine& machine, int64_t gpus, const PredictOptions& options);

}  // namespace farscale
