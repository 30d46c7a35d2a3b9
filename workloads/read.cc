// A workload file: header, inputs, types, layers, and the check against what the file expects.
#include "workloads/read.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "kernels/error.h"
#include "kernels/suggest.h"
#include "workloads/lowering.h"
#include "workloads/read_layers.h"

namespace farscale {
namespace {

constexpr double kTolerance = 1e-3;  // of FLOPs a file expects; counts of things are exact

NumberType read_type(const TomlTable& table, std::string_view key, NumberType fallback) {
  if (!table.has(key)) return fallback;
  std::vector<std::string> names;
  for (NumberType type : kNumberTypes) names.emplace_back(name(type));
  return parse_number_type(table.choice(key, names));
}

TensorTypes read_types(const TomlTable& root) {
  TensorTypes types;
  const auto table = root.maybe_table("types");
  if (!table) return types;
  types.compute = read_type(*table, "compute", types.compute);
  types.parameters = read_type(*table, "parameters", types.parameters);
  types.gradients = read_type(*table, "gradients", types.gradients);
  types.activations = read_type(*table, "activations", types.activations);
  return types;
}

OptimizerKind read_optimizer(const TomlTable& root) {
  const std::vector<std::string> names = {"sgd", "momentum", "adam", "lamb"};
  const auto table = root.maybe_table("optimizer");
  const std::string kind = table ? table->choice("kind", names) : "momentum";
  for (size_t i = 0; i < names.size(); ++i) {
    if (names[i] == kind) return static_cast<OptimizerKind>(i);
  }
  return OptimizerKind::kMomentum;
}

// What enters the network: images (cameras x frames of height x width) or tokens.
Shape read_inputs(const TomlTable& table, Inputs& inputs) {
  Shape shape;
  double bytes_per_value = 1;  // pixels are decoded to 8 bits
  if (table.has("tokens")) {
    shape.height = table.integer("tokens", {1, 1e9});
    bytes_per_value = 2;
    inputs.frames = table.number("frames", kPositive, double(shape.height));
  } else {
    shape.items = table.integer("cameras", {1, 1024}, 1) * table.integer("frames", {1, 1e5}, 1);
    shape.channels = table.integer("channels", {1, 1024}, 3);
    shape.depth = table.integer("depth", {1, 1e5}, 1);
    shape.height = table.integer("height", {1, 1e6});
    shape.width = table.integer("width", {1, 1e6});
    inputs.frames = double(shape.items);
  }
  bytes_per_value = table.number("bytes_per_value", {0, 8}, bytes_per_value);
  inputs.store = table.text("store", "raw");
  inputs.decoded_bytes = double(shape.elements()) * bytes_per_value + table.number("extra_bytes", kNotNegative, 0);
  inputs.stored_bytes = table.number("stored_bytes", kNotNegative, inputs.decoded_bytes);
  inputs.frames_decoded = table.number("frames_decoded", kNotNegative, inputs.frames);
  return shape;
}

void read_summary(const TomlTable& table, Summary& summary) {
  summary.used = true;
  summary.parameters = table.integer("parameters", {1, 1e16});
  summary.forward_flops = table.number("forward_flops", kPositive);
  summary.activation_bytes = table.number("activation_bytes", kNotNegative);
  summary.layers = table.integer("layers", {1, 100000});
}

void read_layers(const TomlTable& root, const Shape& input, Graph& graph) {
  LayerReader reader(graph);
  reader.last = reader.builder.input(input);
  reader.publish("input", reader.last);
  // Rows of a language model's layers are divided by sequence parallelism; images are not.
  if (input.channels == 1 && input.width == 1) reader.builder.split = Split::kSequence;
  const std::vector<TomlTable> layers = root.tables("layer");
  if (layers.empty()) root.fail("layer", "missing: expected [[layer]] tables, or a [summary]");
  for (const TomlTable& layer : layers) reader.read(layer, layer.text("id"));
}

Expectation read_expectation(const TomlTable& table) {
  Expectation expect;
  expect.parameters = table.integer("parameters", {1, 1e16}, 0);
  expect.training_flops = table.number("training_flops", kPositive, 0);
  expect.gradient_bytes = table.number("gradient_bytes", kPositive, 0);
  expect.buckets = table.integer("buckets", {1, 1e9}, 0);
  return expect;
}

void check(const TomlTable& table, std::string_view key, double expected, double found, double tolerance) {
  if (expected <= 0 || std::abs(found - expected) <= tolerance * expected) return;
  table.fail(key, fmt::format("expected {:.10g}, but the layers make {:.10g} (difference {:.10g})", expected, found,
                              found - expected));
}

int64_t bucket_count(const Workload::Data& data) {
  const LoweringOptions options;
  Lowering lowering{.data = data, .options = options, .flows = gradient_flows(data.graph)};
  std::vector<int> layers(data.graph.layers.size());
  for (size_t i = 0; i < layers.size(); ++i) layers[i] = static_cast<int>(i);
  const auto ready = ready_order(lowering, layers);
  return static_cast<int64_t>(plan_buckets(ready, bytes_per_element(data.types.gradients), options).size());
}

void check_expectation(const TomlTable& table, const Workload::Data& data) {
  const Expectation& expect = data.expect;
  check(table, "parameters", double(expect.parameters), double(data.parameters), 0);
  check(table, "training_flops", expect.training_flops, data.training_flops, kTolerance);
  check(table, "gradient_bytes", expect.gradient_bytes,
        double(data.trainable) * bytes_per_element(data.types.gradients), 0);
  if (expect.buckets > 0) check(table, "buckets", double(expect.buckets), double(bucket_count(data)), 0);
}

Workload read(const TomlTable& root, const std::string& file) {
  auto data = std::make_shared<Workload::Data>();
  data->file = file;
  data->name = root.text("name");
  if (data->name.empty()) root.fail("name", "expected a name");
  data->title = root.text("title", "");
  data->provenance = root.choice("provenance", {"exact", "published", "proxy"});
  data->sources = root.texts("sources");
  if (data->sources.empty() || std::count(data->sources.begin(), data->sources.end(), "") > 0)
    root.fail("sources", "missing: say where the numbers of this network come from");
  data->sample_unit = root.text("sample_unit", "image");
  data->micro_batch = root.integer("micro_batch", {1, 1e6}, 1);
  data->global_scalars = root.integer("blocking_scalars", {0, 1000}, 1);
  data->types = read_types(root);
  data->optimizer = read_optimizer(root);
  const Shape input = read_inputs(root.table("inputs"), data->inputs);
  if (const auto summary = root.maybe_table("summary")) {
    read_summary(*summary, data->summary);
  } else {
    read_layers(root, input, data->graph);
  }
  const auto expect = root.maybe_table("expect");
  if (expect) data->expect = read_expectation(*expect);
  root.finish();
  add_totals(*data);
  if (expect) check_expectation(*expect, *data);
  return Workload(std::move(data));
}

}  // namespace

Workload read_workload(const std::string& path) { return read(read_toml(path), path); }

Workload parse_workload(std::string_view text, const std::string& name) { return read(parse_toml(text, name), name); }

}  // namespace farscale
