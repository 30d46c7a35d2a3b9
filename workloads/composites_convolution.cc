// RegNet and ResNet.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "workloads/composites.h"

namespace farscale {
namespace {

constexpr int64_t kRegNetStem = 32;
constexpr int64_t kWidthQuantum = 8;

// torchvision's _make_divisible: nearest multiple, but never less than 90 % of the value.
int64_t make_divisible(double value, int64_t divisor) {
  const int64_t rounded = std::max(divisor, static_cast<int64_t>(value + double(divisor) / 2) / divisor * divisor);
  return double(rounded) < 0.9 * value ? rounded + divisor : rounded;
}

int conv_norm_relu(GraphBuilder& builder, const std::string& id, int x, const Convolution& spec, bool relu = true) {
  x = builder.convolution(id, x, spec);
  x = builder.norm(id + ".bn", x, NormKind::kBatch);
  return relu ? builder.activation(id + ".relu", x, ActivationKind::kRelu) : x;
}

int squeeze_excitation(GraphBuilder& builder, const std::string& id, int x, int64_t squeeze) {
  int s = builder.global_pool(id + ".pool", x);
  s = builder.linear(id + ".fc1", s, {.out = squeeze, .bias_first = false});
  s = builder.activation(id + ".relu", s, ActivationKind::kRelu);
  s = builder.linear(id + ".fc2", s, {.out = builder.shape(x).channels, .bias_first = false});
  s = builder.activation(id + ".sigmoid", s, ActivationKind::kSigmoid);
  return builder.combine(id + ".scale", {x, s}, CombineKind::kScale);
}

int regnet_block(GraphBuilder& builder, const std::string& id, int x, const RegNetStage& stage, double squeeze,
                 int64_t stride) {
  builder.begin_block(id);
  const int64_t in = builder.shape(x).channels;
  int shortcut = x;
  if (stride != 1 || in != stage.width) {
    shortcut = conv_norm_relu(builder, id + ".proj", x, {.out = stage.width, .stride = stride}, false);
  }
  int y = conv_norm_relu(builder, id + ".a", x, {.out = stage.width});
  y = conv_norm_relu(builder, id + ".b", y,
                     {.out = stage.width, .kernel = 3, .stride = stride, .groups = stage.width / stage.group_width});
  if (squeeze > 0) {
    y = squeeze_excitation(builder, id + ".se", y, static_cast<int64_t>(std::round(squeeze * double(in))));
  }
  y = conv_norm_relu(builder, id + ".c", y, {.out = stage.width}, false);
  y = builder.combine(id + ".add", {y, shortcut}, CombineKind::kAdd);
  return builder.activation(id + ".relu", y, ActivationKind::kRelu);
}

}  // namespace

std::vector<RegNetStage> regnet_stages(const RegNet& spec) {
  std::vector<RegNetStage> stages;
  for (int64_t i = 0; i < spec.depth; ++i) {
    const double continuous = double(i) * spec.slope + spec.initial_width;
    const double power = std::round(std::log(continuous / spec.initial_width) / std::log(spec.multiplier));
    const double exact = spec.initial_width * std::pow(spec.multiplier, power);
    const int64_t width = static_cast<int64_t>(std::nearbyint(exact / double(kWidthQuantum))) * kWidthQuantum;
    if (stages.empty() || stages.back().width != width) stages.push_back({width, 0, 0});
    ++stages.back().depth;
  }
  for (RegNetStage& stage : stages) {
    stage.group_width = std::min(spec.group_width, stage.width);
    const int64_t g = stage.group_width;
    stage.width = spec.nearest ? std::max<int64_t>(1, std::llround(double(stage.width) / double(g))) * g
                               : make_divisible(double(stage.width), g);
  }
  return stages;
}

Outputs add_regnet(GraphBuilder& builder, const std::string& id, int x, const RegNet& spec) {
  builder.begin_block(id + ".stem");
  x = conv_norm_relu(builder, id + ".stem", x, {.out = kRegNetStem, .kernel = 3, .stride = 2});
  Outputs outputs;
  for (const RegNetStage& stage : regnet_stages(spec)) {
    const std::string name = fmt::format("s{}", outputs.size() + 1);
    for (int64_t b = 0; b < stage.depth; ++b) {
      x = regnet_block(builder, fmt::format("{}.{}.b{}", id, name, b), x, stage, spec.squeeze, b == 0 ? 2 : 1);
    }
    outputs.emplace_back(name, x);
  }
  return outputs;
}

namespace {

// The 3x3 of a residual block: plain, or modulated deformable (arXiv:1811.11168): an offset convolution of 3 values per
// tap, a bilinear im2col and a GEMM.
int middle(GraphBuilder& builder, const std::string& id, int x, const Convolution& spec, bool deformable) {
  if (!deformable) return conv_norm_relu(builder, id, x, spec);
  const int64_t taps = spec.kernel * spec.kernel;
  const int offsets = builder.convolution(
      id + ".offset", x, {.out = 3 * taps, .kernel = spec.kernel, .stride = spec.stride, .bias = true});
  int y = builder.deformable_gather(id + ".gather", x, offsets, spec.kernel, spec.stride);
  y = conv_norm_relu(builder, id, y, {.out = spec.out});
  return y;
}

struct ResidualBlock {
  int64_t width = 0, out = 0, stride = 1, groups = 1;
  bool bottleneck = true, stride_first = false, deformable = false;
};

int residual_block(GraphBuilder& builder, const std::string& id, int x, const ResidualBlock& spec) {
  builder.begin_block(id);
  int y = x;
  if (spec.bottleneck) {
    y = conv_norm_relu(builder, id + ".conv1", y, {.out = spec.width, .stride = spec.stride_first ? spec.stride : 1});
    y = middle(builder, id + ".conv2", y,
               {.out = spec.width, .kernel = 3, .stride = spec.stride_first ? 1 : spec.stride, .groups = spec.groups},
               spec.deformable);
    y = conv_norm_relu(builder, id + ".conv3", y, {.out = spec.out}, false);
  } else {
    y = conv_norm_relu(builder, id + ".conv1", y, {.out = spec.out, .kernel = 3, .stride = spec.stride});
    y = conv_norm_relu(builder, id + ".conv2", y, {.out = spec.out, .kernel = 3}, false);
  }
  int shortcut = x;
  if (spec.stride != 1 || builder.shape(x).channels != spec.out) {
    shortcut = conv_norm_relu(builder, id + ".downsample", x, {.out = spec.out, .stride = spec.stride}, false);
  }
  y = builder.combine(id + ".add", {y, shortcut}, CombineKind::kAdd);
  return builder.activation(id + ".relu", y, ActivationKind::kRelu);
}

}  // namespace

Outputs add_resnet(GraphBuilder& builder, const std::string& id, int x, const ResNet& spec) {
  const bool outer_frozen = builder.frozen;
  const bool outer_norm = builder.frozen_norm;
  builder.frozen = outer_frozen || spec.frozen_stages > 0;
  builder.frozen_norm = outer_norm || spec.frozen_norm;
  builder.begin_block(id + ".stem");
  x = conv_norm_relu(builder, id + ".stem", x, {.out = spec.width, .kernel = 7, .stride = 2});
  x = builder.pool(id + ".pool", x, {});
  Outputs outputs;
  for (size_t stage = 0; stage < spec.depths.size(); ++stage) {
    const int64_t factor = int64_t{1} << stage, number = static_cast<int64_t>(stage) + 1;
    builder.frozen = outer_frozen || number < spec.frozen_stages;
    ResidualBlock block{.width = spec.base_width * spec.groups * factor,
                        .out = spec.width * factor * (spec.bottleneck ? 4 : 1),
                        .groups = spec.groups,
                        .bottleneck = spec.bottleneck,
                        .stride_first = spec.stride_first};
    block.deformable = std::count(spec.deformable.begin(), spec.deformable.end(), number) > 0;
    for (int64_t b = 0; b < spec.depths[stage]; ++b) {
      block.stride = b == 0 ? spec.strides[stage] : 1;
      x = residual_block(builder, fmt::format("{}.s{}.b{}", id, number, b), x, block);
    }
    outputs.emplace_back(fmt::format("s{}", number), x);
  }
  builder.frozen = outer_frozen;
  builder.frozen_norm = outer_norm;
  return outputs;
}

}  // namespace farscale
