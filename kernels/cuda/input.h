// Inputs on their way in: from pinned memory of the host to the device.
#pragma once

#include <memory>

#include "kernels/cuda/device.h"
#include "kernels/cuda/queue.h"

namespace farscale::cuda {

// A copy of `bytes`; the reason when the device has no room. Throws CallError when the host cannot pin as much.
Maybe<std::unique_ptr<Operation>> prepare_input(int64_t bytes, const Device& device);

}  // namespace farscale::cuda
