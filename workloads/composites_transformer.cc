// Transformer blocks, vision transformers and the convolutional GRU.
#include <fmt/format.h>

#include "workloads/composites.h"

namespace farscale {
namespace {

class TransformerBuilder {
 public:
  TransformerBuilder(GraphBuilder& builder, std::string id, const Transformer& spec, int64_t width)
      : b_(builder), id_(std::move(id)), spec_(spec), width_(width) {
    if (spec_.kv_heads == 0) spec_.kv_heads = spec_.heads;
    if (spec_.head_dim == 0) spec_.head_dim = width / spec_.heads;
    if (spec.head_dim == 0 && spec_.head_dim * spec_.heads != width) {
      throw GraphError(fmt::format("width {} does not divide into {} heads", width, spec_.heads));
    }
  }

  int run(int x) {
    const Split outer_split = b_.split;
    b_.split = Split::kSequence;
    for (int64_t i = 0; i < spec_.layers; ++i) {
      const std::string name = fmt::format("{}.{}", id_, i);
      b_.begin_block(name);
      if (spec_.self_attention) x = residual(name + ".norm1", x, [&](int y) { return self_attention(name, y); });
      if (spec_.keys) x = residual(name + ".norm_cross", x, [&](int y) { return cross_attention(name, y); });
      if (spec_.ffn > 0) x = residual(name + ".norm2", x, [&](int y) { return feed_forward(name, y); });
    }
    if (spec_.final_norm) x = b_.norm(id_ + ".norm", x, spec_.norm);
    b_.split = outer_split;
    return x;
  }

 private:
  template <typename Part>
  int residual(const std::string& norm_name, int x, const Part& part) {
    if (spec_.pre_norm) {
      const int y = part(b_.norm(norm_name, x, spec_.norm));
      return b_.combine(norm_name + ".add", {x, y}, CombineKind::kAdd);
    }
    const int y = b_.combine(norm_name + ".add", {x, part(x)}, CombineKind::kAdd);
    return b_.norm(norm_name, y, spec_.norm);
  }

  int linear(const std::string& name, int x, int64_t out, Split split, bool bias, std::vector<int64_t> parts = {}) {
    if (!spec_.separate_tensors) parts.clear();
    return b_.linear(name, x, {.out = out, .bias = bias, .split = split, .parts = std::move(parts)});
  }

  int normed_heads(const std::string& name, int x, int64_t heads) {
    if (!spec_.qk_norm) return x;
    // One weight of head_dim for all heads: seen as heads in the rows.
    const Shape shape = b_.shape(x);
    Shape heads_shape = shape;
    heads_shape.channels = spec_.head_dim;
    heads_shape.width *= heads;
    b_.split = Split::kWidth;
    int y = b_.view(name + ".heads", x, heads_shape);
    y = b_.norm(name, y, spec_.norm);
    y = b_.view(name + ".merge", y, shape);
    b_.split = Split::kSequence;
    return y;
  }

  int self_attention(const std::string& name, int x) {
    const int64_t q = spec_.heads * spec_.head_dim, kv = spec_.kv_heads * spec_.head_dim;
    std::vector<int> qkv = {linear(name + ".qkv", x, q + 2 * kv, Split::kColumn, spec_.qkv_bias, {q, kv, kv})};
    if (spec_.qk_norm) qkv = split_and_norm(name, qkv[0], q, kv);
    x = b_.attention(name + ".attention", qkv, sizes(spec_.causal, spec_.cached_keys));
    return linear(name + ".out", x, width_, Split::kRow, spec_.bias);
  }

  std::vector<int> split_and_norm(const std::string& name, int qkv, int64_t q, int64_t kv) {
    Shape part = b_.shape(qkv);
    std::vector<int> parts;
    b_.split = Split::kWidth;
    for (const int64_t channels : {q, kv, kv}) {
      part.channels = channels;
      parts.push_back(b_.slice(name + ".part", qkv, part));
    }
    b_.split = Split::kSequence;
    parts[0] = normed_heads(name + ".q_norm", parts[0], spec_.heads);
    parts[1] = normed_heads(name + ".k_norm", parts[1], spec_.kv_heads);
    return parts;
  }

  int cross_attention(const std::string& name, int x) {
    const int64_t q = spec_.heads * spec_.head_dim, kv = spec_.kv_heads * spec_.head_dim;
    x = linear(name + ".cross_q", x, q, Split::kColumn, spec_.qkv_bias);
    const int keys = linear(name + ".cross_kv", *spec_.keys, 2 * kv, Split::kColumn, spec_.qkv_bias, {kv, kv});
    x = b_.attention(name + ".cross", {x, keys}, sizes(false, 0));
    return linear(name + ".cross_out", x, width_, Split::kRow, spec_.bias);
  }

  int feed_forward(const std::string& name, int x) {
    if (spec_.experts > 0) return mixture(name, x);
    const bool gated = spec_.activation == ActivationKind::kSwiGlu;
    x = linear(name + ".fc1", x, spec_.ffn * (gated ? 2 : 1), Split::kColumn, spec_.bias,
               gated ? std::vector<int64_t>{spec_.ffn, spec_.ffn} : std::vector<int64_t>{});
    b_.split = Split::kWidth;
    x = b_.activation(name + ".activation", x, spec_.activation);
    b_.split = Split::kSequence;
    return linear(name + ".fc2", x, width_, Split::kRow, spec_.bias);
  }

  // A router, then every token at top_k of the experts: rows grow by top_k and spread evenly (an assumption).
  int mixture(const std::string& name, int x) {
    const Shape shape = b_.shape(x);
    const int router = b_.linear(name + ".router", x, {.out = spec_.experts, .bias = false, .split = Split::kSequence});
    Shape dispatched = shape;
    dispatched.height *= spec_.top_k;
    int y = b_.gather(name + ".dispatch", {x, router}, dispatched, 1);
    const bool gated = spec_.activation == ActivationKind::kSwiGlu;
    y = b_.linear(name + ".expert_fc1", y,
                  {.out = spec_.ffn * (gated ? 2 : 1), .bias = false, .experts = spec_.experts});
    y = b_.activation(name + ".activation", y, spec_.activation);
    y = b_.linear(name + ".expert_fc2", y, {.out = width_, .bias = false, .experts = spec_.experts});
    return b_.gather(name + ".collect", {y}, shape, spec_.top_k);
  }

  Attention sizes(bool causal, int64_t cached) const {
    return {.heads = spec_.heads,
            .kv_heads = spec_.kv_heads,
            .head_dim = spec_.head_dim,
            .causal = causal,
            .cached = cached};
  }

  GraphBuilder& b_;
  std::string id_;
  Transformer spec_;
  int64_t width_;
};

}  // namespace

int add_transformer(GraphBuilder& builder, const std::string& id, int x, const Transformer& spec) {
  return TransformerBuilder(builder, id, spec, builder.shape(x).channels).run(x);
}

int add_vision_transformer(GraphBuilder& builder, const std::string& id, int x, const VisionTransformer& spec) {
  builder.begin_block(id + ".patches");
  const Shape image = builder.shape(x);
  const int64_t height = image.height / spec.patch, width = image.width / spec.patch;
  const int64_t depth = image.depth / spec.tubelet;
  // Patches do not overlap: the strided convolution is a linear layer over pixels seen as patches.
  Shape patches{image.items, image.channels * spec.patch * spec.patch * spec.tubelet, depth, height, width};
  x = builder.slice(id + ".patches.pixels", x, patches);
  x = builder.linear(id + ".patches", x, {.out = spec.width});
  if (spec.class_token) {
    const int token = builder.parameter(id + ".class_token", {.channels = spec.width});
    x = builder.append(id + ".append", {x, token});
  }
  if (spec.position_table) {
    Shape table = builder.shape(x);
    table.items = 1;
    Shape stored = table;
    if (spec.position_rows > 0) stored = {.channels = spec.width, .height = spec.position_rows};
    int positions = builder.parameter(id + ".positions", stored);
    if (!(stored == table)) positions = builder.gather(id + ".resample_positions", {positions}, table, 4);
    x = builder.combine(id + ".add_positions", {x, positions}, CombineKind::kAdd);
  }
  return add_transformer(builder, id, x, spec.blocks);
}

namespace {

// The layers of one step; later steps share the first one's parameters.
int gru_step(GraphBuilder& b, const std::string& name, int x, int h, const ConvGru& spec) {
  const int both = b.combine(name + ".join", {x, h}, CombineKind::kConcat);
  int gates = b.convolution(name + ".gates", both, {.out = 2 * spec.hidden, .kernel = spec.kernel, .bias = true});
  gates = b.activation(name + ".gates.sigmoid", gates, ActivationKind::kSigmoid);
  const int reset = b.slice(name + ".reset", gates, b.shape(h));
  const int update = b.slice(name + ".update", gates, b.shape(h));
  const int kept = b.combine(name + ".forget", {reset, h}, CombineKind::kMultiply);
  const int joined = b.combine(name + ".join2", {x, kept}, CombineKind::kConcat);
  int candidate = b.convolution(name + ".candidate", joined, {.out = spec.hidden, .kernel = spec.kernel, .bias = true});
  candidate = b.activation(name + ".tanh", candidate, ActivationKind::kTanh);
  return b.combine(name + ".blend", {candidate, h, update}, CombineKind::kMultiply);
}

}  // namespace

int add_conv_gru(GraphBuilder& b, const std::string& id, int x, const ConvGru& spec) {
  b.begin_block(id);
  Shape state = b.shape(x);
  state.channels = spec.hidden;
  const int start = b.parameter(id + ".start", {.channels = spec.hidden});
  int h = b.gather(id + ".state", {start}, state, 1);
  const int cached = spec.steps > 1 ? b.input(b.shape(x)) : x;
  int first_gates = -1, first_candidate = -1;
  for (int64_t step = 0; step < spec.steps; ++step) {
    const size_t begin = b.graph().layers.size();
    h = gru_step(b, fmt::format("{}.step{}", id, step), step + 1 == spec.steps ? x : cached, h, spec);
    for (size_t i = begin; i < b.graph().layers.size(); ++i) {
      Layer& layer = b.graph().layers[i];
      if (layer.op != Op::kConvolution) continue;
      int& first = layer.name.ends_with(".gates") ? first_gates : first_candidate;
      if (first < 0) {
        first = static_cast<int>(i);
      } else {
        layer.shared_with = first;
      }
    }
  }
  return h;
}

}  // namespace farscale
