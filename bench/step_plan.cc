// Scaling a lowered step down and writing it as launches.
#include "bench/step_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "bench/case.h"

namespace farscale {
namespace {

constexpr double kLeastPass = 16.0 * 1024;           // bytes moved by the smallest memory launch
constexpr double kLargestPass = 64.0 * 1024 * 1024;  // and by the largest
constexpr int64_t kGradientElement = 4;              // gradients are reduced in fp32

bool is_convolution(KernelClass kind) {
  return kind == KernelClass::kConvolution || kind == KernelClass::kGroupedConvolution;
}

class Planner {
 public:
  Planner(const LoweredStep& step, const StepPlanOptions& options) : step_(step), options_(options) {
    plan_.scale = options.scale;
    plan_.micro_batch = step.micro_batch;
    if (step.executed_flops > 0) plan_.training_share = step.training_flops / step.executed_flops;
    plan_.decoded_bytes = step.decoded_bytes / options.scale;
    plan_.stored_bytes = step.input_bytes;
  }

  StepPlan plan() {
    size_t bucket = 0;
    bool in_optimizer = false;
    for (size_t i = 0; i < step_.tasks.size(); ++i) {
      const StepTask& task = step_.tasks[i];
      begins_.push_back(plan_.launches.size());
      if (task.pass == Pass::kOptimizer && !in_optimizer) {
        in_optimizer = true;
        plan_.optimizer_begin = plan_.launches.size();
      }
      add_task(task);
      // Buckets are in ready order; several may become ready with one task.
      for (; bucket < step_.buckets.size() && step_.buckets[bucket].ready_after <= i; ++bucket) add_bucket(bucket);
    }
    begins_.push_back(plan_.launches.size());
    if (!in_optimizer) plan_.optimizer_begin = plan_.launches.size();
    for (; bucket < step_.buckets.size(); ++bucket) add_bucket(bucket);
    for (const StepCollective& collective : step_.collectives) add_collective(collective);
    const auto by_place = [](auto place) {
      return [place](const auto& a, const auto& b) { return a.*place < b.*place; };
    };
    std::stable_sort(plan_.blocking.begin(), plan_.blocking.end(), by_place(&Message::after));
    std::stable_sort(plan_.gathers.begin(), plan_.gathers.end(), by_place(&Gather::needed));
    return std::move(plan_);
  }

 private:
  size_t index_of(const Problem& problem, bool of_communication = false) {
    for (size_t i = 0; i < plan_.problems.size(); ++i) {
      if (plan_.of_communication[i] == of_communication && plan_.problems[i] == problem) return i;
    }
    plan_.problems.push_back(problem);
    plan_.of_communication.push_back(of_communication);
    return plan_.problems.size() - 1;
  }

  void add_task(const StepTask& task) {
    if (task.gemm.m == 0) {
      add_pass(task);
    } else if (covered_ > 0) {  // by the convolution of an earlier task
      --covered_;
    } else if (!add_convolution(task)) {
      add_gemm(task);
    }
  }

  bool add_convolution(const StepTask& task) {
    const bool possible = task.convolution && options_.scale == 1 && options_.has_convolution;
    if (!possible) return false;
    ConvolutionProblem problem = *task.convolution;
    if (options_.force_type) problem.type = options_.type;
    if (!options_.has_convolution(problem)) return false;
    plan_.launches.push_back({.problem = index_of(problem), .count = 1, .kind = task.kind});
    plan_.gemm_flops += problem.flops();
    plan_.convolution_flops += problem.flops();
    covered_ = task.convolution_tasks - 1;
    return true;
  }

  // Causal attention counts half of its square, and a kernel made for it runs half: so does the GEMM in its place.
  void add_gemm(const StepTask& task) {
    const double wanted = task.flops / options_.scale;
    const double scale = task.gemm.flops() * double(task.count) / wanted;
    GemmProblem gemm = scale > 1 ? scaled(task.gemm, scale) : task.gemm;
    if (options_.force_type) gemm.type = options_.type;
    // Launches too small to shrink any further become fewer instead.
    const auto fewer = std::max<int64_t>(1, std::llround(wanted / gemm.flops()));
    const int64_t count = std::min(task.count, fewer);
    plan_.launches.push_back({.problem = index_of(gemm), .count = count, .kind = task.kind});
    plan_.gemm_flops += gemm.flops() * double(count);
    if (is_convolution(task.kind)) plan_.convolution_proxies += gemm.flops() * double(count);
  }

  // Greedy from the largest size that fits: at most three launches of each of seven sizes.
  void add_pass(const StepTask& task) {
    const MemoryKind kind = task.pass == Pass::kOptimizer ? MemoryKind::kAdamW : MemoryKind::kCopy;
    double left = task.bytes / options_.scale + carried_bytes_;
    for (double size = kLargestPass; size >= kLeastPass; size /= 4) {
      const auto count = static_cast<int64_t>(left / size);
      if (count == 0) continue;
      const double element = MemoryProblem{.kind = kind, .elements = 1, .type = NumberType::kFp32}.bytes();
      const MemoryProblem pass{.kind = kind, .elements = std::llround(size / element), .type = NumberType::kFp32};
      plan_.launches.push_back({.problem = index_of(pass), .count = count, .kind = task.kind});
      plan_.memory_bytes += pass.bytes() * double(count);
      left -= size * double(count);
    }
    carried_bytes_ = left;
  }

  CollectiveProblem collective(CollectiveKind kind, double bytes) const {
    const int64_t grain = kGradientElement * options_.ranks;
    const auto grains = std::max<int64_t>(1, std::llround(bytes / options_.scale / double(grain)));
    const bool in_place = kind != CollectiveKind::kAllGather && kind != CollectiveKind::kAllToAll;
    return {.kind = kind,
            .bytes = grains * grain,
            .type = NumberType::kFp32,
            .ranks = options_.ranks,
            .in_place = in_place};
  }

  void add_bucket(size_t index) {
    const Bucket& bucket = step_.buckets[index];
    const CollectiveProblem problem = collective(bucket.kind, double(bucket.bytes));
    plan_.gradient_bytes += double(problem.bytes);
    if (options_.ranks == 1) return;
    plan_.buckets.push_back({.problem = index_of(problem, true), .count = 1, .after = plan_.launches.size()});
  }

  void add_collective(const StepCollective& item) {
    if (options_.ranks == 1 || item.count == 0) return;
    const size_t launch = begins_[std::min(item.before, step_.tasks.size())];
    if (item.group == "dp" && item.blocking) {
      const CollectiveProblem problem = collective(item.kind, double(item.bytes));
      plan_.blocking.push_back({.problem = index_of(problem), .count = item.count, .after = launch});
    } else if (item.group == "dp" && item.kind == CollectiveKind::kAllGather) {
      const CollectiveProblem problem = collective(item.kind, double(item.bytes));
      for (int64_t i = 0; i < item.count; ++i) {
        plan_.gathers.push_back({.problem = index_of(problem, true), .needed = launch});
      }
    } else {
      plan_.notes.push_back(
          fmt::format("not run: {} {} over {} ({})", item.count, farscale::name(item.kind), item.group, item.reason));
    }
  }

  const LoweredStep& step_;
  StepPlanOptions options_;
  StepPlan plan_;
  std::vector<size_t> begins_;  // the first launch of each task, and the end
  double carried_bytes_ = 0;
  int covered_ = 0;
};

// Operands of one problem: a product's three matrices, the arrays of a pass, what a collective sends and receives.
double operands(const Problem& problem) {
  if (const auto* collective = std::get_if<CollectiveProblem>(&problem)) {
    return double(collective->bytes) * (collective->in_place ? 1 : 2);
  }
  if (const auto* memory = std::get_if<MemoryProblem>(&problem)) {
    return memory->kind == MemoryKind::kAdamW ? memory->bytes() * 4 / 7 : memory->bytes();
  }
  if (const auto* convolution = std::get_if<ConvolutionProblem>(&problem)) return convolution->bytes();
  return std::get<GemmProblem>(problem).bytes();
}

bool is_product(const Problem& problem) {
  return std::holds_alternative<GemmProblem>(problem) || std::holds_alternative<ConvolutionProblem>(problem);
}

}  // namespace

StepPlan plan_step(const LoweredStep& step, const StepPlanOptions& options) { return Planner(step, options).plan(); }

double operand_bytes(const StepPlan& plan, bool arena) {
  double apart = 0, largest = 0, all = 0;
  for (const Problem& problem : plan.problems) {
    const double bytes = operands(problem);
    if (is_product(problem)) {
      all += bytes;
      largest = std::max(largest, bytes);
    } else {
      apart += bytes;
    }
  }
  return apart + (arena ? largest : all);
}

}  // namespace farscale
