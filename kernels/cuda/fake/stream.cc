// Streams, events and graphs of the fake CUDA runtime.
#include "kernels/cuda/fake/stream.h"

#include <set>
#include <thread>
#include <utility>

namespace farscale::fake {
namespace {

// Every stream of the process. Never destroyed, as the state.
std::set<CUstream_st*>& streams() {
  static auto* const kStreams = new std::set<CUstream_st*>();
  return *kStreams;
}

bool advance(CUstream_st& stream) {
  bool moved = false;
  for (; !stream.work.empty() && stream.work.front()(stream); moved = true) stream.work.pop_front();
  return moved;
}

}  // namespace

bool drain(CUstream_st& stream) {
  const Lock lock(state().mutex);
  bool moved = true;
  while (moved) {  // a stream may wait for an event of another: a GPU advances all of them
    moved = false;
    for (CUstream_st* each : streams()) moved = advance(*each) || moved;
  }
  return stream.work.empty();
}

void enlist(CUstream_st* stream) {
  const Lock lock(state().mutex);
  streams().insert(stream);
}

void discharge(CUstream_st* stream) {
  const Lock lock(state().mutex);
  (void)drain(*stream);
  streams().erase(stream);
}

void enqueue(cudaStream_t stream, Work work) {
  const Lock lock(state().mutex);
  if (stream->recording != nullptr) {
    stream->recording->push_back(std::move(work));
    return;
  }
  stream->work.push_back(std::move(work));
  (void)drain(*stream);
}

void enqueue(cudaStream_t stream, double cost_s, std::function<void()> compute) {
  enqueue(stream, [cost_s, compute = std::move(compute)](CUstream_st& s) {
    compute();
    s.time_s += cost_s;
    return true;
  });
}

}  // namespace farscale::fake

using farscale::fake::count_alive;
using farscale::fake::drain;
using farscale::fake::enqueue;
using farscale::fake::fails;

extern "C" {

cudaError_t cudaDeviceGetStreamPriorityRange(int* least, int* greatest) {
  if (fails("cudaDeviceGetStreamPriorityRange")) return cudaErrorUnknown;
  *least = 0;
  *greatest = -5;
  return cudaSuccess;
}

cudaError_t cudaStreamCreateWithPriority(cudaStream_t* stream, unsigned, int) {
  if (fails("cudaStreamCreateWithPriority")) return cudaErrorUnknown;
  *stream = new CUstream_st();
  farscale::fake::enlist(*stream);
  count_alive("stream", 1);
  return cudaSuccess;
}

// Like CUDA's own, a destroying call that reports an error has destroyed: the error is an earlier one's.
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  const bool failing = fails("cudaStreamDestroy");
  farscale::fake::discharge(stream);
  delete stream;
  count_alive("stream", -1);
  return failing ? cudaErrorUnknown : cudaSuccess;
}

cudaError_t cudaStreamQuery(cudaStream_t stream) {
  if (fails("cudaStreamQuery")) return cudaErrorLaunchFailure;
  return drain(*stream) ? cudaSuccess : cudaErrorNotReady;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  if (fails("cudaStreamSynchronize")) return cudaErrorLaunchFailure;
  while (!drain(*stream)) std::this_thread::yield();
  return cudaSuccess;
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  if (fails("cudaStreamWaitEvent")) return cudaErrorUnknown;
  enqueue(stream, [waited = event->state, issue = event->state->issued](CUstream_st& s) {
    if (waited->completed < issue) return false;
    s.time_s = std::max(s.time_s, waited->time_s);
    return true;
  });
  return cudaSuccess;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags) {
  if (fails("cudaEventCreateWithFlags")) return cudaErrorUnknown;
  *event = new CUevent_st{.timed = (flags & cudaEventDisableTiming) == 0};
  count_alive("event", 1);
  return cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  const bool failing = fails("cudaEventDestroy");
  delete event;
  count_alive("event", -1);
  return failing ? cudaErrorUnknown : cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  if (fails("cudaEventRecord")) return cudaErrorUnknown;
  enqueue(stream, [recorded = event->state, issue = ++event->state->issued](CUstream_st& s) {
    recorded->completed = issue;
    recorded->time_s = s.time_s;
    return true;
  });
  return cudaSuccess;
}

cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t stop) {
  if (fails("cudaEventElapsedTime")) return cudaErrorUnknown;
  if (!start->timed || !stop->timed) return cudaErrorInvalidResourceHandle;
  if (stop->state->completed < stop->state->issued || stop->state->issued == 0) return cudaErrorNotReady;
  *milliseconds = static_cast<float>((stop->state->time_s - start->state->time_s) * 1e3);
  return cudaSuccess;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
  if (fails("cudaStreamBeginCapture")) return cudaErrorUnknown;
  stream->recording = new std::vector<farscale::fake::Work>();
  return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  const std::unique_ptr<std::vector<farscale::fake::Work>> recorded(std::exchange(stream->recording, nullptr));
  *graph = nullptr;
  if (fails("cudaStreamEndCapture")) return cudaErrorStreamCaptureInvalidated;
  *graph = new CUgraph_st{.work = *recorded};
  count_alive("graph", 1);
  return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph, unsigned long long) {
  if (fails("cudaGraphInstantiate")) return cudaErrorUnknown;
  *executable = new CUgraphExec_st{.work = graph->work};
  count_alive("executable graph", 1);
  return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream) {
  if (fails("cudaGraphLaunch")) return cudaErrorUnknown;
  for (const auto& work : executable->work) enqueue(stream, work);
  return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  const bool failing = fails("cudaGraphDestroy");
  delete graph;
  count_alive("graph", -1);
  return failing ? cudaErrorUnknown : cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) {
  const bool failing = fails("cudaGraphExecDestroy");
  delete executable;
  count_alive("executable graph", -1);
  return failing ? cudaErrorUnknown : cudaSuccess;
}

}  // extern "C"
