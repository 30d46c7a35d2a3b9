// What the timings of a step say: its quantiles, what communication costs, who is late and why, and rates.
#pragma once

#include <string>
#include <vector>

#include "bench/measure.h"
#include "bench/step_plan.h"

namespace farscale {

// One entry a round; the slowest rank's unless it says own.
struct StepSeries {
  std::vector<double> compute, communication, both, graph, exposed, skew;
  std::vector<double> own;         // this rank's both
  std::vector<double> arrival;     // this rank's forward and backward, nothing communicated
  std::vector<double> input_wait;  // this rank's, of both
  std::vector<double> issue, graph_issue;
};

// One class of kernel run on its own: alone, and with traffic on the communication queue all the while.
struct ClassSeries {
  KernelClass kind = KernelClass::kElementwise;
  std::vector<double> alone, beside;  // the slowest rank's
  std::vector<double> own;            // this rank's, alone
};

// The best rate of the device for the type most of the step runs in, and where it comes from.
struct Peak {
  double flops_per_s = 0;
  std::string source;  // "best GEMM of this run", "probe gemm/bf16/nn/4096x4096x4096", "named in the suite"
};

// What a rank's arrival at the end of its backward pass is made of: medians in seconds, one entry a rank.
struct ArrivalParts {
  std::vector<double> arrival;          // compute and memory passes of the step, plus the wait for input
  std::vector<double> earliest;         // low end of its interval: what is certain
  std::vector<double> compute, memory;  // classes with products, and the others, each alone
  std::vector<double> input;            // wait for the input of the next step
};

// The rank that arrives last, against the median of the others, and what makes it late: the part that is furthest above
// the median of the others' same part. rank -1: nobody is late beyond the noise of its own samples.
struct Lateness {
  int rank = -1;
  double late_s = 0;
  std::string why;  // "compute", "memory", "input"
};
Lateness find_late(const ArrivalParts& parts);

// Everything into the record: counters, series and details. All ranks call it together.
void keep_step(const Lab& lab, const StepPlan& plan, const Peak& peak, const StepSeries& series,
               const std::vector<ClassSeries>& classes, Record& record);

}  // namespace farscale
