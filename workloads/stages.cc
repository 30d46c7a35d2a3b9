// Pipeline stages.
#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "kernels/error.h"
#include "workloads/parallel.h"

namespace farscale {
namespace {

struct BlockLayers {
  std::vector<int> layers;
  double cost = 0;
};

// What a task takes on no GPU in particular, in FLOPs at the dense rate: its FLOPs at the share of it that kernels of
// its class attain (assumptions of cluster/efficiency.toml, rounded), or its bytes where moving them takes longer.
double typical_cost(const StepTask& task) {
  // Dense bf16 FLOPs a byte of memory traffic of the data sheets: 153 (A100 80 GB), 295 (H100 SXM), 281 (B200).
  constexpr double kBalance = 250;
  const auto share = [&] {
    switch (task.kind) {
      case KernelClass::kConvolution:
        return 0.6;
      case KernelClass::kGroupedConvolution:
        return 0.2;
      case KernelClass::kAttention:
        return 0.5;
      default:
        return 0.75;
    }
  };
  const double moved = task.kind == KernelClass::kGather ? 0.35 : 0.85;
  return std::max(task.flops / share(), task.bytes * kBalance / moved);
}

bool multiplies(const Layer& layer) {
  return layer.op == Op::kConvolution || layer.op == Op::kDepthwise || layer.op == Op::kLinear ||
         layer.op == Op::kAttention;
}

// Blocks that stages are made of. One that multiplies nothing (a loss, a sum, learned queries) stays with the block
// before it: a stage of a loss alone would have the logits sent to it.
std::vector<BlockLayers> blocks_of(const Lowering& lowering) {
  std::vector<BlockLayers> blocks, merged;
  int last = -1;
  for (size_t i = 0; i < lowering.graph().layers.size(); ++i) {
    const Layer& layer = lowering.graph().layers[i];
    if (layer.block != last) blocks.emplace_back();
    last = layer.block;
    blocks.back().layers.push_back(static_cast<int>(i));
  }
  for (BlockLayers& block : blocks) {
    const bool begins = merged.empty() || std::any_of(block.layers.begin(), block.layers.end(), [&](int i) {
                          return multiplies(lowering.graph().layers[static_cast<size_t>(i)]);
                        });
    if (begins) merged.emplace_back();
    merged.back().layers.insert(merged.back().layers.end(), block.layers.begin(), block.layers.end());
  }
  return merged;
}

double layer_cost(const Lowering& lowering, const Layer& layer, const std::function<double(const StepTask&)>& cost) {
  std::vector<StepTask> tasks;
  emit_forward(lowering, layer, Pass::kForward, tasks);
  if (!layer.no_grad && lowering.checkpoints(layer)) emit_forward(lowering, layer, Pass::kRecompute, tasks);
  emit_backward(lowering, layer, tasks);
  double sum = 0;
  for (const StepTask& task : tasks) sum += cost(task);
  return sum;
}

std::vector<double> costs_of(const Lowering& lowering, const std::function<double(const StepTask&)>& cost) {
  std::vector<double> costs;
  for (const BlockLayers& block : blocks_of(lowering)) {
    costs.push_back(0);
    for (int i : block.layers) {
      costs.back() += layer_cost(lowering, lowering.graph().layers[static_cast<size_t>(i)], cost);
    }
  }
  return costs;
}

std::vector<BlockLayers> weighed_blocks(const Lowering& lowering) {
  const std::vector<double>& given = lowering.options.block_costs;
  const std::vector<double> costs = given.empty() ? costs_of(lowering, typical_cost) : given;
  std::vector<BlockLayers> blocks = blocks_of(lowering);
  if (costs.size() != blocks.size()) {
    throw InputError(fmt::format("{}: {} block costs for {} blocks", lowering.data.name, costs.size(), blocks.size()));
  }
  for (size_t i = 0; i < blocks.size(); ++i) blocks[i].cost = costs[i];
  return blocks;
}

// Chunks that cost at most `most` each, cut where the blocks allow; the count says whether `most` is enough.
std::vector<size_t> cut(const std::vector<BlockLayers>& blocks, double most, size_t chunks) {
  std::vector<size_t> ends;
  double sum = 0;
  for (size_t i = 0; i < blocks.size(); ++i) {
    const bool must = blocks.size() - i == chunks - ends.size() - 1 && i > 0;  // one block for every chunk left
    if (i > 0 && (must || sum + blocks[i].cost > most) && (ends.empty() || ends.back() < i)) {
      ends.push_back(i);
      sum = 0;
    }
    sum += blocks[i].cost;
  }
  ends.push_back(blocks.size());
  return ends;
}

// The contiguous cut with the smallest largest chunk, by bisection.
std::vector<size_t> balanced_cut(const std::vector<BlockLayers>& blocks, size_t chunks) {
  double low = 0, high = 0;
  for (const BlockLayers& block : blocks) {
    low = std::max(low, block.cost);
    high += block.cost;
  }
  for (int i = 0; i < 60 && high - low > 1e-9 * high; ++i) {
    const double middle = (low + high) / 2;
    (cut(blocks, middle, chunks).size() <= chunks ? high : low) = middle;
  }
  return cut(blocks, high, chunks);
}

// The tensor that a view shows.
int viewed(const Lowering& lowering, int tensor) {
  const Layer* producer = lowering.producer(tensor);
  while (producer != nullptr && producer->op == Op::kCombine && producer->combine == CombineKind::kView) {
    tensor = producer->inputs[0];
    producer = lowering.producer(tensor);
  }
  return tensor;
}

// The border before each layer. Inputs of the network are read by every stage from storage.
std::vector<Border> borders_of(const Lowering& lowering) {
  const Graph& graph = lowering.graph();
  std::vector<int> last_reader(graph.tensors.size(), -1);
  for (size_t i = 0; i < graph.layers.size(); ++i) {
    for (int x : graph.layers[i].inputs) last_reader[static_cast<size_t>(viewed(lowering, x))] = static_cast<int>(i);
  }
  std::vector<Border> borders(graph.layers.size() + 1);
  for (size_t t = 0; t < graph.tensors.size(); ++t) {
    const int producer = graph.tensors[t].producer, tensor = static_cast<int>(t);
    if (producer < 0 || last_reader[t] <= producer) continue;
    const double bytes = local_bytes(lowering, tensor);
    for (int i = producer + 1; i <= last_reader[t]; ++i) {
      borders[static_cast<size_t>(i)].forward_bytes += bytes;
      if (lowering.flows_to(tensor)) borders[static_cast<size_t>(i)].backward_bytes += bytes;
    }
  }
  return borders;
}

}  // namespace

size_t StagePlan::slowest() const {
  return static_cast<size_t>(std::max_element(costs.begin(), costs.end()) - costs.begin());
}

std::vector<double> block_costs(const Workload& workload, const LoweringOptions& options,
                                const std::function<double(const StepTask&)>& cost) {
  if (workload.data().summary.used) return {};
  const Lowering lowering = start_lowering(workload, options);
  check_layout(lowering);
  return costs_of(lowering, cost);
}

StagePlan plan_stages(const Lowering& lowering) {
  const Layout& layout = lowering.layout();
  StagePlan plan;
  plan.stages.resize(static_cast<size_t>(layout.pp));
  plan.costs.resize(plan.stages.size(), 0);
  plan.borders.resize(plan.stages.size());
  if (layout.pp == 1) {
    plan.stages[0].resize(lowering.graph().layers.size());
    std::iota(plan.stages[0].begin(), plan.stages[0].end(), 0);
    return plan;
  }
  const std::vector<BlockLayers> blocks = weighed_blocks(lowering);
  const auto chunks = static_cast<size_t>(layout.pp * layout.interleave);
  if (blocks.size() < chunks) {
    throw InputError(fmt::format("{}: {} blocks cannot make {} pipeline stages x {} chunks", lowering.data.name,
                                 blocks.size(), layout.pp, layout.interleave));
  }
  const std::vector<size_t> ends = balanced_cut(blocks, chunks);
  const std::vector<Border> borders = borders_of(lowering);
  size_t block = 0;
  for (size_t chunk = 0; chunk < ends.size(); ++chunk) {
    const size_t stage = chunk % plan.stages.size();  // interleaving deals chunks out in turn
    const auto before = static_cast<size_t>(blocks[block].layers.front());
    for (; block < ends[chunk]; ++block) {
      plan.costs[stage] += blocks[block].cost;
      plan.stages[stage].insert(plan.stages[stage].end(), blocks[block].layers.begin(), blocks[block].layers.end());
    }
    const bool last = chunk + 1 == ends.size();
    plan.borders[stage].push_back(borders[last ? before : static_cast<size_t>(blocks[block].layers.front())]);
  }
  return plan;
}

}  // namespace farscale
