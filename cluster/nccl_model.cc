// Bandwidths and latencies by algorithm and protocol.
#include "cluster/nccl_model.h"

#include <algorithm>
#include <cmath>

namespace farscale {
namespace {

// Limits in GB/s by number of nodes: 1, 2, more.
using ByNodes = std::array<double, 3>;
constexpr size_t kGenerations = 4;
constexpr std::array<std::string_view, kGenerations> kNames = {"volta", "ampere", "hopper", "blackwell"};

// llMaxBws: on one node by generation, on several by the host's vendor (row 0 Intel, row 1 AMD).
constexpr std::array<ByNodes, kGenerations> kLowLatencyMost = {
    {{39.0, 39.0, 20.4}, {87.7, 22.5, 19.0}, {141.0, 45.0, 35.0}, {282.0, 90.0, 70.0}}};
constexpr std::array<ByNodes, kGenerations> kRing128PerChannel = {
    {{20.0, 20.0, 20.0}, {20.0, 20.0, 20.0}, {36.7, 36.7, 36.7}, {40.0, 40.0, 40.0}}};
constexpr std::array<ByNodes, kGenerations> kTree128PerChannel = {
    {{20.0, 20.0, 20.0}, {20.0, 20.0, 20.0}, {36.7, 36.7, 29.0}, {55.6, 31.67, 20.0}}};
constexpr std::array<ByNodes, kGenerations> kTreePerChannel = {
    {{26.5, 18.5, 10.0}, {24.0, 23.6, 17.8}, {38.7, 41.4, 36.0}, {70.0, 42.8, 24.0}}};
constexpr std::array<ByNodes, kGenerations> kSwitchTreePerChannel = {
    {{26.5, 18.5, 10.0}, {24.0, 23.6, 17.8}, {0.0, 57.7, 45.5}, {0.0, 96.0, 80.0}}};
constexpr std::array<double, kGenerations> kSwitchEfficiency = {0.0, 0.0, 0.85, 0.74};  // nvlsEfficiency

constexpr std::string_view kRings[] = {"ring, low latency", "ring, low latency 128", "ring"};
constexpr std::string_view kTrees[] = {"tree, low latency", "tree, low latency 128", "tree"};
constexpr auto kPlain = size_t(Protocol::kSimple);

double steps_of(CollectiveKind kind, double ranks) {
  switch (kind) {
    case CollectiveKind::kAllReduce:
      return 2 * (ranks - 1);
    case CollectiveKind::kReduceScatter:
    case CollectiveKind::kAllGather:
      return ranks - 1;
    default:
      return ranks;
  }
}

class Model {
 public:
  Model(CollectiveKind kind, const NcclSystem& s)
      : kind_(kind),
        s_(s),
        c_(*s.constants),
        n_(double(s.ranks)),
        m_(double(s.nodes)),
        scale_(size_t(std::min<int64_t>(s.nodes, 3) - 1)),
        row_(size_t(s.generation)),
        bus_(s.channels * (s.nodes <= 2 ? s.intra_gb_per_s : s.inter_gb_per_s)) {}

  CollectiveCost cost() const {
    CollectiveCost cost;
    const bool all_reduce = kind_ == CollectiveKind::kAllReduce;
    const bool scatters = kind_ == CollectiveKind::kReduceScatter || kind_ == CollectiveKind::kAllGather;
    for (size_t p = kProtocols; p-- > 0;) cost.add(ring(p));
    for (size_t p = kProtocols; all_reduce && p-- > 0;) cost.add(tree(p));
    if (s_.switch_reduces && s_.channels >= 2 && kSwitchEfficiency[row_] > 0 && (all_reduce || scatters)) {
      if (s_.nodes == 1 || s_.network_reduces) cost.add(in_switch(scatters));
      if (all_reduce && s_.nodes > 1) cost.add(switch_tree());
    }
    if (scatters && s_.ranks == s_.nodes && s_.nodes > 1) cost.add(pat());
    return cost;
  }

 private:
  double low_latency_most() const {
    const size_t row = s_.nodes == 1 ? row_ : s_.amd_host ? 1 : 0;
    return kLowLatencyMost[row][scale_];
  }

  // With one rank a node latency cannot hide, and the tree's figure is taken.
  double network_us(const AlgorithmLatency& latency, size_t p) const {
    return 1e6 * (s_.ranks == s_.nodes ? c_.tree : latency).network_s[p];
  }

  CostLine line(std::string_view name, double latency_us, double algorithm_gb_per_s) const {
    return {.algorithm = name, .alpha_s = 1e-6 * latency_us, .s_per_byte = 1e-9 / algorithm_gb_per_s};
  }

  CostLine ring(size_t p) const {
    double bus = bus_;
    if (p == size_t(Protocol::kLowLatency)) bus = std::min(low_latency_most(), bus / 2);
    if (p == size_t(Protocol::kLowLatency128)) {
      bus = std::min(0.92 * bus, s_.channels * kRing128PerChannel[row_][scale_]);
    }
    const double steps = steps_of(kind_, n_);
    const double network_us = this->network_us(c_.ring, p);
    double latency_us = 1e6 * c_.ring.base_s[p];
    if (kind_ == CollectiveKind::kBroadcast) {
      const AlgorithmLatency& hops = p == kPlain ? c_.tree : c_.ring;
      latency_us += steps * 1e6 * (s_.nodes > 1 ? hops.network_s[p] : hops.scale_up_s[p]);
    } else {
      const double posting = s_.nodes == 1 ? 0 : (s_.amd_host ? 2.0 : 1.0) * (p == kPlain ? 3 : 1);  // getNetOverhead
      const double between = (kind_ == CollectiveKind::kAllReduce ? 2 : 1) * (m_ - 1);
      latency_us += (steps - between) * std::max(1e6 * c_.ring.scale_up_s[p], posting) + between * network_us;
    }
    CostLine result = line(kRings[p], latency_us, bus * n_ / steps);
    result.one_line_bytes = line_bytes(Protocol(p));
    result.least_bytes = s_.channels * n_ * line_bytes(Protocol(p));
    if (p == kPlain && s_.nodes > 1 && kind_ == CollectiveKind::kAllReduce) {
      result.plateau_s = ((row_ == 0 ? 1.9 : 1.4) - 1) * result.alpha_s;
      result.plateau_bytes = 64 * s_.channels * n_;
    }
    return result;
  }

  CostLine tree(size_t p) const {
    double bus = std::min(0.92 * bus_, s_.channels * kTreePerChannel[row_][scale_]);
    if (p == size_t(Protocol::kLowLatency)) bus = std::min(bus / 3.8, low_latency_most());
    if (p == size_t(Protocol::kLowLatency128)) {
      bus = std::min(bus * (s_.nodes == 1 ? 7.0 / 9 : 120.0 / 128), s_.channels * kTree128PerChannel[row_][scale_]);
    }
    const double hops_us =
        (std::floor(n_ / m_) - 1) * 1e6 * c_.tree.scale_up_s[p] + std::floor(std::log2(m_)) * network_us(c_.tree, p);
    CostLine result = line(kTrees[p], 1e6 * c_.tree.base_s[p] + 2 * hops_us, bus / 2);
    if (!c_.tree_correction[p].empty()) result.correction = &c_.tree_correction[p];
    return result;
  }

  // One channel inside a node with reduction in the switch; all-reduce pipelines its two halves.
  double switch_channel(bool scatters) const {
    const double one = s_.intra_gb_per_s * kSwitchEfficiency[row_] * (s_.channels - 1) / s_.channels;
    return one * (scatters ? (n_ / m_ - 1) / (n_ / m_) : 2);
  }

  CostLine in_switch(bool scatters) const {
    const double channel = switch_channel(scatters);
    const double bus = s_.channels * (s_.nodes > 1 ? std::min(channel, s_.inter_gb_per_s) : channel);
    const double latency_us = 1e6 * (c_.switch_scale_up_s + (s_.nodes > 1 ? c_.sharp_network_s : 0));
    return line(s_.nodes > 1 ? "SHARP" : "switch", latency_us, scatters ? bus : bus * n_ / steps_of(kind_, n_));
  }

  CostLine switch_tree() const {
    const double between = s_.inter_gb_per_s * (s_.nodes <= 2 ? 2 : 1);
    const double channel = std::min({switch_channel(false), between, kSwitchTreePerChannel[row_][scale_]});
    const double latency_us = 1e6 * (c_.switch_scale_up_s + 2 * std::floor(std::log2(m_)) * c_.switch_network_s);
    CostLine result = line("switch and tree", latency_us, s_.channels * channel * n_ / steps_of(kind_, n_));
    if (row_ >= 3 && !c_.tree_correction[kPlain].empty()) result.correction = &c_.tree_correction[kPlain];
    return result;
  }

  CostLine pat() const {
    const double latency_us =
        1e6 * (c_.gather_base_s + std::floor(std::log2(m_)) * c_.gather_depth_s + n_ * c_.gather_hop_s);
    return line("PAT", latency_us, 0.75 * bus_);
  }

  CollectiveKind kind_;
  const NcclSystem& s_;
  const CollectiveConstants& c_;
  double n_, m_;
  size_t scale_, row_;
  double bus_;
};

}  // namespace

int nccl_generation(std::string_view name) {
  const auto found = std::find(kNames.begin(), kNames.end(), name);
  return found == kNames.end() ? -1 : int(found - kNames.begin());
}

NcclSystem nccl_system(const LinkValues& links, const Group& group) {
  const double channels = links.constants->channels;
  const double cards = std::min(double(group.per_domain), links.network_channels);
  const double across = links.network_bytes_per_s * cards;
  const double inside = group.per_domain > 1 ? links.ring_bytes_per_s : across;
  return {.ranks = group.ranks,
          .nodes = group.domains(),
          .generation = links.nccl_generation,
          .channels = channels,
          .intra_gb_per_s = 1e-9 * inside / channels,
          .inter_gb_per_s = 1e-9 * std::min(inside, across) / channels,
          .switch_reduces = links.switch_bytes_per_s > 0 && group.per_domain > 1,
          .constants = links.constants};
}

CollectiveCost nccl_cost(CollectiveKind kind, const NcclSystem& system) { return Model(kind, system).cost(); }

}  // namespace farscale
