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

// Arrays read and written, in elements per element of the problem.
int arrays_moved(MemoryKind kind) {
  switch (kind) {
    case MemoryKind::kCopy:
      return 2;  // x, y
    case MemoryKind::kTriad:
      return 3;  // x, y, z
    case MemoryKind::kAdamW:
      return 7;  // read g p m v, write p m v
  }
  return 0;
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
  const std::string head = fmt::format("gemm/{}/{}/{}x{}x{}", farscale::name(type), layout(), m, n, k);
  return batch > 1 ? fmt::format("{}/b{}", head, batch) : head;
}

void GemmProblem::validate() const {
  constexpr int64_t kMost = int64_t{1} << 31;
  const bool sizes = m > 0 && n > 0 && k > 0 && batch > 0 && m < kMost && n < kMost && k < kMost && batch < kMost;
  require(sizes, name(), "m, n, k and batch from 1 to 2147483647");
}

double MemoryProblem::flops() const {
  switch (kind) {
    case MemoryKind::kCopy:
      return 0;
    case MemoryKind::kTriad:
      return 2.0 * double(elements);
    case MemoryKind::kAdamW:
      return 14.0 * double(elements);  // counted from the update of kernels/reference.h
  }
  return 0;
}

double MemoryProblem::bytes() const { return arrays_moved(kind) * double(elements) * bytes_per_element(type); }

std::string MemoryProblem::name() const {
  return fmt::format("memory/{}/{}/{}", farscale::name(kind), farscale::name(type), elements);
}

void MemoryProblem::validate() const {
  require(elements > 0 && elements <= (int64_t{1} << 40), name(), "1 to 2^40 elements");
}

std::string CollectiveProblem::name() const {
  return fmt::format("collective/{}/{}/{}B/{}ranks{}", farscale::name(kind), farscale::name(type), bytes, ranks,
                     in_place ? "/in_place" : "");
}

void CollectiveProblem::validate() const {
  require(ranks >= 1, name(), "at least one rank");
  require(bytes > 0 && bytes <= (int64_t{1} << 40), name(), "1 byte to 1 TiB");
  const bool split = kind != CollectiveKind::kAllReduce && kind != CollectiveKind::kBroadcast;
  const int64_t grain = static_cast<int64_t>(bytes_per_element(type)) * (split ? ranks : 1);
  require(grain > 0 && bytes % grain == 0, name(), fmt::format("bytes in multiples of {}", grain));
}

std::string_view name(MemoryKind kind) {
  switch (kind) {
    case MemoryKind::kCopy:
      return "copy";
    case MemoryKind::kTriad:
      return "triad";
    case MemoryKind::kAdamW:
      return "adamw";
  }
  return "";
}

std::string_view name(CollectiveKind kind) {
  switch (kind) {
    case CollectiveKind::kAllReduce:
      return "all_reduce";
    case CollectiveKind::kReduceScatter:
      return "reduce_scatter";
    case CollectiveKind::kAllGather:
      return "all_gather";
    case CollectiveKind::kBroadcast:
      return "broadcast";
    case CollectiveKind::kAllToAll:
      return "all_to_all";
  }
  return "";
}

MemoryKind parse_memory_kind(std::string_view text) { return parse_kind("memory kernel", text, kMemoryKinds); }

CollectiveKind parse_collective_kind(std::string_view text) { return parse_kind("collective", text, kCollectiveKinds); }

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
