// Reading: a result file back into a run, every step checked.
#include <fmt/format.h>

#include <array>
#include <nlohmann/json.hpp>

#include "kernels/error.h"
#include "results/json_cursor.h"
#include "results/result_json.h"

namespace farscale {
namespace {

// Runs a check of the vocabulary (names, validate()) and adds the place to what it says.
template <typename Check>
auto checked(const JsonCursor& place, Check check) {
  try {
    return check();
  } catch (const InputError& error) {
    place.fail(error.what());
  }
}

// A name of the vocabulary; files written before the key existed have `fallback`.
template <typename Name, typename Parse>
Name read_name(const JsonCursor& cursor, const char* key, Parse parse, std::optional<Name> fallback = {}) {
  if (fallback && !cursor.has(key)) return *fallback;
  return checked(cursor.at(key), [&] { return parse(cursor.at(key).text()); });
}

NumberType read_type(const JsonCursor& cursor) { return read_name<NumberType>(cursor, "type", parse_number_type); }

Problem read_gemm(const JsonCursor& cursor) {
  return GemmProblem{.m = cursor.at("m").integer(),
                     .n = cursor.at("n").integer(),
                     .k = cursor.at("k").integer(),
                     .batch = cursor.at("batch").integer(),
                     .type = read_type(cursor),
                     .transpose_a = cursor.at("transpose_a").flag(),
                     .transpose_b = cursor.at("transpose_b").flag(),
                     .epilogue = read_name<Epilogue>(cursor, "epilogue", parse_epilogue, Epilogue::kNone),
                     .scaling = read_name<Scaling>(cursor, "scaling", parse_scaling, Scaling::kNone),
                     .fast_accumulation = cursor.has("fast_accumulation") && cursor.at("fast_accumulation").flag()};
}

Problem read_memory(const JsonCursor& cursor) {
  return MemoryProblem{.kind = read_name<MemoryKind>(cursor, "pass", parse_memory_kind),
                       .elements = cursor.at("elements").integer(),
                       .type = read_type(cursor),
                       .to = read_name<NumberType>(cursor, "to", parse_number_type, NumberType::kFp32)};
}

Problem read_collective(const JsonCursor& cursor) {
  return CollectiveProblem{.kind = read_name<CollectiveKind>(cursor, "collective", parse_collective_kind),
                           .bytes = cursor.at("bytes").integer(),
                           .type = read_type(cursor),
                           .ranks = static_cast<int>(cursor.at("ranks").integer(1, INT32_MAX)),
                           .in_place = cursor.at("in_place").flag()};
}

Problem read_convolution(const JsonCursor& cursor) {
  return ConvolutionProblem{.pass = read_name<ConvolutionPass>(cursor, "pass", parse_convolution_pass),
                            .images = cursor.at("images").integer(),
                            .height = cursor.at("height").integer(),
                            .width = cursor.at("width").integer(),
                            .channels = cursor.at("channels").integer(),
                            .filters = cursor.at("filters").integer(),
                            .kernel = cursor.at("kernel").integer(),
                            .stride = cursor.at("stride").integer(),
                            .groups = cursor.at("groups").integer(),
                            .type = read_type(cursor)};
}

std::optional<Problem> read_problem(const JsonCursor& cursor) {
  if (cursor.is_null()) return std::nullopt;
  constexpr std::array<std::pair<std::string_view, Problem (*)(const JsonCursor&)>, 4> kReaders = {
      {{"gemm", read_gemm},
       {"memory", read_memory},
       {"collective", read_collective},
       {"convolution", read_convolution}}};
  const std::string kind = cursor.at("kind").text();
  for (const auto& [name, read] : kReaders) {
    if (kind != name) continue;
    const Problem problem = read(cursor);
    checked(cursor, [&] { return validate(problem), 0; });
    return problem;
  }
  cursor.at("kind").fail(fmt::format("expected gemm, memory, collective or convolution, found '{}'", kind));
}

RecordVerdict read_verdict(const JsonCursor& cursor) {
  return {.checked = cursor.at("checked").flag(),
          .correct = cursor.at("correct").flag(),
          .worst_error = cursor.at("worst_error").number(),
          .bound = cursor.at("bound").number(),
          .detail = cursor.at("detail").text()};
}

// Times are above zero; anything else would turn into an infinite rate further on.
std::vector<double> read_times(const JsonCursor& cursor) {
  std::vector<double> times;
  for (const JsonCursor& item : cursor.items()) {
    times.push_back(item.number());
    if (!(times.back() > 0)) item.fail("expected a time above 0 s");
  }
  return times;
}

Record read_record(const std::string& name, const JsonCursor& cursor) {
  const JsonCursor status = cursor.at("status");
  return {.name = name,
          .family = cursor.at("family").text(),
          .problem = read_problem(cursor.at("problem")),
          .settings = cursor.at("settings").text_map(),
          .status = checked(status, [&] { return parse_status(status.text()); }),
          .reason = cursor.at("reason").text(),
          .verdict = read_verdict(cursor.at("verdict")),
          .samples_s = read_times(cursor.at("samples_s")),
          .runs_per_sample = cursor.at("runs_per_sample").integer(0),
          .rank_medians_s = cursor.at("rank_medians_s").numbers(),
          .counters = cursor.at("counters").number_map(),
          .telemetry = cursor.at("telemetry").number_map(),
          .details = cursor.at("details").text_map(),
          .series_s = cursor.at("series_s").numbers_map()};
}

Run read_header(const JsonCursor& cursor) {
  const int64_t schema = cursor.at("schema").integer();
  if (schema != Run{}.schema) {
    cursor.at("schema").fail(
        fmt::format("expected schema {}, found {}: written by another version of farscale", Run{}.schema, schema));
  }
  Run run;
  run.suite = cursor.at("suite").text();
  run.backend = cursor.at("backend").text();
  run.device = cursor.at("device").text();
  run.ranks = static_cast<int>(cursor.at("ranks").integer(1, INT32_MAX));
  run.hosts = cursor.at("hosts").texts();
  run.environment = cursor.at("environment").text_map();
  run.warnings = cursor.at("warnings").texts();
  run.complete = cursor.at("complete").flag();
  return run;
}

}  // namespace

Run parse_result(const std::string& text, const std::string& path) {
  const nlohmann::json document = parse_json(text, path);
  const JsonCursor root(document, path);
  if (!root.has("context") || !root.has("benchmarks")) {
    root.fail("expected a result file: a JSON object with context and benchmarks");
  }
  if (!root.at("context").has("farscale")) {
    root.at("context").fail(
        "expected a result file of farscale, found Google Benchmark's without context.farscale "
        "(farscale import google-benchmark converts it)");
  }
  Run run = read_header(root.at("context").at("farscale"));
  run.path = path;
  for (const JsonCursor& row : root.at("benchmarks").items()) {
    if (!row.has("farscale")) continue;  // repetitions and aggregates repeat what the first row of a case says
    const std::string name = row.at("run_name").text();
    if (run.find(name) != nullptr) row.fail(fmt::format("case '{}' appears twice", name));
    run.records.push_back(read_record(name, row.at("farscale")));
  }
  return run;
}

}  // namespace farscale
