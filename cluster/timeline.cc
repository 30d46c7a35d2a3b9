// The time of a profiled step under one draw of the conditions.
#include "cluster/timeline.h"

#include <algorithm>
#include <cmath>

namespace farscale {
namespace {

// Factor on collectives that reach farther than anything known.
double beyond(const StepConditions& conditions, const Group& group) {
  const double reach = double(group.reach());
  if (conditions.known_ranks <= 0 || reach <= conditions.known_ranks) return 1;
  return std::exp(conditions.extrapolation * std::log2(reach / conditions.known_ranks));
}

// Prices of a step's collectives under one draw. Most steps have a few distinct ones.
class Prices {
 public:
  Prices(const StepProfile& profile, const StepGroups& groups, const StepConditions& conditions) {
    many_.resize(profile.prices.size() > kFew ? profile.prices.size() : 0);
    double* const times = many_.empty() ? few_.data() : many_.data();
    PricedCollective known;
    CollectiveCost cost;
    double factor = 1;
    for (size_t i = 0; i < profile.prices.size(); ++i) {
      const PricedCollective& one = profile.prices[i];
      const Group& group = of(groups, one.group);
      if (one.group == GroupName::kPipeline) {
        times[i] = beyond(conditions, group) * message_time(*conditions.links, one.bytes, group.reach());
        continue;
      }
      if (i == 0 || one.kind != known.kind || one.group != known.group) {
        cost = collective_cost(one.kind, *conditions.links, group);
        factor = beyond(conditions, group);
        known = one;
      }
      times[i] = factor * cost.at(one.bytes);
    }
  }
  double operator[](size_t i) const { return many_.empty() ? few_[i] : many_[i]; }
  double of_stretch(int i) const { return i < 0 ? 0 : (*this)[size_t(i)]; }

 private:
  static constexpr size_t kFew = 64;
  std::array<double, kFew> few_{};
  std::vector<double> many_;
};

// What communication adds to one pass: waiting for gathers, compute slowed beside it, and what is left to send at the
// end of the pass.
struct PassTimes {
  double waited = 0, slowed = 0, left = 0;
};

// Gathers are issued one stretch ahead (prefetch), gradients when their stretch ends, on one stream in that order.
// `stretch_factor` is what blocking collectives spread over the pass add to its length.
PassTimes run_pass(const std::vector<Stretch>& stretches, const Prices& prices, const StepConditions& conditions,
                   double stretch_factor, bool reduces) {
  PassTimes pass;
  double now = 0, free_at = 0, gathered = 0;
  if (!stretches.empty()) gathered = free_at = prices.of_stretch(stretches.front().gather);
  for (size_t i = 0; i < stretches.size(); ++i) {
    const Stretch& stretch = stretches[i];
    if (gathered > now) {
      pass.waited += gathered - now;
      now = gathered;
    }
    if (i + 1 < stretches.size() && stretches[i + 1].gather >= 0) {
      gathered = free_at = std::max(free_at, now) + prices.of_stretch(stretches[i + 1].gather);
    }
    const double work = stretch_factor * conditions.overhead * dot(stretch.work, conditions.factors);
    const double beside = std::clamp(free_at - now, 0.0, work);
    pass.slowed += conditions.interference * beside;
    now += work + conditions.interference * beside;
    if (reduces && stretch.reduce >= 0) {
      free_at = std::max(free_at, now) + prices.of_stretch(stretch.reduce) + prices.of_stretch(stretch.replica);
    }
  }
  pass.left = std::max(0.0, free_at - now);
  return pass;
}

// Collectives beside the streams, by when they run: blocking ones add up; the others hide behind their pass, but for
// the longest.
struct Others {
  std::array<double, 2> blocking{}, hidden{}, longest{};  // of a micro-batch's forward and backward
  double message = 0;                                     // between pipeline stages, of both passes
  double once = 0;                                        // with the optimizer
  double exposed(size_t pass, double compute_s) const {
    return blocking[pass] + (hidden[pass] <= 0 ? 0 : std::max(longest[pass], hidden[pass] - compute_s));
  }
};

Others sum_others(const StepProfile& profile, const Prices& prices) {
  Others others;
  for (const CollectiveProfile& one : profile.collectives) {
    const double time_s = prices[one.price];
    if (one.pass == Pass::kOptimizer) {
      others.once += one.count * time_s;
      continue;
    }
    if (profile.prices[one.price].group == GroupName::kPipeline) {
      others.message += one.count * time_s;
      continue;
    }
    const size_t pass = one.pass == Pass::kForward ? 0 : 1;
    if (one.blocking) {
      others.blocking[pass] += one.count * time_s;
    } else {
      others.hidden[pass] += one.count * time_s;
      others.longest[pass] = std::max(others.longest[pass], time_s);
    }
  }
  return others;
}

double longer_by(double blocking_s, double compute_s) { return compute_s > 0 ? 1 + blocking_s / compute_s : 1; }

}  // namespace

StepGroups step_groups(const Machine::Data& machine, const Layout& layout) {
  const auto group = [&](int64_t ranks, int64_t inner) {
    const int64_t inside = std::max<int64_t>(1, machine.scale_up_domain / std::max<int64_t>(1, inner));
    return Group{ranks, std::min(ranks, inside), ranks * inner};
  };
  const int64_t data = layout.dp * layout.cp;
  const int64_t shard = layout.hsdp_shard > 0 ? std::min(layout.hsdp_shard, data) : data;
  const int64_t all = data * layout.tp * layout.pp;
  StepGroups groups;
  groups[size_t(GroupName::kData)] = group(data, layout.tp);
  groups[size_t(GroupName::kTensor)] = group(layout.tp, 1);
  groups[size_t(GroupName::kContext)] = group(layout.cp, layout.tp);
  groups[size_t(GroupName::kExpert)] = group(layout.ep, layout.tp * layout.cp);
  groups[size_t(GroupName::kPipeline)] = {layout.pp, 1, all};
  groups[size_t(GroupName::kShard)] = group(shard, layout.tp);
  groups[size_t(GroupName::kCopies)] = group(std::max<int64_t>(1, data / layout.ep), layout.tp * layout.ep);
  groups[size_t(GroupName::kReplica)] = group(data / shard, layout.tp * shard);
  return groups;
}

StepTimes step_times(const StepProfile& profile, const StepGroups& groups, const Layout& layout,
                     const StepConditions& conditions) {
  const Prices prices(profile, groups, conditions);
  const Others others = sum_others(profile, prices);
  const double repeats = double(std::max<int64_t>(1, layout.accumulation));
  const double forward_s = conditions.overhead * dot(profile.forward, conditions.factors);
  const double backward_s = conditions.overhead * dot(profile.backward, conditions.factors);
  const double optimizer_s = conditions.overhead * dot(profile.optimizer, conditions.factors);
  const double f_factor = longer_by(others.blocking[0], forward_s),
               b_factor = longer_by(others.blocking[1], backward_s);
  const bool every = profile.reduces_every_pass;

  const PassTimes forward = run_pass(profile.forward_stretches, prices, conditions, f_factor, false);
  const PassTimes last = run_pass(profile.backward_stretches, prices, conditions, b_factor, true);
  const PassTimes before =
      every || repeats == 1 ? last : run_pass(profile.backward_stretches, prices, conditions, b_factor, false);
  // What one micro-batch leaves to send hides under the forward pass of the next.
  const double carried = std::max(0.0, before.left - forward_s * f_factor);
  const double micro_batch_comm =
      forward.waited + forward.slowed + others.exposed(0, forward_s) + others.exposed(1, backward_s);

  StepTimes times;
  const size_t memory = size_t(Component::kMemory);
  times.memory = conditions.overhead * conditions.factors[memory] *
                 (repeats * (profile.forward[memory] + profile.backward[memory]) + profile.optimizer[memory]);
  times.compute = repeats * (forward_s + backward_s) + optimizer_s - times.memory;
  times.exposed_comm = repeats * micro_batch_comm + (repeats - 1) * (before.waited + before.slowed + carried) +
                       last.waited + last.slowed + last.left + others.once;
  if (layout.pp > 1) {
    // 1F1B: the stages before and after idle for pp - 1 micro-batches, less with interleaved chunks; a chunk's way
    // through the stages also takes its messages (Narayanan et al., arXiv:2104.04473, section 2.2).
    const double chunks = double(std::max<int64_t>(1, layout.interleave));
    const double micro_batch_s = forward_s + backward_s + micro_batch_comm + before.waited + before.slowed;
    times.bubble = double(layout.pp - 1) * (micro_batch_s + others.message) / chunks;
  }
  const double busy = times.compute + times.memory + times.bubble;
  times.straggler = (conditions.straggling.step + conditions.straggling.layer) * busy;
  if (conditions.input_bytes_per_s > 0) {
    times.input = std::max(0.0, repeats * profile.input_bytes / conditions.input_bytes_per_s - times.total());
  }
  return times;
}

}  // namespace farscale
