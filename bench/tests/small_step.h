// A step small enough to follow by hand, for tests.
#pragma once

#include "workloads/workload.h"

namespace farscale {

inline StepTask gemm_task(Pass pass, int64_t m, int64_t gradient_bytes = 0) {
  StepTask task;
  task.pass = pass;
  task.kind = KernelClass::kLinear;
  task.gemm = {.m = m, .n = 100, .k = 100, .batch = 1, .type = NumberType::kBf16};
  task.flops = task.gemm.flops();
  task.gradient_bytes = gradient_bytes;
  return task;
}

inline StepTask memory_task(Pass pass, double bytes) {
  StepTask task;
  task.pass = pass;
  task.kind = pass == Pass::kOptimizer ? KernelClass::kOptimizer : KernelClass::kNorm;
  task.bytes = bytes;
  return task;
}

// Forward, two weight gradients with a bucket each, optimizer.
inline LoweredStep small_step() {
  LoweredStep step;
  step.tasks = {gemm_task(Pass::kForward, 20000), memory_task(Pass::kForward, 4e8),
                gemm_task(Pass::kWeightGradient, 40000, 4000000), gemm_task(Pass::kWeightGradient, 40000, 8000000),
                memory_task(Pass::kOptimizer, 2.8e8)};
  step.buckets = {{.bytes = 4000000, .ready_after = 2}, {.bytes = 8000000, .ready_after = 3}};
  step.collectives = {{.kind = CollectiveKind::kAllReduce,
                       .group = "dp",
                       .bytes = 800,
                       .count = 3,
                       .blocking = true,
                       .pass = Pass::kForward,
                       .reason = "statistics"},
                      {.kind = CollectiveKind::kAllGather,
                       .group = "tp",
                       .bytes = 800,
                       .count = 2,
                       .blocking = true,
                       .pass = Pass::kForward,
                       .reason = "tensor parallel"}};
  step.training_flops = step.executed_flops = 2e9;
  step.micro_batch = 2;
  return step;
}

}  // namespace farscale
