// Pipeline stages and sharding units.
#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "kernels/error.h"
#include "workloads/parallel.h"

namespace farscale {
namespace {

struct BlockLayers {
  std::vector<int> layers;
  double flops = 0;
};

std::vector<BlockLayers> blocks_of(const Lowering& lowering) {
  std::vector<BlockLayers> blocks;
  int last = -1;
  for (size_t i = 0; i < lowering.graph().layers.size(); ++i) {
    const Layer& layer = lowering.graph().layers[i];
    if (layer.block != last) blocks.emplace_back();
    last = layer.block;
    blocks.back().layers.push_back(static_cast<int>(i));
    blocks.back().flops += forward_flops(lowering.graph(), layer);
  }
  return blocks;
}

// Chunks that hold at most `most` FLOPs each, cut where the blocks allow; the count says whether `most` is enough.
std::vector<size_t> cut(const std::vector<BlockLayers>& blocks, double most, size_t chunks) {
  std::vector<size_t> ends;
  double sum = 0;
  for (size_t i = 0; i < blocks.size(); ++i) {
    const bool must = blocks.size() - i == chunks - ends.size() - 1 && i > 0;  // one block for every chunk left
    if (i > 0 && (must || sum + blocks[i].flops > most) && (ends.empty() || ends.back() < i)) {
      ends.push_back(i);
      sum = 0;
    }
    sum += blocks[i].flops;
  }
  ends.push_back(blocks.size());
  return ends;
}

// The contiguous cut with the smallest largest chunk, by bisection.
std::vector<size_t> balanced_cut(const std::vector<BlockLayers>& blocks, size_t chunks) {
  double low = 0, high = 0;
  for (const BlockLayers& block : blocks) {
    low = std::max(low, block.flops);
    high += block.flops;
  }
  for (int i = 0; i < 60 && high - low > 1e-9 * high; ++i) {
    const double middle = (low + high) / 2;
    (cut(blocks, middle, chunks).size() <= chunks ? high : low) = middle;
  }
  return cut(blocks, high, chunks);
}

}  // namespace

size_t StagePlan::heaviest_stage() const {
  return static_cast<size_t>(std::max_element(flops.begin(), flops.end()) - flops.begin());
}

StagePlan plan_stages(const Lowering& lowering) {
  const Layout& layout = lowering.layout();
  StagePlan plan;
  plan.stages.resize(static_cast<size_t>(layout.pp));
  plan.flops.resize(plan.stages.size(), 0);
  if (layout.pp == 1) {
    plan.stages[0].resize(lowering.graph().layers.size());
    std::iota(plan.stages[0].begin(), plan.stages[0].end(), 0);
    return plan;
  }
  const std::vector<BlockLayers> blocks = blocks_of(lowering);
  const auto chunks = static_cast<size_t>(layout.pp * layout.interleave);
  if (blocks.size() < chunks) {
    throw InputError(fmt::format("{}: {} blocks cannot make {} pipeline stages x {} chunks", lowering.data.name,
                                 blocks.size(), layout.pp, layout.interleave));
  }
  const std::vector<size_t> ends = balanced_cut(blocks, chunks);
  size_t block = 0;
  for (size_t chunk = 0; chunk < ends.size(); ++chunk) {
    const size_t stage = chunk % plan.stages.size();  // interleaving deals chunks out in turn
    for (; block < ends[chunk]; ++block) {
      plan.flops[stage] += blocks[block].flops;
      plan.stages[stage].insert(plan.stages[stage].end(), blocks[block].layers.begin(), blocks[block].layers.end());
    }
    if (chunk + 1 == ends.size()) break;
    const Layer& border = lowering.graph().layers[static_cast<size_t>(blocks[block - 1].layers.back())];
    plan.boundary_elements = std::max(plan.boundary_elements, lowering.graph().shape(border.output).elements());
  }
  return plan;
}

int64_t replica_ranks(const Layout& layout) { return layout.dp * layout.cp; }

int64_t shard_ranks(const Layout& layout) { return layout.hsdp_shard > 0 ? layout.hsdp_shard : replica_ranks(layout); }

std::vector<BucketPlan> plan_units(const Lowering& lowering, const std::vector<ReadyGradient>& ready) {
  std::vector<BucketPlan> plan;
  int last = -1;
  for (size_t i = 0; i < ready.size(); ++i) {
    const int block = lowering.graph().layers[static_cast<size_t>(ready[i].layer)].block;
    if (plan.empty() || block != last) plan.push_back({});
    last = block;
    plan.back().elements += ready[i].elements;
    plan.back().last = i;
  }
  return plan;
}

}  // namespace farscale
