// Collectives as closed forms whose latency depends on the number of ranks: NCCL's algorithms with NCCL's constants as
// the prior (NVIDIA/nccl src/graph/tuning.cc), or a curve fitted to records. The library's choice is the least time.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include "cluster/machine.h"

namespace farscale {

// The ranks a collective runs over, and how many of them share one scale-up domain.
struct Group {
  int64_t ranks = 1;
  int64_t per_domain = 1;
  int64_t domains() const { return (ranks + per_domain - 1) / per_domain; }
};

// Links as plain numbers: one draw of a machine's quantities, beside the constants that all draws share.
struct LinkValues {
  const CollectiveConstants* constants = nullptr;  // the machine's; outlives every use
  double latency_scale = 1;                        // on the constants' latencies
  double ring_bytes_per_s = 0;                     // bus bandwidth of a ring inside a domain, one GPU
  double switch_bytes_per_s = 0;                   // bus bandwidth with reduction in the switch; 0: there is none
  double network_bytes_per_s = 0;                  // one GPU's card
  double network_channels = 1;                     // cards of one domain that a collective keeps busy, at most
  double spine_divisor = 1;
  double spine_hop_factor = 1;
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
  double at(double bytes) const {
    return alpha_s + (bytes >= plateau_bytes ? plateau_s : 0) + s_per_byte * bytes / corrected(bytes);
  }
  double corrected(double bytes) const;
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
  bool empty() const { return count_ == 0; }

 private:
  static constexpr size_t kMost = 8;
  std::array<CostLine, kMost> lines_{};
  size_t count_ = 0;
  // Segments of a fitted curve.
  std::array<double, kMost> from_{};
  std::array<double, kMost> slope_{};
  size_t segments_ = 0;
};

CollectiveCost collective_cost(CollectiveKind kind, const LinkValues& links, const Group& group);

// Steps of latency of a fitted curve: ring 2(n-1) for an all-reduce and n-1 otherwise, tree 2 log2 n and log2 n.
double latency_steps(CollectiveKind kind, bool ring, int64_t ranks);
// Seconds by a fitted curve, its covariance apart.
double fitted_time(const CollectiveFit& fit, CollectiveKind kind, int64_t ranks, double bytes);

// A point-to-point message over the network (pipeline stages), `bytes` from one GPU.
double message_time(const LinkValues& links, double bytes);

}  // namespace farscale
