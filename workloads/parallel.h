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

// The layer whose parameters layer `i` uses.
int owner_of(const Graph& graph, int i);
// Layers that hold parameters on a stage of these layers: the owner, or where that is on another stage, the first that
// shares them and is trained: the stage has a copy of its own.
std::vector<bool> holders_of(const Graph& graph, const std::vector<int>& layers);

// Ranks that hold the same parameters: gradients are summed over them. Experts are spread over ep of them.
int64_t replica_ranks(const Layout& layout, bool expert = false);
// Ranks that parameters, gradients and optimizer state are sharded over: the replicas, or the HSDP shard.
int64_t shard_ranks(const Layout& layout, bool expert = false);

// Parameters of one GPU before sharding, without and with experts.
struct Held {
  double dense = 0, experts = 0;
  double all() const { return dense + experts; }
  double sharded(const Layout& layout) const {
    return dense / double(shard_ranks(layout)) + experts / double(shard_ranks(layout, true));
  }
};
Held held_parameters(const Lowering& lowering, const std::vector<int>& layers, bool trained_only);

// First task of each layer in the forward pass, when it is recomputed (kNever: it is not) and in the backward pass, by
// layer index.
struct TaskIndex {
  static constexpr size_t kNever = ~size_t{0};
  std::vector<size_t> forward;
  std::vector<size_t> recompute;
  std::vector<size_t> backward;
};

// Weights that are gathered together, and the tasks that need them first.
struct WeightUnit {
  Held held;
  size_t forward = 0;
  size_t backward = TaskIndex::kNever;  // kNever: it has no backward pass
};
// ZeRO and FSDP: gradients are scattered, weights gathered; HSDP sums the shards' gradients across replicas.
void add_sharding(const Lowering& lowering, const Held& trained, const std::vector<WeightUnit>& units,
                  LoweredStep& step);
// The gradient norm and other scalars of gradients that no rank has whole.
void add_global_scalars(const Lowering& lowering, LoweredStep& step);
void add_collectives(const Lowering& lowering, const std::vector<int>& layers, const StagePlan& stages,
                     const TaskIndex& index, LoweredStep& step);

void add_optimizer(const Lowering& lowering, const Held& trained, LoweredStep& step);
// Weights, gradients and optimizer state of one GPU; the largest unit is what ZeRO-3 gathers at once.
double state_bytes(const Lowering& lowering, const Held& all, const Held& trained, double largest_unit);
void add_memory(const Lowering& lowering, const StagePlan& stages, LoweredStep& step);

// A network known by its totals, as a chain of equal square linear layers of the same FLOPs and parameters.
LoweredStep lower_summary(const Lowering& lowering);

}  // namespace farscale
