// A step's work on both streams, recorded once as a CUDA graph.
#pragma once

#include <functional>
#include <memory>

#include "kernels/cuda/queue.h"

namespace farscale::cuda {

// Records what `enqueue` puts on the queue and on those that wait for its events; they must be waited for again before
// `enqueue` returns. Nothing may be allocated in it: run the work once before.
std::unique_ptr<Recording> record_graph(CudaQueue& queue, const std::function<void()>& enqueue);

}  // namespace farscale::cuda
