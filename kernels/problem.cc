// Names, counts and checks of the problems, and the table of bus bandwidth.
#include "kernels/problem.h"

#include <fmt/format.h>

#include <vector>

#include "kernels/error.h"
#include "kernels/suggest.h"

namespace farscale {
namespace {

void require(bool ok, std::string_view problem, std::string_view expected) {
  if (!ok) throw InputError(fmt::format("{}: expected {}", problem, expected));
}

template <typename Kind, size_t N>
Kind parse_kind(std::string_view what, std::string_view text, const std::array<Kind, N>& kinds) {
  std::vector<std::string> names;
  for (Kind kind : kinds) {
    if (name(kind) == text) return kind;
    names.emplace_back(name(kind));
  }
  throw InputError(unknown_name(what, text, names));
}

bool converts(MemoryKind kind) {
  return kind == MemoryKind::kPack || kind == MemoryKind::kUnpack || kind == MemoryKind::kConvert;
}

// Reads and writes of one element of the problem, and its FLOPs.
struct PassCost {
  double arrays;  // of the problem's type
  double flops;
};

PassCost cost(MemoryKind kind) {
  switch (kind) {
    case MemoryKind::kCopy:
      return {2, 0};  // x, y
    case MemoryKind::kTriad:
      return {3, 2};  // x, y, z
    case MemoryKind::kAdamW:
    case MemoryKind::kAdamWMulti:
      return {7, 14};  // read g p m v, write p m v; counted from the update of kernels/reference.h
    case MemoryKind::kBiasGelu:
      return {2, 5};  // x + b; x (1 + erf(x / sqrt 2)) / 2 with erf as one
    case MemoryKind::kLayerNorm:
      return {2, 8};  // mean 1, variance 3, normalise and scale 4
    case MemoryKind::kPack:
    case MemoryKind::kUnpack:
      return {1, 1};
    case MemoryKind::kConvert:
      return {1, 0};
  }
  return {0, 0};
}

double weights_of(const ConvolutionProblem& problem) {
  const int64_t depth = problem.channels / problem.groups;
  return double(problem.filters) * double(depth) * double(problem.kernel * problem.kernel);
}

}  // namespace

double GemmProblem::bytes() const {
  const double elements = double(m) * double(k) + double(k) * double(n) + double(m) * double(n);
  return elements * double(batch) * bytes_per_element(type);
}

std::string GemmProblem::layout() const {
  return fmt::format("{}{}", transpose_a ? 't' : 'n', transpose_b ? 't' : 'n');
}

std::string GemmProblem::name() const {
  std::string text = fmt::format("gemm/{}/{}/{}x{}x{}", farscale::name(type), layout(), m, n, k);
  if (batch > 1) text += fmt::format("/b{}", batch);
  if (scaling != Scaling::kNone) text += fmt::format("/{}_scaled", farscale::name(scaling));
  if (fast_accumulation) text += "/fast";
  if (epilogue != Epilogue::kNone) text += fmt::format("/{}", farscale::name(epilogue));
  return text;
}

void GemmProblem::validate() const {
  constexpr int64_t kMost = int64_t{1} << 31;
  const bool sizes = m > 0 && n > 0 && k > 0 && batch > 0 && m < kMost && n < kMost && k < kMost && batch < kMost;
  require(sizes, name(), "m, n, k and batch from 1 to 2147483647");
  const bool fp8 = type == NumberType::kFp8E4M3 || type == NumberType::kFp8E5M2;
  const bool fp4 = type == NumberType::kFp4;
  require(scaling == Scaling::kNone || fp8 || (fp4 && scaling == Scaling::kBlock), name(),
          "scaling only for fp8 (tensor, block, block128, row) and fp4 (block)");
  require(!fast_accumulation || fp8, name(), "fast accumulation only for fp8");
}

double MemoryProblem::flops() const { return cost(kind).flops * double(elements); }

double MemoryProblem::bytes() const {
  const double other = converts(kind) ? bytes_per_element(to) : 0;
  return double(elements) * (cost(kind).arrays * bytes_per_element(type) + other);
}

std::string MemoryProblem::name() const {
  const std::string types = converts(kind) ? fmt::format("{}-{}", farscale::name(type), farscale::name(to))
                                           : std::string(farscale::name(type));
  return fmt::format("memory/{}/{}/{}", farscale::name(kind), types, elements);
}

void MemoryProblem::validate() const {
  require(elements > 0 && elements <= (int64_t{1} << 40), name(), "1 to 2^40 elements");
  const bool rows = kind == MemoryKind::kBiasGelu || kind == MemoryKind::kLayerNorm;
  require(!rows || elements % kMemoryRow == 0, name(), fmt::format("elements in rows of {}", kMemoryRow));
}

std::string CollectiveProblem::name() const {
  return fmt::format("collective/{}/{}/{}B/{}ranks{}", farscale::name(kind), farscale::name(type), bytes, ranks,
                     in_place ? "/in_place" : "");
}

void CollectiveProblem::validate() const {
  require(ranks >= 1, name(), "at least one rank");
  require(bytes > 0 && bytes <= (int64_t{1} << 40), name(), "1 byte to 1 TiB");
  const bool split =
      kind == CollectiveKind::kReduceScatter || kind == CollectiveKind::kAllGather || kind == CollectiveKind::kAllToAll;
  const int64_t grain = static_cast<int64_t>(bytes_per_element(type)) * (split ? ranks : 1);
  require(grain > 0 && bytes % grain == 0, name(), fmt::format("bytes in multiples of {}", grain));
}

double ConvolutionProblem::flops() const {
  return 2 * double(images) * double(output_height()) * double(output_width()) * weights_of(*this);
}

double ConvolutionProblem::bytes() const {
  const double input = double(images) * double(height) * double(width) * double(channels);
  const double output = double(images) * double(output_height()) * double(output_width()) * double(filters);
  return (input + weights_of(*this) + output) * bytes_per_element(type);
}

std::string ConvolutionProblem::name() const {
  return fmt::format("convolution/{}/{}/{}x{}x{}x{}-{}/k{}s{}g{}", farscale::name(type), farscale::name(pass), images,
                     height, width, channels, filters, kernel, stride, groups);
}

void ConvolutionProblem::validate() const {
  const bool sizes = images > 0 && height > 0 && width > 0 && channels > 0 && filters > 0 && kernel > 0 && stride > 0;
  require(sizes && kernel % 2 == 1, name(), "sizes of at least 1 and an odd kernel");
  require(groups > 0 && channels % groups == 0 && filters % groups == 0, name(),
          "channels and filters that divide into the groups");
}

std::string_view name(MemoryKind kind) {
  constexpr std::array<std::string_view, kMemoryKinds.size()> names = {
      "copy", "triad", "adamw", "adamw_multi", "bias_gelu", "layer_norm", "pack", "unpack", "convert"};
  return names[static_cast<size_t>(kind)];
}

std::string_view name(CollectiveKind kind) {
  constexpr std::array<std::string_view, kCollectiveKinds.size()> names = {"all_reduce", "reduce_scatter", "all_gather",
                                                                           "broadcast",  "all_to_all",     "send_recv"};
  return names[static_cast<size_t>(kind)];
}

std::string_view name(Epilogue epilogue) {
  constexpr std::array<std::string_view, kEpilogues.size()> names = {"none", "bias", "bias_relu", "bias_gelu"};
  return names[static_cast<size_t>(epilogue)];
}

std::string_view name(Scaling scaling) {
  constexpr std::array<std::string_view, kScalings.size()> names = {"none", "tensor", "block", "block128", "row"};
  return names[static_cast<size_t>(scaling)];
}

std::string_view name(ConvolutionPass pass) {
  constexpr std::array<std::string_view, kConvolutionPasses.size()> names = {"forward", "data_gradient",
                                                                             "weight_gradient"};
  return names[static_cast<size_t>(pass)];
}

MemoryKind parse_memory_kind(std::string_view text) { return parse_kind("memory kernel", text, kMemoryKinds); }

CollectiveKind parse_collective_kind(std::string_view text) { return parse_kind("collective", text, kCollectiveKinds); }
Epilogue parse_epilogue(std::string_view text) { return parse_kind("epilogue", text, kEpilogues); }
Scaling parse_scaling(std::string_view text) { return parse_kind("scaling", text, kScalings); }

ConvolutionPass parse_convolution_pass(std::string_view text) {
  return parse_kind("pass of a convolution", text, kConvolutionPasses);
}

double bus_factor(CollectiveKind kind, int64_t ranks) {
  const double n = double(ranks);
  switch (kind) {
    case CollectiveKind::kAllReduce:
      return 2 * (n - 1) / n;
    case CollectiveKind::kReduceScatter:
    case CollectiveKind::kAllGather:
    case CollectiveKind::kAllToAll:
      return (n - 1) / n;
    case CollectiveKind::kBroadcast:
    case CollectiveKind::kSendRecv:
      return 1;
  }
  return 0;
}

double bus_bandwidth(const CollectiveProblem& problem, double time_s) {
  return bus_factor(problem.kind, problem.ranks) * double(problem.bytes) / time_s;
}

std::string name(const Problem& problem) {
  return std::visit([](const auto& p) { return p.name(); }, problem);
}

void validate(const Problem& problem) {
  std::visit([](const auto& p) { p.validate(); }, problem);
}

}  // namespace farscale
