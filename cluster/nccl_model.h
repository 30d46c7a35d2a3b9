// NCCL's own model of its collectives, re-expressed: time = latency + S / bandwidth for every algorithm and protocol,
// as NCCL computes them to choose (NVIDIA/nccl src/graph/tuning.cc at 5067397, 2026-06: ncclTopoTuneModel,
// ncclTopoGetAlgoTime). It ranks algorithms; nothing in it was measured on the machine asked about, and it knows no
// tiers, oversubscription or jitter.
#pragma once

#include "cluster/collective_model.h"

namespace farscale {

// What the model asks of a communicator and the graph that NCCL found for it.
struct NcclSystem {
  int64_t ranks = 1;
  int64_t nodes = 1;
  int generation = 2;                              // rows of its tables: 0 Volta, 1 Ampere, 2 Hopper, 3 Blackwell
  double channels = 8;                             // rings side by side
  double intra_gb_per_s = 0;                       // one channel inside a node
  double inter_gb_per_s = 0;                       // one channel between nodes
  bool amd_host = false;                           // its tables tell Intel from AMD hosts
  bool switch_reduces = false;                     // NVLS
  bool network_reduces = false;                    // CollNet (SHARP)
  const CollectiveConstants* constants = nullptr;  // latencies and tree corrections
};

// Index of a generation's name in the tables; -1 when they do not have it.
int nccl_generation(std::string_view name);

// The system of a group on links that attain what `links` says.
NcclSystem nccl_system(const LinkValues& links, const Group& group);

// Every algorithm the library would weigh.
CollectiveCost nccl_cost(CollectiveKind kind, const NcclSystem& system);

}  // namespace farscale
