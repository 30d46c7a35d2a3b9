// What a planner without a model would use: the curves that the backtest prints beside its own.
#pragma once

#include <vector>

#include "cluster/backtest_table.h"

namespace farscale {

using RowPointers = std::vector<const ScalingRow*>;

// Seconds a sample stay as on the fitted rows (their median).
double linear_baseline(const RowPointers& fitted, const ScalingRow& row);

// Universal scalability law (Gunther) in work per GPU: T = b (c0 + c1 (n - n0) + c2 n (n - n0)), no coefficient
// negative, fitted to the same rows; with one GPU count it is perfect linear scaling.
double amdahl_baseline(const RowPointers& fitted, const ScalingRow& row);

// T = a (b + h) + a L log2(max(n/8, 1)): a of the series' own small rows, h and L of the network's other series.
struct TwoConstants {
  double floor_samples = 0;
  double depth_samples = 0;
};
TwoConstants fit_two_constants(const RowPointers& others);
double two_constant_baseline(const TwoConstants& constants, const RowPointers& fitted, const ScalingRow& row);

}  // namespace farscale
