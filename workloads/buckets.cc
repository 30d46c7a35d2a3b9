// Gradient buckets, as the three frameworks make them.
#include <fmt/format.h>

#include <algorithm>

#include "kernels/error.h"
#include "kernels/suggest.h"
#include "workloads/lowering.h"

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

}  // namespace

std::vector<ReadyGradient> ready_order(const Lowering& lowering, const std::vector<int>& layers) {
  std::vector<ReadyGradient> ready;
  for (auto index = layers.rbegin(); index != layers.rend(); ++index) {
    const Layer& layer = lowering.graph().layers[static_cast<size_t>(*index)];
    if (layer.frozen || layer.shared_with >= 0 || !lowering.trains(layer)) continue;
    for (const Parameter& parameter : layer.parameters) {
      ready.push_back({local_parameter(lowering, layer, parameter), *index, layer.expert});
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

}  // namespace farscale
