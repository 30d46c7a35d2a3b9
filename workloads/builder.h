// Builds a graph layer by layer: every call appends one primitive, works out its output shape and parameters, and
// returns the tensor it makes. Throws GraphError with a message in words; the reader of the file adds the line.
#pragma once

#include <initializer_list>
#include <stdexcept>
#include <string>
#include <vector>

#include "workloads/graph.h"

namespace farscale {

struct GraphError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct Convolution {
  int64_t out = 0;
  int64_t kernel = 1;
  int64_t stride = 1;
  int64_t groups = 1;
  bool bias = false;
  bool transposed = false;
  bool three_d = false;  // kernel and stride hold for depth too
};

struct LinearLayer {
  int64_t out = 0;
  bool bias = true;
  Split split = Split::kNone;
  bool bias_first = true;        // whose gradient PyTorch hands over first: a 1x1 convolution's weight comes first
  int64_t experts = 0;           // weights of a mixture; 0: an ordinary layer
  std::vector<int64_t> parts{};  // widths of separate weight tensors run as one GEMM (q, k, v); empty: one tensor
};

struct Attention {
  int64_t heads = 1;
  int64_t kv_heads = 1;
  int64_t head_dim = 64;
  bool causal = false;
  int64_t cached = 0;  // further keys and values that lie ready: a cache of another network's
};

struct Pool {
  ResizeKind kind = ResizeKind::kMaxPool;
  int64_t kernel = 3;
  int64_t stride = 2;
  bool three_d = false;
};

class GraphBuilder {
 public:
  explicit GraphBuilder(Graph& graph) : graph_(graph) {}

  int input(const Shape& shape);
  int convolution(const std::string& name, int x, const Convolution& spec);
  int depthwise(const std::string& name, int x, const Convolution& spec);
  int linear(const std::string& name, int x, const LinearLayer& spec);
  int norm(const std::string& name, int x, NormKind kind);
  int activation(const std::string& name, int x, ActivationKind kind);
  int combine(const std::string& name, const std::vector<int>& xs, CombineKind kind);
  int interpolate(const std::string& name, int x, int64_t height, int64_t width, int64_t depth = 1);
  int pool(const std::string& name, int x, const Pool& spec);
  int global_pool(const std::string& name, int x);
  int attention(const std::string& name, const std::vector<int>& qkv, const Attention& spec);
  int gather(const std::string& name, const std::vector<int>& xs, const Shape& out, int64_t reads);
  int deformable_gather(const std::string& name, int x, int offsets, int64_t kernel, int64_t stride);
  int embedding(const std::string& name, int tokens, int64_t vocabulary, int64_t width);
  int parameter(const std::string& name, const Shape& shape);
  int append(const std::string& name, const std::vector<int>& xs);  // positions one after the other
  int view(const std::string& name, int x, const Shape& shape);     // no copy
  int slice(const std::string& name, int x, const Shape& shape);    // a part of it, no copy
  int loss(const std::string& name, int x, bool blocking_scalar);

  // Layers made from here on belong to a new block.
  void begin_block(const std::string& name);

  const Shape& shape(int tensor) const { return graph_.shape(tensor); }
  Graph& graph() { return graph_; }

  // Attributes of the layers made from here on.
  bool frozen = false;
  bool frozen_norm = false;  // batch norms run on their stored statistics and are not trained
  bool no_grad = false;
  bool checkpoint = false;
  Split split = Split::kNone;  // of norms, activations and elementwise layers

 private:
  static int64_t weight_elements(std::initializer_list<int64_t> factors);
  Layer& add(const std::string& name, Op op, std::vector<int> inputs, const Shape& out);

  Graph& graph_;
};

}  // namespace farscale
