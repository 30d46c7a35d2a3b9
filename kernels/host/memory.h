// Passes over memory: copy, triad and an AdamW update, in plain loops over all threads.
#pragma once

#include <memory>

#include "kernels/host/context.h"

namespace farscale {

// copy and triad in fp32 and fp64, adamw in fp32; other types and sizes beyond memory: the reason.
Maybe<std::unique_ptr<Operation>> make_memory(const MemoryProblem& problem, const OperationSettings& settings,
                                              const HostContext& context);

}  // namespace farscale
