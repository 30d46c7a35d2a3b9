// The reference of collectives.
#include "kernels/reference.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace farscale {
namespace {

constexpr int64_t kBlock = 4096;
constexpr int64_t kPeriod = 1021;  // slots of a collective's pattern: prime, so that no power of two hides a shift

using Block = std::array<double, kBlock>;

// The integer up to which a type has every integer, 2^(bits of the significand); of the wide types bf16's is enough.
int64_t counts_to(NumberType type) {
  if (type == NumberType::kFp8E4M3) return 16;
  return type == NumberType::kFp8E5M2 ? 8 : 256;
}

}  // namespace

CollectivePattern::CollectivePattern(const CollectiveProblem& problem) : problem_(problem) {
  problem.validate();
  whole_ = problem.bytes / static_cast<int64_t>(bytes_per_element(problem.type));
  part_ = whole_ / problem.ranks;
  sums_.assign(kPeriod, 0);
  for (int64_t slot = 0; slot < kPeriod; ++slot) {
    for (int rank = 0; rank < problem.ranks; ++rank) sums_[slot] += summand(rank, slot);
    if (problem.type == NumberType::kInt8) {  // sums modulo 256
      sums_[slot] = static_cast<int8_t>(static_cast<uint8_t>(static_cast<int64_t>(sums_[slot])));
    }
  }
}

int64_t CollectivePattern::slot(int64_t element) const { return (element + element / kPeriod * 31) % kPeriod; }

double CollectivePattern::summand(int rank, int64_t slot) const {
  const int64_t most = counts_to(problem_.type) / 2;  // ranks that add to one element, each at least 1 and mostly 2
  const int64_t groups = (problem_.ranks + most - 1) / most;
  if ((slot + rank) % groups != 0) return 0;
  const auto values = static_cast<uint64_t>(std::min<int64_t>(8, 2 * most / std::min<int64_t>(most, problem_.ranks)));
  return 1 + static_cast<double>(mixed(static_cast<uint64_t>(rank), static_cast<uint64_t>(slot)) % values);
}

int64_t CollectivePattern::send_elements() const {
  return problem_.kind == CollectiveKind::kAllGather ? part_ : whole_;
}

int64_t CollectivePattern::receive_elements() const {
  return problem_.kind == CollectiveKind::kReduceScatter ? part_ : whole_;
}

double CollectivePattern::sent(int rank, int64_t element) const {
  if (problem_.kind == CollectiveKind::kAllReduce || problem_.kind == CollectiveKind::kReduceScatter) {
    return summand(rank, slot(element));
  }
  const uint64_t bits = mixed(static_cast<uint64_t>(rank) + 1000003, static_cast<uint64_t>(element));
  const auto range = static_cast<uint64_t>(std::min<int64_t>(100, counts_to(problem_.type)));
  return static_cast<double>(bits % (2 * range + 1)) - static_cast<double>(range);
}

double CollectivePattern::expected(int rank, int64_t element) const {
  switch (problem_.kind) {
    case CollectiveKind::kAllReduce:
      return sum(element);
    case CollectiveKind::kReduceScatter:
      return sum(rank * part_ + element);
    case CollectiveKind::kAllGather:
      return sent(static_cast<int>(element / part_), element % part_);
    case CollectiveKind::kBroadcast:
      return sent(0, element);
    case CollectiveKind::kAllToAll:
      return sent(static_cast<int>(element / part_), rank * part_ + element % part_);
    case CollectiveKind::kSendRecv:
      return sent((rank + problem_.ranks - 1) % problem_.ranks, element);
  }
  return 0;
}

void CollectivePattern::write(int rank, void* send) const {
  Block block;
  for (int64_t first = 0; first < send_elements(); first += kBlock) {
    const int64_t count = std::min(kBlock, send_elements() - first);
    for (int64_t i = 0; i < count; ++i) block[i] = sent(rank, first + i);
    encode(problem_.type, block.data(), count, send, first);
  }
}

Verdict CollectivePattern::check(int rank, const void* received) const {
  const Decode decode = decoder(problem_.type);
  Block block;
  int64_t wrong = 0;
  Verdict verdict{.correct = true, .worst_error = 0, .bound = 0, .detail = ""};
  for (int64_t first = 0; first < receive_elements(); first += kBlock) {
    const int64_t count = std::min(kBlock, receive_elements() - first);
    decode(received, first, count, block.data());
    for (int64_t i = 0; i < count; ++i) {
      const double right = expected(rank, first + i), error = std::abs(block[i] - right);
      if (error == 0) continue;
      if (wrong++ == 0)
        verdict.detail = fmt::format("element {} on rank {} is {}, expected {}", first + i, rank, block[i], right);
      verdict.worst_error = error <= 1e300 ? std::max(verdict.worst_error, error) : 1e300;
    }
  }
  verdict.correct = wrong == 0;
  verdict.detail = wrong == 0 ? fmt::format("all {} elements of rank {} exactly", receive_elements(), rank)
                              : fmt::format("{} ({} of {} wrong)", verdict.detail, wrong, receive_elements());
  return verdict;
}

}  // namespace farscale
