// Writing: a run as a Google Benchmark JSON document with our keys beside its own.
#include "results/result_json.h"

#include <fmt/format.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

#include "kernels/error.h"
#include "results/statistics.h"

namespace farscale {
namespace {

using Json = nlohmann::ordered_json;

constexpr double kNanoseconds = 1e9;

Json problem_json(const Problem& problem) {
  struct Visitor {
    Json operator()(const GemmProblem& p) const {
      return {{"kind", "gemm"},
              {"m", p.m},
              {"n", p.n},
              {"k", p.k},
              {"batch", p.batch},
              {"type", name(p.type)},
              {"transpose_a", p.transpose_a},
              {"transpose_b", p.transpose_b},
              {"epilogue", name(p.epilogue)},
              {"scaling", name(p.scaling)},
              {"fast_accumulation", p.fast_accumulation}};
    }
    Json operator()(const MemoryProblem& p) const {
      return {{"kind", "memory"},
              {"pass", name(p.kind)},
              {"elements", p.elements},
              {"type", name(p.type)},
              {"to", name(p.to)}};
    }
    Json operator()(const ConvolutionProblem& p) const {
      return {{"kind", "convolution"}, {"pass", name(p.pass)},   {"images", p.images},   {"height", p.height},
              {"width", p.width},      {"channels", p.channels}, {"filters", p.filters}, {"kernel", p.kernel},
              {"stride", p.stride},    {"groups", p.groups},     {"type", name(p.type)}};
    }
    Json operator()(const CollectiveProblem& p) const {
      return {{"kind", "collective"}, {"collective", name(p.kind)}, {"bytes", p.bytes},
              {"type", name(p.type)}, {"ranks", p.ranks},           {"in_place", p.in_place}};
    }
  };
  return std::visit(Visitor{}, problem);
}

Json record_json(const Record& record) {
  const RecordVerdict& verdict = record.verdict;
  return {{"family", record.family},
          {"problem", record.problem ? problem_json(*record.problem) : Json(nullptr)},
          {"settings", Json(record.settings)},
          {"status", name(record.status)},
          {"reason", record.reason},
          {"verdict",
           {{"checked", verdict.checked},
            {"correct", verdict.correct},
            {"worst_error", verdict.worst_error},
            {"bound", verdict.bound},
            {"detail", verdict.detail}}},
          {"samples_s", record.samples_s},
          {"runs_per_sample", record.runs_per_sample},
          {"rank_medians_s", record.rank_medians_s},
          {"counters", Json(record.counters)},
          {"telemetry", Json(record.telemetry)},
          {"details", Json(record.details)},
          {"series_s", Json(record.series_s)}};
}

// A map without entries must be {} in the file, not null or [].
Json object_of(const Json& value) { return value.empty() ? Json::object() : value; }

[[noreturn]] void refuse(const std::string& record, const std::string& problem) {
  throw CallError(fmt::format("record '{}' cannot be written: {}", record, problem));
}

// JSON has no NaN and no infinity: a library would write null, and the file would lie.
void require_finite(const Json& value, const std::string& record, const std::string& path) {
  if (value.is_number_float() && !std::isfinite(value.get<double>())) {
    refuse(record, fmt::format("{} is {}, expected a finite number", path, value.get<double>()));
  }
  if (value.is_object()) {
    for (const auto& [key, item] : value.items())
      require_finite(item, record, fmt::format("{}{}{}", path, path.empty() ? "" : ".", key));
  }
  if (value.is_array()) {
    for (size_t i = 0; i < value.size(); ++i) require_finite(value[i], record, fmt::format("{}[{}]", path, i));
  }
}

Json row_head(const Record& record, size_t index, size_t repetitions) {
  return {{"name", record.name},
          {"family_index", index},
          {"per_family_instance_index", 0},
          {"run_name", record.name},
          {"run_type", "iteration"},
          {"repetitions", repetitions},
          {"repetition_index", 0},
          {"threads", 1}};
}

void add_times(Json& row, int64_t iterations, double time_s) {
  row["iterations"] = iterations;
  row["real_time"] = time_s * kNanoseconds;
  row["cpu_time"] = time_s * kNanoseconds;  // samples are taken by hand; there is no CPU time beside them
  row["time_unit"] = "ns";
}

// Counters are top-level keys of a row, unless the name is one of Google Benchmark's own.
void add_counters(Json& row, const Record& record, double rate_scale, bool rates_only) {
  for (const auto& [key, value] : record.counters) {
    const bool rate = key.ends_with("_per_s");
    if (row.contains(key) || (rates_only && !rate)) continue;
    const double scaled = rate ? value * rate_scale : value;
    if (std::isfinite(scaled)) row[key] = scaled;  // a sample 1e300 times shorter than the median has no rate
  }
}

// One row a sample, as a repetition, and the median. Rates follow their own sample.
void add_sample_rows(Json& rows, const Record& record, size_t index, const Json& extra) {
  const double centre = median(record.samples_s);
  const size_t count = record.samples_s.size();
  for (size_t i = 0; i < count; ++i) {
    Json row = row_head(record, index, count);
    row["repetition_index"] = i;
    add_times(row, record.runs_per_sample, record.samples_s[i]);
    add_counters(row, record, centre / record.samples_s[i], true);
    if (i == 0) row["farscale"] = extra;
    rows.push_back(std::move(row));
  }
  Json row = row_head(record, index, count);
  row["name"] = record.name + "_median";
  row["run_type"] = "aggregate";
  row.erase("repetition_index");
  row["aggregate_name"] = "median";
  row["aggregate_unit"] = "time";
  add_times(row, static_cast<int64_t>(count), centre);  // as Google Benchmark: how many were aggregated
  add_counters(row, record, 1, false);
  rows.push_back(std::move(row));
}

void add_error_row(Json& rows, const Record& record, size_t index, const Json& extra) {
  Json row = row_head(record, index, 1);
  row["error_occurred"] = true;
  const std::string_view what = record.status == Status::kOk ? "no samples" : name(record.status);
  row["error_message"] = record.reason.empty() ? std::string(what) : fmt::format("{}: {}", what, record.reason);
  add_times(row, 0, 0);
  row["farscale"] = extra;
  rows.push_back(std::move(row));
}

void add_record(Json& rows, const Record& record, size_t index) {
  Json extra = record_json(record);
  for (const char* key : {"settings", "counters", "telemetry", "details", "series_s"})
    extra[key] = object_of(extra[key]);
  require_finite(extra, record.name, "");
  for (double sample : record.samples_s) {
    if (!(sample > 0)) refuse(record.name, fmt::format("a sample of {} s, expected more than 0", sample));
  }
  const bool timed = record.status == Status::kOk && !record.samples_s.empty();
  timed ? add_sample_rows(rows, record, index, extra) : add_error_row(rows, record, index, extra);
}

std::string build_type(const Run& run) {
  const auto found = run.environment.find("build_type");
  return found != run.environment.end() && found->second == "Debug" ? "debug" : "release";
}

Json context_json(const Run& run, const MachineContext& machine) {
  Json caches = Json::array();
  for (const MachineContext::Cache& cache : machine.caches) {
    caches.push_back(
        {{"type", cache.type}, {"level", cache.level}, {"size", cache.size}, {"num_sharing", cache.num_sharing}});
  }
  return {{"date", machine.date},
          {"host_name", machine.host_name},
          {"executable", machine.executable},
          {"num_cpus", machine.num_cpus},
          {"mhz_per_cpu", machine.mhz_per_cpu},
          {"cpu_scaling_enabled", false},
          {"caches", caches},
          {"load_avg", machine.load_avg},
          {"library_build_type", build_type(run)},
          {"farscale",
           {{"schema", run.schema},
            {"suite", run.suite},
            {"backend", run.backend},
            {"device", run.device},
            {"ranks", run.ranks},
            {"hosts", run.hosts},
            {"environment", object_of(Json(run.environment))},
            {"warnings", run.warnings},
            {"complete", run.complete}}}};
}

// One line a row: small files that people can still read and compare line by line.
std::string lines_of(const Json& context, const Json& rows) {
  const auto dump = [](const Json& value, int indent) {
    return value.dump(indent, ' ', false, Json::error_handler_t::replace);
  };
  std::string text = "{\n\"context\": " + dump(context, 1) + ",\n\"benchmarks\": [";
  for (size_t i = 0; i < rows.size(); ++i) text += (i == 0 ? "\n" : ",\n") + dump(rows[i], -1);
  return text + "\n]\n}\n";
}

}  // namespace

std::string result_json(const Run& run, const MachineContext& machine) {
  Json rows = Json::array();
  std::set<std::string_view> names;
  for (size_t i = 0; i < run.records.size(); ++i) {
    if (!names.insert(run.records[i].name).second) refuse(run.records[i].name, "the name appears twice in this run");
    add_record(rows, run.records[i], i);
  }
  return lines_of(context_json(run, machine), rows);
}

}  // namespace farscale
