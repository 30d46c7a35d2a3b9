// Bytes of memory passes, eager and fused. T is the tensor's size; every read and every write counts once. Eager is one
// kernel an operator, as PyTorch runs it; fused is what a good graph compiler leaves: activations, residual sums and
// batch statistics ride on the kernel that makes their input (as MLPerf submissions do).
#include "workloads/lowering.h"

namespace farscale {
namespace {

// The operator that makes this layer's input for it alone can take the layer into its epilogue.
bool rides_on_producer(const Lowering& l, const Layer& layer) {
  for (int x : layer.inputs) {
    const Layer* producer = l.producer(x);
    if (producer == nullptr || l.graph().tensors[static_cast<size_t>(x)].consumers > 1) continue;
    const bool host = producer->op == Op::kNorm || producer->op == Op::kConvolution || producer->op == Op::kLinear ||
                      producer->op == Op::kCombine || producer->op == Op::kDepthwise;
    if (host) return true;
  }
  return false;
}

struct Bytes {
  double forward = 0;
  double backward = 0;
};

Bytes norm_bytes(const Layer& layer, bool fused, double t) {
  const bool batch = layer.norm == NormKind::kBatch || layer.norm == NormKind::kSyncBatch;
  if (!batch) return {2 * t, 3 * t};
  // Frozen: a scale and shift, which fusion folds into the convolution.
  if (layer.frozen) return fused ? Bytes{} : Bytes{2 * t, 2 * t};
  // Statistics, then normalise; backward sums, then input gradient.
  return fused ? Bytes{2 * t, 4 * t} : Bytes{3 * t, 5 * t};
}

Bytes activation_bytes(const Lowering& l, const Layer& layer, double in, double out) {
  const bool fused = l.options.fused;
  if (layer.activation == ActivationKind::kSwiGlu) {
    return fused ? Bytes{in + out, 2 * in + out} : Bytes{2 * in + out, 3 * in + 2 * out};
  }
  if (!fused || !rides_on_producer(l, layer)) return {in + out, in + 2 * out};
  // GELU and SiLU keep their input for the backward pass: written beside the output, read again.
  const bool by_output = layer.activation == ActivationKind::kRelu || layer.activation == ActivationKind::kSigmoid ||
                         layer.activation == ActivationKind::kTanh;
  return {by_output ? 0 : out, out};
}

Bytes combine_bytes(const Lowering& l, const Layer& layer, double inputs, double out) {
  const bool fused = l.options.fused;
  const double n = double(layer.inputs.size());
  switch (layer.combine) {
    case CombineKind::kAdd:
      return {fused && rides_on_producer(l, layer) ? inputs - out : inputs + out, 0};
    case CombineKind::kMultiply:
      return fused ? Bytes{inputs + out, 2 * inputs + out} : Bytes{(n - 1) * 3 * out, (n - 1) * 5 * out};
    case CombineKind::kScale:
      return {inputs + out, fused ? 3 * out : 4 * out};
    case CombineKind::kWeightedSum:
      return fused ? Bytes{inputs + out, 2 * inputs + out} : Bytes{(2 * n + 3 * (n - 1)) * out, 5 * n * out};
    case CombineKind::kConcat:
    case CombineKind::kAppend:
      return {inputs + out, inputs + out};
    case CombineKind::kView:
    case CombineKind::kSlice:
      break;
  }
  return {};
}

Bytes resize_bytes(const Lowering& l, const Layer& layer, double in, double out) {
  const bool fused = l.options.fused;
  if (layer.resize == ResizeKind::kInterpolate) return fused ? Bytes{} : Bytes{in + out, in + out};
  // The gradient of a global mean is a constant per channel: fused into the pass that scales.
  if (layer.resize == ResizeKind::kGlobalPool) return {in, fused ? 0 : in};
  return {in + out, in + 2 * out};
}

Bytes gather_bytes(const Lowering& l, const Layer& layer, double out) {
  const double reads = double(layer.reads);
  if (layer.op == Op::kEmbedding) {
    const double table = double(local_parameters(l, layer)) * l.gradient_size;
    return {2 * out, 2 * out + table};
  }
  // A deformable im2col's bilinear neighbours overlap and come from cache: read once, written once. Backward reads the
  // columns and the input and scatters the input's gradient.
  if (layer.op == Op::kDeformableGather) return {2 * out, 3 * out};
  return {(reads + 1) * out, (3 * reads + 1) * out};
}

Bytes pass_bytes(const Lowering& l, const Layer& layer) {
  double inputs = 0;
  for (int x : layer.inputs) inputs += local_bytes(l, x);
  const double in = layer.inputs.empty() ? 0 : local_bytes(l, layer.inputs[0]);
  const double out = local_bytes(l, layer.output);
  const bool fused = l.options.fused;
  switch (layer.op) {
    case Op::kNorm:
      return norm_bytes(layer, fused, out);
    case Op::kActivation:
      return activation_bytes(l, layer, in, out);
    case Op::kCombine:
      return combine_bytes(l, layer, inputs, out);
    case Op::kResize:
      return resize_bytes(l, layer, in, out);
    case Op::kDepthwise:
      return {in + out, 2 * (in + out)};
    case Op::kGather:
    case Op::kDeformableGather:
    case Op::kEmbedding:
      return gather_bytes(l, layer, out);
    case Op::kLoss:
      return fused ? Bytes{in, 2 * in} : Bytes{3 * in, 3 * in};
    case Op::kConvolution:
    case Op::kLinear:  // the bias gradient is a sum over rows
      return {0, !fused && layer.parameters.size() > 1 && !layer.frozen ? out : 0};
    case Op::kParameter:
    case Op::kAttention:
      break;
  }
  return {};
}

}  // namespace

double forward_pass_bytes(const Lowering& lowering, const Layer& layer) { return pass_bytes(lowering, layer).forward; }

double backward_pass_bytes(const Lowering& lowering, const Layer& layer) {
  return pass_bytes(lowering, layer).backward;
}

double accumulation_bytes(const Lowering& lowering, const Layer& producer) {
  const int consumers = lowering.graph().tensors[static_cast<size_t>(producer.output)].consumers;
  if (consumers < 2 || producer.op == Op::kParameter) return 0;
  const double bytes = local_bytes(lowering, producer.output);
  return double(consumers - 1) * bytes * (lowering.options.fused ? 1 : 3);
}

}  // namespace farscale
