// Ring, tree, switch and fitted curves.
#include "cluster/collective_model.h"

#include <algorithm>
#include <cmath>

#include "kernels/problem.h"

namespace farscale {
namespace {

// What a group sees of the links: bandwidths and hops after the spine and the choice of cards.
struct Path {
  double ranks, domains;
  double ring_bytes_per_s;    // flat ring through every domain
  double switch_bytes_per_s;  // reduction in the switch, tree across domains
  double network_hop_s;
};

Path path_of(const LinkValues& links, const Group& group) {
  Path path{.ranks = double(group.ranks),
            .domains = double(group.domains()),
            .ring_bytes_per_s = links.ring_bytes_per_s,
            .switch_bytes_per_s = links.switch_bytes_per_s,
            .network_hop_s = links.network_hop_s};
  if (group.domains() == 1) return path;
  const bool spine = links.pod_ranks > 0 && group.ranks > links.pod_ranks;
  const double cards = std::min(double(group.per_domain), links.network_channels);
  const double across = links.network_bytes_per_s * cards / (spine ? links.spine_divisor : 1);
  if (spine) path.network_hop_s *= links.spine_hop_factor;
  path.ring_bytes_per_s = group.per_domain == 1 ? across : std::min(path.ring_bytes_per_s, across);
  // Two domains exchange in both directions of a card at once (tuning.cc: twice the rate for two nodes).
  path.switch_bytes_per_s = std::min(path.switch_bytes_per_s, group.domains() == 2 ? 2 * across : across);
  return path;
}

struct Protocol {
  std::string_view ring, tree;
  double hop, share;
};

// Ring: every hop inside domains and between them, `rounds` times round (2 for an all-reduce).
CostLine ring(std::string_view name, const LinkValues& links, const Path& path, double rounds,
              const Protocol& protocol) {
  const double hops_s = (path.ranks - path.domains) * links.scale_up_hop_s * protocol.hop +
                        (path.domains - 1) * path.network_hop_s * protocol.hop;
  const double wire = rounds * (path.ranks - 1) / path.ranks;
  return {name, links.base_s + rounds * hops_s, wire / (path.ring_bytes_per_s * protocol.share)};
}

// Double binary tree across domains, a chain inside each; every rank sends the data twice.
CostLine tree(std::string_view name, const LinkValues& links, const Path& path, const Protocol& protocol) {
  const double inside = path.ranks / path.domains - 1;
  const double depth = std::floor(std::log2(path.domains));
  const double hops_s = inside * links.scale_up_hop_s * protocol.hop + depth * path.network_hop_s * protocol.hop;
  return {name, links.base_s + 2 * hops_s, 2 / (path.ring_bytes_per_s * links.tree_share * protocol.share)};
}

void add_all_reduce(CollectiveCost& cost, const LinkValues& links, const Path& path) {
  const Protocol simple{"ring", "tree", 1, 1};
  const Protocol fast{"ring, low latency", "tree, low latency", links.low_latency_hop, links.low_latency_share};
  for (const Protocol& protocol : {simple, fast}) {
    cost.add(ring(protocol.ring, links, path, 2, protocol));
    cost.add(tree(protocol.tree, links, path, protocol));
  }
  if (path.switch_bytes_per_s > 0) {
    const double depth = std::floor(std::log2(path.domains));
    const double wire = 2 * (path.ranks - 1) / path.ranks;
    cost.add({path.domains > 1 ? "switch and tree" : "switch",
              links.switch_base_s + 2 * depth * 1.5 * path.network_hop_s, wire / path.switch_bytes_per_s});
  }
}

// Reduce-scatter, all-gather, broadcast: no tree in the library, only rings, and the switch inside one domain.
void add_one_way(CollectiveCost& cost, CollectiveKind kind, const LinkValues& links, const Path& path) {
  const Protocol simple{"ring", "", 1, 1};
  const Protocol fast{"ring, low latency", "", links.low_latency_hop, links.low_latency_share};
  for (const Protocol& protocol : {simple, fast}) {
    CostLine line = ring(protocol.ring, links, path, 1, protocol);
    if (kind == CollectiveKind::kBroadcast) line.s_per_byte = 1 / (path.ring_bytes_per_s * protocol.share);
    cost.add(line);
  }
  if (path.switch_bytes_per_s > 0 && path.domains == 1 && kind != CollectiveKind::kBroadcast) {
    cost.add({"switch", links.switch_base_s, (path.ranks - 1) / path.ranks / path.ring_bytes_per_s});
  }
}

// Every rank sends 1/n of its data to each other rank: what leaves the domain goes over the rank's own card.
void add_all_to_all(CollectiveCost& cost, const LinkValues& links, const Group& group) {
  const double n = double(group.ranks);
  const double inside = double(std::min(group.per_domain, group.ranks)) - 1;
  const double outside = n - 1 - inside;
  const bool spine = links.pod_ranks > 0 && group.ranks > links.pod_ranks;
  const double network = links.network_bytes_per_s / (spine ? links.spine_divisor : 1);
  constexpr double kMessage = 0.25;  // messages in flight share the hop's latency
  cost.add({"pairwise", links.base_s + kMessage * (inside * links.scale_up_hop_s + outside * links.network_hop_s),
            inside / n / links.ring_bytes_per_s + outside / n / network});
}

}  // namespace

LinkValues median_links(const Machine::Data& machine) {
  const CollectiveConstants& c = machine.collectives;
  const double scale_up = machine.scale_up_bytes_per_s.value.p50;
  return {.base_s = c.base_latency_s.value.p50,
          .scale_up_hop_s = c.scale_up_hop_s.value.p50,
          .network_hop_s = c.network_hop_s.value.p50,
          .switch_base_s = c.switch_base_s.value.p50,
          .ring_bytes_per_s = scale_up * c.ring_share.value.p50,
          .switch_bytes_per_s = machine.reduces_in_switch ? scale_up * c.switch_share.value.p50 : 0,
          .network_bytes_per_s = machine.nic_bytes_per_s.value.p50 * c.network_share.value.p50,
          .network_channels = c.network_channels.value.p50,
          .tree_share = c.tree_share.value.p50,
          .low_latency_share = c.low_latency_share.value.p50,
          .low_latency_hop = c.low_latency_hop.value.p50,
          .spine_divisor = c.spine_divisor.value.p50,
          .spine_hop_factor = c.spine_hop_factor.value.p50,
          .pod_ranks = c.pod_ranks};
}

void CollectiveCost::add(const CostLine& line) {
  if (count_ < kMost) lines_[count_++] = line;
}

void CollectiveCost::set_fit(const CollectiveFit& fit, CollectiveKind kind, int64_t ranks, double factor) {
  count_ = 1;
  const double wire = bus_factor(kind, ranks);
  lines_[0] = {"fitted", factor * (fit.base_s + fit.hop_s * latency_steps(kind, fit.ring, ranks)), 0};
  segments_ = std::min(fit.from_bytes.size(), kMost);
  for (size_t i = 0; i < segments_; ++i) {
    from_[i] = fit.from_bytes[i];
    slope_[i] = factor * wire * fit.s_per_byte[i];
  }
}

double CollectiveCost::at(double bytes) const {
  if (count_ == 0) return 0;
  double least = lines_[0].at(bytes);
  for (size_t i = 1; i < count_; ++i) least = std::min(least, lines_[i].at(bytes));
  for (size_t i = 0; i < segments_ && bytes > from_[i]; ++i) {
    const double until = i + 1 < segments_ ? std::min(bytes, from_[i + 1]) : bytes;
    least += slope_[i] * (until - from_[i]);
  }
  return least;
}

const CostLine& CollectiveCost::best(double bytes) const {
  size_t least = 0;
  for (size_t i = 1; i < count_; ++i) {
    if (lines_[i].at(bytes) < lines_[least].at(bytes)) least = i;
  }
  return lines_[least];
}

CollectiveCost collective_cost(CollectiveKind kind, const LinkValues& links, const Group& group) {
  CollectiveCost cost;
  if (group.ranks <= 1) return cost;
  if (kind == CollectiveKind::kAllToAll) {
    add_all_to_all(cost, links, group);
    return cost;
  }
  const Path path = path_of(links, group);
  if (kind == CollectiveKind::kAllReduce) {
    add_all_reduce(cost, links, path);
  } else {
    add_one_way(cost, kind, links, path);
  }
  return cost;
}

double latency_steps(CollectiveKind kind, bool ring, int64_t ranks) {
  const double rounds = kind == CollectiveKind::kAllReduce ? 2 : 1;
  return rounds * (ring ? double(ranks - 1) : std::log2(double(ranks)));
}

double fitted_time(const CollectiveFit& fit, CollectiveKind kind, int64_t ranks, double bytes) {
  CollectiveCost cost;
  cost.set_fit(fit, kind, ranks, 1);
  return cost.at(bytes);
}

double message_time(const LinkValues& links, double bytes) {
  return links.network_hop_s + bytes / links.network_bytes_per_s;
}

}  // namespace farscale
