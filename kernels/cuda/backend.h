// The CUDA backend on one GPU: which operation is prepared by whom, and what the device reports about itself.
#pragma once

#include <memory>

#include "kernels/backend.h"

namespace farscale::cuda {

// Opens the GPU that belongs to this rank: the local rank's, counted round when there are more ranks than GPUs.
// Throws CallError when a call fails on a machine that has a driver and a GPU.
Maybe<std::unique_ptr<Backend>> open_cuda(World& world, int devices);

}  // namespace farscale::cuda
