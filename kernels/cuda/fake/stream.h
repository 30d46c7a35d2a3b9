// Fake streams: lists of work that run in order, as soon as they can, on whichever thread looks at any of them.
#pragma once

#include <cuda_runtime_api.h>

#include <deque>
#include <functional>
#include <memory>
#include <vector>

#include "kernels/cuda/fake/state.h"

namespace farscale::fake {

// One piece of work: true when done, false when it must wait (for an event or for other ranks). It advances the
// stream's clock by what it is said to cost.
using Work = std::function<bool(CUstream_st& stream)>;

struct EventState {
  int64_t issued = 0;
  int64_t completed = 0;
  double time_s = 0;
};

// A graph: work on one lane for each stream that took part, with the events between them.
struct GraphNode {
  enum class Kind { kWork, kRecord, kWait };
  Kind kind = Kind::kWork;
  size_t lane = 0;
  size_t event = 0;  // of records and waits
  Work work = {};
};

// While a graph is recorded: its streams, the first of which began it.
struct Capture {
  std::vector<GraphNode> nodes;
  std::vector<CUstream_st*> lanes;
  size_t events = 0;
  size_t lane_of(CUstream_st* stream);  // takes the stream in when it is new
  bool joined() const;                  // the first lane waits for the last work of every other
};

}  // namespace farscale::fake

struct CUstream_st {
  std::deque<farscale::fake::Work> work;
  double time_s = 0;
  std::shared_ptr<farscale::fake::Capture> capture;
};

struct CUevent_st {
  bool timed = false;
  std::shared_ptr<farscale::fake::EventState> state = std::make_shared<farscale::fake::EventState>();
  // Where it was last recorded, if that was in a graph that is still being made.
  std::weak_ptr<farscale::fake::Capture> capture;
  size_t captured = 0;
};

struct CUgraph_st {
  std::vector<farscale::fake::GraphNode> nodes;
  size_t lanes = 0;
  size_t events = 0;
};

// Launched, the first lane's work goes to the launching stream and the others' to streams of the graph's own.
struct CUgraphExec_st {
  CUgraph_st graph;
  std::vector<std::unique_ptr<CUstream_st>> lanes;
};

namespace farscale::fake {

// Adds work to the stream, or to the graph it records, and runs what can run.
void enqueue(cudaStream_t stream, Work work);

// The same for work that only computes and costs time.
void enqueue(cudaStream_t stream, double cost_s, std::function<void()> compute);

// Runs what can run, on all streams; true when nothing is left on this one.
bool drain(CUstream_st& stream);

// A stream's beginning and end; what it has left runs as far as it can.
void enlist(CUstream_st* stream);
void discharge(CUstream_st* stream);

}  // namespace farscale::fake
