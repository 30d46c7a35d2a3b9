// The references of memory kernels and collectives.
#include "kernels/reference.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>
#include <string>

namespace farscale {
namespace {

constexpr int64_t kBlock = 4096;
constexpr int64_t kPeriod = 1021;  // slots of a collective's pattern: prime, so that no power of two hides a shift

using Block = std::array<double, kBlock>;

// A result, its exact value, and the scale its error is measured in.
struct Compared {
  double got = 0;
  long double expected = 0;
  double scale = 0;    // sum of the absolute values of the terms
  double allowed = 0;  // in unit roundoffs of the scale
};

struct MemoryCheck {
  double roundoff = 0;
  double worst = 0;  // as a fraction of what was allowed
  std::string place;

  void note(const Compared& c, std::string_view array, int64_t element) {
    const auto error = static_cast<double>(std::abs(static_cast<long double>(c.got) - c.expected));
    double units = error == 0 ? 0 : (c.allowed > 0 ? error / (c.allowed * roundoff * c.scale) : error);
    if (!(units <= std::numeric_limits<double>::max())) units = std::numeric_limits<double>::max();
    if (units <= worst) return;
    worst = units;
    place = fmt::format("{}[{}] is {:.9g}, expected {:.9g}", array, element, c.got, static_cast<double>(c.expected));
  }
};

struct MemoryBlocks {
  std::array<Block, 4> before;
  std::array<Block, 3> after;
};

template <typename T>
void check_adamw(const MemoryBlocks& blocks, int64_t i, int64_t element, MemoryCheck& check) {
  const AdamWStep<T> narrow;
  const AdamWStep<long double> s{.beta1 = narrow.beta1,
                                 .rest1 = narrow.rest1,
                                 .beta2 = narrow.beta2,
                                 .rest2 = narrow.rest2,
                                 .inverse_root_bias2 = narrow.inverse_root_bias2,
                                 .epsilon = narrow.epsilon,
                                 .keep = narrow.keep,
                                 .step = narrow.step};
  long double p = blocks.before[0][i], m = blocks.before[1][i], v = blocks.before[2][i];
  const long double g = blocks.before[3][i];
  const auto m_scale = static_cast<double>(std::abs(s.beta1 * m) + std::abs(s.rest1 * g));
  const long double kept = std::abs(p * s.keep);
  adamw_update(p, m, v, g, s);
  const long double update = s.step * m_scale / (std::sqrt(v) * s.inverse_root_bias2 + s.epsilon);
  check.note({blocks.after[0][i], p, static_cast<double>(kept + update), 14}, "p", element);
  check.note({blocks.after[1][i], m, m_scale, 3}, "m", element);
  check.note({blocks.after[2][i], v, static_cast<double>(v), 4}, "v", element);
}

void check_element(const MemoryProblem& problem, const MemoryBlocks& blocks, int64_t i, int64_t element,
                   MemoryCheck& check) {
  const double x = blocks.before[0][i], y = blocks.before[1][i];
  switch (problem.kind) {
    case MemoryKind::kCopy:
      check.note({blocks.after[0][i], x, 0, 0}, "y", element);
      break;
    case MemoryKind::kTriad:
      check.note({blocks.after[0][i], x + static_cast<long double>(kTriadScale) * y,
                  std::abs(x) + kTriadScale * std::abs(y), 2},
                 "z", element);
      break;
    case MemoryKind::kAdamW:
      if (problem.type == NumberType::kFp64) {
        check_adamw<double>(blocks, i, element, check);
      } else {
        check_adamw<float>(blocks, i, element, check);
      }
      break;
    default:
      break;
  }
}

}  // namespace

Verdict check_memory(const MemoryProblem& problem, const MemoryArrays& arrays) {
  const Decode decode = decoder(problem.type);
  const auto blocks = std::make_unique<MemoryBlocks>();
  MemoryCheck check{.roundoff = unit_roundoff(problem.type), .worst = 0, .place = ""};
  for (int64_t first = 0; first < problem.elements; first += kBlock) {
    const int64_t count = std::min(kBlock, problem.elements - first);
    for (size_t a = 0; a < arrays.before.size(); ++a) decode(arrays.before[a], first, count, blocks->before[a].data());
    for (size_t a = 0; a < arrays.after.size(); ++a) decode(arrays.after[a], first, count, blocks->after[a].data());
    for (int64_t i = 0; i < count; ++i) check_element(problem, *blocks, i, first + i, check);
  }
  const bool exact = problem.kind == MemoryKind::kCopy;
  const double bound = exact ? 0 : 1;
  const std::string seen = fmt::format("all {} elements {}", problem.elements,
                                       exact ? "exactly" : "within the roundings of the kernel's operations");
  const bool correct = check.worst <= bound;
  return {correct, check.worst, bound, correct ? seen : fmt::format("{} ({})", check.place, seen)};
}

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
  const int groups = (problem_.ranks + 127) / 128;  // at most 128 ranks add to one element
  if ((slot + rank) % groups != 0) return 0;
  const uint64_t values = std::min<uint64_t>(8, 256 / std::min<uint64_t>(128, static_cast<uint64_t>(problem_.ranks)));
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
  return static_cast<double>(bits % 201) - 100;
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
