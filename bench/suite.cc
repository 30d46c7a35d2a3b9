// Reading suites. Every key is documented in bench/suites/README.md.
#include "bench/suite.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "kernels/error.h"
#include "kernels/module.h"
#include "kernels/strict_toml.h"
#include "kernels/suggest.h"
#include "workloads/workload.h"

namespace farscale {
namespace {

namespace fs = std::filesystem;

constexpr Range kCount{1, 1e9};
constexpr Range kBytes{1, 1099511627776.0};  // to 1 TiB, as CollectiveProblem::validate()
constexpr std::array kInputData = {InputData::kNormal, InputData::kZeros, InputData::kConstant};

// The sampling keys of one table, over those of [sampling].
Sampling read_sampling(const TomlTable& table, const Sampling& fallback) {
  const Sampling sampling{.interval = table.number("interval", {1e-4, 1}, fallback.interval),
                          .budget_s = table.number("budget_s", {1e-3, 86400}, fallback.budget_s),
                          .least_samples = table.integer("least_samples", {1, 1e6}, fallback.least_samples),
                          .most_samples = table.integer("most_samples", {1, 1e6}, fallback.most_samples),
                          .sample_s = table.number("sample_s", {1e-6, 60}, fallback.sample_s),
                          .cool_s = table.number("cool_s", {0, 60}, fallback.cool_s),
                          .sustain_s = table.number("sustain_s", {0, 86400}, fallback.sustain_s)};
  if (sampling.most_samples < sampling.least_samples) {
    table.fail("most_samples", "expected at least as many as least_samples");
  }
  return sampling;
}

// A list of names, each parsed; an unknown one points at its line.
template <typename T, typename Parse>
std::vector<T> read_names(const TomlTable& table, std::string_view key, Parse parse) {
  std::vector<T> values;
  for (const std::string& text : table.texts(key)) {
    try {
      values.push_back(parse(text));
    } catch (const InputError& error) {
      table.fail(key, error.what());
    }
  }
  return values;
}

// After finish(): a misspelt key is the likelier mistake than a missing one, and is told by its name.
template <typename T>
void require(const TomlTable& table, std::string_view key, const std::vector<T>& values, std::string_view what) {
  if (values.empty()) table.fail(key, fmt::format("expected at least one {}", what));
}

template <typename T, typename Parse>
T read_name(const TomlTable& table, std::string_view key, const std::string& fallback, Parse parse) {
  try {
    return parse(table.text(key, fallback));
  } catch (const InputError& error) {
    table.fail(key, error.what());
  }
}

std::vector<std::string> read_layouts(const TomlTable& table) {
  std::vector<std::string> layouts = table.texts("layouts");
  const std::vector<std::string> valid = {"nn", "nt", "tn", "tt"};
  for (const std::string& layout : layouts) {
    if (std::find(valid.begin(), valid.end(), layout) == valid.end()) {
      table.fail("layouts", unknown_name("layout", layout, valid));
    }
  }
  return layouts;
}

std::vector<std::array<int64_t, 4>> read_shapes(const TomlTable& table) {
  std::vector<std::array<int64_t, 4>> shapes;
  for (int64_t size : table.integers("squares", {1, 1e6})) shapes.push_back({size, size, size, 1});
  for (const TomlTable& shape : table.tables("shapes")) {
    shapes.push_back({shape.integer("m", kCount), shape.integer("n", kCount), shape.integer("k", kCount),
                      shape.integer("batch", kCount, 1)});
  }
  return shapes;
}

// The backend an entry is for; "" for all of them.
std::string read_on(const TomlTable& table) {
  const std::string on = table.choice("on", {"any", "cuda", "host"}, "any");
  return on == "any" ? "" : on;
}

std::vector<Epilogue> read_epilogues(const TomlTable& table) {
  if (table.texts("epilogues").empty()) return {Epilogue::kNone};
  return read_names<Epilogue>(table, "epilogues", parse_epilogue);
}

// A setting that none of the entry's types has would be ignored.
void check_scaling(const TomlTable& table, const GemmEntry& entry) {
  const auto has = [&](std::initializer_list<NumberType> types) {
    return std::find_first_of(entry.types.begin(), entry.types.end(), types.begin(), types.end()) != entry.types.end();
  };
  const bool fp8 = has({NumberType::kFp8E4M3, NumberType::kFp8E5M2});
  const bool fp8_only = entry.scaling != Scaling::kNone && entry.scaling != Scaling::kBlock;
  if (fp8_only && !fp8) table.fail("scaling", fmt::format("only fp8 types are scaled by {}", name(entry.scaling)));
  if (entry.scaling == Scaling::kBlock && !fp8 && !has({NumberType::kFp4})) {
    table.fail("scaling", "only fp8 and fp4 types are scaled by block");
  }
  if (entry.fast_accumulation && !fp8) table.fail("fast_accumulation", "only fp8 types accumulate fast");
}

// The same of `to`, and a conversion that converts nothing.
void check_to(const TomlTable& table, const MemoryEntry& entry) {
  const auto has = [&](MemoryKind kind) {
    return std::find(entry.kinds.begin(), entry.kinds.end(), kind) != entry.kinds.end();
  };
  if (has(MemoryKind::kConvert) && entry.type == entry.to) {
    table.fail("to", fmt::format("convert needs a type other than {}", name(entry.type)));
  }
  const bool two_types = has(MemoryKind::kConvert) || has(MemoryKind::kPack) || has(MemoryKind::kUnpack);
  if (table.has("to") && !two_types) table.fail("to", "only pack, unpack and convert have a second type");
}

GemmEntry read_gemm(const TomlTable& table, const Sampling& defaults) {
  GemmEntry entry{.types = read_names<NumberType>(table, "types", parse_number_type),
                  .shapes = read_shapes(table),
                  .layouts = read_layouts(table),
                  .workload_shapes = table.integer("workload_shapes", {0, 1000}, 0),
                  .scale = table.number("scale", {1, 1e9}, 1),
                  .workload = table.text("workload", ""),
                  .epilogues = read_epilogues(table),
                  .scaling = read_name<Scaling>(table, "scaling", "none", parse_scaling),
                  .fast_accumulation = table.flag("fast_accumulation", false),
                  .on = read_on(table),
                  .data = read_name<InputData>(table, "data", "normal", parse_input_data),
                  .cold = table.flag("cold", true),
                  .sampling = read_sampling(table, defaults)};
  table.finish();
  require(table, "types", entry.types, "name");
  check_scaling(table, entry);
  if (entry.shapes.empty() && entry.workload_shapes == 0) {
    table.fail("squares", "expected squares, shapes or workload_shapes: this table names no GEMM");
  }
  const bool own_shapes = entry.workload_shapes == 0;
  if (entry.scale != 1 && own_shapes) table.fail("scale", "only workload_shapes are scaled");
  if (!entry.workload.empty() && own_shapes) table.fail("workload", "only workload_shapes have a workload");
  return entry;
}

MemoryEntry read_memory(const TomlTable& table, const Sampling& defaults) {
  MemoryEntry entry{.kinds = read_names<MemoryKind>(table, "kinds", parse_memory_kind),
                    .bytes = table.integers("bytes", kBytes),
                    .type = read_name<NumberType>(table, "type", "fp32", parse_number_type),
                    .to = read_name<NumberType>(table, "to", "fp32", parse_number_type),
                    .cold = table.flag("cold", true),
                    .on = read_on(table),
                    .sampling = read_sampling(table, defaults)};
  table.finish();
  require(table, "kinds", entry.kinds, "name");
  require(table, "bytes", entry.bytes, "size in bytes moved");
  check_to(table, entry);
  return entry;
}

CollectiveEntry read_collective(const TomlTable& table, const Sampling& defaults) {
  const std::string placement = table.choice("placement", {"out_of_place", "in_place", "both"}, "out_of_place");
  CollectiveEntry entry{.kinds = read_names<CollectiveKind>(table, "kinds", parse_collective_kind),
                        .bytes = table.integers("bytes", kBytes),
                        .types = {NumberType::kFp32},
                        .in_place = {},
                        .graph = table.flag("graph", false),
                        .registered = table.flag("registered", false),
                        .most_ctas = table.integers("most_ctas", {0, 1024}),
                        .sampling = read_sampling(table, defaults)};
  if (!table.texts("types").empty()) entry.types = read_names<NumberType>(table, "types", parse_number_type);
  if (entry.most_ctas.empty()) entry.most_ctas = {0};
  if (placement != "in_place") entry.in_place.push_back(false);
  if (placement != "out_of_place") entry.in_place.push_back(true);
  table.finish();
  require(table, "kinds", entry.kinds, "name");
  require(table, "bytes", entry.bytes, "size");
  return entry;
}

StepEntry read_step(const TomlTable& table, const Sampling& defaults) {
  StepEntry entry{.scale = table.number("scale", {0, 1e9}, 0),
                  .type = table.text("type", ""),
                  .micro_batch = table.integer("micro_batch", {0, 1e6}, 0),
                  .fused = table.flag("fused", true),
                  .bucket_rule = table.choice("bucket_rule", {"pytorch", "megatron", "deepspeed", "single"}, "pytorch"),
                  .layout = table.text("layout", ""),
                  .input = table.flag("input", false),
                  .graph = table.flag("graph", true),
                  .peak_flops_per_s = table.number("peak_flops_per_s", kNotNegative, 0),
                  .verify_s = table.number("verify_s", kNotNegative, 3),
                  .sampling = read_sampling(table, defaults)};
  if (entry.scale > 0 && entry.scale < 1) table.fail("scale", "expected 0 (chosen for the machine) or at least 1");
  if (!entry.type.empty()) read_name<NumberType>(table, "type", "", parse_number_type);
  try {
    check_step_layout(entry.layout);
  } catch (const InputError& error) {
    table.fail("layout", error.what());
  }
  return entry;
}

std::string suites_folder() { return data_folder("bench/suites"); }

}  // namespace

std::string_view name(InputData data) {
  switch (data) {
    case InputData::kNormal:
      return "normal";
    case InputData::kZeros:
      return "zeros";
    case InputData::kConstant:
      return "constant";
  }
  return "";
}

void check_step_layout(const std::string& text) {
  const Layout layout = parse_layout(text, 0);
  const bool data_parallel = layout.dp * layout.tp * layout.pp * layout.cp * layout.ep == 1;
  if (data_parallel && layout.hsdp_shard == 0 && layout.accumulation == 1 && layout.interleave == 1) return;
  throw InputError(fmt::format(
      "layout '{}': a step is run data parallel over all ranks: expected any of zero, sync_bn, ckpt and mb", text));
}

InputData parse_input_data(std::string_view text) {
  std::vector<std::string> names;
  for (InputData data : kInputData) {
    if (name(data) == text) return data;
    names.emplace_back(name(data));
  }
  throw InputError(unknown_name("input data", text, names));
}

Suite parse_suite(std::string_view text, const std::string& suite_name) {
  const TomlTable file = parse_toml(text, suite_name);
  Suite suite;
  suite.name = fs::path(suite_name).stem().string();
  suite.description = file.text("description", "");
  suite.workload = file.text("workload", suite.workload);
  suite.total_s = file.number("total_s", kNotNegative, 0);
  const auto table = file.maybe_table("sampling");
  const Sampling defaults = table ? read_sampling(*table, {}) : Sampling{};
  for (const TomlTable& entry : file.tables("gemm")) suite.gemm.push_back(read_gemm(entry, defaults));
  for (const TomlTable& entry : file.tables("memory")) suite.memory.push_back(read_memory(entry, defaults));
  for (const TomlTable& entry : file.tables("collective")) suite.collective.push_back(read_collective(entry, defaults));
  for (const TomlTable& entry : file.tables("step")) suite.step.push_back(read_step(entry, defaults));
  for (const TomlTable& entry : file.tables("start")) {
    StartEntry start{.repeats = entry.integer("repeats", {1, 1000}, 5)};
    const std::vector<int64_t> bytes = entry.integers("bytes", kBytes);
    if (!bytes.empty()) start.bytes = bytes;
    suite.start.push_back(std::move(start));
  }
  file.finish();
  return suite;
}

std::vector<std::string> shipped_suites() {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(suites_folder())) {
    if (entry.path().extension() == ".toml") names.push_back(entry.path().stem().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

std::string suite_text(const std::string& name_or_path) {
  const bool is_path = name_or_path.find('/') != std::string::npos || name_or_path.ends_with(".toml");
  const std::string path = is_path ? name_or_path : suites_folder() + "/" + name_or_path + ".toml";
  if (!is_path && !fs::exists(path)) throw InputError(unknown_name("suite", name_or_path, shipped_suites()));
  std::ifstream file(path);
  if (!file || fs::is_directory(path)) throw InputError(path + ": cannot be opened: expected a suite in TOML");
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

}  // namespace farscale
