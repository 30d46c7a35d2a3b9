// Collectives on host memory, through the world the backend was opened with.
#pragma once

#include <memory>

#include "kernels/host/context.h"

namespace farscale {

// fp64, fp32, bf16 and int8; the reason when the type is another or the problem's ranks are not the world's.
Maybe<std::unique_ptr<Operation>> make_collective(const CollectiveProblem& problem, const OperationSettings& settings,
                                                  const HostContext& context);

}  // namespace farscale
