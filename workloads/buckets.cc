// Gradient buckets, as the three frameworks make them.
#include <fmt/format.h>

#include <algorithm>

#include "kernels/error.h"
#include "kernels/suggest.h"
#include "workloads/parallel.h"

namespace farscale {
namespace {

constexpr double kMiB = 1024.0 * 1024.0;
constexpr double kTorchFirst = 1 * kMiB;    // torch/csrc/distributed/c10d/reducer.hpp: kDefaultFirstBucketBytes
constexpr double kTorchLimit = 25 * kMiB;   // DistributedDataParallel(bucket_cap_mb=25)
constexpr double kMegatronElements = 40e6;  // megatron/core/distributed: max(40 M, 1 M x data parallel size) elements
constexpr double kMegatronPerRank = 1e6;
constexpr double kDeepSpeedElements = 5e8;  // zero_optimization.reduce_bucket_size, in elements

// A bucket closes when it is at least full; a tensor is never split (compute_bucket_assignment_by_size).
std::vector<BucketPlan> close_when_full(const std::vector<ReadyGradient>& ready, double first, double limit) {
  std::vector<BucketPlan> plan;
  BucketPlan open;
  double cap = first;
  for (size_t i = 0; i < ready.size(); ++i) {
    open.elements += ready[i].elements;
    open.last = i;
    if (double(open.elements) < cap) continue;
    plan.push_back(open);
    open = {};
    cap = limit;
  }
  if (open.elements > 0) plan.push_back(open);
  return plan;
}

// A tensor that would overflow the bucket flushes it first (reduce_independent_p_g_buckets_and_remove_grads).
std::vector<BucketPlan> flush_before_overflow(const std::vector<ReadyGradient>& ready, double limit) {
  std::vector<BucketPlan> plan;
  BucketPlan open;
  for (size_t i = 0; i < ready.size(); ++i) {
    if (open.elements > 0 && double(open.elements + ready[i].elements) > limit) {
      plan.push_back(open);
      open = {};
    }
    open.elements += ready[i].elements;
    open.last = i;
  }
  if (open.elements > 0) plan.push_back(open);
  return plan;
}

// FSDP reduces one unit at a time.
std::vector<BucketPlan> one_a_unit(const std::vector<ReadyGradient>& ready) {
  std::vector<BucketPlan> plan;
  for (size_t i = 0; i < ready.size(); ++i) {
    if (plan.empty() || ready[i].unit != ready[i - 1].unit) plan.push_back({});
    plan.back().elements += ready[i].elements;
    plan.back().last = i;
  }
  return plan;
}

// Buckets of experts or of all else; experts are summed by fewer ranks where they are spread.
void add_class(const Lowering& lowering, const std::vector<ReadyGradient>& ready, bool expert,
               const std::vector<size_t>& done, LoweredStep& step) {
  const auto plan = lowering.layout().zero_stage == 3 ? one_a_unit(ready)
                                                      : plan_buckets(ready, lowering.gradient_size, lowering.options);
  for (const BucketPlan& bucket : plan) {
    step.buckets.push_back({.bytes = static_cast<int64_t>(double(bucket.elements) * lowering.gradient_size),
                            .ready_after = done[static_cast<size_t>(ready[bucket.last].layer)],
                            .ranks = replica_ranks(lowering.layout(), expert)});
  }
}

}  // namespace

std::vector<ReadyGradient> ready_order(const Lowering& lowering, const std::vector<int>& layers) {
  std::vector<ReadyGradient> ready;
  for (auto index = layers.rbegin(); index != layers.rend(); ++index) {
    const Layer& layer = lowering.graph().layers[static_cast<size_t>(*index)];
    if (layer.frozen || !lowering.holds(layer) || !lowering.trains(layer)) continue;
    for (const Parameter& parameter : layer.parameters) {
      ready.push_back({local_parameter(lowering, layer, parameter), *index, layer.block, layer.expert});
    }
  }
  return ready;
}

std::vector<BucketPlan> plan_buckets(const std::vector<ReadyGradient>& ready, double element_bytes,
                                     const LoweringOptions& options) {
  const double asked = options.bucket_bytes / element_bytes;
  if (options.bucket_rule == "pytorch") {
    // With bucket_cap_mb set by hand, newer PyTorch makes no small first bucket.
    if (asked > 0) return close_when_full(ready, asked, asked);
    return close_when_full(ready, kTorchFirst / element_bytes, kTorchLimit / element_bytes);
  }
  if (options.bucket_rule == "megatron") {
    const double size = std::max(kMegatronElements, kMegatronPerRank * double(options.layout.dp));
    return close_when_full(ready, asked > 0 ? asked : size, asked > 0 ? asked : size);
  }
  if (options.bucket_rule == "deepspeed") return flush_before_overflow(ready, asked > 0 ? asked : kDeepSpeedElements);
  if (options.bucket_rule == "single") return flush_before_overflow(ready, 1e300);
  static const std::vector<std::string> kRules = {"pytorch", "megatron", "deepspeed", "single"};
  throw InputError(unknown_name("bucket rule", options.bucket_rule, kRules));
}

void add_buckets(const Lowering& lowering, const std::vector<ReadyGradient>& ready, const std::vector<size_t>& done,
                 LoweredStep& step) {
  if (lowering.layout().ep > 1) {
    std::vector<ReadyGradient> dense, experts;
    for (const ReadyGradient& gradient : ready) (gradient.expert ? experts : dense).push_back(gradient);
    add_class(lowering, dense, false, done, step);
    add_class(lowering, experts, true, done, step);
    std::stable_sort(step.buckets.begin(), step.buckets.end(),
                     [](const Bucket& a, const Bucket& b) { return a.ready_after < b.ready_after; });
  } else {
    add_class(lowering, ready, false, done, step);
  }
  if (step.buckets.size() == 1 && lowering.layout().dp > 1) {
    step.warnings.push_back(fmt::format(
        "the {} rule makes one gradient bucket of {:.1f} MB: no communication can overlap the backward pass",
        lowering.options.bucket_rule, double(step.buckets[0].bytes) / 1e6));
  }
}

}  // namespace farscale
