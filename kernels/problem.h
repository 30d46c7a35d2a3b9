// Problems: what a device can be asked to compute, as printable values that validate themselves and know their
// FLOPs and bytes. Also the one table of bus bandwidth, used by bench and cluster alike.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <variant>

#include "kernels/number_type.h"

namespace farscale {

// C[b] = op(A[b]) * op(B[b]) for b < batch, with A m x k, B k x n, C m x n.
struct GemmProblem {
  int64_t m = 0;
  int64_t n = 0;
  int64_t k = 0;
  int64_t batch = 1;
  NumberType type = NumberType::kFp32;
  bool transpose_a = false;
  bool transpose_b = false;

  double flops() const { return 2.0 * double(m) * double(n) * double(k) * double(batch); }
  double bytes() const;        // A and B read once, C written once
  std::string layout() const;  // "nn", "nt", "tn", "tt"
  std::string name() const;    // "gemm/fp32/nn/1024x1024x1024", with "/b11" when batch > 1
  void validate() const;       // throws InputError

  bool operator==(const GemmProblem&) const = default;
};

enum class MemoryKind : uint8_t { kCopy, kTriad, kAdamW };
inline constexpr std::array kMemoryKinds = {MemoryKind::kCopy, MemoryKind::kTriad, MemoryKind::kAdamW};

// A pass over memory. copy: y = x. triad: z = x + s*y. adamw: p, m, v updated from g (fp32 state, decoupled decay).
struct MemoryProblem {
  MemoryKind kind = MemoryKind::kCopy;
  int64_t elements = 0;
  NumberType type = NumberType::kFp32;

  double flops() const;
  double bytes() const;      // bytes read plus bytes written, no write-allocate: copy 2, triad 3, adamw 7 elements each
  std::string name() const;  // "memory/copy/fp32/16777216"
  void validate() const;

  bool operator==(const MemoryProblem&) const = default;
};

enum class CollectiveKind : uint8_t { kAllReduce, kReduceScatter, kAllGather, kBroadcast, kAllToAll };
inline constexpr std::array kCollectiveKinds = {CollectiveKind::kAllReduce, CollectiveKind::kReduceScatter,
                                                CollectiveKind::kAllGather, CollectiveKind::kBroadcast,
                                                CollectiveKind::kAllToAll};

// A collective over `ranks` ranks. `bytes` is S of nccl-tests' table: the whole buffer of an all-reduce or broadcast;
// for all-gather, reduce-scatter and all-to-all the large side (ranks x the part of one rank).
struct CollectiveProblem {
  CollectiveKind kind = CollectiveKind::kAllReduce;
  int64_t bytes = 0;
  NumberType type = NumberType::kFp32;
  int ranks = 1;
  bool in_place = false;

  std::string name() const;  // "collective/all_reduce/fp32/1048576B/4ranks", with "/in_place"
  void validate() const;     // bytes must divide into ranks x elements

  bool operator==(const CollectiveProblem&) const = default;
};

using Problem = std::variant<GemmProblem, MemoryProblem, CollectiveProblem>;

std::string_view name(MemoryKind kind);      // "copy", "triad", "adamw"
std::string_view name(CollectiveKind kind);  // "all_reduce", "reduce_scatter", "all_gather", "broadcast", "all_to_all"
MemoryKind parse_memory_kind(std::string_view text);          // throws InputError
CollectiveKind parse_collective_kind(std::string_view text);  // throws InputError

// Bus bandwidth over algorithm bandwidth S/t for n ranks, as nccl-tests defines it (doc/PERFORMANCE.md):
// all-reduce 2(n-1)/n; reduce-scatter, all-gather and all-to-all (n-1)/n; broadcast 1. One rank: 0 for all but
// broadcast, because nothing crosses a link.
double bus_factor(CollectiveKind kind, int64_t ranks);

// Bytes per second on the bus: bus_factor * bytes / time_s.
double bus_bandwidth(const CollectiveProblem& problem, double time_s);

std::string name(const Problem& problem);
void validate(const Problem& problem);

}  // namespace farscale
