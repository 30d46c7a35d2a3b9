// Shapes and parameters of the primitives.
#include "workloads/builder.h"

#include <fmt/format.h>

namespace farscale {
namespace {

constexpr double kMostElements = 1e14;  // of one tensor of one sample

int64_t up(int64_t size, int64_t stride) { return (size + stride - 1) / stride; }

void require(bool holds, const std::string& message) {
  if (!holds) throw GraphError(message);
}

// Padding is always "same": as much as makes the output's size the input's over the stride, rounded up (of odd kernels
// k // 2 on each side, what torchvision's networks use). More than half a kernel beyond the border would see nothing.
Shape windowed(const Shape& in, const Window& window, int64_t channels) {
  Shape out = in;
  out.channels = channels;
  if (window.transposed) {
    out.depth *= window.stride[0];
    out.height *= window.stride[1];
    out.width *= window.stride[2];
    return out;
  }
  const std::array<int64_t, 3> sizes = {in.depth, in.height, in.width};
  for (size_t axis = 0; axis < sizes.size(); ++axis) {
    require(window.kernel[axis] / 2 <= sizes[axis],
            fmt::format("a kernel of {} is more than twice the {} positions of its input", window.kernel[axis],
                        sizes[axis]));
  }
  out.depth = up(in.depth, window.stride[0]);
  out.height = up(in.height, window.stride[1]);
  out.width = up(in.width, window.stride[2]);
  return out;
}

Window window_of(const Convolution& spec) {
  Window window{.kernel = {1, spec.kernel, spec.kernel}, .stride = {1, spec.stride, spec.stride}};
  if (spec.three_d) {
    window.kernel[0] = spec.kernel;
    window.stride[0] = spec.stride;
  }
  window.groups = spec.groups;
  window.transposed = spec.transposed;
  return window;
}

}  // namespace

int64_t GraphBuilder::weight_elements(std::initializer_list<int64_t> factors) {
  double product = 1;
  int64_t elements = 1;
  for (int64_t factor : factors) product *= double(factor);
  if (product > kMostElements) throw GraphError(fmt::format("would have {:.3g} parameters", product));
  for (int64_t factor : factors) elements *= factor;
  return elements;
}

Layer& GraphBuilder::add(const std::string& name, Op op, std::vector<int> inputs, const Shape& out) {
  // Products are taken in floating point: whole numbers would overflow on nonsense.
  const double elements =
      double(out.items) * double(out.channels) * double(out.depth) * double(out.height) * double(out.width);
  if (elements < 1 || elements > kMostElements) {
    throw GraphError(fmt::format("{} would make a tensor of {}", name, out.str()));
  }
  for (int x : inputs) ++graph_.tensors[static_cast<size_t>(x)].consumers;
  if (graph_.blocks.empty()) begin_block("start");
  const int index = static_cast<int>(graph_.layers.size());
  graph_.tensors.push_back({.shape = out, .producer = index});
  Layer layer;
  layer.name = name;
  layer.op = op;
  layer.inputs = std::move(inputs);
  layer.output = static_cast<int>(graph_.tensors.size()) - 1;
  layer.block = static_cast<int>(graph_.blocks.size()) - 1;
  layer.frozen = frozen;
  layer.no_grad = no_grad;
  layer.split = split;
  return graph_.layers.emplace_back(std::move(layer));
}

void GraphBuilder::begin_block(const std::string& name) {
  const int last = static_cast<int>(graph_.blocks.size()) - 1;
  if (last >= 0 && (graph_.layers.empty() || graph_.layers.back().block < last)) graph_.blocks.pop_back();  // is empty
  graph_.blocks.push_back({.name = name, .checkpoint = checkpoint});
}

int GraphBuilder::input(const Shape& shape) {
  graph_.tensors.push_back({.shape = shape});
  return static_cast<int>(graph_.tensors.size()) - 1;
}

int GraphBuilder::convolution(const std::string& name, int x, const Convolution& spec) {
  const Shape in = shape(x);
  require(
      in.channels % spec.groups == 0 && spec.out % spec.groups == 0,
      fmt::format("{} input and {} output channels do not divide into {} groups", in.channels, spec.out, spec.groups));
  const Window window = window_of(spec);
  Layer& layer = add(name, Op::kConvolution, {x}, windowed(in, window, spec.out));
  layer.window = window;
  layer.split = Split::kNone;
  layer.parameters.push_back({"weight", weight_elements({in.channels / spec.groups, spec.out, window.taps()})});
  if (spec.bias) layer.parameters.push_back({"bias", spec.out});
  return layer.output;
}

int GraphBuilder::depthwise(const std::string& name, int x, const Convolution& spec) {
  const Shape in = shape(x);
  Window window = window_of(spec);
  window.groups = in.channels;
  Layer& layer = add(name, Op::kDepthwise, {x}, windowed(in, window, in.channels));
  layer.window = window;
  layer.parameters.push_back({"weight", weight_elements({in.channels, window.taps()})});
  if (spec.bias) layer.parameters.push_back({"bias", in.channels});
  return layer.output;
}

int GraphBuilder::linear(const std::string& name, int x, const LinearLayer& spec) {
  Shape out = shape(x);
  const int64_t in = out.channels, copies = spec.experts > 0 ? spec.experts : 1;
  out.channels = spec.out;
  Layer& layer = add(name, Op::kLinear, {x}, out);
  layer.split = spec.split;
  layer.experts = spec.experts;
  layer.expert = spec.experts > 0;
  // PyTorch's addmm hands the bias its gradient before the weight.
  if (spec.bias && spec.bias_first) layer.parameters.push_back({"bias", spec.out * copies});
  // The parts' gradients become ready last part first, as separate layers' would.
  for (auto part = spec.parts.rbegin(); part != spec.parts.rend(); ++part) {
    layer.parameters.push_back({"weight", weight_elements({in, *part, copies})});
  }
  if (spec.parts.empty()) layer.parameters.push_back({"weight", weight_elements({in, spec.out, copies})});
  if (spec.bias && !spec.bias_first) layer.parameters.push_back({"bias", spec.out * copies});
  return layer.output;
}

int GraphBuilder::norm(const std::string& name, int x, NormKind kind) {
  const Shape in = shape(x);
  Layer& layer = add(name, Op::kNorm, {x}, in);
  layer.norm = kind;
  if (frozen_norm && (kind == NormKind::kBatch || kind == NormKind::kSyncBatch)) layer.frozen = true;
  layer.parameters.push_back({"weight", in.channels});
  if (kind != NormKind::kRms) layer.parameters.push_back({"bias", in.channels});
  return layer.output;
}

int GraphBuilder::activation(const std::string& name, int x, ActivationKind kind) {
  Shape out = shape(x);
  if (kind == ActivationKind::kSwiGlu) {
    require(out.channels % 2 == 0, "swiglu needs an even number of channels: gate and value");
    out.channels /= 2;
  }
  Layer& layer = add(name, Op::kActivation, {x}, out);
  layer.activation = kind;
  return layer.output;
}

int GraphBuilder::combine(const std::string& name, const std::vector<int>& xs, CombineKind kind) {
  require(!xs.empty(), "needs at least one input");
  Shape out = shape(xs[0]);
  for (size_t i = 1; i < xs.size(); ++i) {
    const Shape& other = shape(xs[i]);
    if (kind == CombineKind::kConcat) {
      require(other.rows() == out.rows(), fmt::format("cannot join channels of {} and {}", out.str(), other.str()));
      out.channels += other.channels;
    } else if (kind == CombineKind::kScale || kind == CombineKind::kAdd) {
      // The second operand may be a vector or a table that every item shares.
      require(other.channels == out.channels && out.rows() % other.rows() == 0,
              fmt::format("shapes {} and {} do not fit", out.str(), other.str()));
    } else {
      require(other.elements() == out.elements(), fmt::format("shapes {} and {} differ", out.str(), other.str()));
    }
  }
  Layer& layer = add(name, Op::kCombine, xs, out);
  layer.combine = kind;
  if (kind == CombineKind::kWeightedSum) layer.parameters.push_back({"weight", static_cast<int64_t>(xs.size())});
  return layer.output;
}

int GraphBuilder::interpolate(const std::string& name, int x, int64_t height, int64_t width, int64_t depth) {
  Shape out = shape(x);
  out.height = height;
  out.width = width;
  out.depth = depth;
  Layer& layer = add(name, Op::kResize, {x}, out);
  layer.resize = ResizeKind::kInterpolate;
  return layer.output;
}

int GraphBuilder::pool(const std::string& name, int x, const Pool& spec) {
  const Window window = window_of({.kernel = spec.kernel, .stride = spec.stride, .three_d = spec.three_d});
  Layer& layer = add(name, Op::kResize, {x}, windowed(shape(x), window, shape(x).channels));
  layer.resize = spec.kind;
  layer.window = window;
  return layer.output;
}

int GraphBuilder::global_pool(const std::string& name, int x) {
  Shape out = shape(x);
  out.depth = out.height = out.width = 1;
  Layer& layer = add(name, Op::kResize, {x}, out);
  layer.resize = ResizeKind::kGlobalPool;
  return layer.output;
}

int GraphBuilder::attention(const std::string& name, const std::vector<int>& qkv, const Attention& spec) {
  require(!qkv.empty() && qkv.size() <= 3, "attention takes [qkv], [q, kv] or [q, k, v]");
  require(spec.heads % spec.kv_heads == 0,
          fmt::format("{} query heads do not divide among {} key heads", spec.heads, spec.kv_heads));
  const Shape q = shape(qkv[0]), k = shape(qkv.back());
  const int64_t width = spec.heads * spec.head_dim, kv_width = 2 * spec.kv_heads * spec.head_dim;
  int64_t channels = 0;
  for (size_t i = 0; i < qkv.size(); ++i) channels += shape(qkv[i]).channels;
  require(channels == width + kv_width,
          fmt::format("attention of {} heads, {} key heads and head size {} needs {} "
                      "channels of queries, keys and values, found {}",
                      spec.heads, spec.kv_heads, spec.head_dim, width + kv_width, channels));
  require(k.rows() % q.items == 0, fmt::format("keys {} do not divide among {} sequences", k.str(), q.items));
  Shape out = q;
  out.channels = width;
  Layer& layer = add(name, Op::kAttention, qkv, out);
  layer.split = spec.heads > 1 ? Split::kHeads : Split::kNone;
  layer.attention = {.heads = spec.heads,
                     .kv_heads = spec.kv_heads,
                     .head_dim = spec.head_dim,
                     .queries = q.positions(),
                     .keys = k.rows() / q.items + spec.cached,
                     .sequences = q.items,
                     .causal = spec.causal};
  return layer.output;
}

int GraphBuilder::gather(const std::string& name, const std::vector<int>& xs, const Shape& out, int64_t reads) {
  Layer& layer = add(name, Op::kGather, xs, out);
  layer.reads = reads;
  return layer.output;
}

int GraphBuilder::deformable_gather(const std::string& name, int x, int offsets, int64_t kernel, int64_t stride) {
  const Window window = window_of({.kernel = kernel, .stride = stride});
  const Shape out = windowed(shape(x), window, shape(x).channels * window.taps()), moved = shape(offsets);
  const bool places = moved.items == out.items && moved.height == out.height && moved.width == out.width;
  const bool values = moved.channels % (2 * window.taps()) == 0 || moved.channels % (3 * window.taps()) == 0;
  require(places && values,
          fmt::format("offsets {} are not 2 or 3 values for each of {} taps at the {} x {} places of the output",
                      moved.str(), window.taps(), out.height, out.width));
  Layer& layer = add(name, Op::kDeformableGather, {x, offsets}, out);
  layer.window = window;
  layer.reads = 4;  // bilinear
  return layer.output;
}

int GraphBuilder::embedding(const std::string& name, int tokens, int64_t vocabulary, int64_t width) {
  Shape out = shape(tokens);
  out.channels = width;
  Layer& layer = add(name, Op::kEmbedding, {tokens}, out);
  layer.split = Split::kVocabulary;
  layer.parameters.push_back({"weight", weight_elements({vocabulary, width})});
  return layer.output;
}

int GraphBuilder::parameter(const std::string& name, const Shape& out) {
  Layer& layer = add(name, Op::kParameter, {}, out);
  layer.parameters.push_back({"weight", out.elements()});
  return layer.output;
}

int GraphBuilder::append(const std::string& name, const std::vector<int>& xs) {
  Shape out = shape(xs[0]);
  out.height = 0;
  for (int x : xs) {
    const Shape& more = shape(x);
    require(more.channels == out.channels,
            fmt::format("cannot append {} to {}: channels differ", more.str(), shape(xs[0]).str()));
    out.height += more.positions();
  }
  out.depth = out.width = 1;
  Layer& layer = add(name, Op::kCombine, xs, out);
  layer.combine = CombineKind::kAppend;
  return layer.output;
}

int GraphBuilder::view(const std::string& name, int x, const Shape& out) {
  require(out.elements() == shape(x).elements(),
          fmt::format("cannot see {} as {}: sizes differ", shape(x).str(), out.str()));
  Layer& layer = add(name, Op::kCombine, {x}, out);
  layer.combine = CombineKind::kView;
  return layer.output;
}

int GraphBuilder::slice(const std::string& name, int x, const Shape& out) {
  require(out.elements() <= shape(x).elements(), fmt::format("{} is larger than {}", out.str(), shape(x).str()));
  Layer& layer = add(name, Op::kCombine, {x}, out);
  layer.combine = CombineKind::kSlice;
  return layer.output;
}

int GraphBuilder::loss(const std::string& name, int x, bool blocking_scalar) {
  Layer& layer = add(name, Op::kLoss, {x}, shape(x));
  layer.blocking_scalar = blocking_scalar;
  return layer.output;
}

}  // namespace farscale
