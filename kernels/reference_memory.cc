// The references of memory kernels: which arrays they have, and what must be in them.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>
#include <numbers>
#include <string>

#include "kernels/reference.h"

namespace farscale {
namespace {

constexpr int64_t kBlock = 4 * kMemoryRow;
constexpr int64_t kTensorStart = 64;  // elements: 256 bytes of fp32, as allocators give them

// Sizes of a network's tensors, large and small in turn: convolutions, odd heads, norms.
constexpr std::array<int64_t, 10> kTensorSizes = {1048576, 1001, 50176, 17, 262144, 224, 4099, 65536, 3, 451584};

using Values = std::array<double, kBlock>;

bool updates(MemoryKind kind) { return kind == MemoryKind::kAdamW || kind == MemoryKind::kAdamWMulti; }
bool converts(MemoryKind kind) {
  return kind == MemoryKind::kPack || kind == MemoryKind::kUnpack || kind == MemoryKind::kConvert;
}
bool has_tensors(MemoryKind kind) {
  return kind == MemoryKind::kAdamWMulti || kind == MemoryKind::kPack || kind == MemoryKind::kUnpack;
}

bool contains(std::initializer_list<NumberType> types, NumberType type) {
  return std::find(types.begin(), types.end(), type) != types.end();
}

// Half the distance of subnormal numbers, where a type has some that results can reach.
double subnormal_roundoff(NumberType type) { return type == NumberType::kFp16 ? 0x1p-25 : 0; }

// How far a value may be from its exact one: `units` roundings of terms that add up to `scale`, then being stored.
struct Allowed {
  double units = 0;
  double scale = 0;
};

// The worst place so far, as a fraction of what was allowed.
class MemoryCheck {
 public:
  explicit MemoryCheck(const MemoryProblem& problem) {
    const bool wide = problem.type == NumberType::kFp64;
    const bool narrow = bytes_per_element(problem.type) < 4;
    roundoff_ = wide ? 0x1p-53 : 0x1p-24;  // narrow types are computed in fp32
    stored_ = narrow ? unit_roundoff(problem.type) : 0;
    smallest_ = subnormal_roundoff(problem.type);
  }

  void note(std::string_view array, int64_t element, double got, long double expected, const Allowed& allowed) {
    const auto error = static_cast<double>(std::abs(static_cast<long double>(got) - expected));
    const double bound =
        allowed.units * roundoff_ * allowed.scale + (allowed.units > 0 ? stored_ * std::abs(got) + smallest_ : 0);
    double share = error == 0 ? 0 : (bound > 0 ? error / bound : error);
    if (!(share <= std::numeric_limits<double>::max())) share = std::numeric_limits<double>::max();  // NaN, infinity
    if (share <= worst_) return;
    worst_ = share;
    place_ = fmt::format("{}[{}] is {:.9g}, expected {:.9g}", array, element, got, static_cast<double>(expected));
  }

  double worst() const { return worst_; }
  const std::string& place() const { return place_; }

 private:
  double roundoff_ = 0;
  double stored_ = 0;
  double smallest_ = 0;
  double worst_ = 0;
  std::string place_;
};

// Some elements of all arrays, in doubles; the rows that hold parameters whole.
struct Blocks {
  std::array<Values, 4> before;
  std::array<Values, 3> after;
  int64_t place = 0;
  int64_t count = 0;
};

template <typename T>
void check_adamw(const Blocks& blocks, MemoryCheck& check) {
  const AdamWStep<T> narrow;
  const AdamWStep<long double> s{.beta1 = narrow.beta1,
                                 .rest1 = narrow.rest1,
                                 .beta2 = narrow.beta2,
                                 .rest2 = narrow.rest2,
                                 .inverse_root_bias2 = narrow.inverse_root_bias2,
                                 .epsilon = narrow.epsilon,
                                 .keep = narrow.keep,
                                 .step = narrow.step};
  for (int64_t i = 0; i < blocks.count; ++i) {
    long double p = blocks.before[0][i], m = blocks.before[1][i], v = blocks.before[2][i];
    const long double g = blocks.before[3][i];
    const auto m_scale = static_cast<double>(std::abs(s.beta1 * m) + std::abs(s.rest1 * g));
    const long double kept = std::abs(p * s.keep);
    adamw_update(p, m, v, g, s);
    const long double update = s.step * m_scale / (std::sqrt(v) * s.inverse_root_bias2 + s.epsilon);
    check.note("p", blocks.place + i, blocks.after[0][i], p, {14, static_cast<double>(kept + update)});
    check.note("m", blocks.place + i, blocks.after[1][i], m, {3, m_scale});
    check.note("v", blocks.place + i, blocks.after[2][i], v, {4, static_cast<double>(v)});
  }
}

void check_triad(const Blocks& blocks, MemoryCheck& check) {
  for (int64_t i = 0; i < blocks.count; ++i) {
    const double x = blocks.before[0][i], y = blocks.before[1][i];
    check.note("z", blocks.place + i, blocks.after[0][i], x + static_cast<long double>(kTriadScale) * y,
               {2, std::abs(x) + kTriadScale * std::abs(y)});
  }
}

void check_bias_gelu(const Blocks& blocks, MemoryCheck& check) {
  for (int64_t i = 0; i < blocks.count; ++i) {
    const double x = blocks.before[0][i], b = blocks.before[1][i % kMemoryRow];
    check.note("y", blocks.place + i, blocks.after[0][i], gelu(x + b), {16, std::abs(x) + std::abs(b)});
  }
}

void check_layer_norm(const Blocks& blocks, MemoryCheck& check) {
  for (int64_t row = 0; row < blocks.count; row += kMemoryRow) {
    const double* x = blocks.before[0].data() + row;
    double sum = 0, magnitude = 0, squares = 0;
    for (int64_t i = 0; i < kMemoryRow; ++i) {
      sum += x[i];
      magnitude += std::abs(x[i]);
    }
    const double mean = sum / kMemoryRow, level = magnitude / kMemoryRow;
    for (int64_t i = 0; i < kMemoryRow; ++i) squares += (x[i] - mean) * (x[i] - mean);
    const double factor = 1 / std::sqrt(squares / kMemoryRow + kNormEpsilon);
    for (int64_t i = 0; i < kMemoryRow; ++i) {
      const double g = blocks.before[1][i], b = blocks.before[2][i];
      check.note("y", blocks.place + row + i, blocks.after[0][row + i], (x[i] - mean) * factor * g + b,
                 {64, (std::abs(x[i]) + level) * factor * std::abs(g) + std::abs(b)});
    }
  }
}

// y = x times a factor, as `to` holds it: nothing else is right.
void check_stored(const Blocks& blocks, NumberType to, double factor, MemoryCheck& check) {
  Values expected;
  std::array<std::byte, kBlock * sizeof(double)> stored;
  const double most = largest_number(to);
  for (int64_t i = 0; i < blocks.count; ++i) {
    const double value = blocks.before[0][i] * factor;
    expected[i] = std::isinf(value) ? std::copysign(most, value) : std::clamp(value, -most, most);
  }
  encode(to, expected.data(), blocks.count, stored.data(), 0);
  decoder(to)(stored.data(), 0, blocks.count, expected.data());
  for (int64_t i = 0; i < blocks.count; ++i) {
    check.note("y", blocks.place + i, blocks.after[0][i], expected[i], {});
  }
}

void check_blocks(const MemoryProblem& problem, const Blocks& blocks, MemoryCheck& check) {
  switch (problem.kind) {
    case MemoryKind::kCopy:
      return check_stored(blocks, problem.type, 1, check);
    case MemoryKind::kConvert:
      return check_stored(blocks, problem.to, 1, check);
    case MemoryKind::kPack:
    case MemoryKind::kUnpack:
      return check_stored(blocks, problem.to, kBucketFactor, check);
    case MemoryKind::kTriad:
      return check_triad(blocks, check);
    case MemoryKind::kBiasGelu:
      return check_bias_gelu(blocks, check);
    case MemoryKind::kLayerNorm:
      return check_layer_norm(blocks, check);
    case MemoryKind::kAdamW:
    case MemoryKind::kAdamWMulti:
      return problem.type == NumberType::kFp64 ? check_adamw<double>(blocks, check) : check_adamw<float>(blocks, check);
  }
}

// Those that are read or those that are written.
std::vector<MemoryArray> chosen(const MemoryProblem& problem, bool MemoryArray::*which) {
  std::vector<MemoryArray> arrays = memory_arrays(problem);
  std::erase_if(arrays, [&](const MemoryArray& array) { return !(array.*which); });
  return arrays;
}

void load(const MemoryProblem& problem, const MemoryData& data, const MemoryRun& run, int64_t first, Blocks& blocks) {
  const auto before = chosen(problem, &MemoryArray::read), after = chosen(problem, &MemoryArray::written);
  for (size_t a = 0; a < before.size(); ++a) {
    const bool row = a > 0 && (problem.kind == MemoryKind::kBiasGelu || problem.kind == MemoryKind::kLayerNorm);
    decoder(before[a].type)(data.before[a], row ? 0 : run.before + first, row ? kMemoryRow : blocks.count,
                            blocks.before[a].data());
  }
  for (size_t a = 0; a < after.size(); ++a) {
    decoder(after[a].type)(data.after[a], run.after + first, blocks.count, blocks.after[a].data());
  }
}

// The tensors' sizes; no tensor takes more than a quarter, so that there are several of few elements too.
std::vector<int64_t> tensor_sizes(int64_t elements) {
  const int64_t most = (elements / 4) | 1;
  std::vector<int64_t> sizes;
  for (size_t i = 0; elements > 0; ++i) {
    sizes.push_back(std::min({kTensorSizes[i % kTensorSizes.size()], most, elements}));
    elements -= sizes.back();
  }
  return sizes;
}

}  // namespace

std::vector<MemoryArray> memory_arrays(const MemoryProblem& problem) {
  const auto array = [&](bool read, bool written) {
    return MemoryArray{.type = problem.type, .elements = problem.elements, .read = read, .written = written};
  };
  MemoryArray x = array(true, false), y = array(false, true), row = x;
  row.elements = kMemoryRow;
  if (problem.kind == MemoryKind::kTriad) return {x, x, y};
  if (problem.kind == MemoryKind::kBiasGelu) return {x, row, y};
  if (problem.kind == MemoryKind::kLayerNorm) return {x, row, row, y};
  if (converts(problem.kind)) y.type = problem.to;
  const std::vector<MemoryRun> runs = has_tensors(problem.kind) ? memory_runs(problem) : std::vector<MemoryRun>{};
  if (!runs.empty()) {
    x.elements = runs.back().before + runs.back().count;
    y.elements = runs.back().after + runs.back().count;
  }
  if (!updates(problem.kind)) return {x, y};
  MemoryArray updated = x;
  updated.written = true;
  MemoryArray squares = updated;
  squares.ones = true;
  return {updated, updated, squares, x};
}

std::string no_memory_kernel(const MemoryProblem& problem) {
  using enum NumberType;
  const auto only = [&](std::initializer_list<NumberType> types) {
    return contains(types, problem.type)
               ? ""
               : fmt::format("{} does not come in {}", name(problem.kind), name(problem.type));
  };
  const auto either = {kFp32, kBf16};
  const auto held = {kFp32, kFp16, kBf16, kFp8E4M3, kFp8E5M2};
  switch (problem.kind) {
    case MemoryKind::kCopy:
      return problem.type == kFp4 ? "copy does not come in fp4: copy bytes" : "";
    case MemoryKind::kTriad:
      return only({kFp64, kFp32, kFp16, kBf16});
    case MemoryKind::kAdamW:
    case MemoryKind::kAdamWMulti:
      return only({kFp64, kFp32});
    case MemoryKind::kBiasGelu:
    case MemoryKind::kLayerNorm:
      return only({kFp32, kFp16, kBf16});
    case MemoryKind::kPack:
    case MemoryKind::kUnpack:
    case MemoryKind::kConvert:
      break;
  }
  const bool here = contains(held, problem.type) && contains(held, problem.to) &&
                    (contains(either, problem.type) || contains(either, problem.to));
  return here ? ""
              : fmt::format("{} does not go from {} to {}: fp32, fp16, bf16 and fp8, one of the two fp32 or bf16",
                            name(problem.kind), name(problem.type), name(problem.to));
}

std::vector<MemoryRun> memory_runs(const MemoryProblem& problem) {
  if (!has_tensors(problem.kind)) return {{.count = problem.elements}};
  std::vector<MemoryRun> runs;
  int64_t spread = 0, packed = 0;
  for (const int64_t count : tensor_sizes(problem.elements)) {
    runs.push_back({.before = problem.kind == MemoryKind::kUnpack ? packed : spread,
                    .after = problem.kind == MemoryKind::kPack ? packed : spread,
                    .count = count,
                    .place = packed});
    packed += count;
    spread = (spread + count + kTensorStart - 1) / kTensorStart * kTensorStart;
  }
  return runs;
}

Verdict check_memory(const MemoryProblem& problem, const MemoryData& data, const std::vector<MemoryRun>& runs) {
  const auto blocks = std::make_unique<Blocks>();
  MemoryCheck check(problem);
  int64_t elements = 0;
  for (const MemoryRun& run : runs) {
    elements += run.count;
    for (int64_t first = 0; first < run.count; first += kBlock) {
      blocks->count = std::min(kBlock, run.count - first);
      blocks->place = run.place + first;
      load(problem, data, run, first, *blocks);
      check_blocks(problem, *blocks, check);
    }
  }
  const bool exact = problem.kind == MemoryKind::kCopy || converts(problem.kind);
  const double bound = exact ? 0 : 1;
  const bool correct = check.worst() <= bound;
  const std::string seen =
      fmt::format("{} of {} elements {}", elements == problem.elements ? "all" : std::to_string(elements),
                  problem.elements, exact ? "exactly" : "within the roundings of the kernel's operations");
  return {correct, check.worst(), bound, correct ? seen : fmt::format("{} ({})", check.place(), seen)};
}

double gelu(double x) { return x * 0.5 * std::erfc(-x / std::numbers::sqrt2); }

double gelu_tanh(double x) {
  const double inner = std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x);
  return 0.5 * x * (1 + std::tanh(inner));
}

}  // namespace farscale
