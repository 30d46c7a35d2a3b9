// The collective operations on NCCL.
#pragma once

#include <memory>

#include "kernels/backend.h"
#include "kernels/cuda/communicator.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/queue.h"

namespace farscale::cuda {

struct CollectiveRequest {
  CollectiveProblem problem;
  OperationSettings settings;
  const Device* device = nullptr;
  std::shared_ptr<Communicator> communicator;  // over exactly problem.ranks ranks
  bool shared_gpus = false;                    // ranks share GPUs: results count, times do not
};

// The reason when this NCCL or GPU has no such type, when the kind cannot be done in place, or the buffers do not fit.
Maybe<std::unique_ptr<Operation>> prepare_collective(const CollectiveRequest& request);

}  // namespace farscale::cuda
