// What a network does to the bytes of a ring that was fitted on a better one: uplinks shared by neighbours in rank, and
// slow links. Closed forms; latency is left as fitted.
#pragma once

#include <cstdint>
#include <string>

#include "cluster/machine.h"
#include "cluster/quantity.h"

namespace farscale {

// Hosts with one rank each under leaf switches; the defaults are the network of the fit.
struct RingNetwork {
  int64_t per_leaf = 0;         // hosts under one leaf switch; 0: one leaf has them all
  double oversubscription = 1;  // rates of a leaf's hosts together over the rate of its uplink
  bool interleaved = false;     // neighbours in rank are under different leaves; otherwise leaf after leaf
  double slowest = 1;           // rate of the slowest host's link over that of the others
};

// "per_leaf=4 oversubscription=2 order=interleaved slowest=0.25", any of them; throws InputError with the nearest key.
RingNetwork parse_ring_network(const std::string& text);

// How many times longer than on one leaf of equal links the bytes take. In every step of a ring each rank sends as much
// to its neighbour, all at once, and the step lasts until its slowest link is done: a host's link carries one rank's
// bytes, an uplink those of the neighbours that are under another leaf, one of a leaf's ranks when they lie leaf after
// leaf and all of them when they are interleaved. Patarasuk and Yuan, "Bandwidth optimal all-reduce algorithms for
// clusters of workstations", J. Parallel Distrib. Comput. 69 (2009), order rings over trees by the same argument.
double ring_slowdown(const RingNetwork& network, int64_t ranks);

// Seconds of a fitted collective on `network`. The range is that of the fit's residuals and covariance, widened for
// each doubling of the ranks beyond the fitted ones.
Estimate ring_time(const CollectiveFit& fit, CollectiveKind kind, int64_t ranks, double bytes,
                   const RingNetwork& network);

}  // namespace farscale
