// Making CUDA's handles.
#include "kernels/cuda/handles.h"

#include "kernels/cuda/call.h"

namespace farscale::cuda {

Stream::Stream(Priority priority) {
  int least = 0;
  int greatest = 0;
  FARSCALE_CALL(cudaDeviceGetStreamPriorityRange(&least, &greatest));
  cudaStream_t stream = nullptr;
  const int level = priority == Priority::kHighest ? greatest : least;
  FARSCALE_CALL(cudaStreamCreateWithPriority(&stream, cudaStreamNonBlocking, level));
  handle_.reset(stream);
}

CudaEvent::CudaEvent(Timing timing) {
  cudaEvent_t event = nullptr;
  const unsigned flags = timing == Timing::kOn ? cudaEventDefault : cudaEventDisableTiming;
  FARSCALE_CALL(cudaEventCreateWithFlags(&event, flags));
  handle_.reset(event);
}

DeviceMemory::DeviceMemory(size_t bytes) : bytes_(bytes) {
  if (bytes == 0) return;
  void* memory = nullptr;
  FARSCALE_CALL(cudaMalloc(&memory, bytes));
  handle_.reset(static_cast<std::byte*>(memory));
}

void Graph::begin(cudaStream_t stream) {
  FARSCALE_CALL(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
}

void Graph::cancel(cudaStream_t stream) noexcept {
  cudaGraph_t graph = nullptr;
  (void)::cudaStreamEndCapture(stream, &graph);
  if (graph != nullptr) DestroyGraph()(graph);
}

Graph::Graph(cudaStream_t stream) {
  cudaGraph_t graph = nullptr;
  FARSCALE_CALL(cudaStreamEndCapture(stream, &graph));
  graph_.reset(graph);
  cudaGraphExec_t executable = nullptr;
  FARSCALE_CALL(cudaGraphInstantiate(&executable, graph, 0));
  executable_.reset(executable);
}

void Graph::launch(cudaStream_t stream) const { FARSCALE_CALL(cudaGraphLaunch(executable_.get(), stream)); }

}  // namespace farscale::cuda
