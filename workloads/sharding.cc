// What sharded states communicate: gathers of weights, sums across replicas, norms of gradients that no rank has whole.
#include <utility>

#include "workloads/parallel.h"

namespace farscale {
namespace {

struct Sharers {
  const char* group;
  int64_t ranks;
};

// Over whom a class of parameters is sharded.
Sharers sharers_of(const Layout& layout, bool expert) {
  const bool hybrid = layout.hsdp_shard > 0 && layout.hsdp_shard < replica_ranks(layout);
  return {expert && layout.ep > 1 ? "copies" : hybrid ? "shard" : "dp", shard_ranks(layout, expert)};
}

void gather(const Lowering& l, const Held& held, const StepCollective& like, LoweredStep& step) {
  for (const bool expert : {false, true}) {
    const Sharers sharers = sharers_of(l.layout(), expert);
    const auto bytes = static_cast<int64_t>((expert ? held.experts : held.dense) * l.compute_size);
    if (bytes == 0 || sharers.ranks == 1) continue;
    StepCollective& one = step.collectives.emplace_back(like);
    one.kind = CollectiveKind::kAllGather;
    one.group = sharers.group;
    one.ranks = sharers.ranks;
    one.bytes = bytes;
  }
}

}  // namespace

void add_sharding(const Lowering& l, const Held& trained, const std::vector<WeightUnit>& units, LoweredStep& step) {
  const Layout& layout = l.layout();
  if (layout.zero_stage == 0 || replica_ranks(layout) == 1) return;
  for (const WeightUnit& unit : units) {
    StepCollective one{.blocking = false, .reason = "weights of a unit", .before = unit.forward};
    gather(l, unit.held, one, step);
    if (unit.backward == TaskIndex::kNever) continue;
    one.pass = Pass::kDataGradient;
    one.before = unit.backward;
    gather(l, unit.held, one, step);
  }
  if (layout.zero_stage < 3) {
    gather(l, trained, {.pass = Pass::kOptimizer, .reason = "updated weights", .before = step.tasks.size()}, step);
  }
  const int64_t shards = shard_ranks(layout), replicas = replica_ranks(layout) / shards;
  for (Bucket& bucket : step.buckets) {
    bucket.kind = CollectiveKind::kReduceScatter;
    if (replicas == 1) continue;
    step.collectives.push_back({.kind = CollectiveKind::kAllReduce,
                                .group = "replica",
                                .bytes = bucket.bytes / shards,
                                .blocking = false,
                                .pass = Pass::kWeightGradient,
                                .reason = "gradients of a shard across replicas",
                                .before = step.tasks.size(),
                                .ranks = replicas});
  }
}

// Every rank of plain data parallelism has all gradients when their buckets are reduced; shards and parts of layers
// have their squares summed over those who hold the others.
void add_global_scalars(const Lowering& l, LoweredStep& step) {
  const Layout& layout = l.layout();
  const Sharers shards = sharers_of(layout, false);
  const std::pair<const char*, int64_t> groups[] = {{shards.group, layout.zero_stage > 0 ? shards.ranks : 1},
                                                    {"tp", layout.tp},
                                                    {"pp", layout.pp},
                                                    {"ep", layout.zero_stage > 0 ? 1 : layout.ep}};
  for (const auto& [group, ranks] : groups) {
    if (ranks == 1 || l.data.global_scalars == 0) continue;
    step.collectives.push_back({.kind = CollectiveKind::kAllReduce,
                                .group = group,
                                .bytes = sizeof(float),
                                .count = l.data.global_scalars,
                                .blocking = true,
                                .pass = Pass::kOptimizer,
                                .reason = "global scalar (gradient norm, overflow)",
                                .before = step.tasks.empty() ? 0 : step.tasks.size() - 1,
                                .ranks = ranks});
  }
}

}  // namespace farscale
