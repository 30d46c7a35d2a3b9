// One training step of one GPU as a timeline: weights are gathered one unit ahead of the compute that needs them,
// backward tasks release gradient buckets, one communication stream serves both in order, compute slows while it does,
// blocking collectives make compute wait. Cost does not depend on the number of ranks.
//
// Tensor, context and expert collectives and messages between pipeline stages are not on that stream, they run beside
// it. They are spread evenly over their pass: what of them takes the stream's own link (the network card, or the
// scale-up links where all data-parallel ranks share a domain) slows the stream by that share of the pass, and no link
// is ever busy for longer than the step.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "cluster/collective_model.h"
#include "cluster/compute_model.h"
#include "workloads/workload.h"

namespace farscale {

// The communication group a collective of the step runs over. Shards and replicas are those of HSDP; without it the
// shard group is all of the data-parallel group. Copies: the ranks that hold the same experts.
enum class GroupName : uint8_t { kData, kTensor, kContext, kExpert, kPipeline, kShard, kReplica, kCopies };
inline constexpr size_t kGroups = 8;
using StepGroups = std::array<Group, kGroups>;
inline const Group& of(const StepGroups& groups, GroupName name) { return groups[size_t(name)]; }

// A collective of one size over one group: priced once a draw, however often it runs.
struct PricedCollective {
  CollectiveKind kind = CollectiveKind::kAllReduce;
  GroupName group = GroupName::kData;
  double bytes = 0;
  bool operator==(const PricedCollective&) const = default;
};

// Collectives outside the streams of gathers and buckets.
struct CollectiveProfile {
  size_t price = 0;  // index into StepProfile::prices
  double count = 1;
  bool blocking = true;
  Pass pass = Pass::kForward;  // kOptimizer: once a step
};

// A stretch of one pass: what is gathered before it may run, its work, what it releases to be reduced.
struct Stretch {
  static constexpr int kNothing = -1;
  ComponentTimes work{};
  int gather = kNothing;   // indices into StepProfile::prices
  int reduce = kNothing;   // over the data-parallel or shard group
  int replica = kNothing;  // and then across replicas
};

struct BucketTotals {
  size_t count = 0;
  double bytes = 0, least = 0, most = 0;
};

// A lowered step reduced to what its time depends on.
struct StepProfile {
  ComponentTimes forward{}, backward{}, optimizer{};
  ComponentTimes unfamiliar{};  // log-sigma of each component for shapes away from the measured ones
  std::vector<Stretch> forward_stretches, backward_stretches;
  std::vector<PricedCollective> prices;
  std::vector<CollectiveProfile> collectives;
  BucketTotals buckets;
  bool reduces_every_pass = false;  // ZeRO 2 and 3 reduce gradients in every micro-batch, not in the last only
  double input_bytes = 0;
  double training_flops = 0;  // per micro-batch of one GPU
  double memory_bytes = 0;
  int64_t micro_batch = 1;
  int64_t samples_per_step = 1;
  NumberType type = NumberType::kBf16;  // of most tensor work
  std::vector<std::string> warnings;
};

StepProfile profile_step(const Machine::Data& machine, const LoweredStep& step, const Layout& layout);

// Expected slowest rank over the median rank, as shares of its compute time: of all GPUs once a step, and of the ranks
// that wait for each other in every layer (tensor and context groups).
struct Straggling {
  double step = 0;
  double layer = 0;
};

// Everything a step depends on besides its profile: one draw.
struct StepConditions {
  ComponentTimes factors{1, 1, 1, 1, 1, 1};  // over the median component times
  double overhead = 1;                       // multiplies compute and memory
  double interference = 0;                   // slow-down of compute while communication runs
  double extrapolation = 0;  // log factor on a collective's time for each doubling of its reach beyond known_ranks
  double known_ranks = 0;    // 0: nothing is beyond what is known
  Straggling straggling;
  double input_bytes_per_s = 0;  // of one GPU; 0: input is free
  const LinkValues* links = nullptr;
};

struct StepTimes {
  double compute = 0, memory = 0, exposed_comm = 0, bubble = 0, straggler = 0, input = 0;
  double total() const { return compute + memory + exposed_comm + bubble + straggler + input; }
  StepTimes& operator+=(const StepTimes& other);
  StepTimes operator*(double factor) const;
};

// GPUs of a scale-up domain that a layout uses: as many as tensor, context, expert and shard groups (in this
// order of nearness) fill without straddling: 64 of 72 for tensor groups of 16.
int64_t used_domain(const Machine::Data& machine, const Layout& layout);

// Groups of a layout on a machine. Ranks are numbered tensor first, then context, data and pipeline (Megatron-Core's
// default order): tensor, context and expert groups lie inside domains first, then data parallel.
StepGroups step_groups(const Machine::Data& machine, const Layout& layout);

StepTimes step_times(const StepProfile& profile, const StepGroups& groups, const Layout& layout,
                     const StepConditions& conditions);

}  // namespace farscale
