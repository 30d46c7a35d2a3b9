// Composites: named structures of published networks that expand into primitives while a file is read.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "workloads/builder.h"

namespace farscale {

// Named tensors that a composite offers to later layers ("backbone.s3"), the last one being its output.
using Outputs = std::vector<std::pair<std::string, int>>;

// RegNet as torchvision builds it (stem 3x3/2 of 32, blocks a 1x1, b 3x3 grouped, squeeze-excitation, c 1x1).
// Radosavovic et al., arXiv:2003.13678. Outputs s1..s4.
struct RegNet {
  int64_t depth = 0;
  double initial_width = 0, slope = 0, multiplier = 0;  // w_0, w_a, w_m
  int64_t group_width = 0;
  double squeeze = 0;    // of the block's input width; 0: RegNetX
  bool nearest = false;  // widths to the nearest multiple of the group width, as pycls has it; torchvision rounds up
};                       // where that loses more than a tenth
Outputs add_regnet(GraphBuilder& builder, const std::string& id, int x, const RegNet& spec);

// The stages a RegNet's parameters stand for: width and depth of each, group width last made compatible.
struct RegNetStage {
  int64_t width = 0, depth = 0, group_width = 0;
};
std::vector<RegNetStage> regnet_stages(const RegNet& spec);

// ResNet v1.5 and ResNeXt as torchvision builds them (stride in the 3x3). He et al., arXiv:1512.03385. Outputs s1..s4.
struct ResNet {
  std::vector<int64_t> depths;
  bool bottleneck = true;
  bool stride_first = false;  // ResNet v1: stride in the first 1x1 instead of the 3x3
  int64_t groups = 1;
  int64_t base_width = 64;  // of one group in the first stage
  int64_t width = 64;       // of the stem
  std::vector<int64_t> strides{1, 2, 2, 2};
  std::vector<int64_t> deformable;  // stages (1..4) whose 3x3 are modulated deformable convolutions
  int64_t frozen_stages = 0;        // stem and the first n-1 stages have no gradient; 0: none
  bool frozen_norm = false;
};
Outputs add_resnet(GraphBuilder& builder, const std::string& id, int x, const ResNet& spec);

// Weighted bidirectional pyramid, EfficientDet's (Tan et al., arXiv:1911.09070). Inputs: levels, finest first; missing
// coarser levels are made by max pooling. Outputs p0.. with the numbers of `first_level`.
struct BiFpn {
  int64_t channels = 0, cells = 1, levels = 0, first_level = 3;
};
Outputs add_bifpn(GraphBuilder& builder, const std::string& id, const std::vector<int>& levels, const BiFpn& spec);

// Feature pyramid (Lin et al., arXiv:1612.03144): laterals, top-down sums, 3x3 outputs, extra levels by strided 3x3.
struct Fpn {
  int64_t channels = 0, levels = 0, first_level = 3;
  bool bias = true;
  bool extra_pool = false;  // extra levels by pooling (Faster R-CNN) instead of convolution
  bool relu_extra = false;
};
Outputs add_fpn(GraphBuilder& builder, const std::string& id, const std::vector<int>& levels, const Fpn& spec);

// A stack of transformer blocks; with `keys`, each block also attends to them.
struct Transformer {
  int64_t layers = 1, heads = 1, kv_heads = 1, head_dim = 0, ffn = 0;
  NormKind norm = NormKind::kLayer;
  ActivationKind activation = ActivationKind::kGelu;
  bool bias = true, causal = false, pre_norm = true, self_attention = true, qk_norm = false, qkv_bias = true;
  bool separate_tensors = false;  // q, k, v and gate, up are parameters of their own, run as one GEMM
  bool final_norm = false;
  int64_t cached_keys = 0;         // keys and values of another network's cache, read by self-attention
  int64_t experts = 0, top_k = 1;  // mixture of experts in place of the feed-forward
  std::optional<int> keys{};
};
int add_transformer(GraphBuilder& builder, const std::string& id, int x, const Transformer& spec);

// A vision transformer: patches, position table, optional class token, blocks, final norm (arXiv:2010.11929).
struct VisionTransformer {
  int64_t patch = 16, tubelet = 1, width = 0;
  int64_t position_rows = 0;  // of a table that is resampled to the image; 0: one row a patch
  bool class_token = false, position_table = true;
  Transformer blocks;
};
int add_vision_transformer(GraphBuilder& builder, const std::string& id, int x, const VisionTransformer& spec);

// Convolutional GRU (Ballas et al., arXiv:1511.06432) run over a queue of features: `steps` serial steps, all but the
// last on cached features without gradient; the initial state is learned.
struct ConvGru {
  int64_t hidden = 0, kernel = 3, steps = 1;
};
int add_conv_gru(GraphBuilder& builder, const std::string& id, int x, const ConvGru& spec);

}  // namespace farscale
