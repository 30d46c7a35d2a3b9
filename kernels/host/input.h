// Inputs on their way in: on the host, a copy from a staging buffer to where the step would read them.
#pragma once

#include <memory>

#include "kernels/host/context.h"

namespace farscale {

// A copy of `bytes`; the reason when the two buffers do not fit.
Maybe<std::unique_ptr<Operation>> make_input(int64_t bytes, const HostContext& context);

}  // namespace farscale
