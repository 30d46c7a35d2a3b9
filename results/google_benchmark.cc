// Reading Google Benchmark's JSON (docs/user_guide.md, "Output Formats") without our keys.
#include "results/google_benchmark.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>

#include "kernels/error.h"
#include "kernels/suggest.h"
#include "results/json_cursor.h"
#include "results/result_file.h"

namespace farscale {
namespace {

namespace fs = std::filesystem;

double seconds_per_unit(const JsonCursor& row) {
  constexpr std::array<std::pair<std::string_view, double>, 4> kUnits = {
      {{"ns", 1e-9}, {"us", 1e-6}, {"ms", 1e-3}, {"s", 1}}};
  if (!row.has("time_unit")) return 1e-9;  // the library's default
  const std::string unit = row.at("time_unit").text();
  for (const auto& [name, seconds] : kUnits) {
    if (name == unit) return seconds;
  }
  row.at("time_unit").fail(unknown_name("time unit", unit, std::vector<std::string>{"ns", "us", "ms", "s"}));
}

// Keys of a row that are not counters.
bool library_key(const std::string& key) {
  static const std::set<std::string> kKeys = {"name",
                                              "run_name",
                                              "run_type",
                                              "family_index",
                                              "per_family_instance_index",
                                              "repetitions",
                                              "repetition_index",
                                              "threads",
                                              "iterations",
                                              "real_time",
                                              "cpu_time",
                                              "time_unit",
                                              "aggregate_name",
                                              "aggregate_unit",
                                              "label",
                                              "error_occurred",
                                              "error_message",
                                              "skipped",
                                              "skip_message",
                                              "big_o",
                                              "rms"};
  return kKeys.contains(key);
}

bool is_median(const JsonCursor& row) {
  return row.has("aggregate_name") && row.at("aggregate_name").text() == "median";
}

void add_sample(const JsonCursor& row, Record& record) {
  const double time_s = row.at("real_time").number() * seconds_per_unit(row);
  if (!(time_s > 0)) row.at("real_time").fail("expected a time above 0");
  record.samples_s.push_back(time_s);
  if (row.has("iterations")) record.runs_per_sample = std::max<int64_t>(1, row.at("iterations").integer());
  for (const std::string& key : row.keys()) {
    if (!library_key(key) && row.at(key).is_number()) record.counters[key] = row.at(key).number();
  }
}

Record& record_for(Run& run, const std::string& name) {
  for (Record& record : run.records) {
    if (record.name == name) return record;
  }
  run.records.push_back({.name = name, .family = "google-benchmark"});
  return run.records.back();
}

void add_row(const JsonCursor& row, bool medians_only, Run& run) {
  const std::string name = row.at(row.has("run_name") ? "run_name" : "name").text();
  const bool aggregate = row.has("run_type") && row.at("run_type").text() == "aggregate";
  if (row.has("error_occurred") && row.at("error_occurred").flag()) {
    Record& record = record_for(run, name);
    record.status = Status::kFailed;
    record.reason = row.has("error_message") ? row.at("error_message").text() : "";
  } else if (aggregate == medians_only && (!aggregate || is_median(row))) {
    add_sample(row, record_for(run, name));
  }
}

}  // namespace

Run parse_google_benchmark(const std::string& text, const std::string& path) {
  const nlohmann::json document = parse_json(text, path);
  const JsonCursor root(document, path);
  if (!root.has("context") || !root.has("benchmarks")) {
    root.fail("expected Google Benchmark's JSON: an object with context and benchmarks");
  }
  Run run;
  run.path = path;
  run.complete = true;
  run.suite = "google-benchmark";
  const JsonCursor context = root.at("context");
  for (const char* key : {"date", "executable", "library_build_type"}) {
    if (context.has(key)) run.environment[key] = context.at(key).text();
  }
  if (context.has("host_name")) run.hosts = {context.at("host_name").text()};
  const std::vector<JsonCursor> rows = root.at("benchmarks").items();
  // With --benchmark_report_aggregates_only the repetitions are gone, and the median is all there is.
  const bool medians_only = std::none_of(rows.begin(), rows.end(), [](const JsonCursor& row) {
    return !row.has("run_type") || row.at("run_type").text() != "aggregate";
  });
  for (const JsonCursor& row : rows) add_row(row, medians_only, run);
  return run;
}

Run read_any_result(const std::string& path) {
  const std::string text = read_text(path);
  const nlohmann::json document = parse_json(text, path);
  const JsonCursor root(document, path);
  const bool ours = !root.has("context") || root.at("context").has("farscale");
  return ours ? parse_result(text, path) : parse_google_benchmark(text, path);
}

std::vector<Run> read_launches(const std::string& path) {
  std::error_code ignored;
  if (!fs::is_directory(path, ignored)) return {read_any_result(path)};
  std::vector<std::string> files;
  for (const auto& entry : fs::directory_iterator(path)) {
    if (entry.path().extension() == ".json") files.push_back(entry.path().string());
  }
  std::sort(files.begin(), files.end());
  if (files.empty()) throw InputError(fmt::format("{}: a folder without result files (*.json)", path));
  std::vector<Run> runs;
  for (const std::string& file : files) runs.push_back(read_any_result(file));
  return runs;
}

}  // namespace farscale
