// What one GPU holds at the peak of a step: weights, gradients, optimizer state, saved activations, and the largest
// layer's working set. Allocator, context and workspaces come on top and are not in here.
#include <algorithm>
#include <map>

#include "workloads/parallel.h"

namespace farscale {
namespace {

double optimizer_state_bytes(const Workload::Data& data) {
  const double master = bytes_per_element(data.types.parameters) < 4 ? 4 : 0;  // fp32 copy of 16-bit weights
  switch (data.optimizer) {
    case OptimizerKind::kSgd:
      return master;
    case OptimizerKind::kMomentum:
      return 4 + master;
    case OptimizerKind::kAdam:
    case OptimizerKind::kLamb:
      return 8 + master;
  }
  return 8 + master;
}

double state_bytes(const Lowering& l, const std::vector<int>& layers) {
  double parameters = 0, trainable = 0, largest_block = 0;
  std::map<int, double> blocks;
  for (int i : layers) {
    const Layer& layer = l.graph().layers[static_cast<size_t>(i)];
    if (layer.shared_with >= 0) continue;
    const double count = double(local_parameters(l, layer));
    parameters += count;
    if (!layer.frozen && l.trains(layer)) trainable += count;
    largest_block = std::max(largest_block, blocks[layer.block] += count);
  }
  const Workload::Data& data = l.data;
  const double shards = double(shard_ranks(l.layout()));
  const int zero = l.layout().zero_stage;
  const double stored = bytes_per_element(data.types.parameters);
  double weights = parameters * stored / (zero >= 3 ? shards : 1);
  // Mixed precision keeps a copy of the weights in the compute type; sharding keeps two gathered units instead.
  if (zero >= 3) {
    weights += 2 * largest_block * l.compute_size;
  } else if (l.compute_size < stored) {
    weights += parameters * l.compute_size;
  }
  return weights + trainable * l.gradient_size / (zero >= 2 ? shards : 1) +
         trainable * optimizer_state_bytes(data) / (zero >= 1 ? shards : 1);
}

// Tensors kept from forward to backward, each once; a checkpointed block keeps its inputs and, while it is recomputed,
// its own tensors.
double saved_bytes(const Lowering& l, const std::vector<int>& layers) {
  const Graph& graph = l.graph();
  std::vector<bool> kept(graph.tensors.size(), false);
  double kept_bytes = 0, largest_block = 0;
  std::map<int, double> blocks;
  for (int i : layers) {
    const Layer& layer = graph.layers[static_cast<size_t>(i)];
    if (!l.trains(layer)) continue;
    const bool checkpoint = graph.blocks[static_cast<size_t>(layer.block)].checkpoint;
    std::vector<int> tensors = saved_tensors(layer);
    if (checkpoint) tensors.insert(tensors.end(), layer.inputs.begin(), layer.inputs.end());
    for (int tensor : tensors) {
      if (kept[static_cast<size_t>(tensor)]) continue;
      const Layer* producer = l.producer(tensor);
      if (producer != nullptr && producer->op == Op::kParameter) continue;
      // Views are the tensor they look at.
      if (producer != nullptr && producer->op == Op::kCombine &&
          (producer->combine == CombineKind::kView || producer->combine == CombineKind::kSlice)) {
        tensor = producer->inputs[0];
        if (kept[static_cast<size_t>(tensor)]) continue;
        producer = l.producer(tensor);
      }
      kept[static_cast<size_t>(tensor)] = true;
      const bool inside = checkpoint && producer != nullptr && producer->block == layer.block;
      if (inside) {
        largest_block = std::max(largest_block, blocks[layer.block] += local_bytes(l, tensor));
      } else {
        kept_bytes += local_bytes(l, tensor);
      }
    }
  }
  return kept_bytes + largest_block;
}

double working_bytes(const Lowering& l, const std::vector<int>& layers) {
  double largest = 0;
  for (int i : layers) {
    const Layer& layer = l.graph().layers[static_cast<size_t>(i)];
    double bytes = local_bytes(l, layer.output);
    for (int x : layer.inputs) bytes += local_bytes(l, x);
    largest = std::max(largest, bytes);
  }
  return largest;
}

// Micro-batches whose activations a stage holds: 1F1B keeps pp - stage of them; interleaving adds the share of the
// extra chunks, (pp - 1) / (pp x chunks) (Narayanan et al., arXiv:2104.04473).
double in_flight(const Layout& layout, size_t stage) {
  const double waiting = double(layout.pp) - double(stage);
  const double extra = layout.interleave > 1 ? 1 + double(layout.pp - 1) / double(layout.pp * layout.interleave) : 1;
  return std::min(waiting * extra, double(std::max<int64_t>(layout.accumulation, 1)));
}

}  // namespace

void add_memory(const Lowering& lowering, const StagePlan& stages, LoweredStep& step) {
  for (size_t stage = 0; stage < stages.stages.size(); ++stage) {
    const std::vector<int>& layers = stages.stages[stage];
    const double saved = saved_bytes(lowering, layers);
    const double total = state_bytes(lowering, layers) +
                         saved * (lowering.layout().pp > 1 ? in_flight(lowering.layout(), stage) : 1) +
                         working_bytes(lowering, layers);
    step.memory_bytes = std::max(step.memory_bytes, total);
    step.activation_bytes = std::max(step.activation_bytes, saved);
  }
}

}  // namespace farscale
