// What a machine is made of: data sheet figures times learned efficiency (cluster/hardware/*.toml and efficiency.toml),
// or parameters fitted to results (model.json). Everything carries its evidence.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "cluster/predict.h"
#include "cluster/quantity.h"

namespace farscale {

// Shares of data sheet rates that kernels attain, by class; `overhead` multiplies the whole step.
struct Efficiency {
  std::map<KernelClass, Quantity> tensor;  // of the dense rate: linear, convolution, grouped convolution, attention
  Quantity memory;                         // of the memory bandwidth
  Quantity gather;                         // of the memory bandwidth, for gathers
  Quantity launch_s;                       // start and drain of one kernel
  Quantity overhead;
};

// NCCL's protocols: flag in every word, flag in every 128 bytes, plain.
enum class Protocol : uint8_t { kLowLatency, kLowLatency128, kSimple };
inline constexpr size_t kProtocols = 3;

// Latencies of one algorithm by protocol: of the call, of a hop inside a domain, of a hop between domains.
struct AlgorithmLatency {
  std::array<double, kProtocols> base_s{}, scale_up_s{}, network_s{};
};

// Groups of a network above the scale-up domain, smallest first: nodes on the same leaf switches (rail), leaves under
// the same spines (pod), pods under the same core (spine), buildings (site). A group of ranks that reaches beyond one
// of the tiers pays for the tier above it.
enum class Tier : uint8_t { kPod, kSpine, kSite };
inline constexpr size_t kTiers = 3;

// What crossing into a tier costs.
struct TierConstants {
  int64_t beyond_ranks = 0;     // groups spread over more GPUs than this cross it
  double oversubscription = 1;  // rate of all links below over rate of all links up
  Quantity collisions;          // slow-down of the slowest path that others share; 1 with perfect adaptive routing
  Quantity hop_factor;          // latency of a hop that crosses, over one that does not
};

// Constants of collectives, NCCL's model as the prior (NVIDIA/nccl src/graph/tuning.cc).
struct CollectiveConstants {
  AlgorithmLatency ring, tree;
  double switch_scale_up_s = 0;                    // reduction in the switch of a domain
  double switch_network_s = 0;                     // and a hop of its tree across domains
  double sharp_network_s = 0;                      // reduction in the switches of the network, a tier
  double gather_base_s = 0;                        // PAT, gathers and scatters with one rank a domain: the call,
  double gather_depth_s = 0;                       // each doubling of the domains,
  double gather_hop_s = 0;                         // and each rank
  std::array<double, kProtocols> ring_protocol{};  // share of the ring's bandwidth that a protocol carries
  std::array<double, kProtocols> tree_protocol{};  // share of the ring's bandwidth, each of a tree's two ways
  std::array<std::vector<double>, kProtocols> tree_correction;  // by size, powers of two from 64 B
  double plateau = 1;         // on a plain ring's latency across domains, chunks of 64 B and more
  double channels = 8;        // rings side by side, for the chunk of the plateau
  Quantity latency_scale;     // multiplies all latencies
  Quantity ring_share;        // of the scale-up rate
  Quantity switch_share;      // of the scale-up rate, reduction in the switch
  Quantity network_share;     // of the NIC rate
  Quantity network_channels;  // cards of one domain that a collective keeps busy, at most
  Quantity interference;
  Quantity spine_divisor;     // collisions of the spine tier
  Quantity spine_hop_factor;  // hop factor of the spine tier
  int64_t pod_ranks = 4096;   // beyond which the spine is crossed
  TierConstants pod, site;
  double spine_oversubscription = 1;
  Quantity scatter;  // share of neighbours that placement puts far apart: 0 in topology order, 1 at random
  int64_t published_ranks = 0;

  TierConstants tier(Tier which) const {
    if (which == Tier::kPod) return pod;
    if (which == Tier::kSite) return site;
    return {pod_ranks, spine_oversubscription, spine_divisor, spine_hop_factor};
  }
};

struct RankSpread {
  Quantity persistent;  // standard deviation over the step's compute time, the same every step
  Quantity transient;   // drawn anew each micro-batch
  Quantity tail;        // 0 normal … 1 heavy: exponential, or generalised Pareto of the shape below
  Quantity shape;       // of the heavy part: 0 exponential … 0.5 (no variance beyond)
};

// A measured GEMM: its shape and its median time.
struct GemmPoint {
  GemmProblem gemm;
  double time_s = 0;
};

// GEMM time fitted to records of one number type: launch + flops / rate + bytes / bandwidth, FLOPs after tile and wave
// quantisation on a GPU (cluster/gemm_model.h).
struct GemmFit {
  double launch_s = 0;
  double s_per_flop = 0;
  double s_per_byte = 0;
  double log_sigma = 0;    // residual spread of log time
  double least_flops = 0;  // fitted range
  double most_flops = 0;
  int records = 0;
  std::vector<GemmPoint> points;  // the records: time near them follows them
  int multiprocessors = 1;        // that FLOPs were quantised for; 1: FLOPs as they are
};

// Time of one collective kind fitted to records: (base + steps(n) * hop) + wire(n) * sum over size segments.
struct CollectiveFit {
  bool ring = true;  // steps(n): 2(n-1) or (n-1) in a ring, log2(n) twice or once in a tree
  double base_s = 0;
  double hop_s = 0;
  std::vector<double> from_bytes;  // segment starts, first 0
  std::vector<double> s_per_byte;  // of each segment, per byte on the bus
  double log_sigma = 0;
  double relative_error = 0;       // standard error of the curve at its largest size, from the covariance
  std::vector<double> covariance;  // of base, hop and the slopes, row by row; empty: not known
  int64_t least_ranks = 0, most_ranks = 0;
  double least_bytes = 0, most_bytes = 0;
  int records = 0;
};

struct Machine::Data {
  std::string name;
  std::string title;
  std::string kind = "gpu";  // "gpu" or "host"
  std::string generation;    // "volta", "ampere", "hopper", "blackwell" as NCCL's tuning tables have them; "" otherwise
  std::string path;
  int gpus_per_node = 1;
  int multiprocessors = 1;
  NumberType training_type = NumberType::kBf16;
  std::map<NumberType, Quantity> flops_per_s;  // dense
  Quantity memory_bytes;
  Quantity memory_bytes_per_s;
  Quantity cache_bytes;
  int64_t scale_up_domain = 1;
  Quantity scale_up_bytes_per_s;  // one GPU, one way
  bool reduces_in_switch = false;
  Quantity nic_bytes_per_s;  // one GPU, one way
  Quantity limit_w, gpu_w, node_w;
  Efficiency efficiency;
  CollectiveConstants collectives;
  RankSpread ranks;
  // Present in models fitted to results.
  std::map<NumberType, GemmFit> gemm_fits;
  std::map<CollectiveKind, CollectiveFit> collective_fits;
  double step_overhead = 1;            // measured step over the sum of its modelled parts
  double model_log_sigma = 0;          // spread of whole steps around the model
  int64_t fitted_ranks = 0;            // largest rank count with records; 0: none
  std::vector<EvidenceLine> evidence;  // what the model was made from
};

// Fills in what every machine shares until something better is known: shares of data sheet rates, the collective
// library's constants, the spread of ranks (cluster/efficiency.toml).
void read_shared(Machine::Data& data);

// The type a task of type `wanted` runs in here: itself, or the nearest the hardware has (bf16 -> fp16, tf32 -> fp32).
NumberType available_type(const Machine::Data& machine, NumberType wanted);

}  // namespace farscale
