// Recording and launching.
#include "kernels/cuda/graph.h"

#include <utility>

namespace farscale::cuda {
namespace {

class GraphRecording final : public Recording {
 public:
  explicit GraphRecording(Graph graph) : graph_(std::move(graph)) {}
  void launch(Queue& queue) override {
    auto* known = dynamic_cast<CudaQueue*>(&queue);
    if (known == nullptr) throw InputError("a queue of another backend was given to a CUDA graph");
    graph_.launch(known->stream());
  }

 private:
  Graph graph_;
};

}  // namespace

std::unique_ptr<Recording> record_graph(CudaQueue& queue, const std::function<void()>& enqueue) {
  return std::make_unique<GraphRecording>(Graph::record(queue.stream(), enqueue));
}

}  // namespace farscale::cuda
