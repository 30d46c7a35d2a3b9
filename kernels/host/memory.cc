// The memory kernels and their check.
#include "kernels/host/memory.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "kernels/elements.h"
#include "kernels/host/buffer.h"
#include "kernels/host/queue.h"
#include "kernels/reference.h"

namespace farscale {
namespace {

struct Span {
  int64_t first = 0;
  int64_t last = 0;
};

template <typename T>
void triad(const T* __restrict x, const T* __restrict y, T* __restrict z, Span span) {
  for (int64_t i = span.first; i < span.last; ++i) z[i] = x[i] + T(kTriadScale) * y[i];
}

void adamw(float* __restrict p, float* __restrict m, float* __restrict v, const float* __restrict g, Span span) {
  const AdamWStep<float> step;
  for (int64_t i = span.first; i < span.last; ++i) adamw_update(p[i], m[i], v[i], g[i], step);
}

size_t array_count(MemoryKind kind) {
  switch (kind) {
    case MemoryKind::kCopy:
      return 2;  // x, y
    case MemoryKind::kTriad:
      return 3;  // x, y, z
    case MemoryKind::kAdamW:
      return 4;  // p, m, v, g
    default:
      break;
  }
  return 0;
}

class MemoryOperation final : public HostOperation {
 public:
  MemoryOperation(const MemoryProblem& problem, const OperationSettings& settings, const HostContext& context)
      : problem_(problem), settings_(settings), context_(context) {
    set_bytes_ = double(array_count(problem.kind)) * array_bytes();
    const int64_t sets = operand_sets(context, settings, set_bytes_);
    for (int64_t s = 0; s < sets; ++s) {
      std::vector<Buffer>& arrays = sets_.emplace_back();
      for (size_t a = 0; a < array_count(problem.kind); ++a) arrays.emplace_back(static_cast<int64_t>(array_bytes()));
      load(arrays);
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
    return facts;
  }

 private:
  double array_bytes() const { return double(problem_.elements) * bytes_per_element(problem_.type); }

  // Inputs as asked for; the results (y, z) are left zero. v, a mean of squares, must not be negative.
  void load(const std::vector<Buffer>& arrays) const {
    const size_t inputs = problem_.kind == MemoryKind::kAdamW ? 4 : array_count(problem_.kind) - 1;
    for (size_t a = 0; a < inputs; ++a) {
      fill_parallel(context_, settings_, problem_.type, arrays[a].data(), problem_.elements, a + 1);
    }
    if (problem_.kind != MemoryKind::kAdamW) return;
    for (int64_t i = 0; i < problem_.elements; ++i) arrays[2].as<float>()[i] = std::abs(arrays[2].as<float>()[i]);
  }

  void pass(const std::vector<Buffer>& arrays) const {
    const int64_t slice = (problem_.elements + context_.threads - 1) / context_.threads;
#pragma omp parallel for num_threads(context_.threads) schedule(static, 1)
    for (int t = 0; t < context_.threads; ++t) {
      const int64_t first = std::min(problem_.elements, t * slice);
      pass_span(arrays, {.first = first, .last = std::min(problem_.elements, first + slice)});
    }
  }

  void pass_span(const std::vector<Buffer>& arrays, Span span) const {
    const auto size = static_cast<int64_t>(bytes_per_element(problem_.type));
    switch (problem_.kind) {
      case MemoryKind::kCopy:
        std::memcpy(arrays[1].as<std::byte>() + span.first * size, arrays[0].as<std::byte>() + span.first * size,
                    static_cast<size_t>((span.last - span.first) * size));
        break;
      case MemoryKind::kTriad:
        if (problem_.type == NumberType::kFp64) {
          triad(arrays[0].as<double>(), arrays[1].as<double>(), arrays[2].as<double>(), span);
        } else {
          triad(arrays[0].as<float>(), arrays[1].as<float>(), arrays[2].as<float>(), span);
        }
        break;
      case MemoryKind::kAdamW:
        adamw(arrays[0].as<float>(), arrays[1].as<float>(), arrays[2].as<float>(), arrays[3].as<float>(), span);
        break;
      default:
        break;
    }
  }

  MemoryProblem problem_;
  OperationSettings settings_;
  HostContext context_;
  std::vector<std::vector<Buffer>> sets_;
  size_t next_ = 0;
  double set_bytes_ = 0;
};

Verdict MemoryOperation::verify() {
  const std::vector<Buffer>& arrays = sets_[0];
  load(arrays);
  std::vector<Buffer> kept;  // adamw overwrites its inputs
  MemoryArrays check;
  if (problem_.kind == MemoryKind::kAdamW) {
    for (const Buffer& array : arrays) {
      std::memcpy(kept.emplace_back(array.bytes()).data(), array.data(), static_cast<size_t>(array.bytes()));
      check.before.push_back(kept.back().data());
    }
    for (size_t a = 0; a < 3; ++a) check.after.push_back(arrays[a].data());
  } else {
    for (size_t a = 0; a + 1 < arrays.size(); ++a) check.before.push_back(arrays[a].data());
    check.after.push_back(arrays.back().data());
    std::memset(arrays.back().data(), 0xFF, static_cast<size_t>(arrays.back().bytes()));
  }
  pass(arrays);
  if (context_.tamper) context_.tamper(const_cast<void*>(check.after[0]), static_cast<int64_t>(array_bytes()));
  return check_memory(problem_, check);
}

}  // namespace

Maybe<std::unique_ptr<Operation>> make_memory(const MemoryProblem& problem, const OperationSettings& settings,
                                              const HostContext& context) {
  using Result = Maybe<std::unique_ptr<Operation>>;
  const bool fp32 = problem.type == NumberType::kFp32;
  if (array_count(problem.kind) == 0) {
    return Result::absent(fmt::format("{} is not implemented on the host", name(problem.kind)));
  }
  if (problem.kind == MemoryKind::kAdamW && !fp32) return Result::absent("adamw on the host is fp32 only");
  if (!fp32 && problem.type != NumberType::kFp64) {
    return Result::absent(
        fmt::format("{} on the host is fp32 or fp64, not {}", name(problem.kind), name(problem.type)));
  }
  // Checking adamw keeps a copy of what it overwrites.
  const double copies = problem.kind == MemoryKind::kAdamW ? 2 : 1;
  const double bytes = double(array_count(problem.kind)) * double(problem.elements) * bytes_per_element(problem.type);
  const std::string too_big = does_not_fit(context, copies * bytes);
  if (!too_big.empty()) return Result::absent(too_big);
  return Result(std::make_unique<MemoryOperation>(problem, settings, context));
}

}  // namespace farscale
