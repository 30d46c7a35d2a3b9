// Who holds which parameters: owners and copies on a pipeline stage, replicas and shards over ranks.
#include <map>

#include "workloads/parallel.h"

namespace farscale {

int owner_of(const Graph& graph, int i) {
  while (graph.layers[static_cast<size_t>(i)].shared_with >= 0) i = graph.layers[static_cast<size_t>(i)].shared_with;
  return i;
}

std::vector<bool> holders_of(const Graph& graph, const std::vector<int>& layers) {
  std::map<int, int> holder;  // of each owner
  for (int i : layers) {
    const Layer& layer = graph.layers[static_cast<size_t>(i)];
    if (layer.parameters.empty()) continue;
    const int owner = owner_of(graph, i);
    const auto [found, first] = holder.emplace(owner, i);
    if (first || i == owner) found->second = i;
    const bool trained = !graph.layers[static_cast<size_t>(found->second)].no_grad;
    if (!trained && !layer.no_grad) found->second = i;
  }
  std::vector<bool> holds(graph.layers.size(), false);
  for (const auto& [owner, i] : holder) holds[static_cast<size_t>(i)] = true;
  return holds;
}

int64_t replica_ranks(const Layout& layout, bool expert) { return layout.dp * layout.cp / (expert ? layout.ep : 1); }

int64_t shard_ranks(const Layout& layout, bool expert) {
  return layout.hsdp_shard > 0 ? layout.hsdp_shard : replica_ranks(layout, expert);
}

Held held_parameters(const Lowering& lowering, const std::vector<int>& layers, bool trained_only) {
  Held held;
  for (int i : layers) {
    const Layer& layer = lowering.graph().layers[static_cast<size_t>(i)];
    if (!lowering.holds(layer) || (trained_only && (layer.frozen || !lowering.trains(layer)))) continue;
    (lowering.spread(layer) ? held.experts : held.dense) += double(local_parameters(lowering, layer));
  }
  return held;
}

}  // namespace farscale
