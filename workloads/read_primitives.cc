// The primitive ops of a workload file and their keys.
#include <fmt/format.h>

#include "workloads/read_layers.h"

namespace farscale {
namespace {

const std::vector<std::string> kNormNames = {"batch", "sync_batch", "layer", "rms", "group", "instance"};
const std::vector<std::string> kActivationNames = {"relu", "gelu", "silu", "sigmoid", "tanh", "swiglu"};
const std::vector<std::string> kCombineNames = {"add", "multiply", "scale", "weighted_sum", "concat", "append"};

size_t index_of(const std::vector<std::string>& names, const std::string& name) {
  size_t i = 0;
  while (i < names.size() && names[i] != name) ++i;
  return i;
}

Convolution read_convolution(const TomlTable& table, bool has_out) {
  Convolution spec;
  if (has_out) {
    spec.out = table.integer("out", kCount);
    spec.groups = table.integer("groups", kCount, 1);
  }
  spec.kernel = table.integer("kernel", {1, 1024}, has_out ? 1 : 3);
  spec.stride = table.integer("stride", {1, 1024}, 1);
  spec.bias = table.flag("bias", !table.has("norm") && has_out);
  spec.three_d = table.flag("three_d", false);
  return spec;
}

// The shape a file gives, with what it leaves out taken from `base`.
Shape read_shape(const TomlTable& table, const Shape& base) {
  return {.items = table.integer("items", kCount, base.items),
          .channels = table.integer("channels", kCount, base.channels),
          .depth = table.integer("depth", kCount, base.depth),
          .height = table.integer("height", kCount, base.height),
          .width = table.integer("width", kCount, base.width)};
}

int read_conv(LayerReader& r, const TomlTable& t, const std::string& id) {
  return read_norm_and_activation(r, t, id, r.builder.convolution(id, r.input(t), read_convolution(t, true)));
}

int read_conv_transposed(LayerReader& r, const TomlTable& t, const std::string& id) {
  Convolution spec = read_convolution(t, true);
  spec.transposed = true;
  return read_norm_and_activation(r, t, id, r.builder.convolution(id, r.input(t), spec));
}

int read_depthwise(LayerReader& r, const TomlTable& t, const std::string& id) {
  return read_norm_and_activation(r, t, id, r.builder.depthwise(id, r.input(t), read_convolution(t, false)));
}

int read_linear(LayerReader& r, const TomlTable& t, const std::string& id) {
  const std::vector<std::string> splits = {"none", "column", "row"};
  const std::string split = t.choice("split", splits, "none");
  const LinearLayer spec{.out = t.integer("out", kCount),
                         .bias = t.flag("bias", true),
                         .split = split == "column" ? Split::kColumn
                                  : split == "row"  ? Split::kRow
                                                    : Split::kNone};
  return read_norm_and_activation(r, t, id, r.builder.linear(id, r.input(t), spec));
}

int read_attention(LayerReader& r, const TomlTable& t, const std::string& id) {
  const int64_t heads = t.integer("heads", kCount);
  return r.builder.attention(id, r.inputs(t),
                             {.heads = heads,
                              .kv_heads = t.integer("kv_heads", kCount, heads),
                              .head_dim = t.integer("head_dim", kCount),
                              .causal = t.flag("causal", false)});
}

int read_norm(LayerReader& r, const TomlTable& t, const std::string& id) {
  return r.builder.norm(id, r.input(t), read_norm_kind(t, "kind", "layer"));
}

int read_activation(LayerReader& r, const TomlTable& t, const std::string& id) {
  return r.builder.activation(id, r.input(t), read_activation_kind(t, "kind", "relu"));
}

int read_elementwise(LayerReader& r, const TomlTable& t, const std::string& id) {
  const size_t kind = index_of(kCombineNames, t.choice("kind", kCombineNames, "add"));
  const std::vector<int> xs = r.inputs(t);
  if (kCombineNames[kind] == "append") return r.builder.append(id, xs);
  return r.builder.combine(id, xs, static_cast<CombineKind>(kind));
}

int read_resize(LayerReader& r, const TomlTable& t, const std::string& id) {
  const int x = r.input(t);
  const Shape& in = r.builder.shape(x);
  const int64_t scale = t.integer("scale", {1, 64}, 1);
  return r.builder.interpolate(id, x, t.integer("height", kCount, in.height * scale),
                               t.integer("width", kCount, in.width * scale), t.integer("depth", kCount, in.depth));
}

int read_pool(LayerReader& r, const TomlTable& t, const std::string& id) {
  const std::string kind = t.choice("kind", {"max", "average", "global"}, "max");
  if (kind == "global") return r.builder.global_pool(id, r.input(t));
  return r.builder.pool(id, r.input(t),
                        {.kind = kind == "max" ? ResizeKind::kMaxPool : ResizeKind::kAveragePool,
                         .kernel = t.integer("kernel", {1, 64}, 3),
                         .stride = t.integer("stride", {1, 64}, 2),
                         .three_d = t.flag("three_d", false)});
}

int read_gather(LayerReader& r, const TomlTable& t, const std::string& id) {
  const std::vector<int> xs = r.inputs(t);
  const Shape out = read_shape(t, r.builder.shape(xs[0]));
  return r.builder.gather(id, xs, out, t.integer("reads", {1, 1024}, 1));
}

int read_deformable_gather(LayerReader& r, const TomlTable& t, const std::string& id) {
  const std::vector<int> xs = r.inputs(t);
  if (xs.size() != 2) t.fail("from", "deformable_gather takes [features, offsets]");
  return r.builder.deformable_gather(id, xs[0], xs[1], t.integer("kernel", {1, 64}, 3),
                                     t.integer("stride", {1, 64}, 1));
}

int read_embedding(LayerReader& r, const TomlTable& t, const std::string& id) {
  return r.builder.embedding(id, r.input(t), t.integer("vocabulary", kCount), t.integer("width", kCount));
}

int read_parameter(LayerReader& r, const TomlTable& t, const std::string& id) {
  return r.builder.parameter(id, read_shape(t, {}));
}

int read_input(LayerReader& r, const TomlTable& t, const std::string&) { return r.builder.input(read_shape(t, {})); }

int read_view(LayerReader& r, const TomlTable& t, const std::string& id) {
  const int x = r.input(t);
  return r.builder.view(id, x, read_shape(t, r.builder.shape(x)));
}

// All positions of all items as one sequence.
int read_flatten(LayerReader& r, const TomlTable& t, const std::string& id) {
  const int x = r.input(t);
  const Shape& in = r.builder.shape(x);
  return r.builder.view(id, x, {.channels = in.channels, .height = in.rows()});
}

int read_slice(LayerReader& r, const TomlTable& t, const std::string& id) {
  const int x = r.input(t);
  return r.builder.slice(id, x, read_shape(t, r.builder.shape(x)));
}

int read_loss(LayerReader& r, const TomlTable& t, const std::string& id) {
  return r.builder.loss(id, r.input(t), t.flag("normaliser", false));
}

}  // namespace

NormKind read_norm_kind(const TomlTable& table, std::string_view key, std::string_view fallback) {
  return static_cast<NormKind>(index_of(kNormNames, table.choice(key, kNormNames, fallback)));
}

ActivationKind read_activation_kind(const TomlTable& table, std::string_view key, std::string_view fallback) {
  return static_cast<ActivationKind>(index_of(kActivationNames, table.choice(key, kActivationNames, fallback)));
}

int read_norm_and_activation(LayerReader& reader, const TomlTable& table, const std::string& id, int x) {
  if (table.has("norm")) x = reader.builder.norm(id + ".norm", x, read_norm_kind(table, "norm", "batch"));
  if (table.has("activation")) {
    x = reader.builder.activation(id + ".activation", x, read_activation_kind(table, "activation", "relu"));
  }
  return x;
}

const std::vector<NamedOp>& primitive_ops() {
  static const std::vector<NamedOp> kOps = {{"conv", read_conv},
                                            {"conv_transposed", read_conv_transposed},
                                            {"depthwise", read_depthwise},
                                            {"linear", read_linear},
                                            {"attention", read_attention},
                                            {"norm", read_norm},
                                            {"activation", read_activation},
                                            {"elementwise", read_elementwise},
                                            {"resize", read_resize},
                                            {"pool", read_pool},
                                            {"gather", read_gather},
                                            {"deformable_gather", read_deformable_gather},
                                            {"embedding", read_embedding},
                                            {"parameter", read_parameter},
                                            {"input", read_input},
                                            {"view", read_view},
                                            {"flatten", read_flatten},
                                            {"slice", read_slice},
                                            {"loss", read_loss}};
  return kOps;
}

}  // namespace farscale
