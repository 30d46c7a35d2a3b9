// How a layout spreads a network: pipeline stages, sharding units, the collectives of each kind of parallelism, and
// what one GPU then holds.
#pragma once

#include <vector>

#include "workloads/lowering.h"

namespace farscale {

// What crosses from one chunk of a pipeline to the next in a micro-batch, as one GPU sends it: every tensor made before
// the border and read behind it; on the way back, the gradients of those that have one.
struct Border {
  double forward_bytes = 0;
  double backward_bytes = 0;
};

// Layers of each pipeline stage in execution order. With interleaving a stage owns several chunks.
struct StagePlan {
  std::vector<std::vector<int>> stages;
  std::vector<double> costs;                 // per stage, as LoweringOptions::block_costs
  std::vector<std::vector<Border>> borders;  // of each stage, behind each of its chunks; before the network's last one
  size_t slowest() const;
};
StagePlan plan_stages(const Lowering& lowering);

// Ranks that parameters, gradients and optimizer state are sharded over: dp and cp, or the HSDP shard.
int64_t shard_ranks(const Layout& layout);
// Ranks that hold the same parameters: gradients are summed over them.
int64_t replica_ranks(const Layout& layout);

// FSDP reduces one unit (block) at a time: buckets of the tensors of each block.
std::vector<BucketPlan> plan_units(const Lowering& lowering, const std::vector<ReadyGradient>& ready);

// First task of each layer in the forward pass, when it is recomputed (kNever: it is not) and in the backward pass, by
// layer index.
struct TaskIndex {
  static constexpr size_t kNever = ~size_t{0};
  std::vector<size_t> forward;
  std::vector<size_t> recompute;
  std::vector<size_t> backward;
};

void add_collectives(const Lowering& lowering, const std::vector<int>& layers, const StagePlan& stages,
                     const TaskIndex& index, LoweredStep& step);
void add_memory(const Lowering& lowering, const StagePlan& stages, LoweredStep& step);

// A network known by its totals, as a chain of equal square linear layers of the same FLOPs and parameters.
LoweredStep lower_summary(const Lowering& lowering);

}  // namespace farscale
