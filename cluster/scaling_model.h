// A step's time over GPUs, batch and machines, learned from many series at once (partial pooling): each series has its
// own speed, and shares with its network the floor under a step, with its hardware and period the speed to expect.
//
//   T = [ accumulation * (a_s * k^c * micro_batch + F_net * (a_s / a_net)^g * p_period) + L_net * log2(max(n/8, 1)) ]
//       * exp(e * log2(min(n, node)/node) + j * log2(max(n/8, 1)) + m * [n > node])
//
// a_s seconds a sample; F_net the floor (launches, latency, synchronisation) at small batch, scaled by how fast the
// machine is; L_net synchronisation growing with the tree's depth; e ranks of one node sharing a host; j stragglers and
// congestion; m leaving the node; c = 1 with recomputation. Gauss-Newton on log T, Student-t errors.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "cluster/backtest_table.h"

namespace farscale {

struct ScalingPrediction {
  double time_s = 0;
  double log_sigma = 0;  // parameters' covariance and the scatter of rows
  double floor_share = 0;
};

class ScalingModel {
 public:
  // Fits `rows` (of one class), starting from `start` where it knows the same names.
  ScalingModel(const std::vector<const ScalingRow*>& rows, const ScalingModel* start = nullptr);
  ~ScalingModel();
  ScalingModel(ScalingModel&&) noexcept;

  // The row's series must be among the fitted ones. fitted_gpus: the largest count its series was fitted on.
  ScalingPrediction predict(const ScalingRow& row, int64_t fitted_gpus) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace farscale
