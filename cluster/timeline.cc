// Profile of a lowered step, and its time under one draw of the conditions.
#include "cluster/timeline.h"

#include <algorithm>
#include <cmath>
#include <map>

namespace farscale {
namespace {

GroupName parse_group(const std::string& group) {
  if (group == "tp") return GroupName::kTensor;
  if (group == "cp") return GroupName::kContext;
  if (group == "ep") return GroupName::kExpert;
  if (group == "pp") return GroupName::kPipeline;
  return GroupName::kData;
}

bool is_backward(Pass pass) { return pass != Pass::kForward && pass != Pass::kOptimizer; }

CollectiveCost cost_of(const Machine::Data& machine, CollectiveKind kind, const LinkValues& links, const Group& group) {
  const auto fit = machine.collective_fits.find(kind);
  if (fit == machine.collective_fits.end() || group.ranks <= 1) return collective_cost(kind, links, group);
  CollectiveCost cost;
  cost.set_fit(fit->second, kind, group.ranks, 1);
  return cost;
}

// The buckets' all-reduces after and under the backward pass: what of them is exposed, and how much they slow compute.
struct Overlap {
  double exposed = 0;
  double slowed = 0;
};

Overlap overlap_buckets(const StepProfile& profile, const CollectiveCost& cost, const StepConditions& conditions,
                        double backward_s) {
  Overlap overlap;
  constexpr size_t kMostSizes = 64;
  std::array<double, kMostSizes> priced{};
  for (size_t i = 0; i < std::min(kMostSizes, profile.bucket_sizes.size()); ++i) {
    priced[i] = conditions.communication * cost.at(profile.bucket_sizes[i]);
  }
  double free_at = 0;  // when the communication stream is free
  double last_ready = 0;
  for (const BucketProfile& bucket : profile.buckets) {
    const double nominal = std::min(backward_s, conditions.overhead * dot(bucket.ready, conditions.factors));
    // Communication under way between the last release and this one slows the compute in between.
    const double busy = std::clamp(free_at - (last_ready + overlap.slowed), 0.0, std::max(0.0, nominal - last_ready));
    overlap.slowed += conditions.interference * busy;
    last_ready = nominal;
    const double transfer_s =
        bucket.size < kMostSizes ? priced[bucket.size] : conditions.communication * cost.at(bucket.bytes);
    free_at = std::max(free_at, nominal + overlap.slowed) + transfer_s;
  }
  const double rest = std::max(0.0, backward_s - last_ready);
  overlap.slowed += conditions.interference * std::clamp(free_at - (last_ready + overlap.slowed), 0.0, rest);
  overlap.exposed = std::max(0.0, free_at - (backward_s + overlap.slowed));
  return overlap;
}

// Collectives other than the buckets: blocking ones add up; the others hide behind their pass, but for the first.
double other_collectives(const StepProfile& profile, const Machine::Data& machine, const StepGroups& groups,
                         const StepConditions& conditions, double forward_s, double backward_s) {
  double blocking = 0;
  double hidden[2] = {0, 0};
  double first[2] = {0, 0};
  for (const CollectiveProfile& one : profile.collectives) {
    double time_s = 0;
    if (one.group == GroupName::kPipeline) {
      time_s = message_time(conditions.links, one.bytes);
    } else {
      const Group& group = one.group == GroupName::kTensor    ? groups.tensor
                           : one.group == GroupName::kContext ? groups.context
                           : one.group == GroupName::kExpert  ? groups.expert
                                                              : groups.data;
      time_s = cost_of(machine, one.kind, conditions.links, group).at(one.bytes);
    }
    time_s *= conditions.communication;
    if (one.blocking) {
      blocking += one.count * time_s;
    } else {
      hidden[one.forward ? 0 : 1] += one.count * time_s;
      first[one.forward ? 0 : 1] = std::max(first[one.forward ? 0 : 1], time_s);
    }
  }
  const auto exposed = [](double total, double first_s, double compute_s) {
    return total <= 0 ? 0.0 : std::max(first_s, total - compute_s);
  };
  return blocking + exposed(hidden[0], first[0], forward_s) + exposed(hidden[1], first[1], backward_s);
}

}  // namespace

StepProfile profile_step(const Machine::Data& machine, const LoweredStep& step) {
  StepProfile profile;
  std::vector<ComponentTimes> done_before(step.tasks.size());  // backward work up to and with each task
  std::map<NumberType, double> flops;
  for (size_t i = 0; i < step.tasks.size(); ++i) {
    const StepTask& task = step.tasks[i];
    const ComponentTimes times = task_time(machine, task);
    add(task.pass == Pass::kForward ? profile.forward
        : is_backward(task.pass)    ? profile.backward
                                    : profile.optimizer,
        times);
    done_before[i] = profile.backward;
    if (task.gemm.m > 0) flops[task.gemm.type] += task.flops;
  }
  for (const Bucket& bucket : step.buckets) {
    const ComponentTimes ready =
        bucket.ready_after < done_before.size() ? done_before[bucket.ready_after] : profile.backward;
    const auto known = std::find(profile.bucket_sizes.begin(), profile.bucket_sizes.end(), double(bucket.bytes));
    const auto size = size_t(known - profile.bucket_sizes.begin());
    if (known == profile.bucket_sizes.end()) profile.bucket_sizes.push_back(double(bucket.bytes));
    profile.buckets.push_back({double(bucket.bytes), size, ready});
  }
  for (const StepCollective& one : step.collectives) {
    profile.collectives.push_back({one.kind, parse_group(one.group), double(one.bytes), double(one.count), one.blocking,
                                   one.pass == Pass::kForward});
  }
  const auto most = std::max_element(flops.begin(), flops.end(), [](auto& a, auto& b) { return a.second < b.second; });
  if (most != flops.end()) profile.type = available_type(machine, most->first);
  profile.input_bytes = step.input_bytes;
  profile.training_flops = step.training_flops;
  profile.memory_bytes = step.memory_bytes;
  profile.micro_batch = step.micro_batch;
  profile.samples_per_step = step.samples_per_step;
  profile.warnings = step.warnings;
  return profile;
}

StepGroups step_groups(const Machine::Data& machine, const Layout& layout) {
  const auto group = [&](int64_t ranks, int64_t inner) {
    const int64_t inside = std::max<int64_t>(1, machine.scale_up_domain / std::max<int64_t>(1, inner));
    return Group{ranks, std::min(ranks, inside)};
  };
  return {.data = group(layout.dp * layout.cp, layout.tp),
          .tensor = group(layout.tp, 1),
          .context = group(layout.cp, layout.tp),
          .expert = group(layout.ep, layout.tp * layout.cp)};
}

StepTimes step_times(const StepProfile& profile, const Machine::Data& machine, const Layout& layout,
                     const StepConditions& conditions) {
  const StepGroups groups = step_groups(machine, layout);
  const double repeats = double(std::max<int64_t>(1, layout.accumulation));
  const double forward_s = conditions.overhead * dot(profile.forward, conditions.factors);
  const double backward_s = conditions.overhead * dot(profile.backward, conditions.factors);
  const double optimizer_s = conditions.overhead * dot(profile.optimizer, conditions.factors);
  StepTimes times;
  const size_t memory = size_t(Component::kMemory);
  const double memory_s = conditions.overhead * conditions.factors[memory] *
                          (repeats * (profile.forward[memory] + profile.backward[memory]) + profile.optimizer[memory]);
  times.memory = memory_s;
  times.compute = repeats * (forward_s + backward_s) + optimizer_s - memory_s;
  const CollectiveKind kind = layout.zero_stage >= 1 ? CollectiveKind::kReduceScatter : CollectiveKind::kAllReduce;
  const Overlap overlap =
      groups.data.ranks > 1 && !profile.buckets.empty()
          ? overlap_buckets(profile, cost_of(machine, kind, conditions.links, groups.data), conditions, backward_s)
          : Overlap{};
  times.exposed_comm = overlap.exposed + overlap.slowed +
                       repeats * other_collectives(profile, machine, groups, conditions, forward_s, backward_s);
  times.bubble = layout.pp > 1 ? (forward_s + backward_s) * double(layout.pp - 1) / double(layout.interleave) : 0;
  times.straggler = conditions.straggler * (times.compute + times.memory + times.bubble);
  if (conditions.input_bytes_per_s > 0) {
    times.input = std::max(0.0, repeats * profile.input_bytes / conditions.input_bytes_per_s - times.total());
  }
  return times;
}

}  // namespace farscale
