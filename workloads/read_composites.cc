// The composite ops of a workload file and their keys.
#include <fmt/format.h>

#include "workloads/read_layers.h"

namespace farscale {
namespace {

int read_sequence(LayerReader& r, const TomlTable& t, const std::string& id) { return r.read_sequence(t, id); }

// The same layers on every level; their parameters are shared unless shared_weights is false, batch norms are each
// level's own unless shared_norms (as in EfficientDet).
int read_per_level(LayerReader& r, const TomlTable& t, const std::string& id) {
  const std::vector<int> levels = r.inputs(t);
  const bool weights = t.flag("shared_weights", true), norms = t.flag("shared_norms", false);
  const std::vector<TomlTable> layers = t.tables("layers");
  if (layers.empty()) t.fail("layers", "missing: expected a list of layers");
  r.builder.begin_block(id);
  std::pair<size_t, size_t> owner{0, 0};
  for (size_t level = 0; level < levels.size(); ++level) {
    const size_t begin = r.builder.graph().layers.size();
    r.last = levels[level];
    for (size_t i = 0; i < layers.size(); ++i) {
      r.read(layers[i], fmt::format("{}.level{}.{}", id, level, layers[i].text("id", fmt::to_string(i))));
    }
    const size_t end = r.builder.graph().layers.size();
    if (level == 0) owner = {begin, end};
    if (level > 0 && weights) r.share(t, owner, begin, norms);
    r.publish(fmt::format("{}.level{}", id, level), r.last);
  }
  return r.last;
}

// Depthwise, then pointwise.
int read_separable(LayerReader& r, const TomlTable& t, const std::string& id) {
  const int x =
      r.builder.depthwise(id + ".depthwise", r.input(t),
                          {.kernel = t.integer("kernel", {1, 64}, 3), .stride = t.integer("stride", {1, 64}, 1)});
  const int y = r.builder.convolution(id, x, {.out = t.integer("out", kCount), .bias = t.flag("bias", !t.has("norm"))});
  return read_norm_and_activation(r, t, id, y);
}

int read_regnet(LayerReader& r, const TomlTable& t, const std::string& id) {
  const RegNet spec{.depth = t.integer("depth", {1, 200}),
                    .initial_width = t.number("w0", {8, 4096}),
                    .slope = t.number("wa", {0, 4096}),
                    .multiplier = t.number("wm", {1.0001, 16}),
                    .group_width = t.integer("group_width", {1, 4096}),
                    .squeeze = t.number("squeeze", kFraction, 0),
                    .nearest = t.choice("rounding", {"torchvision", "pycls"}, "torchvision") == "pycls"};
  return r.publish(id, add_regnet(r.builder, id, r.input(t), spec));
}

int read_resnet(LayerReader& r, const TomlTable& t, const std::string& id) {
  ResNet spec;
  spec.depths = t.integers("depths", {1, 200});
  if (spec.depths.empty()) t.fail("depths", "missing: expected blocks per stage, as in [3, 4, 6, 3]");
  spec.bottleneck = t.flag("bottleneck", true);
  spec.stride_first = t.flag("stride_first", false);
  spec.groups = t.integer("groups", {1, 1024}, 1);
  spec.base_width = t.integer("base_width", {1, 4096}, 64);
  spec.width = t.integer("width", {1, 4096}, 64);
  if (t.has("strides")) spec.strides = t.integers("strides", {1, 8});
  if (spec.strides.size() < spec.depths.size()) t.fail("strides", "expected one stride a stage");
  spec.deformable = t.integers("deformable", {1, 8});
  spec.frozen_stages = t.integer("frozen_stages", {0, 8}, 0);
  return r.publish(id, add_resnet(r.builder, id, r.input(t), spec));
}

int read_bifpn(LayerReader& r, const TomlTable& t, const std::string& id) {
  const std::vector<int> levels = r.inputs(t);
  const BiFpn spec{.channels = t.integer("channels", {1, 65536}),
                   .cells = t.integer("cells", {1, 100}),
                   .levels = t.integer("levels", {2, 16}, static_cast<int64_t>(levels.size())),
                   .first_level = t.integer("first_level", {0, 16}, 3)};
  return r.publish(id, add_bifpn(r.builder, id, levels, spec));
}

int read_fpn(LayerReader& r, const TomlTable& t, const std::string& id) {
  const std::vector<int> levels = r.inputs(t);
  const Fpn spec{.channels = t.integer("channels", {1, 65536}),
                 .levels = t.integer("levels", {1, 16}, static_cast<int64_t>(levels.size())),
                 .first_level = t.integer("first_level", {0, 16}, 3),
                 .bias = t.flag("bias", true),
                 .extra_pool = t.flag("extra_pool", false),
                 .relu_extra = t.flag("relu_extra", false)};
  return r.publish(id, add_fpn(r.builder, id, levels, spec));
}

Transformer read_transformer_spec(LayerReader& r, const TomlTable& t) {
  Transformer spec{.layers = t.integer("layers", {1, 1000}), .heads = t.integer("heads", {1, 4096})};
  spec.kv_heads = t.integer("kv_heads", {1, 4096}, spec.heads);
  spec.head_dim = t.integer("head_dim", {1, 65536}, 0);
  spec.ffn = t.integer("ffn", {1, 1e7});
  spec.norm = read_norm_kind(t, "norm", "layer");
  spec.activation = read_activation_kind(t, "activation", "gelu");
  spec.bias = t.flag("bias", true);
  spec.qkv_bias = t.flag("qkv_bias", spec.bias);
  spec.causal = t.flag("causal", false);
  spec.pre_norm = t.flag("pre_norm", true);
  spec.self_attention = t.flag("self_attention", true);
  spec.qk_norm = t.flag("qk_norm", false);
  spec.separate_tensors = t.flag("separate_tensors", false);
  spec.final_norm = t.flag("final_norm", false);
  spec.cached_keys = t.integer("cached_keys", {0, 1e9}, 0);
  spec.experts = t.integer("experts", {0, 65536}, 0);
  spec.top_k = t.integer("top_k", {1, 64}, 1);
  if (t.has("keys")) spec.keys = r.named(t, "keys", t.text("keys"));
  return spec;
}

int read_transformer(LayerReader& r, const TomlTable& t, const std::string& id) {
  const int x = r.input(t);
  return add_transformer(r.builder, id, x, read_transformer_spec(r, t));
}

int read_vit(LayerReader& r, const TomlTable& t, const std::string& id) {
  VisionTransformer spec;
  spec.patch = t.integer("patch", {1, 256});
  spec.tubelet = t.integer("tubelet", {1, 64}, 1);
  spec.width = t.integer("width", {1, 65536});
  spec.position_rows = t.integer("position_rows", {0, 1e9}, 0);
  spec.class_token = t.flag("class_token", false);
  spec.position_table = t.flag("position_table", true);
  const int x = r.input(t);
  spec.blocks = read_transformer_spec(r, t);
  return add_vision_transformer(r.builder, id, x, spec);
}

int read_convgru(LayerReader& r, const TomlTable& t, const std::string& id) {
  const ConvGru spec{.hidden = t.integer("hidden", {1, 65536}),
                     .kernel = t.integer("kernel", {1, 31}, 3),
                     .steps = t.integer("steps", {1, 1000}, 1)};
  return add_conv_gru(r.builder, id, r.input(t), spec);
}

int read_replay(LayerReader& r, const TomlTable& t, const std::string& id) { return r.replay(t, id); }

}  // namespace

const std::vector<NamedOp>& composite_ops() {
  static const std::vector<NamedOp> kOps = {{"regnet", read_regnet},     {"resnet", read_resnet},
                                            {"bifpn", read_bifpn},       {"fpn", read_fpn},
                                            {"vit", read_vit},           {"transformer", read_transformer},
                                            {"convgru", read_convgru},   {"separable", read_separable},
                                            {"sequence", read_sequence}, {"per_level", read_per_level},
                                            {"replay", read_replay}};
  return kOps;
}

}  // namespace farscale
