// Reading layers: names, attributes, repeats and sharing. The ops' own keys are in read_primitives.cc and
// read_composites.cc.
#include "workloads/read_layers.h"

#include <fmt/format.h>

#include <algorithm>

#include "kernels/suggest.h"

namespace farscale {
namespace {

const std::vector<std::string>& op_names() {
  static const std::vector<std::string> kNames = [] {
    std::vector<std::string> names;
    for (const auto* ops : {&composite_ops(), &primitive_ops()}) {
      for (const NamedOp& op : *ops) names.emplace_back(op.name);
    }
    return names;
  }();
  return kNames;
}

ReadOp find_op(const std::string& name) {
  for (const auto* ops : {&composite_ops(), &primitive_ops()}) {
    for (const NamedOp& op : *ops) {
      if (op.name == name) return op.read;
    }
  }
  return nullptr;
}

// Attributes hold for a layer and everything inside it.
class Attributes {
 public:
  Attributes(GraphBuilder& builder, const TomlTable& table)
      : builder_(builder),
        frozen_(builder.frozen),
        norm_(builder.frozen_norm),
        no_grad_(builder.no_grad),
        checkpoint_(builder.checkpoint) {
    builder.frozen = table.flag("frozen", frozen_);
    builder.frozen_norm = table.flag("frozen_norm", norm_);
    builder.no_grad = table.flag("no_grad", no_grad_);
    builder.checkpoint = table.flag("checkpoint", checkpoint_);
  }
  ~Attributes() {
    builder_.frozen = frozen_;
    builder_.frozen_norm = norm_;
    builder_.no_grad = no_grad_;
    builder_.checkpoint = checkpoint_;
  }
  Attributes(const Attributes&) = delete;
  Attributes& operator=(const Attributes&) = delete;

 private:
  GraphBuilder& builder_;
  bool frozen_, norm_, no_grad_, checkpoint_;
};

// Outputs, inputs of one group and kernel of a layer's weight. A table of words has a row for each, like the linear
// layer that its words are the outputs of.
std::array<int64_t, 5> weight_shape(const Graph& graph, const Layer& layer) {
  const int64_t out = graph.shape(layer.output).channels;
  const int64_t in = layer.inputs.empty() ? 1 : graph.shape(layer.inputs[0]).channels;
  const auto& [depth, height, width] = layer.window.kernel;
  switch (layer.op) {
    case Op::kConvolution:
      if (layer.window.transposed) return {in, out / layer.window.groups, depth, height, width};
      return {out, in / layer.window.groups, depth, height, width};
    case Op::kDepthwise:
      return {out, 1, depth, height, width};
    case Op::kLinear:
      return {out, in, 1, 1, 1};
    case Op::kEmbedding:
      return {layer.parameters.front().elements / out, out, 1, 1, 1};
    case Op::kParameter: {
      const Shape& shape = graph.shape(layer.output);
      return {shape.items, shape.channels, shape.depth, shape.height, shape.width};
    }
    default:
      return {out, 0, 0, 0, 0};
  }
}

bool same_weights(const Graph& graph, const Layer& a, const Layer& b) {
  const auto same = [](const Parameter& x, const Parameter& y) { return x.elements == y.elements; };
  return std::equal(a.parameters.begin(), a.parameters.end(), b.parameters.begin(), b.parameters.end(), same) &&
         weight_shape(graph, a) == weight_shape(graph, b);
}

}  // namespace

int LayerReader::named(const TomlTable& table, std::string_view key, const std::string& name) const {
  // Inside a sequence, its own names hide those outside.
  for (std::string scope = scope_;;) {
    if (const auto found = names_.find(scope + name); found != names_.end()) return found->second;
    if (scope.empty()) break;
    scope.pop_back();
    const size_t dot = scope.find_last_of('.');
    scope.resize(dot == std::string::npos ? 0 : dot + 1);
  }
  std::vector<std::string> known;
  for (const auto& [known_name, tensor] : names_) known.push_back(known_name);
  table.fail(key, unknown_name("tensor", name, known));
}

std::vector<int> LayerReader::inputs(const TomlTable& table) {
  if (chained_ >= 0) return {std::exchange(chained_, -1)};
  if (!table.has("from")) {
    if (last < 0) table.fail("from", "missing: there is no layer before this one");
    return {last};
  }
  std::vector<int> tensors;
  if (table.shape("from") == "text") return {named(table, "from", table.text("from"))};
  for (const std::string& name : table.texts("from")) tensors.push_back(named(table, "from", name));
  if (tensors.empty()) table.fail("from", "expected at least one name");
  return tensors;
}

int LayerReader::input(const TomlTable& table) {
  const std::vector<int> tensors = inputs(table);
  if (tensors.size() != 1) table.fail("from", fmt::format("expected one tensor, found {}", tensors.size()));
  return tensors[0];
}

int LayerReader::publish(const std::string& id, const Outputs& outputs) {
  for (const auto& [name, tensor] : outputs) publish(fmt::format("{}.{}", id, name), tensor);
  return outputs.back().second;
}

int LayerReader::read_once(const TomlTable& table, const std::string& op, const std::string& id) {
  try {
    last = find_op(op)(*this, table, id);
    return last;
  } catch (const GraphError& error) {
    table.fail("op", error.what());
  }
}

// Names are looked up with dots between them, so that none may hold one.
void LayerReader::check_id(const TomlTable& table, const std::string& id) const {
  const std::string own = table.text("id", "0");
  if (own.empty() || own.find('.') != std::string::npos) table.fail("id", "expected a name without dots");
  if (id == "input" || (!scope_.empty() && own == "in")) {
    table.fail("id", fmt::format("'{}' is the name of what comes in", own));
  }
  if (ranges_.contains(id)) table.fail("id", fmt::format("another layer is called '{}'", id));
}

int LayerReader::read(const TomlTable& table, const std::string& id) {
  check_id(table, id);
  const std::string op = table.choice("op", op_names());
  const int64_t repeat = table.integer("repeat", {1, 1000}, 1);
  const std::string shared = table.text("shared", "");
  if (repeat > 1 && table.has("from") && table.shape("from") == "array") {
    table.fail("repeat", "a repeated layer has one input");
  }
  const Attributes attributes(builder, table);
  const size_t begin = builder.graph().layers.size();
  const bool outermost = id.find('.') == std::string::npos;
  for (int64_t i = 0; i < repeat; ++i) {
    if (outermost) builder.begin_block(id);
    if (i > 0) chained_ = last;
    read_once(table, op, repeat > 1 ? fmt::format("{}.{}", id, i) : id);
    chained_ = -1;  // not every op has an input
  }
  if (!shared.empty()) {
    const auto owner = ranges_.find(shared);
    if (owner == ranges_.end()) {
      std::vector<std::string> known;
      for (const auto& [name, range] : ranges_) known.push_back(name);
      table.fail("shared", unknown_name("layer", shared, known));
    }
    share(table, owner->second, begin, true);
  }
  ranges_[id] = {begin, builder.graph().layers.size()};
  publish(id, last);
  return last;
}

int LayerReader::read_sequence(const TomlTable& table, const std::string& id) {
  last = input(table);
  publish(id + ".in", last);
  const std::vector<TomlTable> layers = table.tables("layers");
  if (layers.empty()) table.fail("layers", "missing: expected a list of layers");
  const std::string outer = std::exchange(scope_, id + ".");
  for (size_t i = 0; i < layers.size(); ++i) {
    read(layers[i], fmt::format("{}.{}", id, layers[i].text("id", fmt::to_string(i))));
  }
  scope_ = outer;
  return last;
}

void LayerReader::share(const TomlTable& table, std::pair<size_t, size_t> owner, size_t begin, bool norms) {
  std::vector<Layer>& layers = builder.graph().layers;
  size_t from = owner.first;
  for (size_t i = begin; i < layers.size(); ++i) {
    if (layers[i].parameters.empty()) continue;
    while (from < owner.second && layers[from].parameters.empty()) ++from;
    if (from >= owner.second || !same_weights(builder.graph(), layers[from], layers[i])) {
      table.fail("shared", fmt::format("the parameters of {} are not those of a layer there", layers[i].name));
    }
    if (norms || layers[i].op != Op::kNorm) layers[i].shared_with = static_cast<int>(from);
    ++from;
  }
}

int LayerReader::replay(const TomlTable& table, const std::string& id) {
  Graph& graph = builder.graph();
  std::map<int, int> moved;
  const std::vector<std::string> replayed = table.texts("layers");
  if (replayed.empty()) table.fail("layers", "expected at least one id");
  for (const std::string& name : replayed) {
    const auto range = ranges_.find(name);
    if (range == ranges_.end()) table.fail("layers", fmt::format("unknown layer '{}'", name));
    int block = -1;
    for (size_t i = range->second.first; i < range->second.second; ++i) {
      Layer copy = graph.layers[i];
      if (copy.block != block) builder.begin_block(id + "." + graph.blocks[static_cast<size_t>(copy.block)].name);
      block = copy.block;
      const int index = static_cast<int>(graph.layers.size());
      for (int& input_tensor : copy.inputs) {
        if (const auto to = moved.find(input_tensor); to != moved.end()) input_tensor = to->second;
        ++graph.tensors[static_cast<size_t>(input_tensor)].consumers;
      }
      graph.tensors.push_back({.shape = graph.shape(copy.output), .producer = index});
      moved[copy.output] = static_cast<int>(graph.tensors.size()) - 1;
      copy.output = moved[copy.output];
      copy.name = id + "." + copy.name;
      copy.block = static_cast<int>(graph.blocks.size()) - 1;
      if (!copy.parameters.empty() && copy.shared_with < 0) copy.shared_with = static_cast<int>(i);
      copy.no_grad = builder.no_grad;
      graph.layers.push_back(std::move(copy));
    }
  }
  const std::map<std::string, int> names = names_;
  for (const auto& [name, tensor] : names) {
    if (const auto to = moved.find(tensor); to != moved.end()) publish(fmt::format("{}.{}", id, name), to->second);
  }
  return graph.layers.back().output;
}

}  // namespace farscale
