// The graph of a network: tensors and primitive layers in execution order, with the shapes of one sample. Composites
// (regnet, transformer, …) exist only while a file is read; what is lowered is this list.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/number_type.h"
#include "workloads/workload.h"

namespace farscale {

// A tensor of one sample: `items` images (or sequences), each channels x depth x height x width. Tokens are positions.
struct Shape {
  int64_t items = 1;
  int64_t channels = 1;
  int64_t depth = 1;
  int64_t height = 1;
  int64_t width = 1;

  int64_t positions() const { return depth * height * width; }  // of one item
  int64_t rows() const { return items * positions(); }          // of one sample
  int64_t elements() const { return rows() * channels; }
  std::string str() const;  // "8 x 256 x 120 x 160" (items x channels x height x width)
  bool operator==(const Shape&) const = default;
};

enum class Op : uint8_t {
  kConvolution,
  kDepthwise,
  kLinear,
  kAttention,
  kNorm,
  kActivation,
  kCombine,           // elementwise over several tensors
  kResize,            // interpolation, pooling, reshaping that copies
  kGather,            // rows read at computed places
  kDeformableGather,  // bilinear im2col of a deformable convolution: channels x taps per position
  kEmbedding,         // rows of a table, by token
  kParameter,         // a learned tensor that enters the graph: queries, position embeddings
  kLoss
};

enum class NormKind : uint8_t { kBatch, kSyncBatch, kLayer, kRms, kGroup, kInstance };
enum class ActivationKind : uint8_t { kRelu, kGelu, kSilu, kSigmoid, kTanh, kSwiGlu };
enum class CombineKind : uint8_t { kAdd, kMultiply, kScale, kWeightedSum, kConcat, kAppend, kView, kSlice };
enum class ResizeKind : uint8_t { kInterpolate, kMaxPool, kAveragePool, kGlobalPool };

// How tensor parallelism with sequence parallelism divides a layer. Rows of kSequence layers are spread over the group;
// column- and row-parallel layers see all rows and a part of the width (Korthikanti et al., arXiv:2205.05198).
enum class Split : uint8_t { kNone, kColumn, kRow, kHeads, kVocabulary, kSequence, kWidth };

// Kernel, stride and groups of a convolution, per axis (depth, height, width).
struct Window {
  std::array<int64_t, 3> kernel{1, 1, 1};
  std::array<int64_t, 3> stride{1, 1, 1};
  int64_t groups = 1;
  bool transposed = false;
  int64_t taps() const { return kernel[0] * kernel[1] * kernel[2]; }
  bool strided() const { return stride[0] * stride[1] * stride[2] > 1; }
};

struct AttentionSizes {
  int64_t heads = 1;
  int64_t kv_heads = 1;
  int64_t head_dim = 1;
  int64_t queries = 1;    // of one sequence
  int64_t keys = 1;       // seen by one sequence
  int64_t sequences = 1;  // of one sample
  bool causal = false;
};

struct Parameter {
  std::string_view name;  // "weight", "bias": always a literal
  int64_t elements = 0;
};

struct Layer {
  std::string name;
  Op op = Op::kCombine;
  std::vector<int> inputs;            // tensor indices
  int output = -1;                    // tensor index
  std::vector<Parameter> parameters;  // in the order their gradients become ready
  int shared_with = -1;               // layer that owns the parameters; -1: this one
  int block = 0;                      // index into Graph::blocks
  bool frozen = false;                // parameters have no gradient
  bool no_grad = false;               // forward only
  Split split = Split::kNone;
  bool expert = false;  // expert parallelism divides its groups

  Window window;
  AttentionSizes attention;
  NormKind norm = NormKind::kBatch;
  ActivationKind activation = ActivationKind::kRelu;
  CombineKind combine = CombineKind::kAdd;
  ResizeKind resize = ResizeKind::kInterpolate;
  int64_t reads = 1;             // gathers: values read for one value written
  int64_t experts = 0;           // linear layers of a mixture: this many weights, rows spread evenly
  bool blocking_scalar = false;  // losses: a normaliser is all-reduced before the backward may start

  int64_t parameter_count() const;
};

struct Tensor {
  Shape shape;
  int producer = -1;  // layer, or -1 for an input of the network
  int consumers = 0;
};

// Layers that are checkpointed, sharded and placed on pipeline stages together.
struct Block {
  std::string name;
  bool checkpoint = false;
};

struct Graph {
  std::vector<Tensor> tensors;
  std::vector<Layer> layers;
  std::vector<Block> blocks;

  const Shape& shape(int tensor) const { return tensors[static_cast<size_t>(tensor)].shape; }
};

// Forward FLOPs of a layer for one sample: 2 per multiply-add; causal attention counts half; depthwise convolutions and
// everything else that is lowered to a memory pass count none.
double forward_flops(const Graph& graph, const Layer& layer);

// Whether a gradient flows into each tensor: it does where a trainable parameter lies upstream and no no_grad layer
// cuts it.
std::vector<bool> gradient_flows(const Graph& graph);

// The tensors a layer keeps until its backward pass.
std::vector<int> saved_tensors(const Layer& layer);

// What data types the tensors of a class have.
struct TensorTypes {
  NumberType compute = NumberType::kBf16;
  NumberType parameters = NumberType::kFp32;
  NumberType gradients = NumberType::kFp32;
  NumberType activations = NumberType::kBf16;
};

enum class OptimizerKind : uint8_t { kSgd, kMomentum, kAdam, kLamb };

struct Inputs {
  std::string store;          // "hevc", "jpeg", "tokens": how samples lie in storage
  double stored_bytes = 0;    // read from storage per sample
  double decoded_bytes = 0;   // copied to the device per sample
  double frames_decoded = 0;  // per sample; a clip needs whole groups of pictures
  double frames = 1;          // camera images or tokens: what throughput is also given in
};

// What the file says the totals are; zero where it does not say.
struct Expectation {
  int64_t parameters = 0;
  double training_flops = 0;
  double gradient_bytes = 0;
  int64_t buckets = 0;
};

// A network known only by its totals.
struct Summary {
  bool used = false;
  int64_t parameters = 0;
  double forward_flops = 0;
  double activation_bytes = 0;
  int64_t layers = 1;
};

struct Workload::Data {
  std::string name;
  std::string title;
  std::string provenance;
  std::vector<std::string> sources;
  std::string file;
  std::string sample_unit;
  int64_t micro_batch = 1;
  int64_t global_scalars = 1;  // blocking scalar all-reduces a step besides the losses': gradient norm, found-inf
  TensorTypes types;
  OptimizerKind optimizer = OptimizerKind::kMomentum;
  Inputs inputs;
  Expectation expect;
  Summary summary;
  Graph graph;

  // Totals of one sample, computed once after reading.
  int64_t parameters = 0;
  int64_t trainable = 0;
  double forward_flops = 0;
  double training_flops = 0;
};

// Fills the totals of `data` from its graph or summary.
void add_totals(Workload::Data& data);

}  // namespace farscale
