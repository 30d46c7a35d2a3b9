// A lowered step cut into the stretches between its gathers and gradient buckets.
#include <algorithm>
#include <cmath>
#include <map>

#include "cluster/timeline.h"

namespace farscale {
namespace {

GroupName parse_group(const std::string& group) {
  constexpr std::pair<std::string_view, GroupName> kNames[] = {
      {"tp", GroupName::kTensor},    {"cp", GroupName::kContext},  {"ep", GroupName::kExpert},
      {"pp", GroupName::kPipeline},  {"shard", GroupName::kShard}, {"replica", GroupName::kReplica},
      {"copies", GroupName::kCopies}};
  for (const auto& [name, value] : kNames) {
    if (group == name) return value;
  }
  return GroupName::kData;
}

bool is_backward(Pass pass) { return pass != Pass::kForward && pass != Pass::kOptimizer; }

size_t priced(StepProfile& profile, const PricedCollective& one) {
  const auto known = std::find(profile.prices.begin(), profile.prices.end(), one);
  if (known != profile.prices.end()) return size_t(known - profile.prices.begin());
  profile.prices.push_back(one);
  return profile.prices.size() - 1;
}

// Something that cuts a pass: a gather needed before a task, or a bucket released after one.
struct Cut {
  size_t task = 0;  // the first task behind the cut
  int gather = Stretch::kNothing, reduce = Stretch::kNothing, replica = Stretch::kNothing;
};

ComponentTimes less(const ComponentTimes& a, const ComponentTimes& b) {
  ComponentTimes difference;
  for (size_t i = 0; i < kComponents; ++i) difference[i] = std::max(0.0, a[i] - b[i]);
  return difference;
}

// done[i]: work of the pass up to and with task i.
std::vector<Stretch> cut_pass(std::vector<Cut> cuts, const std::vector<ComponentTimes>& done,
                              const ComponentTimes& whole) {
  std::stable_sort(cuts.begin(), cuts.end(), [](const Cut& a, const Cut& b) { return a.task < b.task; });
  std::vector<Stretch> stretches(1);
  ComponentTimes before{};
  for (const Cut& cut : cuts) {
    const ComponentTimes now = cut.task == 0 ? ComponentTimes{} : done[std::min(cut.task, done.size()) - 1];
    stretches.back().work = less(now, before);
    before = now;
    stretches.back().reduce = cut.reduce, stretches.back().replica = cut.replica;
    stretches.push_back({.gather = cut.gather});
  }
  stretches.back().work = less(whole, before);
  return stretches;
}

class Profiler {
 public:
  Profiler(const Machine::Data& machine, const LoweredStep& step, const Layout& layout)
      : machine_(machine), step_(step), layout_(layout) {}

  StepProfile run() {
    price_tasks();
    price_collectives();
    price_buckets();
    profile_.forward_stretches = cut_pass(std::move(forward_cuts_), forward_done_, profile_.forward);
    profile_.backward_stretches = cut_pass(std::move(backward_cuts_), backward_done_, profile_.backward);
    profile_.reduces_every_pass = layout_.zero_stage >= 2;
    profile_.input_bytes = step_.input_bytes;
    profile_.training_flops = step_.training_flops;
    profile_.memory_bytes = step_.memory_bytes;
    profile_.micro_batch = step_.micro_batch;
    profile_.samples_per_step = step_.samples_per_step;
    profile_.warnings = step_.warnings;
    return std::move(profile_);
  }

 private:
  void price_tasks() {
    std::map<NumberType, double> flops;
    ComponentTimes unfamiliar{};
    for (const StepTask& task : step_.tasks) {
      const ComponentTimes times = task_time(machine_, task);
      add(task.pass == Pass::kForward ? profile_.forward
          : is_backward(task.pass)    ? profile_.backward
                                      : profile_.optimizer,
          times);
      forward_done_.push_back(profile_.forward);
      backward_done_.push_back(profile_.backward);
      if (task.gemm.m > 0) flops[task.gemm.type] += task.flops;
      const double sigma = task_log_sigma(machine_, task);
      for (size_t i = 0; sigma > 0 && i < kComponents; ++i) unfamiliar[i] += sigma * times[i];
    }
    // Errors of unfamiliar shapes are taken as all on one side: nothing says that they cancel.
    for (size_t i = 0; i < kComponents; ++i) {
      const double whole = profile_.forward[i] + profile_.backward[i] + profile_.optimizer[i];
      profile_.unfamiliar[i] = whole > 0 ? unfamiliar[i] / whole : 0;
    }
    const auto most =
        std::max_element(flops.begin(), flops.end(), [](auto& a, auto& b) { return a.second < b.second; });
    if (most != flops.end()) profile_.type = available_type(machine_, most->first);
  }

  void price_collectives() {
    for (const StepCollective& one : step_.collectives) {
      const GroupName group = parse_group(one.group);
      const bool weights = layout_.zero_stage == 3 && one.kind == CollectiveKind::kAllGather && !one.blocking &&
                           (group == GroupName::kData || group == GroupName::kShard || group == GroupName::kCopies);
      const size_t price = priced(profile_, {one.kind, group, double(one.bytes)});
      if (weights) {
        const Cut cut{.task = one.before, .gather = int(price)};
        (one.pass == Pass::kForward ? forward_cuts_ : backward_cuts_).push_back(cut);
      } else if (group == GroupName::kReplica) {
        replicas_.push_back(int(price));  // one after each bucket, in the same order
      } else {
        add_beside_stream({price, double(one.count), one.blocking, one.pass});
      }
    }
  }

  // Equal ones of a pass are one with their count: every draw walks through the list.
  void add_beside_stream(const CollectiveProfile& one) {
    for (CollectiveProfile& known : profile_.collectives) {
      if (known.price != one.price || known.blocking != one.blocking || known.pass != one.pass) continue;
      known.count += one.count;
      return;
    }
    profile_.collectives.push_back(one);
  }

  void price_buckets() {
    const GroupName whole = layout_.zero_stage > 0 && layout_.hsdp_shard > 0 ? GroupName::kShard : GroupName::kData;
    BucketTotals& totals = profile_.buckets;
    for (const Bucket& bucket : step_.buckets) {
      const auto bytes = double(bucket.bytes);
      const CollectiveKind kind = layout_.zero_stage > 0 ? CollectiveKind::kReduceScatter : CollectiveKind::kAllReduce;
      const bool experts = layout_.ep > 1 && bucket.ranks < layout_.dp * layout_.cp;
      const size_t price = priced(profile_, {kind, experts ? GroupName::kCopies : whole, bytes});
      const int replica = totals.count < replicas_.size() ? replicas_[totals.count] : Stretch::kNothing;
      backward_cuts_.push_back({.task = bucket.ready_after + 1, .reduce = int(price), .replica = replica});
      totals.least = totals.count == 0 ? bytes : std::min(totals.least, bytes);
      totals.most = std::max(totals.most, bytes);
      totals.bytes += bytes;
      ++totals.count;
    }
  }

  const Machine::Data& machine_;
  const LoweredStep& step_;
  const Layout& layout_;
  StepProfile profile_;
  std::vector<ComponentTimes> forward_done_, backward_done_;
  std::vector<Cut> forward_cuts_, backward_cuts_;
  std::vector<int> replicas_;
};

}  // namespace

StepProfile profile_step(const Machine::Data& machine, const LoweredStep& step, const Layout& layout) {
  return Profiler(machine, step, layout).run();
}

}  // namespace farscale
