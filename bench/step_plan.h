// The training step as it is run: a workload's lowered step, scaled, as launches of a few distinct problems in order,
// with the points after which each gradient bucket may be sent. A printable value; nothing is prepared here.
#pragma once

#include <string>
#include <vector>

#include "kernels/problem.h"
#include "workloads/workload.h"

namespace farscale {

struct Launch {
  size_t problem = 0;  // index into StepPlan::problems
  int64_t count = 1;   // runs in a row
  KernelClass kind = KernelClass::kElementwise;
};

// Traffic released once `after` launches have been issued.
struct Message {
  size_t problem = 0;
  int64_t count = 1;
  size_t after = 0;
};

struct StepPlan {
  double scale = 1;  // FLOPs, bytes moved and gradient bytes are those of the workload over this
  std::vector<Problem>
      problems;  // distinct, except that those of buckets are apart: they have a communicator of their own
  std::vector<bool> of_bucket;   // as problems
  std::vector<Launch> launches;  // in order; the optimizer's begin at optimizer_begin
  size_t optimizer_begin = 0;
  std::vector<Message> buckets;    // all-reduces of gradients, in ready order
  std::vector<Message> blocking;   // collectives that compute waits for, in order
  int64_t micro_batch = 1;         // samples of the workload in one step of one rank
  double gemm_flops = 0;           // of one step of one rank, as planned
  double memory_bytes = 0;         // moved by the memory passes
  double gradient_bytes = 0;       // in the buckets
  double training_flops = 0;       // of the workload itself, unscaled
  std::vector<std::string> notes;  // what is not run, and why
};

struct StepPlanOptions {
  double scale = 1;
  int ranks = 1;
  bool force_type = false;  // run every GEMM in `type` instead of the workload's
  NumberType type = NumberType::kFp32;
};

// Memory passes become copies (and AdamW updates for the optimizer) of 16 KiB to 64 MiB moved, in steps of four; what
// is too small for a launch of its own is carried over to the next pass, so that the bytes of the step are kept.
StepPlan plan_step(const LoweredStep& step, const StepPlanOptions& options);

}  // namespace farscale
