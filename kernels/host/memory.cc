// The memory kernels and their check.
#include "kernels/host/memory.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numbers>
#include <vector>

#include "kernels/elements.h"
#include "kernels/host/buffer.h"
#include "kernels/host/narrow.h"
#include "kernels/host/queue.h"
#include "kernels/reference.h"

namespace farscale {
namespace {

struct Span {
  int64_t first = 0;
  int64_t last = 0;
};

using Buffers = std::vector<Buffer>;

template <typename Type>
const typename Type::Stored* input(const Buffers& arrays, size_t array) {
  return arrays[array].template as<typename Type::Stored>();
}

template <typename Type>
void triad(const Buffers& arrays, Span span) {
  const auto* __restrict x = input<Type>(arrays, 0);
  const auto* __restrict y = input<Type>(arrays, 1);
  auto* __restrict z = arrays[2].as<typename Type::Stored>();
  using Value = decltype(Type::widen(*x));
  for (int64_t i = span.first; i < span.last; ++i) {
    z[i] = Type::narrow(Type::widen(x[i]) + Value(kTriadScale) * Type::widen(y[i]));
  }
}

template <typename T>
void adamw(const Buffers& arrays, Span span) {
  T* __restrict p = arrays[0].as<T>();
  T* __restrict m = arrays[1].as<T>();
  T* __restrict v = arrays[2].as<T>();
  const T* __restrict g = arrays[3].as<T>();
  const AdamWStep<T> step;
  for (int64_t i = span.first; i < span.last; ++i) adamw_update(p[i], m[i], v[i], g[i], step);
}

template <typename Type>
void bias_gelu(const Buffers& arrays, Span span) {
  const auto* __restrict x = input<Type>(arrays, 0);
  const auto* __restrict b = input<Type>(arrays, 1);
  auto* __restrict y = arrays[2].as<typename Type::Stored>();
  for (int64_t i = span.first; i < span.last; ++i) {
    const float value = Type::widen(x[i]) + Type::widen(b[i % kMemoryRow]);
    y[i] = Type::narrow(0.5F * value * (1 + std::erf(value * (1 / std::numbers::sqrt2_v<float>))));
  }
}

// Sums over a row in four lanes and then over the lanes: a plain sum would not become vector code.
template <typename Term>
float row_sum(Term&& term) {
  constexpr int64_t kLanes = 16;
  float lanes[kLanes] = {};
  for (int64_t i = 0; i < kMemoryRow; i += kLanes) {
    for (int64_t lane = 0; lane < kLanes; ++lane) lanes[lane] += term(i + lane);
  }
  float sum = 0;
  for (const float lane : lanes) sum += lane;
  return sum;
}

template <typename Type>
void layer_norm(const Buffers& arrays, Span span) {
  const auto* __restrict g = input<Type>(arrays, 1);
  const auto* __restrict b = input<Type>(arrays, 2);
  for (int64_t row = span.first; row < span.last; row += kMemoryRow) {
    const auto* __restrict x = input<Type>(arrays, 0) + row;
    auto* __restrict y = arrays[3].as<typename Type::Stored>() + row;
    const float mean = row_sum([&](int64_t i) { return Type::widen(x[i]); }) / float(kMemoryRow);
    const float variance = row_sum([&](int64_t i) {
                             const float off = Type::widen(x[i]) - mean;
                             return off * off;
                           }) /
                           float(kMemoryRow);
    const float factor = 1 / std::sqrt(variance + float(kNormEpsilon));
    for (int64_t i = 0; i < kMemoryRow; ++i) {
      y[i] = Type::narrow((Type::widen(x[i]) - mean) * factor * Type::widen(g[i]) + Type::widen(b[i]));
    }
  }
}

struct Converted {
  const Buffers& arrays;
  int64_t before = 0;  // first element read
  int64_t after = 0;   // and written
  int64_t count = 0;
  float factor = 1;
};

template <typename From, typename To>
void convert(const Converted& c) {
  const auto* __restrict x = input<From>(c.arrays, 0) + c.before;
  auto* __restrict y = c.arrays[1].as<typename To::Stored>() + c.after;
  for (int64_t i = 0; i < c.count; ++i) y[i] = To::narrow(From::widen(x[i]) * c.factor);
}

template <typename From>
void convert_from(NumberType to, const Converted& c) {
  switch (to) {
    case NumberType::kFp16:
      return convert<From, NarrowFp16>(c);
    case NumberType::kBf16:
      return convert<From, NarrowBf16>(c);
    case NumberType::kFp8E4M3:
      return convert<From, NarrowE4M3>(c);
    case NumberType::kFp8E5M2:
      return convert<From, NarrowE5M2>(c);
    default:
      return convert<From, Plain<float>>(c);
  }
}

void convert_types(const MemoryProblem& problem, const Converted& c) {
  switch (problem.type) {
    case NumberType::kFp16:
      return convert_from<NarrowFp16>(problem.to, c);
    case NumberType::kBf16:
      return convert_from<NarrowBf16>(problem.to, c);
    case NumberType::kFp8E4M3:
      return convert_from<NarrowE4M3>(problem.to, c);
    case NumberType::kFp8E5M2:
      return convert_from<NarrowE5M2>(problem.to, c);
    default:
      return convert_from<Plain<float>>(problem.to, c);
  }
}

// The part of `run` within `span`, as offsets into the run.
Span overlap(const MemoryRun& run, Span span) {
  return {.first = std::clamp<int64_t>(span.first - run.place, 0, run.count),
          .last = std::clamp<int64_t>(span.last - run.place, 0, run.count)};
}

size_t bytes_of(const MemoryArray& array) {
  return static_cast<size_t>(array.elements) * static_cast<size_t>(bytes_per_element(array.type));
}

class MemoryOperation final : public HostOperation {
 public:
  MemoryOperation(const MemoryProblem& problem, const OperationSettings& settings, const HostContext& context)
      : problem_(problem),
        settings_(settings),
        context_(context),
        arrays_(memory_arrays(problem)),
        runs_(memory_runs(problem)) {
    for (const MemoryArray& array : arrays_) set_bytes_ += double(bytes_of(array));
    const int64_t sets = operand_sets(context, settings, set_bytes_);
    for (int64_t s = 0; s < sets; ++s) {
      Buffers& buffers = sets_.emplace_back();
      for (const MemoryArray& array : arrays_) buffers.emplace_back(static_cast<int64_t>(bytes_of(array)));
      load(buffers);
    }
  }

  void execute(const World*) override {
    pass(sets_[next_]);
    if (++next_ == sets_.size()) next_ = 0;
  }

  Verdict verify() override;

  Facts details() const override {
    Facts facts = operation_facts(context_, static_cast<int64_t>(sets_.size()), set_bytes_);
    facts["counted_bytes"] = "read and written once; the write-allocate reads of caches are not counted";
    if (runs_.size() > 1) facts["tensors"] = fmt::format("{}", runs_.size());
    return facts;
  }

 private:
  // Inputs as asked for; what is only written is left as it is.
  void load(const Buffers& buffers) const {
    for (size_t a = 0; a < arrays_.size(); ++a) {
      OperationSettings settings = settings_;
      if (arrays_[a].ones) settings.data = InputData::kConstant;
      if (!arrays_[a].read) continue;
      fill_parallel(context_, settings, arrays_[a].type, buffers[a].data(), arrays_[a].elements, a + 1);
    }
  }

  // Every thread takes as many elements as the others, in whole rows.
  void pass(const Buffers& buffers) const {
    const int64_t rows = (problem_.elements + kMemoryRow - 1) / kMemoryRow;
    const int64_t slice = (rows + context_.threads - 1) / context_.threads * kMemoryRow;
#pragma omp parallel for num_threads(context_.threads) schedule(static, 1)
    for (int t = 0; t < context_.threads; ++t) {
      const int64_t first = std::min(problem_.elements, t * slice);
      pass_span(buffers, {.first = first, .last = std::min(problem_.elements, first + slice)});
    }
  }

  void pass_span(const Buffers& buffers, Span span) const;
  void each_tensor(const Buffers& buffers, Span span) const;
  template <template <typename> typename Kernel>
  void by_type(const Buffers& buffers, Span span) const;

  MemoryProblem problem_;
  OperationSettings settings_;
  HostContext context_;
  std::vector<MemoryArray> arrays_;
  std::vector<MemoryRun> runs_;
  std::vector<Buffers> sets_;
  size_t next_ = 0;
  double set_bytes_ = 0;
};

template <typename Type>
struct Triad {
  static void run(const Buffers& buffers, Span span) { triad<Type>(buffers, span); }
};
template <typename Type>
struct BiasGelu {
  static void run(const Buffers& buffers, Span span) { bias_gelu<Type>(buffers, span); }
};
template <typename Type>
struct LayerNorm {
  static void run(const Buffers& buffers, Span span) { layer_norm<Type>(buffers, span); }
};

template <template <typename> typename Kernel>
void MemoryOperation::by_type(const Buffers& buffers, Span span) const {
  switch (problem_.type) {
    case NumberType::kFp16:
      return Kernel<NarrowFp16>::run(buffers, span);
    case NumberType::kBf16:
      return Kernel<NarrowBf16>::run(buffers, span);
    default:
      return Kernel<Plain<float>>::run(buffers, span);
  }
}

void MemoryOperation::each_tensor(const Buffers& buffers, Span span) const {
  for (const MemoryRun& run : runs_) {
    const Span part = overlap(run, span);
    if (problem_.kind == MemoryKind::kAdamWMulti) {
      const Span elements{.first = run.before + part.first, .last = run.before + part.last};
      problem_.type == NumberType::kFp64 ? adamw<double>(buffers, elements) : adamw<float>(buffers, elements);
    } else {
      convert_types(problem_, {.arrays = buffers,
                               .before = run.before + part.first,
                               .after = run.after + part.first,
                               .count = part.last - part.first,
                               .factor = problem_.kind == MemoryKind::kConvert ? 1 : float(kBucketFactor)});
    }
  }
}

void MemoryOperation::pass_span(const Buffers& buffers, Span span) const {
  const auto size = static_cast<int64_t>(bytes_per_element(problem_.type));
  switch (problem_.kind) {
    case MemoryKind::kCopy:
      std::memcpy(buffers[1].as<std::byte>() + span.first * size, buffers[0].as<std::byte>() + span.first * size,
                  static_cast<size_t>((span.last - span.first) * size));
      return;
    case MemoryKind::kTriad:
      return problem_.type == NumberType::kFp64 ? triad<Plain<double>>(buffers, span) : by_type<Triad>(buffers, span);
    case MemoryKind::kAdamW:
      return problem_.type == NumberType::kFp64 ? adamw<double>(buffers, span) : adamw<float>(buffers, span);
    case MemoryKind::kBiasGelu:
      return by_type<BiasGelu>(buffers, span);
    case MemoryKind::kLayerNorm:
      return by_type<LayerNorm>(buffers, span);
    case MemoryKind::kAdamWMulti:
    case MemoryKind::kPack:
    case MemoryKind::kUnpack:
    case MemoryKind::kConvert:
      return each_tensor(buffers, span);
  }
}

Verdict MemoryOperation::verify() {
  const Buffers& buffers = sets_[0];
  load(buffers);
  Buffers kept;  // of what adamw overwrites
  MemoryData data;
  for (size_t a = 0; a < arrays_.size(); ++a) {
    const auto bytes = static_cast<size_t>(buffers[a].bytes());
    if (arrays_[a].read && arrays_[a].written) {
      std::memcpy(kept.emplace_back(buffers[a].bytes()).data(), buffers[a].data(), bytes);
    } else if (arrays_[a].written) {
      std::memset(buffers[a].data(), 0xFF, bytes);  // NaN: an element not written shows
    }
    if (arrays_[a].read) data.before.push_back(arrays_[a].written ? kept.back().data() : buffers[a].data());
    if (arrays_[a].written) data.after.push_back(buffers[a].data());
  }
  pass(buffers);
  if (context_.tamper) {
    const auto written = std::find_if(arrays_.begin(), arrays_.end(), [](const auto& array) { return array.written; });
    context_.tamper(const_cast<void*>(data.after[0]), static_cast<int64_t>(bytes_of(*written)));
  }
  return check_memory(problem_, data, runs_);
}

}  // namespace

Maybe<std::unique_ptr<Operation>> make_memory(const MemoryProblem& problem, const OperationSettings& settings,
                                              const HostContext& context) {
  using Result = Maybe<std::unique_ptr<Operation>>;
  const std::string reason = no_memory_kernel(problem);
  if (!reason.empty()) return Result::absent(reason);
  double bytes = 0;
  for (const MemoryArray& array : memory_arrays(problem)) {
    bytes += double(bytes_of(array)) * (array.read && array.written ? 2 : 1);  // checking keeps what is overwritten
  }
  const std::string too_big = does_not_fit(context, bytes);
  if (!too_big.empty()) return Result::absent(too_big);
  return Result(std::make_unique<MemoryOperation>(problem, settings, context));
}

}  // namespace farscale
