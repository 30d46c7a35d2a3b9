// The training step as it is run: a workload's lowered step, scaled, as launches of a few distinct problems in order,
// with the points after which each gradient bucket may be sent, before which sharded weights must have come, and where
// compute waits for a collective. A printable value; nothing is prepared here.
#pragma once

#include <functional>
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

// Weights gathered on the communication queue, one unit ahead: asked for when the unit before is needed, waited for
// before launch `needed`.
struct Gather {
  size_t problem = 0;
  size_t needed = 0;
};

struct StepPlan {
  double scale = 1;  // FLOPs, bytes moved, gradient and input bytes are those of the workload over this
  std::vector<Problem>
      problems;  // distinct, except that those of the communication queue are apart: it has a communicator of its own
  std::vector<bool> of_communication;  // as problems
  std::vector<Launch> launches;        // in order; the optimizer's begin at optimizer_begin
  size_t optimizer_begin = 0;
  std::vector<Message> buckets;    // reductions of gradients, in ready order
  std::vector<Gather> gathers;     // all-gathers of sharded weights, in the order they are needed
  std::vector<Message> blocking;   // collectives that compute waits for, in order
  int64_t micro_batch = 1;         // samples of the workload in one step of one rank
  double gemm_flops = 0;           // of one step of one rank, as planned: products and convolutions
  double convolution_flops = 0;    // of these, what runs as convolutions
  double convolution_proxies = 0;  // and what would be convolutions, but runs as GEMMs of the same FLOPs
  double memory_bytes = 0;         // moved by the memory passes
  double gradient_bytes = 0;       // in the buckets
  double training_share = 1;       // of the FLOPs: what the model needs; the rest is recomputation
  double decoded_bytes = 0;        // of input copied to the device, scaled
  double stored_bytes = 0;         // of input read from storage, unscaled
  std::vector<std::string> notes;  // what is not run, and why
};

struct StepPlanOptions {
  double scale = 1;
  int ranks = 1;
  bool force_type = false;  // run every GEMM in `type` instead of the workload's
  NumberType type = NumberType::kFp32;
  // Whether the device runs this convolution itself; without it, and in scaled copies, convolutions run as GEMMs.
  std::function<bool(const ConvolutionProblem&)> has_convolution = {};
};

// Memory passes become copies (and AdamW updates for the optimizer) of 16 KiB to 64 MiB moved, in steps of four; what
// is too small for a launch of its own is carried over to the next pass, so that the bytes of the step are kept.
StepPlan plan_step(const LoweredStep& step, const StepPlanOptions& options);

// Memory that the plan's operands take on one rank, each problem's on its own or, with an arena, the products together
// as much as the largest of them. Rotated copies of the memory passes are not in here: they take what is left.
double operand_bytes(const StepPlan& plan, bool arena);

}  // namespace farscale
