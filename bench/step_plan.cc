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

class Planner {
 public:
  Planner(const LoweredStep& step, const StepPlanOptions& options) : step_(step), options_(options) {
    plan_.scale = options.scale;
    plan_.micro_batch = step.micro_batch;
    plan_.training_flops = step.training_flops;
  }

  StepPlan plan() {
    size_t bucket = 0;
    bool in_optimizer = false;
    size_t forward_end = 0;
    for (size_t i = 0; i < step_.tasks.size(); ++i) {
      const StepTask& task = step_.tasks[i];
      if (task.pass == Pass::kOptimizer && !in_optimizer) {
        in_optimizer = true;
        plan_.optimizer_begin = plan_.launches.size();
      }
      add_task(task);
      if (task.pass == Pass::kForward) forward_end = plan_.launches.size();
      // Buckets are in ready order; several may become ready with one task.
      for (; bucket < step_.buckets.size() && step_.buckets[bucket].ready_after <= i; ++bucket) add_bucket(bucket);
    }
    if (!in_optimizer) plan_.optimizer_begin = plan_.launches.size();
    for (; bucket < step_.buckets.size(); ++bucket) add_bucket(bucket);
    for (const StepCollective& collective : step_.collectives) add_collective(collective, forward_end);
    std::stable_sort(plan_.blocking.begin(), plan_.blocking.end(),
                     [](const Message& a, const Message& b) { return a.after < b.after; });
    return std::move(plan_);
  }

 private:
  size_t index_of(const Problem& problem, bool of_bucket = false) {
    for (size_t i = 0; i < plan_.problems.size(); ++i) {
      if (plan_.of_bucket[i] == of_bucket && plan_.problems[i] == problem) return i;
    }
    plan_.problems.push_back(problem);
    plan_.of_bucket.push_back(of_bucket);
    return plan_.problems.size() - 1;
  }

  void add_task(const StepTask& task) {
    if (task.gemm.m == 0) {
      add_pass(task);
      return;
    }
    GemmProblem gemm = scaled(task.gemm, options_.scale);
    if (options_.force_type) gemm.type = options_.type;
    // Launches too small to shrink any further become fewer instead.
    const double wanted = task.gemm.flops() * double(task.count) / options_.scale;
    const auto fewer = std::max<int64_t>(1, std::llround(wanted / gemm.flops()));
    const int64_t count = std::min(task.count, fewer);
    plan_.launches.push_back({.problem = index_of(gemm), .count = count, .kind = task.kind});
    plan_.gemm_flops += gemm.flops() * double(count);
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
    return {
        .kind = kind, .bytes = grains * grain, .type = NumberType::kFp32, .ranks = options_.ranks, .in_place = true};
  }

  void add_bucket(size_t index) {
    const CollectiveProblem problem = collective(CollectiveKind::kAllReduce, double(step_.buckets[index].bytes));
    plan_.gradient_bytes += double(problem.bytes);
    if (options_.ranks == 1) return;
    plan_.buckets.push_back({.problem = index_of(problem, true), .count = 1, .after = plan_.launches.size()});
  }

  void add_collective(const StepCollective& item, size_t forward_end) {
    if (options_.ranks == 1 || item.count == 0) return;
    if (item.group != "dp" || !item.blocking) {
      plan_.notes.push_back(
          fmt::format("not run: {} {} over {} ({})", item.count, farscale::name(item.kind), item.group, item.reason));
      return;
    }
    CollectiveProblem problem = collective(item.kind, double(item.bytes));
    problem.in_place = item.kind == CollectiveKind::kAllReduce || item.kind == CollectiveKind::kBroadcast;
    const size_t after = item.pass == Pass::kForward ? forward_end : plan_.optimizer_begin;
    plan_.blocking.push_back({.problem = index_of(problem), .count = item.count, .after = after});
  }

  const LoweredStep& step_;
  StepPlanOptions options_;
  StepPlan plan_;
  double carried_bytes_ = 0;
};

}  // namespace

StepPlan plan_step(const LoweredStep& step, const StepPlanOptions& options) { return Planner(step, options).plan(); }

}  // namespace farscale
