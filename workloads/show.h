// Tables of a lowered step for people: equal GEMMs counted together, totals by kernel class and of collectives.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "workloads/workload.h"

namespace farscale {

// GEMMs of the same pass, class and problem.
struct GemmRow {
  Pass pass = Pass::kForward;
  KernelClass kind = KernelClass::kLinear;
  GemmProblem gemm;
  int64_t count = 0;
  double flops = 0;  // of all of them
  double bytes = 0;
};
std::vector<GemmRow> gemm_table(const LoweredStep& step);  // most FLOPs first

struct ClassTotal {
  KernelClass kind = KernelClass::kLinear;
  int64_t launches = 0;
  double flops = 0;
  double bytes = 0;
};
std::vector<ClassTotal> class_totals(const LoweredStep& step);  // in the order of KernelClass, absent ones left out

struct CollectiveTotal {
  CollectiveKind kind = CollectiveKind::kAllReduce;
  std::string group;
  std::string reason;
  Pass pass = Pass::kForward;
  bool blocking = true;
  int64_t ranks = 1;
  int64_t count = 0;           // in a micro-batch; of kOptimizer: in a step
  double bytes = 0;            // of all of them
  int64_t times_per_step = 1;  // this often in a step
};
std::vector<CollectiveTotal> collective_totals(const LoweredStep& step, int64_t accumulation);

}  // namespace farscale
