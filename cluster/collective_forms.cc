// Rings, trees, switches, two levels and pairs on the tiers that a group crosses.
#include <algorithm>
#include <cmath>

#include "cluster/collective_model.h"

namespace farscale {
namespace {

// What a group sees of the links: bandwidths after the tiers and the choice of cards, and how long its hops are.
struct Path {
  double ranks, domains, per_domain;
  double inside_bytes_per_s;  // ring inside a domain
  double across_bytes_per_s;  // cards of a domain together, after the tiers
  double ring_bytes_per_s;    // flat ring through every domain
  double switch_bytes_per_s;  // reduction in the switch, tree across domains
  double ring_hop = 1;        // mean network hop of a ring, over one inside a rail
  double extra_depth = 0;     // hops that tiers add to a tree's depth
  double tiers = 0;           // of the network that are crossed; 1 inside a rail
};

// Share of a tier's links up that carry a ring or a tree whose ranks are in topology order but for `scatter` of them.
double crossing_share(const LinkValues& links, double below, double cards, double groups) {
  return std::min(1.0, cards / below + links.scatter * (1 - 1 / groups));
}

// Bandwidth and latency lost in the tiers that the group crosses.
void cross_tiers(const LinkValues& links, const Group& group, double cards, Path& path) {
  path.tiers = 1;
  double slowest = 1;
  for (const TierValues& tier : links.tiers) {
    const double groups = double(group.reach()) / tier.beyond_ranks;
    if (groups <= 1) continue;
    ++path.tiers;
    // A ring in topology order crosses once a group, a tree in the levels above the groups.
    const double often = std::min(1.0, groups / path.domains + links.scatter * (1 - 1 / groups));
    path.ring_hop += (tier.hop_factor - 1) * often;
    path.extra_depth += (tier.hop_factor - 1) * std::log2(groups);
    const double load = tier.oversubscription * crossing_share(links, tier.beyond_ranks, cards, groups);
    slowest = std::max(slowest, tier.collisions * std::max(1.0, load));
  }
  path.across_bytes_per_s /= slowest;
}

Path path_of(const LinkValues& links, const Group& group) {
  const double cards = std::min(double(group.per_domain), links.network_channels);
  Path path{.ranks = double(group.ranks),
            .domains = double(group.domains()),
            .per_domain = double(std::min(group.per_domain, group.ranks)),
            .inside_bytes_per_s = links.ring_bytes_per_s,
            .across_bytes_per_s = links.network_bytes_per_s * cards,
            .ring_bytes_per_s = links.ring_bytes_per_s,
            .switch_bytes_per_s = group.per_domain > 1 ? links.switch_bytes_per_s : 0};
  if (group.domains() == 1) return path;
  cross_tiers(links, group, cards, path);
  const double across = path.across_bytes_per_s;
  path.ring_bytes_per_s = group.per_domain == 1 ? across : std::min(path.ring_bytes_per_s, across);
  // Two domains exchange halves, in both directions of a card at once (tuning.cc: twice the rate for two nodes): all of
  // the data passes every card set once.
  const double exchange = group.domains() == 2 ? 2 * (path.ranks - 1) / path.ranks : 1;
  path.switch_bytes_per_s = std::min(path.switch_bytes_per_s, exchange * across);
  return path;
}

constexpr std::string_view kRingNames[] = {"ring, low latency", "ring, low latency 128", "ring"};
constexpr std::string_view kTreeNames[] = {"tree, low latency", "tree, low latency 128", "tree"};
constexpr auto kPlain = size_t(Protocol::kSimple);

// A network hop; with one rank a domain nothing hides it and the library takes the tree's (tuning.cc).
double network_hop(const CollectiveConstants& c, const Path& path, size_t protocol) {
  return (path.per_domain > 1 ? c.ring : c.tree).network_s[protocol] * path.ring_hop;
}

// Ring: every hop inside domains and between them, `rounds` times round (2 for an all-reduce).
CostLine ring(const LinkValues& links, const Path& path, double rounds, size_t protocol) {
  const CollectiveConstants& c = *links.constants;
  const double hops_s =
      (path.ranks - path.domains) * c.ring.scale_up_s[protocol] + (path.domains - 1) * network_hop(c, path, protocol);
  CostLine line{
      .algorithm = kRingNames[protocol],
      .alpha_s = links.latency_scale * (c.ring.base_s[protocol] + rounds * hops_s),
      .s_per_byte = rounds * (path.ranks - 1) / path.ranks / (path.ring_bytes_per_s * c.ring_protocol[protocol]),
      .one_line_bytes = line_bytes(Protocol(protocol)),
      .least_bytes = c.channels * path.ranks * line_bytes(Protocol(protocol))};
  if (protocol == kPlain && path.domains > 1) {
    line.plateau_s = (c.plateau - 1) * line.alpha_s;
    line.plateau_bytes = 64 * c.channels * path.ranks;
  }
  return line;
}

// Levels of a tree over the domains, those that cross tiers counted for their length.
double depth_of(const Path& path) { return std::floor(std::log2(path.domains)) + path.extra_depth; }

// Double binary tree across domains, a chain inside each; every rank sends the data twice.
CostLine tree(const LinkValues& links, const Path& path, size_t protocol) {
  const CollectiveConstants& c = *links.constants;
  const double inside = path.ranks / path.domains - 1;
  const double hops_s = inside * c.tree.scale_up_s[protocol] + depth_of(path) * c.tree.network_s[protocol];
  return {.algorithm = kTreeNames[protocol],
          .alpha_s = links.latency_scale * (c.tree.base_s[protocol] + 2 * hops_s),
          .s_per_byte = 2 / (path.ring_bytes_per_s * c.tree_protocol[protocol]),
          .correction = c.tree_correction[protocol].empty() ? nullptr : &c.tree_correction[protocol]};
}

CostLine switch_and_tree(const LinkValues& links, const Path& path) {
  const CollectiveConstants& c = *links.constants;
  return {.algorithm = path.domains > 1 ? "switch and tree" : "switch",
          .alpha_s = links.latency_scale * (c.switch_scale_up_s + 2 * depth_of(path) * c.switch_network_s),
          .s_per_byte = 2 * (path.ranks - 1) / path.ranks / path.switch_bytes_per_s};
}

// In-network reduction: every card sends its domain's share once and gets it back once, however many ranks there are.
CostLine sharp(const LinkValues& links, const Path& path) {
  const CollectiveConstants& c = *links.constants;
  const double inside = links.switch_bytes_per_s > 0 ? links.switch_bytes_per_s : links.ring_bytes_per_s;
  const double domain = path.per_domain > 1 ? 2 * (path.per_domain - 1) / path.per_domain / inside : 0;
  return {.algorithm = "SHARP",
          .alpha_s = links.latency_scale * (c.switch_scale_up_s + path.tiers * c.sharp_network_s),
          .s_per_byte = std::max(domain, 1 / path.across_bytes_per_s)};
}

// Two levels: scatter inside, the algorithm `across` on one share of the data, gather inside. `sides` 2 for an
// all-reduce (scatter and gather), 1 for either alone.
CostLine two_levels(const LinkValues& links, const Path& path, const CostLine& across, double sides, size_t protocol) {
  const CollectiveConstants& c = *links.constants;
  const double others = path.per_domain - 1;
  CostLine line = across;
  line.algorithm = across.algorithm == kRingNames[protocol] ? "hierarchical, ring" : "hierarchical, tree";
  line.alpha_s += links.latency_scale * sides * others * c.ring.scale_up_s[protocol];
  // Every rank has its own card for its share, up to as many as a collective keeps busy.
  const double inside = path.inside_bytes_per_s * c.ring_protocol[protocol];
  line.s_per_byte = sides * others / path.per_domain / inside + across.s_per_byte / path.per_domain;
  line.plateau_bytes *= path.per_domain;
  line.one_line_bytes *= path.per_domain;
  line.least_bytes *= path.per_domain;
  return line;
}

// The ranks with the same place in their domains.
Path peers_of(const Path& path) {
  Path peers = path;
  peers.ranks = path.domains;
  peers.per_domain = 1;
  peers.ring_bytes_per_s = path.across_bytes_per_s / path.per_domain;
  return peers;
}

void add_all_reduce(CollectiveCost& cost, const LinkValues& links, const Path& path) {
  // The likely winners first: at() skips lines that start above the best so far.
  if (path.switch_bytes_per_s > 0) cost.add(switch_and_tree(links, path));
  if (links.prior == CollectivePrior::kSharp && path.domains > 1) cost.add(sharp(links, path));
  if (links.prior == CollectivePrior::kHierarchical && path.domains > 1 && path.per_domain > 1) {
    const Path peers = peers_of(path);
    for (size_t protocol = kProtocols; protocol-- > 0;) {
      cost.add(two_levels(links, path, tree(links, peers, protocol), 2, protocol));
      cost.add(two_levels(links, path, ring(links, peers, 2, protocol), 2, protocol));
    }
  }
  for (size_t protocol = kProtocols; protocol-- > 0;) cost.add(tree(links, path, protocol));
  for (size_t protocol = kProtocols; protocol-- > 0;) cost.add(ring(links, path, 2, protocol));
}

// Gathers and scatters with one rank a domain (tuning.cc: PAT, NCCL 2.23 and later): logarithmic but for a linear rest.
CostLine pat(const LinkValues& links, const Path& path) {
  const CollectiveConstants& c = *links.constants;
  const double latency_s = c.gather_base_s + depth_of(path) * c.gather_depth_s + path.ranks * c.gather_hop_s;
  return {
      .algorithm = "PAT", .alpha_s = links.latency_scale * latency_s, .s_per_byte = 1 / (0.75 * path.ring_bytes_per_s)};
}

// Reduce-scatter, all-gather, broadcast: no tree in the library, only rings, the switch inside one domain, and PAT.
void add_one_way(CollectiveCost& cost, CollectiveKind kind, const LinkValues& links, const Path& path) {
  for (size_t protocol = 0; protocol < kProtocols; ++protocol) {
    CostLine line = ring(links, path, 1, protocol);
    if (kind == CollectiveKind::kBroadcast) line.s_per_byte *= path.ranks / (path.ranks - 1);
    cost.add(line);
  }
  if (kind == CollectiveKind::kBroadcast) return;
  if (path.domains > 1 && path.per_domain == 1) cost.add(pat(links, path));
  if (links.prior == CollectivePrior::kHierarchical && path.domains > 1 && path.per_domain > 1) {
    for (size_t protocol = kProtocols; protocol-- > 0;) {
      cost.add(two_levels(links, path, ring(links, peers_of(path), 1, protocol), 1, protocol));
    }
  }
  if (path.switch_bytes_per_s > 0 && path.domains == 1) {
    cost.add({.algorithm = "switch",
              .alpha_s = links.latency_scale * links.constants->switch_scale_up_s,
              .s_per_byte = (path.ranks - 1) / path.ranks / path.ring_bytes_per_s});
  }
}

// Every rank sends 1/n of its data to each other rank: what leaves the domain goes over the rank's own card, and every
// tier above carries the share that leaves it.
void add_all_to_all(CollectiveCost& cost, const LinkValues& links, const Group& group) {
  const double n = double(group.ranks);
  const double inside = double(std::min(group.per_domain, group.ranks)) - 1;
  const double outside = n - 1 - inside;
  const CollectiveConstants& c = *links.constants;
  double slowest = 1;
  for (const TierValues& tier : links.tiers) {
    const double groups = double(group.reach()) / tier.beyond_ranks;
    if (groups > 1) {
      slowest = std::max(slowest, tier.collisions * std::max(1.0, tier.oversubscription * (1 - 1 / groups)));
    }
  }
  constexpr double kMessage = 0.25;  // messages in flight share a hop's latency: assumption
  const double hops_s = inside * c.ring.scale_up_s[kPlain] + outside * c.ring.network_s[kPlain];
  cost.add({.algorithm = "pairwise",
            .alpha_s = links.latency_scale * (c.ring.base_s[kPlain] + kMessage * hops_s),
            .s_per_byte = inside / n / links.ring_bytes_per_s + outside / n * slowest / links.network_bytes_per_s});
}

}  // namespace

CollectiveCost closed_forms(CollectiveKind kind, const LinkValues& links, const Group& group) {
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

}  // namespace farscale
