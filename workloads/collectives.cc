// What the layers of a step communicate, and the stages of a pipeline.
#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "workloads/parallel.h"

namespace farscale {
namespace {

class CollectiveWriter {
 public:
  CollectiveWriter(const Lowering& lowering, const TaskIndex& index, LoweredStep& step)
      : l_(lowering), index_(index), step_(step) {}

  void layer(int i) {
    const Layer& layer = l_.graph().layers[static_cast<size_t>(i)];
    const bool backward = l_.trains(layer);
    forward_at_ = index_.forward[static_cast<size_t>(i)];
    recompute_at_ = index_.recompute[static_cast<size_t>(i)];
    backward_at_ = index_.backward[static_cast<size_t>(i)];
    if (layer.op == Op::kNorm) batch_norm(layer, backward);
    if (l_.layout().tp > 1) tensor_parallel(layer, backward);
    if (l_.layout().cp > 1 && layer.op == Op::kAttention) context_parallel(layer, backward);
    if (l_.layout().ep > 1 && layer.expert) expert_parallel(layer, backward);
    const int64_t ranks = replica_ranks(l_.layout());
    if (layer.op == Op::kLoss && layer.blocking_scalar && ranks > 1) {
      add(CollectiveKind::kAllReduce, "dp", sizeof(float), Pass::kForward, true, "loss normaliser", ranks);
    }
  }

  // One message a chunk and pass, equal ones together.
  void pipeline(const std::vector<Border>& borders) {
    forward_at_ = 0;
    backward_at_ = step_.tasks.size();
    std::map<int64_t, int64_t> forward, backward;  // bytes of one -> messages
    for (const Border& border : borders) {
      ++forward[static_cast<int64_t>(border.forward_bytes)];
      ++backward[static_cast<int64_t>(border.backward_bytes)];
    }
    for (const auto& [pass, messages] : {std::pair{Pass::kForward, forward}, {Pass::kDataGradient, backward}}) {
      for (const auto& [bytes, count] : messages) {
        if (bytes > 0) add(CollectiveKind::kBroadcast, "pp", bytes, pass, false, "pipeline send", 2).count = count;
      }
    }
  }

  // Copies of the same parameters on several stages (tied embeddings) sum their gradients.
  void tied_weights(const StagePlan& stages) {
    std::map<int, std::vector<int>> holders;  // of each owner, the layers that are trained, one a stage
    for (const std::vector<int>& layers : stages.stages) {
      const std::vector<bool> holds = holders_of(l_.graph(), layers);
      for (int i : layers) {
        const Layer& layer = l_.graph().layers[static_cast<size_t>(i)];
        if (holds[static_cast<size_t>(i)] && !layer.frozen && l_.trains(layer)) {
          holders[owner_of(l_.graph(), i)].push_back(i);
        }
      }
    }
    backward_at_ = step_.tasks.empty() ? 0 : step_.tasks.size() - 1;
    for (const auto& [owner, copies] : holders) {
      if (copies.size() < 2) continue;
      const Layer& layer = l_.graph().layers[static_cast<size_t>(copies.front())];
      const auto bytes = static_cast<int64_t>(double(local_parameters(l_, layer)) * l_.gradient_size);
      add(CollectiveKind::kAllReduce, "pp", bytes, Pass::kOptimizer, true, "gradients of tied weights",
          static_cast<int64_t>(copies.size()));
    }
  }

 private:
  StepCollective& add(CollectiveKind kind, const std::string& group, int64_t bytes, Pass pass, bool blocking,
                      const char* reason, int64_t ranks) {
    const size_t before = pass == Pass::kForward     ? forward_at_
                          : pass == Pass::kRecompute ? recompute_at_
                                                     : backward_at_;
    step_.collectives.push_back({.kind = kind,
                                 .group = group,
                                 .bytes = bytes,
                                 .blocking = blocking,
                                 .pass = pass,
                                 .reason = reason,
                                 .before = before,
                                 .ranks = ranks});
    return step_.collectives.back();
  }

  // A collective of the forward pass is repeated where its layer is recomputed.
  void add_forward(CollectiveKind kind, const std::string& group, int64_t bytes, bool blocking, const char* reason,
                   int64_t ranks) {
    add(kind, group, bytes, Pass::kForward, blocking, reason, ranks);
    if (recompute_at_ != TaskIndex::kNever) add(kind, group, bytes, Pass::kRecompute, blocking, reason, ranks);
  }

  // PyTorch's SyncBatchNorm: mean, inverse deviation and count gathered from all ranks, two sums reduced on the way
  // back.
  void batch_norm(const Layer& layer, bool backward) {
    const bool wanted =
        layer.norm == NormKind::kSyncBatch || (layer.norm == NormKind::kBatch && l_.layout().sync_batch_norm);
    const int64_t ranks = replica_ranks(l_.layout());
    if (!wanted || layer.frozen || ranks == 1 || layer.no_grad) return;
    const int64_t channels = l_.graph().shape(layer.output).channels;
    add_forward(CollectiveKind::kAllGather, "dp", (2 * channels + 1) * int64_t{sizeof(float)} * ranks, true,
                "synchronised batch norm", ranks);
    if (!backward) return;
    add(CollectiveKind::kAllReduce, "dp", 2 * channels * int64_t{sizeof(float)}, Pass::kDataGradient, true,
        "synchronised batch norm", ranks);
  }

  // All rows of a tensor, as the ranks of a tensor parallel group hold them together.
  int64_t whole_bytes(int tensor) const {
    const Shape& shape = l_.graph().shape(tensor);
    return static_cast<int64_t>(double(local_rows(l_, shape).rows()) * double(shape.channels) * l_.activation_size);
  }

  void tensor_parallel(const Layer& layer, bool backward) {
    const int64_t tp = l_.layout().tp;
    const auto both = [&](CollectiveKind forward, CollectiveKind back, int64_t bytes) {
      add_forward(forward, "tp", bytes, true, "sequence parallel rows", tp);
      if (backward) add(back, "tp", bytes, Pass::kDataGradient, true, "sequence parallel rows", tp);
    };
    if (layer.split == Split::kColumn) {
      // Layers that read the same rows (q, k, v apart) gather them once.
      if (!gathered_.insert(layer.inputs[0]).second) return;
      const int64_t bytes = whole_bytes(layer.inputs[0]);
      both(CollectiveKind::kAllGather, CollectiveKind::kReduceScatter, bytes);
      // The weight gradient needs the rows again; it overlaps the data gradient (arXiv:2205.05198, section 4.2.2).
      if (backward) {
        add(CollectiveKind::kAllGather, "tp", bytes, Pass::kWeightGradient, false, "rows for the weight gradient", tp);
      }
    }
    if (layer.split == Split::kRow) {
      both(CollectiveKind::kReduceScatter, CollectiveKind::kAllGather, whole_bytes(layer.output));
    }
    if (layer.split == Split::kVocabulary && layer.op == Op::kEmbedding) {
      both(CollectiveKind::kReduceScatter, CollectiveKind::kAllGather, whole_bytes(layer.output));
    }
  }

  // Ring attention: every rank's keys and values pass by every other rank.
  void context_parallel(const Layer& layer, bool backward) {
    const Layout& layout = l_.layout();
    const AttentionSizes& a = layer.attention;
    if (a.sequences % layout.cp == 0) return;  // whole sequences stay on one rank
    const double heads = double(a.kv_heads) / double(layer.split == Split::kHeads ? layout.tp : 1);
    const auto bytes = static_cast<int64_t>(2.0 * double(a.keys) * double(a.sequences) * heads * double(a.head_dim) *
                                            double(l_.micro_batch) * l_.activation_size);
    add_forward(CollectiveKind::kAllGather, "cp", bytes, false, "keys and values", layout.cp);
    if (!backward) return;
    add(CollectiveKind::kAllGather, "cp", bytes, Pass::kDataGradient, false, "keys and values", layout.cp);
    add(CollectiveKind::kReduceScatter, "cp", bytes, Pass::kDataGradient, false, "gradients of keys and values",
        layout.cp);
  }

  // Tokens go to their experts before the first and come back after the second layer of the experts.
  void expert_parallel(const Layer& layer, bool backward) {
    const bool first = layer.name.ends_with("fc1");
    const int64_t bytes = whole_bytes(first ? layer.inputs[0] : layer.output);
    const char* reason = first ? "tokens to experts" : "tokens from experts";
    add_forward(CollectiveKind::kAllToAll, "ep", bytes, true, reason, l_.layout().ep);
    if (backward) add(CollectiveKind::kAllToAll, "ep", bytes, Pass::kDataGradient, true, reason, l_.layout().ep);
  }

  const Lowering& l_;
  const TaskIndex& index_;
  LoweredStep& step_;
  std::set<int> gathered_;
  size_t forward_at_ = 0, recompute_at_ = TaskIndex::kNever, backward_at_ = 0;
};

// The weights of each block, gathered whenever it runs: also when it runs once more with shared ones.
std::vector<WeightUnit> weight_units(const Lowering& l, const std::vector<int>& layers, const TaskIndex& index) {
  std::vector<WeightUnit> units;
  std::set<int> owners;
  for (size_t at = 0; at < layers.size(); ++at) {
    const auto i = static_cast<size_t>(layers[at]);
    const Layer& layer = l.graph().layers[i];
    if (at == 0 || layer.block != l.graph().layers[static_cast<size_t>(layers[at - 1])].block) {
      units.push_back({.forward = index.forward[i]});
      owners.clear();
    }
    WeightUnit& unit = units.back();
    if (!layer.parameters.empty() && owners.insert(owner_of(l.graph(), layers[at])).second) {
      (l.spread(layer) ? unit.held.experts : unit.held.dense) += double(local_parameters(l, layer));
    }
    // A block that is recomputed needs its weights for that already, and keeps them for its backward pass.
    const size_t backward = l.trains(layer) ? index.backward[i] : TaskIndex::kNever;
    unit.backward = std::min({unit.backward, index.recompute[i], backward});
  }
  return units;
}

}  // namespace

void add_collectives(const Lowering& lowering, const std::vector<int>& layers, const StagePlan& stages,
                     const TaskIndex& index, LoweredStep& step) {
  CollectiveWriter writer(lowering, index, step);
  for (int i : layers) writer.layer(i);
  if (lowering.layout().pp > 1) {
    writer.pipeline(stages.borders[stages.slowest()]);
    writer.tied_weights(stages);
  }
  const bool gathers = lowering.layout().zero_stage == 3;
  add_sharding(lowering, held_parameters(lowering, layers, true),
               gathers ? weight_units(lowering, layers, index) : std::vector<WeightUnit>{}, step);
  add_global_scalars(lowering, step);
}

}  // namespace farscale
