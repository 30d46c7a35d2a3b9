// A layer's tasks: GEMMs of convolutions, linear layers and attention in each pass, and memory passes for the rest.
#include <algorithm>

#include "workloads/lowering.h"

namespace farscale {
namespace {

struct Sizes {  // of one GEMM-like layer on one GPU
  int64_t rows = 0, in = 0, out = 0, groups = 1, taps = 1;
  double input_bytes = 0, output_bytes = 0, weight_bytes = 0;
};

KernelClass kind_of(const Layer& layer) {
  switch (layer.op) {
    case Op::kConvolution:
      return layer.window.groups > 1 ? KernelClass::kGroupedConvolution : KernelClass::kConvolution;
    case Op::kDepthwise:
      return KernelClass::kDepthwise;
    case Op::kLinear:
      return KernelClass::kLinear;
    case Op::kAttention:
      return KernelClass::kAttention;
    case Op::kNorm:
      return KernelClass::kNorm;
    case Op::kGather:
    case Op::kDeformableGather:
    case Op::kEmbedding:
      return KernelClass::kGather;
    default:
      return KernelClass::kElementwise;
  }
}

// Emits tasks of one layer in one pass.
class Emitter {
 public:
  Emitter(const Lowering& lowering, const Layer& layer, std::vector<StepTask>& tasks)
      : l_(lowering), layer_(layer), tasks_(tasks), type_(lowering.data.types.compute) {}

  StepTask& gemm(Pass pass, const GemmProblem& problem, double bytes, int64_t count = 1, double share = 1) {
    StepTask& task = tasks_.emplace_back();
    task.pass = pass;
    task.kind = kind_of(layer_);
    task.layer = layer_.name;
    task.count = count;
    task.gemm = problem;
    task.flops = problem.flops() * double(count) * share;
    task.bytes = bytes;
    return task;
  }

  void memory(Pass pass, double bytes) {
    if (bytes <= 0) return;
    StepTask& task = tasks_.emplace_back();
    task.pass = pass;
    task.kind = kind_of(layer_);
    task.layer = layer_.name;
    task.bytes = bytes;
  }

  Sizes sizes() const {
    const Shape& in = l_.graph().shape(layer_.inputs[0]);
    const Shape& out = l_.graph().shape(layer_.output);
    Sizes s;
    s.groups = layer_.window.groups;
    s.taps = layer_.window.taps();
    s.in = in.channels;
    s.out = out.channels;
    s.rows = local_rows(l_, layer_.window.transposed ? in : out).rows();
    s.input_bytes = local_bytes(l_, layer_.inputs[0]);
    s.output_bytes = local_bytes(l_, layer_.output);
    s.weight_bytes = double(local_parameter(l_, layer_, weight())) * l_.compute_size;
    divide(s);
    return s;
  }

  void convolution_forward(Pass pass) {
    const Sizes s = sizes();
    const GemmProblem problem = layer_.window.transposed
                                    ? GemmProblem{s.rows, s.out / s.groups * s.taps, s.in / s.groups}
                                    : GemmProblem{s.rows, s.out / s.groups, s.in / s.groups * s.taps};
    gemm(pass, typed(problem, s.groups, false, true), s.input_bytes + s.output_bytes + s.weight_bytes).convolution =
        convolution(ConvolutionPass::kForward);
  }

  void convolution_backward(bool input_gradient) {
    const Sizes s = sizes();
    const double bytes = s.input_bytes + s.output_bytes + s.weight_bytes;
    if (input_gradient) data_gradient(s, bytes);
    if (layer_.frozen) return;
    const GemmProblem problem = layer_.window.transposed
                                    ? GemmProblem{s.in / s.groups, s.out / s.groups * s.taps, s.rows}
                                    : GemmProblem{s.out / s.groups, s.in / s.groups * s.taps, s.rows};
    gemm(Pass::kWeightGradient, typed(problem, s.groups, true, false), bytes).convolution =
        convolution(ConvolutionPass::kWeightGradient);
  }

  void attention(Pass pass, bool backward) {
    const AttentionSizes& a = layer_.attention;
    const Shape& q = l_.graph().shape(layer_.inputs[0]);
    const LocalRows rows = local_rows(l_, q);
    const int64_t heads = layer_.split == Split::kHeads ? a.heads / l_.layout().tp : a.heads;
    const int64_t batch = rows.items * heads, queries = rows.positions;
    const double share = a.causal ? 0.5 : 1;
    double inputs = 0;
    for (int x : layer_.inputs) inputs += local_bytes(l_, x);
    const double out = local_bytes(l_, layer_.output);
    const GemmProblem scores = typed({queries, a.keys, a.head_dim}, batch, false, true);
    const GemmProblem values = typed({queries, a.head_dim, a.keys}, batch, false, false);
    const GemmProblem transposed = typed({a.keys, a.head_dim, queries}, batch, true, false);
    if (!backward) {
      gemm(pass, scores, inputs / 2, 1, share);
      gemm(pass, values, inputs / 2 + out, 1, share);
      return;
    }
    gemm(pass, scores, inputs / 2 + out, 1, share);      // dP = dO V^T
    gemm(pass, transposed, inputs / 2 + out, 1, share);  // dV = P^T dO
    gemm(pass, values, inputs / 2, 1, share);            // dQ = dS K
    gemm(pass, transposed, inputs / 2, 1, share);        // dK = dS^T Q
  }

 private:
  // The layer as a library's convolution, where it has that form: plane images whole on this GPU, a square odd kernel,
  // padded by half of it.
  std::optional<ConvolutionProblem> convolution(ConvolutionPass pass) const {
    const Window& w = layer_.window;
    const Shape& in = l_.graph().shape(layer_.inputs[0]);
    const Shape& out = l_.graph().shape(layer_.output);
    const LocalRows rows = local_rows(l_, out);
    const bool plane = in.depth == 1 && w.kernel[0] == 1 && w.stride[0] == 1 && w.kernel[1] == w.kernel[2] &&
                       w.stride[1] == w.stride[2] && w.kernel[1] % 2 == 1;
    if (layer_.op != Op::kConvolution || w.transposed || !plane || layer_.split != Split::kNone) return {};
    const ConvolutionProblem problem{.pass = pass,
                                     .images = rows.items,
                                     .height = in.height,
                                     .width = in.width,
                                     .channels = in.channels,
                                     .filters = out.channels,
                                     .kernel = w.kernel[1],
                                     .stride = w.stride[1],
                                     .groups = w.groups,
                                     .type = type_};
    const bool whole = rows.positions == out.positions();
    if (!whole || problem.output_height() != out.height || problem.output_width() != out.width) return {};
    return problem;
  }

  const Parameter& weight() const {
    return *std::max_element(layer_.parameters.begin(), layer_.parameters.end(),
                             [](const Parameter& a, const Parameter& b) { return a.elements < b.elements; });
  }

  GemmProblem typed(GemmProblem problem, int64_t batch, bool ta, bool tb) const {
    problem.batch = batch;
    problem.type = type_;
    problem.transpose_a = ta;
    problem.transpose_b = tb;
    return problem;
  }

  void divide(Sizes& s) const {
    const int64_t tp = l_.layout().tp;
    if (layer_.split == Split::kColumn) s.out /= tp;
    if (layer_.split == Split::kRow) s.in /= tp;
    if (layer_.split == Split::kSequence) s.rows = (s.rows + tp - 1) / tp;
    if (layer_.experts == 0) return;
    // Every expert sees an equal part of the rows of all ranks of its group.
    s.groups = layer_.experts / l_.layout().ep;
    s.in *= s.groups;
    s.out *= s.groups;
    s.rows = std::max<int64_t>(1, s.rows / s.groups);
  }

  // The transposed convolution that a strided one's data gradient is runs as one GEMM per phase of the stride, each
  // with the taps that reach it: 1 + 2 + 2 + 4 of a 3x3 with stride 2. Together they cost what the forward costs.
  void data_gradient(const Sizes& s, double bytes) {
    const int64_t n = s.in / s.groups, k = s.out / s.groups;
    if (layer_.window.transposed) {
      gemm(Pass::kDataGradient, typed({s.rows, n, k * s.taps}, s.groups, false, false), bytes);
      return;
    }
    if (!layer_.window.strided()) {
      gemm(Pass::kDataGradient, typed({s.rows, n, k * s.taps}, s.groups, false, false), bytes).convolution =
          convolution(ConvolutionPass::kDataGradient);
      return;
    }
    std::vector<std::pair<int64_t, int64_t>> phases;  // taps, phases with that many
    for (int64_t taps : phase_taps()) {
      const auto same = std::find_if(phases.begin(), phases.end(), [&](const auto& p) { return p.first == taps; });
      same == phases.end() ? phases.emplace_back(taps, 1).second : ++same->second;
    }
    const size_t first = tasks_.size();
    for (const auto& [taps, count] : phases) {
      gemm(Pass::kDataGradient, typed({s.rows, n, k * taps}, s.groups, false, false),
           bytes * double(count * taps) / double(s.taps), count);
    }
    tasks_[first].convolution = convolution(ConvolutionPass::kDataGradient);
    tasks_[first].convolution_tasks = static_cast<int>(phases.size());
  }

  // Taps of each phase that has any: along one axis, phase p of stride s is reached by the taps t = p, p + s, ….
  std::vector<int64_t> phase_taps() const {
    std::vector<int64_t> product{1};
    for (size_t axis = 0; axis < 3; ++axis) {
      const int64_t kernel = layer_.window.kernel[axis], stride = layer_.window.stride[axis];
      std::vector<int64_t> next;
      for (int64_t phase = std::min(kernel, stride); phase-- > 0;) {
        for (int64_t taps : product) next.push_back(taps * ((kernel - phase + stride - 1) / stride));
      }
      product = std::move(next);
    }
    std::sort(product.begin(), product.end());
    return product;
  }

  const Lowering& l_;
  const Layer& layer_;
  std::vector<StepTask>& tasks_;
  NumberType type_;
};

// Gradients of a layer's own parameters are ready when its last backward task is done.
int64_t ready_bytes(const Lowering& lowering, const Layer& layer) {
  if (layer.frozen || !lowering.holds(layer)) return 0;
  return static_cast<int64_t>(double(local_parameters(lowering, layer)) * lowering.gradient_size);
}

}  // namespace

void emit_forward(const Lowering& lowering, const Layer& layer, Pass pass, std::vector<StepTask>& tasks) {
  Emitter emitter(lowering, layer, tasks);
  if (layer.op == Op::kConvolution || layer.op == Op::kLinear) {
    emitter.convolution_forward(pass);
  } else if (layer.op == Op::kAttention) {
    emitter.attention(pass, false);
  } else {
    emitter.memory(pass, forward_pass_bytes(lowering, layer));
  }
}

void emit_backward(const Lowering& lowering, const Layer& layer, std::vector<StepTask>& tasks) {
  if (!lowering.trains(layer)) return;
  const size_t before = tasks.size();
  Emitter emitter(lowering, layer, tasks);
  emitter.memory(Pass::kDataGradient, accumulation_bytes(lowering, layer));
  const bool input_gradient =
      std::any_of(layer.inputs.begin(), layer.inputs.end(), [&](int x) { return lowering.flows_to(x); });
  if (layer.op == Op::kConvolution || layer.op == Op::kLinear) {
    emitter.convolution_backward(input_gradient);
    emitter.memory(Pass::kWeightGradient, backward_pass_bytes(lowering, layer));
  } else if (layer.op == Op::kAttention) {
    emitter.attention(Pass::kDataGradient, true);
  } else {
    emitter.memory(Pass::kDataGradient, backward_pass_bytes(lowering, layer));
  }
  const int64_t ready = ready_bytes(lowering, layer);
  if (ready == 0) return;
  // Gradients that need no pass of their own come with the consumer's.
  if (tasks.size() == before) emitter.memory(Pass::kWeightGradient, double(ready));
  tasks.back().gradient_bytes = ready;
}

}  // namespace farscale
