// Ring, tree, switch and fitted curves.
#include "cluster/collective_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>

#include "kernels/error.h"
#include "kernels/problem.h"

namespace farscale {
namespace {

// What a group sees of the links: bandwidths and hop lengths after the spine and the choice of cards.
struct Path {
  double ranks, domains;
  double ring_bytes_per_s;    // flat ring through every domain
  double switch_bytes_per_s;  // reduction in the switch, tree across domains
  double network_hop;         // on a network hop's latency
};

Path path_of(const LinkValues& links, const Group& group) {
  Path path{.ranks = double(group.ranks),
            .domains = double(group.domains()),
            .ring_bytes_per_s = links.ring_bytes_per_s,
            .switch_bytes_per_s = links.switch_bytes_per_s,
            .network_hop = 1};
  if (group.domains() == 1) return path;
  const bool spine = group.ranks > links.constants->pod_ranks;
  const double cards = std::min(double(group.per_domain), links.network_channels);
  const double across = links.network_bytes_per_s * cards / (spine ? links.spine_divisor : 1);
  if (spine) path.network_hop = links.spine_hop_factor;
  path.ring_bytes_per_s = group.per_domain == 1 ? across : std::min(path.ring_bytes_per_s, across);
  // Two domains exchange in both directions of a card at once (tuning.cc: twice the rate for two nodes).
  path.switch_bytes_per_s = std::min(path.switch_bytes_per_s, group.domains() == 2 ? 2 * across : across);
  return path;
}

constexpr std::string_view kRingNames[] = {"ring, low latency", "ring, low latency 128", "ring"};
constexpr std::string_view kTreeNames[] = {"tree, low latency", "tree, low latency 128", "tree"};

// Ring: every hop inside domains and between them, `rounds` times round (2 for an all-reduce).
CostLine ring(const LinkValues& links, const Path& path, double rounds, size_t protocol) {
  const CollectiveConstants& c = *links.constants;
  const double hops_s = (path.ranks - path.domains) * c.ring.scale_up_s[protocol] +
                        (path.domains - 1) * c.ring.network_s[protocol] * path.network_hop;
  CostLine line{
      .algorithm = kRingNames[protocol],
      .alpha_s = links.latency_scale * (c.ring.base_s[protocol] + rounds * hops_s),
      .s_per_byte = rounds * (path.ranks - 1) / path.ranks / (path.ring_bytes_per_s * c.ring_protocol[protocol])};
  if (protocol == size_t(Protocol::kSimple) && path.domains > 1) {
    line.plateau_s = (c.plateau - 1) * line.alpha_s;
    line.plateau_bytes = 64 * c.channels * path.ranks;
  }
  return line;
}

// Double binary tree across domains, a chain inside each; every rank sends the data twice.
CostLine tree(const LinkValues& links, const Path& path, double depth, size_t protocol) {
  const CollectiveConstants& c = *links.constants;
  const double inside = path.ranks / path.domains - 1;
  const double hops_s = inside * c.tree.scale_up_s[protocol] + depth * c.tree.network_s[protocol] * path.network_hop;
  return {.algorithm = kTreeNames[protocol],
          .alpha_s = links.latency_scale * (c.tree.base_s[protocol] + 2 * hops_s),
          .s_per_byte = 2 / (path.ring_bytes_per_s * c.tree_protocol[protocol]),
          .correction = c.tree_correction[protocol].empty() ? nullptr : &c.tree_correction[protocol]};
}

void add_all_reduce(CollectiveCost& cost, const LinkValues& links, const Path& path) {
  const CollectiveConstants& c = *links.constants;
  const double depth = std::floor(std::log2(path.domains));
  // The likely winners first: at() skips lines that start above the best so far.
  if (path.switch_bytes_per_s > 0) {
    cost.add(
        {.algorithm = path.domains > 1 ? "switch and tree" : "switch",
         .alpha_s = links.latency_scale * (c.switch_scale_up_s + 2 * depth * c.switch_network_s * path.network_hop),
         .s_per_byte = 2 * (path.ranks - 1) / path.ranks / path.switch_bytes_per_s});
  }
  for (size_t protocol = kProtocols; protocol-- > 0;) cost.add(tree(links, path, depth, protocol));
  for (size_t protocol = kProtocols; protocol-- > 0;) cost.add(ring(links, path, 2, protocol));
}

// Reduce-scatter, all-gather, broadcast: no tree in the library, only rings, and the switch inside one domain.
void add_one_way(CollectiveCost& cost, CollectiveKind kind, const LinkValues& links, const Path& path) {
  for (size_t protocol = 0; protocol < kProtocols; ++protocol) {
    CostLine line = ring(links, path, 1, protocol);
    if (kind == CollectiveKind::kBroadcast) line.s_per_byte *= path.ranks / (path.ranks - 1);
    cost.add(line);
  }
  if (path.switch_bytes_per_s > 0 && path.domains == 1 && kind != CollectiveKind::kBroadcast) {
    cost.add({.algorithm = "switch",
              .alpha_s = links.latency_scale * links.constants->switch_scale_up_s,
              .s_per_byte = (path.ranks - 1) / path.ranks / path.ring_bytes_per_s});
  }
}

// Every rank sends 1/n of its data to each other rank: what leaves the domain goes over the rank's own card.
void add_all_to_all(CollectiveCost& cost, const LinkValues& links, const Group& group) {
  const double n = double(group.ranks);
  const double inside = double(std::min(group.per_domain, group.ranks)) - 1;
  const double outside = n - 1 - inside;
  const CollectiveConstants& c = *links.constants;
  const bool spine = group.ranks > c.pod_ranks;
  const double network = links.network_bytes_per_s / (spine ? links.spine_divisor : 1);
  constexpr double kMessage = 0.25;  // messages in flight share a hop's latency: assumption
  constexpr auto kSimple = size_t(Protocol::kSimple);
  const double hops_s = inside * c.ring.scale_up_s[kSimple] + outside * c.ring.network_s[kSimple];
  cost.add({.algorithm = "pairwise",
            .alpha_s = links.latency_scale * (c.ring.base_s[kSimple] + kMessage * hops_s),
            .s_per_byte = inside / n / links.ring_bytes_per_s + outside / n / network});
}

}  // namespace

LinkValues median_links(const Machine::Data& machine) {
  const CollectiveConstants& c = machine.collectives;
  const double scale_up = machine.scale_up_bytes_per_s.value.p50;
  return {.constants = &c,
          .latency_scale = c.latency_scale.value.p50,
          .ring_bytes_per_s = scale_up * c.ring_share.value.p50,
          .switch_bytes_per_s = machine.reduces_in_switch ? scale_up * c.switch_share.value.p50 : 0,
          .network_bytes_per_s = machine.nic_bytes_per_s.value.p50 * c.network_share.value.p50,
          .network_channels = c.network_channels.value.p50,
          .spine_divisor = c.spine_divisor.value.p50,
          .spine_hop_factor = c.spine_hop_factor.value.p50};
}

double CostLine::corrected(double bytes) const {
  if (correction == nullptr) return 1;
  const auto words = uint64_t(std::max(bytes, 64.0)) >> 6;
  const auto place = size_t(std::bit_width(words)) - 1;
  return place < correction->size() ? (*correction)[place] : 1;  // beyond the table NCCL applies no correction
}

void CollectiveCost::add(const CostLine& line) {
  if (count_ < kMost) lines_[count_++] = line;
}

void CollectiveCost::set_fit(const CollectiveFit& fit, CollectiveKind kind, int64_t ranks, double factor) {
  count_ = 1;
  const double wire = bus_factor(kind, ranks);
  lines_[0] = {.algorithm = "fitted",
               .alpha_s = factor * (fit.base_s + fit.hop_s * latency_steps(kind, fit.ring, ranks))};
  segments_ = std::min(fit.from_bytes.size(), kMost);
  for (size_t i = 0; i < segments_; ++i) {
    from_[i] = fit.from_bytes[i];
    slope_[i] = factor * wire * fit.s_per_byte[i];
  }
}

double CollectiveCost::at(double bytes) const {
  if (count_ == 0) return 0;
  double least = lines_[0].at(bytes);
  for (size_t i = 1; i < count_; ++i) {
    if (lines_[i].alpha_s < least) least = std::min(least, lines_[i].at(bytes));  // the others cannot win
  }
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

const CostLine& CollectiveCost::line(std::string_view algorithm) const {
  for (size_t i = 0; i < count_; ++i) {
    if (lines_[i].algorithm == algorithm) return lines_[i];
  }
  throw InputError(fmt::format("no algorithm '{}' for this group", algorithm));
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
  const double hop_s = links.constants->ring.network_s[size_t(Protocol::kSimple)];
  return links.latency_scale * hop_s + bytes / links.network_bytes_per_s;
}

}  // namespace farscale
