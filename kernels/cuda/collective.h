// The collective operations on NCCL.
#pragma once

#include <memory>

#include "kernels/cuda/communicator.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/queue.h"

namespace farscale::cuda {

// The reason when NCCL has no such type, inputs with an exact sum do not exist for it, or the buffers do not fit.
// `communicator` runs over exactly problem.ranks ranks.
Maybe<std::unique_ptr<Operation>> prepare_collective(const CollectiveProblem& problem, const Device& device,
                                                     std::shared_ptr<Communicator> communicator);

}  // namespace farscale::cuda
