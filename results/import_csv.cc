// CSV tables of collectives and GEMMs as runs.
#include <fmt/format.h>

#include <set>

#include "kernels/error.h"
#include "kernels/suggest.h"
#include "results/import.h"

namespace farscale {
namespace {

// The rows of one machine; InputError listing the machines when there are several and none was picked.
std::vector<size_t> rows_of(const CsvTable& table, const std::string& column, const std::string& system) {
  std::set<std::string> systems;
  std::vector<size_t> rows;
  for (size_t row = 0; row < table.rows(); ++row) {
    systems.insert(table.text(row, column));
    if (system.empty() || table.text(row, column) == system) rows.push_back(row);
  }
  const std::vector<std::string> names(systems.begin(), systems.end());
  if (rows.empty()) throw InputError(fmt::format("{}: {}", table.path(), unknown_name(column, system, names)));
  if (system.empty() && names.size() > 1) {
    std::string list;
    for (const std::string& name : names) list += "\n  " + name;
    throw InputError(fmt::format("{}: {} machines in column {}: pick one with --system:{}", table.path(), names.size(),
                                 column, list));
  }
  return rows;
}

// Runs a check of the vocabulary and adds the cell's place to what it says.
template <typename Check>
auto checked(const CsvTable& table, size_t row, const char* column, Check check) {
  try {
    return check();
  } catch (const InputError& error) {
    table.fail(row, column, error.what());
  }
}

void add(const CsvTable& table, size_t row, Record record, Run& run) {
  record.details["source"] = table.text_or(row, "source", table.where(row));
  if (const std::string notes = table.text_or(row, "notes", ""); !notes.empty()) record.details["notes"] = notes;
  for (int copy = 2; run.find(record.name) != nullptr; ++copy) {  // the same problem published twice: both are kept
    record.settings["published"] = fmt::format("{}", copy);
    record.name = fmt::format("{}/published{}", name(*record.problem), copy);
  }
  run.records.push_back(std::move(record));
}

// Left out are rows with a bandwidth and no time, collectives marked "(unsure)", and sizes that do not divide by ranks.
void add_collective(const CsvTable& table, size_t row, bool in_place, Run& run, int& left_out) {
  const char* column = in_place ? "time_us_in_place" : "time_us";
  const double time_us = table.has(column) ? table.maybe_number(row, column, 1e-9).value_or(0) : 0;
  std::string kind = table.text(row, "collective");
  if (kind == "alltoall") kind = "all_to_all";
  if (time_us == 0 || kind.find('(') != std::string::npos) {
    ++left_out;
    return;
  }
  const CollectiveProblem problem{
      .kind = checked(table, row, "collective", [&] { return parse_collective_kind(kind); }),
      .bytes = table.integer(row, "bytes", 1),
      .type = NumberType::kInt8,  // published tables give bytes, not elements
      .ranks = static_cast<int>(table.integer(row, "gpus", 1, 10000000)),
      .in_place = in_place};
  try {
    problem.validate();
  } catch (const InputError&) {
    ++left_out;
    return;
  }
  Record record{.name = problem.name(), .family = "collective", .problem = problem};
  record.settings["placement"] = in_place ? "in place" : "out of place";
  record.samples_s = {time_us * 1e-6};
  record.counters = {{"bus_bytes_per_s", bus_bandwidth(problem, time_us * 1e-6)}};
  add(table, row, std::move(record), run);
}

// Left out are rows whose type is a guess: "bf16 (by level)". What else a source says of its type is kept as a setting:
// "fp16 in, mixed math (tensor cores)" is fp16, and another case than plain fp16.
void add_gemm(const CsvTable& table, size_t row, Run& run, int& left_out) {
  std::string layout = table.text_or(row, "layout", "");
  for (char& c : layout) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
  const std::string& precision = table.text(row, "precision");
  if (precision.find("(by level)") != std::string::npos) {
    ++left_out;
    return;
  }
  std::string type = precision.substr(0, precision.find_first_of(" ,("));
  if (type == "fp8") type = "fp8_e4m3";
  const GemmProblem problem{.m = table.integer(row, "m", 1),
                            .n = table.integer(row, "n", 1),
                            .k = table.integer(row, "k", 1),
                            .type = checked(table, row, "precision", [&] { return parse_number_type(type); }),
                            .transpose_a = layout.starts_with('t'),
                            .transpose_b = layout.size() > 1 && layout[1] == 't'};
  const double time_s = problem.flops() / (table.number(row, "tflops", 1e-6, 1e6) * 1e12);
  Record record{.name = problem.name(), .family = "gemm", .problem = problem};
  record.samples_s = {time_s};
  record.counters = {{"flops_per_s", problem.flops() / time_s}};
  if (layout.empty()) record.settings["layout"] = "unknown";
  if (precision.find(' ') != std::string::npos) record.settings["precision"] = precision;
  add(table, row, std::move(record), run);
}

}  // namespace

Run import_csv(const CsvTable& table, const std::string& system) {
  const bool gemm = table.has("tflops"), collective = table.has("collective");
  if (!gemm && !collective) {
    throw InputError(
        fmt::format("{}:1: expected the columns of collectives.csv (system, collective, gpus, bytes, "
                    "time_us) or of gemm.csv (hardware, precision, m, n, k, tflops)",
                    table.path()));
  }
  table.expect_columns(gemm ? std::vector<std::string>{"hardware", "precision", "m", "n", "k", "tflops"}
                            : std::vector<std::string>{"system", "collective", "gpus", "bytes", "time_us"});
  Run run;
  run.suite = "csv";
  run.backend = "published";
  run.path = table.path();
  run.complete = true;
  const std::string column = gemm ? "hardware" : "system";
  int left_out = 0;
  for (const size_t row : rows_of(table, column, system)) {
    run.device = table.text(row, column);
    if (gemm) {
      add_gemm(table, row, run, left_out);
    } else {
      run.ranks = static_cast<int>(table.integer(row, "gpus", 1, 10000000));
      for (const bool in_place : {false, true}) add_collective(table, row, in_place, run, left_out);
    }
  }
  if (left_out > 0) {
    run.warnings.push_back(
        fmt::format("{} timings left out: missing, unsure, or of a size that does not divide by ranks", left_out));
  }
  return run;
}

}  // namespace farscale
