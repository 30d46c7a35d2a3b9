// Streams, events and graphs of the fake CUDA runtime.
#include "kernels/cuda/fake/stream.h"

#include <algorithm>
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

Work wait_for(std::shared_ptr<EventState> event, int64_t issue) {
  return [event = std::move(event), issue](CUstream_st& stream) {
    if (event->completed < issue) return false;
    stream.time_s = std::max(stream.time_s, event->time_s);
    return true;
  };
}

Work complete(std::shared_ptr<EventState> event, int64_t issue) {
  return [event = std::move(event), issue](CUstream_st& stream) {
    event->completed = issue;
    event->time_s = stream.time_s;
    return true;
  };
}

}  // namespace

size_t Capture::lane_of(CUstream_st* stream) {
  const auto known = std::find(lanes.begin(), lanes.end(), stream);
  if (known == lanes.end()) lanes.push_back(stream);
  return static_cast<size_t>(std::find(lanes.begin(), lanes.end(), stream) - lanes.begin());
}

bool Capture::joined() const {
  for (size_t lane = 1; lane < lanes.size(); ++lane) {
    const auto last =
        std::find_if(nodes.rbegin(), nodes.rend(), [&](const GraphNode& node) { return node.lane == lane; });
    if (last == nodes.rend()) continue;
    const bool waited = std::any_of(nodes.begin(), nodes.end(), [&](const GraphNode& node) {
      return node.kind == GraphNode::Kind::kWait && node.lane == 0 && node.event == last->event;
    });
    if (last->kind != GraphNode::Kind::kRecord || !waited) return false;
  }
  return true;
}

void record(cudaEvent_t event, cudaStream_t stream) {
  if (const auto& capture = stream->capture) {
    event->capture = capture;
    event->captured = capture->events++;
    capture->nodes.push_back(
        {.kind = GraphNode::Kind::kRecord, .lane = capture->lane_of(stream), .event = event->captured});
    return;
  }
  event->capture.reset();
  enqueue(stream, complete(event->state, ++event->state->issued));
}

// A wait for an event of a graph that is being made takes the stream into that graph.
void wait(cudaStream_t stream, cudaEvent_t event) {
  if (const auto capture = event->capture.lock()) {
    stream->capture = capture;
    capture->nodes.push_back(
        {.kind = GraphNode::Kind::kWait, .lane = capture->lane_of(stream), .event = event->captured});
    return;
  }
  enqueue(stream, wait_for(event->state, event->state->issued));
}

void launch(CUgraphExec_st& executable, cudaStream_t stream) {
  std::vector<std::shared_ptr<EventState>> events(executable.graph.events);
  for (auto& event : events) event = std::make_shared<EventState>();
  for (const auto& lane : executable.lanes) lane->time_s = std::max(lane->time_s, stream->time_s);
  for (const GraphNode& node : executable.graph.nodes) {
    CUstream_st* lane = node.lane == 0 ? stream : executable.lanes[node.lane - 1].get();
    enqueue(lane, node.kind == GraphNode::Kind::kWork     ? node.work
                  : node.kind == GraphNode::Kind::kRecord ? complete(events[node.event], 1)
                                                          : wait_for(events[node.event], 1));
  }
}

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
  if (const auto& capture = stream->capture) {
    capture->nodes.push_back({.lane = capture->lane_of(stream), .work = std::move(work)});
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
  farscale::fake::wait(stream, event);
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
  farscale::fake::record(event, stream);
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
  stream->capture = std::make_shared<farscale::fake::Capture>();
  stream->capture->lanes = {stream};
  return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  const auto capture = std::exchange(stream->capture, nullptr);
  for (CUstream_st* lane : capture->lanes) lane->capture.reset();
  *graph = nullptr;
  if (fails("cudaStreamEndCapture")) return cudaErrorStreamCaptureInvalidated;
  if (!capture->joined()) return cudaErrorStreamCaptureUnjoined;
  *graph = new CUgraph_st{.nodes = capture->nodes, .lanes = capture->lanes.size(), .events = capture->events};
  count_alive("graph", 1);
  return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph, unsigned long long) {
  if (fails("cudaGraphInstantiate")) return cudaErrorUnknown;
  *executable = new CUgraphExec_st{.graph = *graph, .lanes = {}};
  for (size_t lane = 1; lane < graph->lanes; ++lane) {
    (*executable)->lanes.push_back(std::make_unique<CUstream_st>());
    farscale::fake::enlist((*executable)->lanes.back().get());
  }
  count_alive("executable graph", 1);
  return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream) {
  if (fails("cudaGraphLaunch")) return cudaErrorUnknown;
  farscale::fake::launch(*executable, stream);
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
  for (const auto& lane : executable->lanes) farscale::fake::discharge(lane.get());
  delete executable;
  count_alive("executable graph", -1);
  return failing ? cudaErrorUnknown : cudaSuccess;
}

}  // extern "C"
