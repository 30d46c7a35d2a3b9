// Feature pyramids: BiFPN and FPN.
#include <fmt/format.h>

#include "workloads/composites.h"

namespace farscale {
namespace {

class BiFpnBuilder {
 public:
  BiFpnBuilder(GraphBuilder& builder, std::string id, const BiFpn& spec)
      : b_(builder), id_(std::move(id)), spec_(spec) {}

  // Levels below the coarsest input come twice from the backbone in the first cell: once for the way down, once for the
  // way up (each with a 1x1 of its own where the channels differ, as in EfficientDet).
  Outputs run(const std::vector<int>& inputs) {
    b_.begin_block(id_ + ".lateral");
    std::vector<int> down(inputs), up(inputs);
    for (size_t i = 0; i < inputs.size(); ++i) {
      down[i] = lateral(i, "", inputs[i]);
      up[i] = i == 0 ? down[i] : lateral(i, "_up", inputs[i]);
    }
    while (static_cast<int64_t>(down.size()) < spec_.levels) {
      const bool first = down.size() == inputs.size();
      const std::string name = fmt::format("{}.p{}", id_, spec_.first_level + static_cast<int64_t>(down.size()));
      int p = b_.pool(name + ".pool", first ? inputs.back() : down.back(), {});
      if (first) p = lateral(down.size(), "", p);
      down.push_back(p);
      up.push_back(p);
    }
    for (int64_t cell = 0; cell < spec_.cells; ++cell) {
      down = run_cell(cell, down, up);
      up = down;
    }
    Outputs outputs;
    for (size_t i = 0; i < down.size(); ++i) {
      outputs.emplace_back(fmt::format("p{}", spec_.first_level + static_cast<int64_t>(i)), down[i]);
    }
    return outputs;
  }

 private:
  int lateral(size_t level, const char* suffix, int x) {
    if (b_.shape(x).channels == spec_.channels) return x;
    const std::string name =
        fmt::format("{}.lateral{}{}", id_, spec_.first_level + static_cast<int64_t>(level), suffix);
    x = b_.convolution(name, x, {.out = spec_.channels});
    return b_.norm(name + ".bn", x, NormKind::kBatch);
  }

  int node(const std::string& name, const std::vector<int>& inputs) {
    int x = b_.combine(name + ".fuse", inputs, CombineKind::kWeightedSum);
    x = b_.activation(name + ".silu", x, ActivationKind::kSilu);
    x = b_.depthwise(name + ".depthwise", x, {.kernel = 3});
    x = b_.convolution(name + ".pointwise", x, {.out = spec_.channels});
    return b_.norm(name + ".bn", x, NormKind::kBatch);
  }

  std::vector<int> run_cell(int64_t cell, const std::vector<int>& down, const std::vector<int>& up) {
    b_.begin_block(fmt::format("{}.cell{}", id_, cell));
    std::vector<int> middle(down);
    for (size_t i = down.size() - 1; i-- > 0;) {
      const std::string name = fmt::format("{}.cell{}.down{}", id_, cell, spec_.first_level + static_cast<int64_t>(i));
      const Shape& finer = b_.shape(down[i]);
      const int coarser = b_.interpolate(name + ".resize", middle[i + 1], finer.height, finer.width);
      middle[i] = node(name, {down[i], coarser});
    }
    std::vector<int> out(middle);
    for (size_t i = 1; i < down.size(); ++i) {
      const std::string name = fmt::format("{}.cell{}.up{}", id_, cell, spec_.first_level + static_cast<int64_t>(i));
      const int finer = b_.pool(name + ".pool", out[i - 1], {});
      const bool coarsest = i + 1 == down.size();
      out[i] = node(name, coarsest ? std::vector<int>{up[i], finer} : std::vector<int>{up[i], middle[i], finer});
    }
    return out;
  }

  GraphBuilder& b_;
  std::string id_;
  BiFpn spec_;
};

}  // namespace

Outputs add_bifpn(GraphBuilder& builder, const std::string& id, const std::vector<int>& levels, const BiFpn& spec) {
  if (static_cast<int64_t>(levels.size()) > spec.levels) throw GraphError("bifpn has more inputs than levels");
  return BiFpnBuilder(builder, id, spec).run(levels);
}

Outputs add_fpn(GraphBuilder& builder, const std::string& id, const std::vector<int>& levels, const Fpn& spec) {
  builder.begin_block(id);
  std::vector<int> inner(levels.size());
  Outputs outputs;
  for (size_t i = levels.size(); i-- > 0;) {
    const std::string name = fmt::format("{}.lateral{}", id, i);
    inner[i] = builder.convolution(name, levels[i], {.out = spec.channels, .bias = spec.bias});
    if (i + 1 == levels.size()) continue;
    const Shape& finer = builder.shape(inner[i]);
    const int coarser = builder.interpolate(name + ".resize", inner[i + 1], finer.height, finer.width);
    inner[i] = builder.combine(name + ".add", {inner[i], coarser}, CombineKind::kAdd);
  }
  for (size_t i = 0; i < levels.size(); ++i) {
    const int x = builder.convolution(fmt::format("{}.out{}", id, i), inner[i],
                                      {.out = spec.channels, .kernel = 3, .bias = spec.bias});
    outputs.emplace_back(fmt::format("p{}", spec.first_level + static_cast<int64_t>(i)), x);
  }
  while (static_cast<int64_t>(outputs.size()) < spec.levels) {
    const std::string name = fmt::format("p{}", spec.first_level + static_cast<int64_t>(outputs.size()));
    int x = outputs.back().second;
    const std::string full = fmt::format("{}.{}", id, name);
    if (spec.relu_extra && outputs.size() > levels.size()) {
      x = builder.activation(full + ".relu", x, ActivationKind::kRelu);
    }
    x = spec.extra_pool
            ? builder.pool(full, x, {.kernel = 1})
            : builder.convolution(full, x, {.out = spec.channels, .kernel = 3, .stride = 2, .bias = spec.bias});
    outputs.emplace_back(name, x);
  }
  return outputs;
}

}  // namespace farscale
