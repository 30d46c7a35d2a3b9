// A step's time over GPUs, batch and machines, learned from many series at once (partial pooling): each series has its
// own speed, and shares with its network the floor under a step, with its hardware and period the speed to expect.
//
//   T = [ accumulation * (a_s * k^c * micro_batch + F) + L_net * log2(max(n/8, 1)) ]
//       * exp(e * log2(local/8) + (j + j_net) * log2(max(n/8, 1)) + (m + m_fabric) * [n > node])
//   F = (launches * t + bytes * x + u * sqrt(a_net)) * f_net * (a_s / a_net)^g * p_period * p_hardware
//
// a_s seconds a sample; F the floor at small batch: kernels to launch, gradients to exchange and to apply, and GPUs
// that few samples do not fill (the longer one takes, the less: between not at all and in proportion), counted on the
// layer graph, off by f_net, and scaled by how fast the machine is; L_net synchronisation growing with the tree's
// depth; e ranks of one node sharing a host, apart for cards on PCIe (local: those of one node); j stragglers and
// congestion; m leaving the node over one fabric; c = 1 with recomputation. Gauss-Newton on log T, Student-t errors. t,
// x and u are learned from all networks; a network without a graph is taken for a typical one.
#pragma once

#include <array>
#include <memory>
#include <string>
#include <vector>

#include "cluster/backtest_table.h"

namespace farscale {

// What is believed before any row, as mean and standard deviation on the scale of the parameter.
struct Prior {
  double mean = 0, sigma = 1;
};

// The priors of the model, the same for every table. They were chosen by leaving series, hardware and workloads out of
// the published tables in turn; those that were moved by half or double moved the mean error by 15 % of it or less.
struct ScalingPriors {
  Prior launch{-11.6, 0.25};  // log s: 9 us, a kernel that waits for the one before it
  Prior byte{-24.9, 0.5};  // log s: 15 ps, a byte of gradients read and written by the optimizer, its exchange hidden
  Prior unfilled{-3.1, 0.3};  // log s^0.5: 4.5 ms for a network of 10 ms a sample
  Prior gather{-24.6, 0.1};   // log s, FSDP: 20 ps a parameter, gathering its weights twice over NVLink
  // How far a network's floor is from that: described by a graph, by nobody, FSDP.
  double floor_described = 0.25, floor_unknown = 0.6, floor_fsdp = 0.7;
  double typical_launches = 400, typical_bytes = 120e6;  // of a network that nobody described
  Prior depth{-9.9, 1.5};                                // log s a doubling: 50 us
  Prior floor_speed{0.6, 0.1};                           // the floor follows the machine's speed by this power
  Prior node{0.01, 0.02};                                // a doubling inside a node
  Prior node_pcie{0.02, 0.02};                           // cards that share a host's links
  Prior stragglers{0.005, 0.005};                        // a doubling beyond 8
  Prior leave_node{0.01, 0.02};
  Prior recompute{0.2877, 0.05};  // log 4/3
  double stragglers_network = 0.004, leave_fabric = 0.02, floor_period = 0.3;
  double network_speed = 5, hardware_speed = 0.7, period_speed = 0.06, pair_speed = 0.08;
  double series_speed = 0.06;  // scatter of a series' speed around its network, hardware and period
  // By class (vision, FSDP, transformers): how floors differ between machines of one speed, and how rows scatter around
  // their series. Submissions of a round change chassis and software between sizes, recipes of one release do not.
  std::array<double, 3> floor_hardware = {0.25, 0.1, 0.1};
  std::array<double, 3> scatter = {0.04, 0.02, 0.008};
  double scatter_far = 0.15;  // more variance for each doubling beyond the fitted rows
};

struct ScalingPrediction {
  double time_s = 0;
  double log_sigma = 0;  // parameters' covariance and the scatter of rows
  double floor_share = 0;
};

class ScalingModel {
 public:
  // Fits `rows` (of one class), starting from `start` where it knows the same names.
  explicit ScalingModel(const std::vector<const ScalingRow*>& rows, const ScalingModel* start = nullptr,
                        const ScalingPriors& priors = {});
  ~ScalingModel();
  ScalingModel(ScalingModel&&) noexcept;

  // The row's series must be among the fitted ones. fitted_gpus: the largest count its series was fitted on.
  ScalingPrediction predict(const ScalingRow& row, int64_t fitted_gpus) const;
  // A parameter by its name ("floor resnet50"), for reports and tests; NaN when there is none.
  double parameter(const std::string& name) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace farscale
