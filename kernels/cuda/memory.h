// The memory operations: passes of our own kernels over arrays that rotate through more than the L2 cache.
#pragma once

#include <memory>

#include "kernels/cuda/device.h"
#include "kernels/cuda/queue.h"

namespace farscale::cuda {

// The reason when the type is not supported or the arrays do not fit.
Maybe<std::unique_ptr<Operation>> prepare_memory(const MemoryProblem& problem, const OperationSettings& settings,
                                                 const Device& device);

}  // namespace farscale::cuda
