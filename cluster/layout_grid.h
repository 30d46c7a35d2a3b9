// The layouts that a search weighs: every split into data, tensor, pipeline, context and expert ranks that a network
// allows, with micro-batches and sharding, all of them training `batch` samples a step on `gpus` GPUs.
#pragma once

#include <vector>

#include "cluster/machine.h"
#include "workloads/workload.h"

namespace farscale {

// Empty when nothing gives every GPU whole micro-batches.
std::vector<Layout> layout_grid(const Workload& workload, const Machine::Data& machine, int64_t gpus, int64_t batch);

}  // namespace farscale
