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

// The most parameters of one block.
double largest_block(const Lowering& l, const std::vector<int>& layers) {
  double largest = 0;
  std::map<int, double> blocks;
  for (int i : layers) {
    const Layer& layer = l.graph().layers[static_cast<size_t>(i)];
    if (l.holds(layer)) largest = std::max(largest, blocks[layer.block] += double(local_parameters(l, layer)));
  }
  return largest;
}

// Tensors kept from forward to backward, each once; a checkpointed block keeps its inputs and, while it is recomputed,
// its own tensors.
class SavedTensors {
 public:
  explicit SavedTensors(const Lowering& lowering)
      : l_(lowering), kept_(lowering.graph().tensors.size(), false), inside_(kept_) {}

  void add(const Layer& layer) {
    const bool checkpoint = l_.checkpoints(layer);
    for (int tensor : saved_tensors(layer)) {
      if (!recomputed(layer, tensor)) keep(tensor, checkpoint ? layer.block : -1);
    }
    if (!checkpoint) return;
    for (int tensor : layer.inputs) {
      const Layer* producer = l_.producer(tensor);
      if (producer == nullptr || producer->block != layer.block) keep(tensor, -1);
    }
  }

  double bytes() const { return outside_bytes_ + largest_block_; }

 private:
  static bool is_view(const Layer& layer) {
    return layer.op == Op::kCombine && (layer.combine == CombineKind::kView || layer.combine == CombineKind::kSlice);
  }

  // A fused activation finds its input again from what the norm or the weighted sum before it keeps.
  bool recomputed(const Layer& layer, int tensor) const {
    if (!l_.options.fused || layer.op != Op::kActivation || tensor == layer.output) return false;
    const Layer* producer = l_.producer(tensor);
    if (producer == nullptr || l_.graph().tensors[static_cast<size_t>(tensor)].consumers > 1) return false;
    return producer->op == Op::kNorm ||
           (producer->op == Op::kCombine && producer->combine == CombineKind::kWeightedSum);
  }

  // The tensor whose memory is kept for this one: what a view looks at, what a fused resize reads.
  int stored(int tensor) const {
    const Layer* producer = l_.producer(tensor);
    while (producer != nullptr && (is_view(*producer) || (l_.options.fused && producer->op == Op::kResize &&
                                                          producer->resize == ResizeKind::kInterpolate))) {
      tensor = producer->inputs[0];
      producer = l_.producer(tensor);
    }
    return tensor;
  }

  void keep(int tensor, int checkpointed_block) {
    tensor = stored(tensor);
    const Layer* producer = l_.producer(tensor);
    if (kept_[static_cast<size_t>(tensor)] || (producer != nullptr && producer->op == Op::kParameter)) return;
    if (producer != nullptr && producer->block == checkpointed_block) {
      if (inside_[static_cast<size_t>(tensor)]) return;
      inside_[static_cast<size_t>(tensor)] = true;
      largest_block_ = std::max(largest_block_, blocks_[checkpointed_block] += local_bytes(l_, tensor));
      return;
    }
    kept_[static_cast<size_t>(tensor)] = true;
    outside_bytes_ += local_bytes(l_, tensor);
  }

  const Lowering& l_;
  std::vector<bool> kept_, inside_;
  std::map<int, double> blocks_;
  double outside_bytes_ = 0, largest_block_ = 0;
};

double saved_bytes(const Lowering& l, const std::vector<int>& layers) {
  SavedTensors saved(l);
  for (int i : layers) {
    const Layer& layer = l.graph().layers[static_cast<size_t>(i)];
    if (l.trains(layer)) saved.add(layer);
  }
  return saved.bytes();
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

double state_bytes(const Lowering& l, const Held& all, const Held& trained, double largest_unit) {
  const double stored = bytes_per_element(l.data.types.parameters);
  const int zero = l.layout().zero_stage;
  const auto shared = [&](const Held& held, int from) { return zero >= from ? held.sharded(l.layout()) : held.all(); };
  double weights = shared(all, 3) * stored;
  // Mixed precision keeps a copy of the weights in the compute type; sharding keeps two gathered units instead.
  if (zero >= 3) {
    weights += 2 * largest_unit * l.compute_size;
  } else if (l.compute_size < stored) {
    weights += all.all() * l.compute_size;
  }
  return weights + shared(trained, 2) * l.gradient_size + shared(trained, 1) * optimizer_state_bytes(l.data);
}

void add_memory(const Lowering& lowering, const StagePlan& stages, LoweredStep& step) {
  Lowering own = lowering;
  for (size_t stage = 0; stage < stages.stages.size(); ++stage) {
    const std::vector<int>& layers = stages.stages[stage];
    own.holders = holders_of(lowering.graph(), layers);
    const double saved = saved_bytes(lowering, layers);
    const double total = state_bytes(own, held_parameters(own, layers, false), held_parameters(own, layers, true),
                                     largest_block(own, layers)) +
                         saved * (lowering.layout().pp > 1 ? in_flight(lowering.layout(), stage) : 1) +
                         working_bytes(lowering, layers);
    step.memory_bytes = std::max(step.memory_bytes, total);
    step.activation_bytes = std::max(step.activation_bytes, saved);
  }
}

}  // namespace farscale
