// GEMM time from records of other shapes: launch, FLOPs after tile and wave quantisation, and bytes fitted over all
// records of a number type, corrected towards what the records near a shape show, with an uncertainty that grows with
// the distance to the nearest record.
#pragma once

#include <vector>

#include "cluster/machine.h"

namespace farscale {

// How a GEMM's time splits, at the median, and how sure it is.
struct GemmEstimate {
  double launch_s = 0;
  double flops_s = 0;
  double bytes_s = 0;
  double log_sigma = 0;
  double distance = 0;  // doublings of m, n, k or batch to the nearest record
  double total() const { return launch_s + flops_s + bytes_s; }
};

// FLOPs that the tiles of the best tiling execute, padding and idle multiprocessors of the last wave included, divided
// by the tile's relative efficiency: the GEMM takes this over the large-GEMM rate. At least gemm.flops().
double quantised_flops(const GemmProblem& gemm, int multiprocessors);

// Doublings between two shapes: Euclidean over log2 of m, n, k and batch, transposed operands half a doubling.
double shape_distance(const GemmProblem& a, const GemmProblem& b);

// Fits the records of one number type by weighted least squares on relative errors. multiprocessors > 1 counts FLOPs
// after quantisation where that leaves less spread, 1 as they are (hosts). Throws InputError without records.
GemmFit fit_gemms(const std::vector<GemmPoint>& records, int multiprocessors);

GemmEstimate gemm_estimate(const GemmFit& fit, const GemmProblem& gemm);

// Seconds by the fit over all shapes alone.
double gemm_trend(const GemmFit& fit, const GemmProblem& gemm);

}  // namespace farscale
