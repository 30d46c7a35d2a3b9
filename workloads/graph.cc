// What the primitives cost and keep, and where gradients flow.
#include "workloads/graph.h"

#include <fmt/format.h>

#include <algorithm>

namespace farscale {

std::string Shape::str() const {
  std::string text = fmt::format("{} x {}", items, channels);
  if (depth > 1) text += fmt::format(" x {}", depth);
  return text + fmt::format(" x {} x {}", height, width);
}

int64_t Layer::parameter_count() const {
  if (shared_with >= 0) return 0;
  int64_t count = 0;
  for (const Parameter& parameter : parameters) count += parameter.elements;
  return count;
}

double forward_flops(const Graph& graph, const Layer& layer) {
  if (layer.op == Op::kAttention) {
    const AttentionSizes& a = layer.attention;
    const double full =
        4.0 * double(a.sequences) * double(a.heads) * double(a.queries) * double(a.keys) * double(a.head_dim);
    return a.causal ? full / 2 : full;
  }
  if (layer.op != Op::kConvolution && layer.op != Op::kLinear) return 0;
  const Shape& in = graph.shape(layer.inputs[0]);
  const Shape& out = graph.shape(layer.output);
  if (layer.op == Op::kLinear) return 2.0 * double(out.rows()) * double(in.channels) * double(out.channels);
  const int64_t positions = layer.window.transposed ? in.rows() : out.rows();
  const int64_t depth = in.channels / layer.window.groups;
  return 2.0 * double(positions) * double(depth) * double(out.channels) * double(layer.window.taps());
}

std::vector<bool> gradient_flows(const Graph& graph) {
  std::vector<bool> flows(graph.tensors.size(), false);
  for (const Layer& layer : graph.layers) {
    if (layer.no_grad) continue;
    bool needed = !layer.frozen && !layer.parameters.empty();
    for (int input : layer.inputs) needed = needed || flows[static_cast<size_t>(input)];
    flows[static_cast<size_t>(layer.output)] = needed;
  }
  return flows;
}

std::vector<int> saved_tensors(const Layer& layer) {
  switch (layer.op) {
    case Op::kConvolution:
    case Op::kDepthwise:
    case Op::kLinear:
    case Op::kNorm:
      return layer.frozen ? std::vector<int>{} : layer.inputs;
    case Op::kAttention: {
      std::vector<int> saved = layer.inputs;
      saved.push_back(layer.output);
      return saved;
    }
    case Op::kActivation: {
      const bool by_output = layer.activation == ActivationKind::kRelu ||
                             layer.activation == ActivationKind::kSigmoid || layer.activation == ActivationKind::kTanh;
      return by_output ? std::vector<int>{layer.output} : layer.inputs;
    }
    case Op::kCombine: {
      const bool product = layer.combine == CombineKind::kMultiply || layer.combine == CombineKind::kScale ||
                           layer.combine == CombineKind::kWeightedSum;
      return product ? layer.inputs : std::vector<int>{};
    }
    case Op::kResize:
      return layer.resize == ResizeKind::kMaxPool ? layer.inputs : std::vector<int>{};
    case Op::kGather:
    case Op::kDeformableGather:
    case Op::kLoss:
      return layer.inputs;
    case Op::kEmbedding:
    case Op::kParameter:
      break;
  }
  return {};
}

namespace {

// Backward FLOPs: one forward's worth for each input side that needs a gradient and one for trainable weights.
double backward_flops(const Graph& graph, const Layer& layer, const std::vector<bool>& flows) {
  if (layer.no_grad || !flows[static_cast<size_t>(layer.output)]) return 0;
  const double forward = forward_flops(graph, layer);
  const bool input_gradient =
      std::any_of(layer.inputs.begin(), layer.inputs.end(), [&](int x) { return flows[static_cast<size_t>(x)]; });
  if (layer.op == Op::kAttention) return input_gradient ? 2 * forward : 0;
  return (input_gradient ? forward : 0) + (layer.frozen ? 0 : forward);
}

}  // namespace

void add_totals(Workload::Data& data) {
  if (data.summary.used) {
    data.parameters = data.trainable = data.summary.parameters;
    data.forward_flops = data.summary.forward_flops;
    data.training_flops = 3 * data.summary.forward_flops;
    return;
  }
  data.parameters = data.trainable = 0;
  data.forward_flops = data.training_flops = 0;
  const std::vector<bool> flows = gradient_flows(data.graph);
  for (const Layer& layer : data.graph.layers) {
    const double forward = forward_flops(data.graph, layer);
    data.parameters += layer.parameter_count();
    if (!layer.frozen && !layer.no_grad) data.trainable += layer.parameter_count();
    data.forward_flops += forward;
    data.training_flops += forward + backward_flops(data.graph, layer, flows);
  }
}

}  // namespace farscale
