// One training step of one GPU as a timeline: backward tasks release gradient buckets, the communication stream serves
// them in order, compute slows while it does, blocking collectives wait. Cost does not depend on the number of ranks.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "cluster/collective_model.h"
#include "cluster/compute_model.h"
#include "workloads/workload.h"

namespace farscale {

struct BucketProfile {
  double bytes = 0;
  size_t size = 0;         // index into StepProfile::bucket_sizes
  ComponentTimes ready{};  // backward work done before it is released
};

// The communication group a collective of the step runs over.
enum class GroupName : uint8_t { kData, kTensor, kContext, kExpert, kPipeline };

struct CollectiveProfile {
  CollectiveKind kind = CollectiveKind::kAllReduce;
  GroupName group = GroupName::kData;
  double bytes = 0;
  double count = 1;
  bool blocking = true;
  bool forward = true;  // overlaps with (or blocks) the forward pass; otherwise the backward
};

// A lowered step reduced to what its time depends on.
struct StepProfile {
  ComponentTimes forward{}, backward{}, optimizer{};
  std::vector<BucketProfile> buckets;
  std::vector<double> bucket_sizes;  // distinct ones: each is priced once a draw
  std::vector<CollectiveProfile> collectives;
  double input_bytes = 0;
  double training_flops = 0;  // per micro-batch of one GPU
  double memory_bytes = 0;
  int64_t micro_batch = 1;
  int64_t samples_per_step = 1;
  NumberType type = NumberType::kBf16;  // of most tensor work
  std::vector<std::string> warnings;
};

StepProfile profile_step(const Machine::Data& machine, const LoweredStep& step);

// Everything a step depends on besides its profile: one draw.
struct StepConditions {
  ComponentTimes factors{1, 1, 1, 1, 1, 1};  // over the median component times
  double overhead = 1;                       // multiplies compute and memory
  double interference = 0;                   // slow-down of compute while communication runs
  double communication = 1;                  // multiplies every collective's time
  double straggler = 0;                      // expected slowest rank over the median rank, as a share of compute
  double input_bytes_per_s = 0;              // of one GPU; 0: input is free
  LinkValues links;
};

struct StepTimes {
  double compute = 0, memory = 0, exposed_comm = 0, bubble = 0, straggler = 0, input = 0;
  double total() const { return compute + memory + exposed_comm + bubble + straggler + input; }
};

// Groups of a layout on a machine. Tensor, context and expert groups lie inside domains first, then data parallel.
struct StepGroups {
  Group data, tensor, context, expert;
};
StepGroups step_groups(const Machine::Data& machine, const Layout& layout);

StepTimes step_times(const StepProfile& profile, const Machine::Data& machine, const Layout& layout,
                     const StepConditions& conditions);

}  // namespace farscale
