// What lowering needs at hand: the layout's share of every tensor on one GPU, and the emitters of tasks.
#pragma once

#include <string>
#include <vector>

#include "workloads/graph.h"

namespace farscale {

// A lowering in progress. Everything is of one GPU and one micro-batch.
struct Lowering {
  const Workload::Data& data;
  const LoweringOptions& options;
  int64_t micro_batch = 1;
  std::vector<bool> flows{};    // gradient_flows of the graph
  std::vector<bool> holders{};  // of a stage: holders_of; empty: of the whole network
  double activation_size = 2;   // bytes of one element
  double compute_size = 2;
  double gradient_size = 4;

  const Graph& graph() const { return data.graph; }
  const Layout& layout() const { return options.layout; }
  bool checkpoints(const Layer& layer) const {
    const bool in_file = graph().blocks[static_cast<size_t>(layer.block)].checkpoint;
    return layout().checkpoint == Layout::Checkpoint::kFile ? in_file : layout().checkpoint == Layout::Checkpoint::kAll;
  }
  bool flows_to(int tensor) const { return flows[static_cast<size_t>(tensor)]; }
  // Whether the layer has a backward pass at all.
  bool trains(const Layer& layer) const { return !layer.no_grad && flows_to(layer.output); }
  // Whether the layer's parameters are on a part of the data parallel ranks only.
  bool spread(const Layer& layer) const { return layer.expert && layout().ep > 1; }
  // Whether the stage keeps this layer's parameters under this layer, and not under another that shares them.
  bool holds(const Layer& layer) const {
    return holders.empty() ? layer.shared_with < 0 : holders[static_cast<size_t>(&layer - graph().layers.data())];
  }
  const Layer* producer(int tensor) const {
    const int index = graph().tensors[static_cast<size_t>(tensor)].producer;
    return index < 0 ? nullptr : &graph().layers[static_cast<size_t>(index)];
  }
};

Lowering start_lowering(const Workload& workload, const LoweringOptions& options);

// Elements of a tensor that one GPU holds.
double local_elements(const Lowering& lowering, int tensor);
double local_bytes(const Lowering& lowering, int tensor);

// Images or sequences, and positions of each, that one GPU works on: context parallelism divides the items where they
// divide evenly and their positions otherwise.
struct LocalRows {
  int64_t items = 1;
  int64_t positions = 1;
  int64_t rows() const { return items * positions; }
};
LocalRows local_rows(const Lowering& lowering, const Shape& shape);

// Parameters of a layer held by one GPU, before sharding over data parallel ranks.
int64_t local_parameters(const Lowering& lowering, const Layer& layer);
int64_t local_parameter(const Lowering& lowering, const Layer& layer, const Parameter& parameter);

// Throws InputError when the layout does not divide the network.
void check_layout(const Lowering& lowering);

void emit_forward(const Lowering& lowering, const Layer& layer, Pass pass, std::vector<StepTask>& tasks);
void emit_backward(const Lowering& lowering, const Layer& layer, std::vector<StepTask>& tasks);

// Bytes of the memory pass of a layer; zero when it has none or fusion hides it.
double forward_pass_bytes(const Lowering& lowering, const Layer& layer);
double backward_pass_bytes(const Lowering& lowering, const Layer& layer);
// Adding up the gradients of a tensor with several consumers.
double accumulation_bytes(const Lowering& lowering, const Layer& producer);

// A parameter tensor whose gradient becomes ready in the backward pass.
struct ReadyGradient {
  int64_t elements = 0;
  int layer = 0;
  int unit = 0;  // what FSDP reduces together: the block
  bool expert = false;
};
// All trainable parameters of the given layers in the order their gradients become ready.
std::vector<ReadyGradient> ready_order(const Lowering& lowering, const std::vector<int>& layers);

// Sizes of gradient buckets in elements, by rule, over tensors in ready order; `last` is the index of the tensor that
// completes each bucket.
struct BucketPlan {
  int64_t elements = 0;
  size_t last = 0;
};
std::vector<BucketPlan> plan_buckets(const std::vector<ReadyGradient>& ready, double element_bytes,
                                     const LoweringOptions& options);

// Adds the buckets of all gradients, and a warning where nothing can overlap; `done` is the task that completes the
// gradients of each ReadyGradient::layer.
void add_buckets(const Lowering& lowering, const std::vector<ReadyGradient>& ready, const std::vector<size_t>& done,
                 LoweredStep& step);

}  // namespace farscale
