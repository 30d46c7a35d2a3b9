// Weak scaling of a measured step: the same work on every rank, at several numbers of ranks.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "results/record.h"
#include "results/statistics.h"

namespace farscale {

// A step at one number of ranks. Efficiency is the step time at the fewest ranks over this one; its interval takes the
// worst of one 95 % interval against the best of the other, so it errs on the wide side.
struct StepScalingRow {
  std::string step;  // "hydranet-regnety16gf, 1/1024"
  int ranks = 1;
  double step_time_s = 0;
  Interval step_time_interval95;
  double exposed_s = 0;  // exposed communication; 0 with one rank
  double efficiency = 1;
  Interval efficiency_interval95{1, 1};
};

// Rows of every step that ran on at least two numbers of ranks, fewest first; several runs of one number are pooled.
std::vector<StepScalingRow> step_scaling(const std::vector<Run>& runs);

// The rows as a table under the line "step scaling …", or "" when there are none.
std::string step_scaling_text(const std::vector<Run>& runs);

}  // namespace farscale
