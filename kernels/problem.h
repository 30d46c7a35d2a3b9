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

// What a GEMM does to its product before storing it; the bias has one entry per column of C (an output channel).
enum class Epilogue : uint8_t { kNone, kBias, kBiasRelu, kBiasGelu };
inline constexpr std::array kEpilogues = {Epilogue::kNone, Epilogue::kBias, Epilogue::kBiasRelu, Epilogue::kBiasGelu};

// How operands of 8 and 4 bits are scaled:
//   tensor    one fp32 factor a tensor
//   block     one factor a block along k as the GPU's block formats have it (OCP Microscaling 1.0: 32 elements and a
//   power
//             of two; NVIDIA's fp4: 16 elements and an e4m3)
//   block128  one fp32 factor for 128 elements along k of A, and for 128 x 128 of B (DeepSeek-V3, arXiv 2412.19437)
//   row       one fp32 factor a row of A and a column of B
enum class Scaling : uint8_t { kNone, kTensor, kBlock, kBlock128, kRow };
inline constexpr std::array kScalings = {Scaling::kNone, Scaling::kTensor, Scaling::kBlock, Scaling::kBlock128,
                                         Scaling::kRow};

// C[b] = epilogue(op(A[b]) * op(B[b])) for b < batch, with A m x k, B k x n, C m x n.
struct GemmProblem {
  int64_t m = 0;
  int64_t n = 0;
  int64_t k = 0;
  int64_t batch = 1;
  NumberType type = NumberType::kFp32;
  bool transpose_a = false;
  bool transpose_b = false;
  Epilogue epilogue = Epilogue::kNone;
  Scaling scaling = Scaling::kNone;  // fp8: any; fp4: kBlock; every other type: kNone
  bool fast_accumulation = false;    // fp8: sums kept in the tensor core's own precision

  double flops() const { return 2.0 * double(m) * double(n) * double(k) * double(batch); }
  double bytes() const;        // A and B read once, C written once
  std::string layout() const;  // "nn", "nt", "tn", "tt"
  std::string name() const;    // "gemm/fp32/nn/1024x1024x1024"; with "/b11", "/tensor_scaled", "/fast", "/bias_gelu"
  void validate() const;       // throws InputError

  bool operator==(const GemmProblem&) const = default;
};

enum class MemoryKind : uint8_t { kCopy, kTriad, kAdamW, kAdamWMulti, kBiasGelu, kLayerNorm, kPack, kUnpack, kConvert };
inline constexpr std::array kMemoryKinds = {MemoryKind::kCopy,       MemoryKind::kTriad,    MemoryKind::kAdamW,
                                            MemoryKind::kAdamWMulti, MemoryKind::kBiasGelu, MemoryKind::kLayerNorm,
                                            MemoryKind::kPack,       MemoryKind::kUnpack,   MemoryKind::kConvert};

// Elements of a row of bias_gelu and layer_norm: a width in the middle of what networks have.
inline constexpr int64_t kMemoryRow = 1024;

// A pass over memory.
//   copy         y = x
//   triad        z = x + s*y
//   adamw        p, m, v updated from g (fp32 state, decoupled decay)
//   adamw_multi  the same over many tensors of unequal sizes in one launch
//   bias_gelu    y = gelu(x + b), b one a column, rows of kMemoryRow
//   layer_norm   y = (x - mean) / sqrt(variance + 1e-5) * g + b, rows of kMemoryRow
//   pack         tensors of `type` gathered into one bucket of `to`, times a factor
//   unpack       a bucket of `type` spread into tensors of `to`, times a factor
//   convert      y of `to` = x of `type`, rounded to nearest even, saturated
struct MemoryProblem {
  MemoryKind kind = MemoryKind::kCopy;
  int64_t elements = 0;
  NumberType type = NumberType::kFp32;
  NumberType to = NumberType::kFp32;  // pack, unpack, convert

  double flops() const;
  // Bytes read plus bytes written, no write-allocate: copy 2, triad 3, adamw 7, bias_gelu and layer_norm 2 elements
  // each (their rows of parameters stay in cache); pack, unpack and convert one of `type` and one of `to`.
  double bytes() const;
  std::string name() const;  // "memory/copy/fp32/16777216", "memory/convert/fp32-bf16/16777216"
  void validate() const;

  bool operator==(const MemoryProblem&) const = default;
};

enum class CollectiveKind : uint8_t { kAllReduce, kReduceScatter, kAllGather, kBroadcast, kAllToAll, kSendRecv };
inline constexpr std::array kCollectiveKinds = {CollectiveKind::kAllReduce, CollectiveKind::kReduceScatter,
                                                CollectiveKind::kAllGather, CollectiveKind::kBroadcast,
                                                CollectiveKind::kAllToAll,  CollectiveKind::kSendRecv};

// A collective over `ranks` ranks. `bytes` is S of nccl-tests' table: the whole buffer of an all-reduce or broadcast;
// for all-gather, reduce-scatter and all-to-all the large side (ranks x the part of one rank); for send_recv what each
// rank sends to the next one of a ring while it receives as much from the one before.
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

enum class ConvolutionPass : uint8_t { kForward, kDataGradient, kWeightGradient };
inline constexpr std::array kConvolutionPasses = {ConvolutionPass::kForward, ConvolutionPass::kDataGradient,
                                                  ConvolutionPass::kWeightGradient};

// A two-dimensional convolution, channels last, square kernel, padded by kernel / 2 on every side: what libraries run
// as an implicit GEMM. Three-dimensional ones and other paddings exist only as the GEMMs of the same FLOPs.
struct ConvolutionProblem {
  ConvolutionPass pass = ConvolutionPass::kForward;
  int64_t images = 0, height = 0, width = 0;  // of the input
  int64_t channels = 0, filters = 0;          // in, out
  int64_t kernel = 1, stride = 1, groups = 1;
  NumberType type = NumberType::kBf16;

  int64_t output_height() const { return (height + 2 * (kernel / 2) - kernel) / stride + 1; }
  int64_t output_width() const { return (width + 2 * (kernel / 2) - kernel) / stride + 1; }
  double flops() const;      // the same of all three passes
  double bytes() const;      // input, filters and output once
  std::string name() const;  // "convolution/bf16/forward/8x240x320x112-112/k3s2g2"
  void validate() const;     // throws InputError

  bool operator==(const ConvolutionProblem&) const = default;
};

using Problem = std::variant<GemmProblem, MemoryProblem, CollectiveProblem, ConvolutionProblem>;

std::string_view name(MemoryKind kind);  // "copy", "triad", "adamw", "adamw_multi", "bias_gelu", …
std::string_view name(
    CollectiveKind kind);  // "all_reduce", "reduce_scatter", "all_gather", "broadcast", "all_to_all", "send_recv"
std::string_view name(Epilogue epilogue);                       // "none", "bias", "bias_relu", "bias_gelu"
std::string_view name(Scaling scaling);                         // "none", "tensor", "block"
std::string_view name(ConvolutionPass pass);                    // "forward", "data_gradient", "weight_gradient"
MemoryKind parse_memory_kind(std::string_view text);            // throws InputError
CollectiveKind parse_collective_kind(std::string_view text);    // throws InputError
Epilogue parse_epilogue(std::string_view text);                 // throws InputError
Scaling parse_scaling(std::string_view text);                   // throws InputError
ConvolutionPass parse_convolution_pass(std::string_view text);  // throws InputError

// Bus bandwidth over algorithm bandwidth S/t for n ranks, as nccl-tests defines it (doc/PERFORMANCE.md):
// all-reduce 2(n-1)/n; reduce-scatter, all-gather and all-to-all (n-1)/n; broadcast and send_recv 1. One rank: 0 for
// all but broadcast and send_recv, because nothing crosses a link.
double bus_factor(CollectiveKind kind, int64_t ranks);

// Bytes per second on the bus: bus_factor * bytes / time_s.
double bus_bandwidth(const CollectiveProblem& problem, double time_s);

std::string name(const Problem& problem);
void validate(const Problem& problem);

}  // namespace farscale
