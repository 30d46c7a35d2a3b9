// Collectives as closed forms whose latency depends on the number of ranks and on the tiers of the network they cross:
// NCCL's algorithms with NCCL's latencies on attained bandwidths, a curve fitted to records, or NCCL's own tuning model
// as it stands (cluster/nccl_model.h). The library's choice is the least time.
//
//   ring            rounds * [(n - m) a_in + (m - 1) a_net] + rounds (n - 1)/n S/B, 2 rounds for an all-reduce
//   tree            2 [(n/m - 1) a_in + log2(m) a_net] + 2 S/B, double binary and pipelined; all-reduce only
//   switch          a_switch + 2 (n - 1)/n S/B_switch, reduction in the switch of a domain (NVLS)
//   switch and tree a_switch + 2 log2(m) a_net + …, across m domains (NVLS-Tree)
//   SHARP           a_switch + a_sharp * tiers + max(domain, S/B_net): every rank sends S once, whatever n is
//   hierarchical    reduce-scatter inside a domain, the rest across on 1/g of the data, all-gather inside
//   PAT             a depth * log2(m) + a n + S/B, gathers and scatters with one rank a domain
//
// n ranks in m domains, S bytes, B bus bandwidth; forms of Thakur, Rabenseifner and Gropp 2005; Sanders, Speck and
// Traeff 2009; NVIDIA/nccl src/graph/tuning.cc.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <string_view>
#include <vector>

#include "cluster/machine.h"

namespace farscale {

// The ranks a collective runs over, how many of them share one scale-up domain, and how far apart they are.
struct Group {
  int64_t ranks = 1;
  int64_t per_domain = 1;
  int64_t span = 0;  // GPUs from its first to its last rank; 0: as many as it has ranks
  int64_t domains() const { return (ranks + per_domain - 1) / per_domain; }
  int64_t reach() const { return span > ranks ? span : ranks; }
};

// One draw of what crossing into a tier costs.
struct TierValues {
  double beyond_ranks = 0;
  double oversubscription = 1;
  double collisions = 1;
  double hop_factor = 1;
};

using CollectiveFits = std::map<CollectiveKind, CollectiveFit>;

// Links as plain numbers: one draw of a machine's quantities, beside the constants that all draws share.
struct LinkValues {
  const CollectiveConstants* constants = nullptr;  // the machine's; outlives every use
  double latency_scale = 1;                        // on the constants' latencies
  double ring_bytes_per_s = 0;                     // bus bandwidth of a ring inside a domain, one GPU
  double switch_bytes_per_s = 0;                   // bus bandwidth with reduction in the switch; 0: there is none
  double network_bytes_per_s = 0;                  // one GPU's card
  double network_channels = 1;                     // cards of one domain that a collective keeps busy, at most
  std::array<TierValues, kTiers> tiers{};
  double scatter = 0;  // share of neighbours that placement puts far apart
  CollectivePrior prior = CollectivePrior::kModel;
  int nccl_generation = -1;                    // row of NCCL's tables; -1: it has none for this hardware
  std::shared_ptr<const CollectiveFits> fits;  // curves fitted to records, one draw of them; null: none
};

LinkValues median_links(const Machine::Data& machine);

// Time of one algorithm: alpha_s + s_per_byte * S / correction(S), plus NCCL's plateau.
struct CostLine {
  std::string_view algorithm;
  double alpha_s = 0;
  double s_per_byte = 0;
  const std::vector<double>* correction = nullptr;  // by size, powers of two from 64 B; constant beyond
  double plateau_s = 0;                             // added from plateau_bytes up
  double plateau_bytes = 0;
  // Between these sizes a ring's chunks are shorter than a line of its protocol and the formula does not hold; up to
  // the first a single line is enough.
  double one_line_bytes = 0;
  double least_bytes = 0;
  double at(double bytes) const {
    return alpha_s + (bytes >= plateau_bytes ? plateau_s : 0) + s_per_byte * bytes / corrected(bytes);
  }
  double corrected(double bytes) const;
  bool holds(double bytes) const { return bytes >= least_bytes || bytes <= one_line_bytes; }
};

// All algorithms that exist for a collective over a group.
class CollectiveCost {
 public:
  void add(const CostLine& line);
  // A fitted curve instead: piecewise linear in S.
  void set_fit(const CollectiveFit& fit, CollectiveKind kind, int64_t ranks, double factor);
  double at(double bytes) const;
  const CostLine& best(double bytes) const;                // the algorithm chosen; a line of its own for fitted curves
  const CostLine& line(std::string_view algorithm) const;  // throws InputError when the group has no such algorithm
  bool has(std::string_view algorithm) const;
  bool empty() const { return count_ == 0; }

 private:
  static constexpr size_t kMost = 16;
  std::array<CostLine, kMost> lines_{};
  size_t count_ = 0;
  // Segments of a fitted curve.
  std::array<double, kMost> from_{};
  std::array<double, kMost> slope_{};
  size_t segments_ = 0;
};

// The algorithms of the closed forms above.
CollectiveCost closed_forms(CollectiveKind kind, const LinkValues& links, const Group& group);

// By links.prior: fitted curve, closed forms or NCCL's model.
CollectiveCost collective_cost(CollectiveKind kind, const LinkValues& links, const Group& group);

// Bytes of data in one line of a protocol, which a ring's chunk cannot be shorter than.
double line_bytes(Protocol protocol);

// Steps of latency of a fitted curve: ring 2(n-1) for an all-reduce and n-1 otherwise, tree 2 log2 n and log2 n.
double latency_steps(CollectiveKind kind, bool ring, int64_t ranks);
// Seconds by a fitted curve, its covariance apart.
double fitted_time(const CollectiveFit& fit, CollectiveKind kind, int64_t ranks, double bytes);

// A point-to-point message between two ranks of a group (pipeline stages): over the network unless a domain holds all.
double message_time(const LinkValues& links, double bytes, const Group& group);

// Log spread of communication time for each doubling of the ranks beyond those that were measured: assumption, sized on
// what fits to a quarter of the ranks miss on published tables.
inline constexpr double kSpreadPerDoubling = 0.08;

}  // namespace farscale
