// Records as one JSON document for --json.
#include <cmath>
#include <nlohmann/json.hpp>

#include "bench/report.h"
#include "results/statistics.h"

namespace farscale {
namespace {

using Json = nlohmann::ordered_json;

// Never a NaN or an infinity in JSON.
Json number(double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); }

Json object_of(const std::map<std::string, std::string>& map) { return map.empty() ? Json::object() : Json(map); }

Json numbers_of(const std::map<std::string, double>& map) {
  Json object = Json::object();
  for (const auto& [key, value] : map) object[key] = number(value);
  return object;
}

Json record_json(const Record& record) {
  Json json = {{"name", record.name},
               {"family", record.family},
               {"status", name(record.status)},
               {"reason", record.reason},
               {"settings", object_of(record.settings)},
               {"verdict",
                {{"checked", record.verdict.checked},
                 {"correct", record.verdict.correct},
                 {"worst_error", number(record.verdict.worst_error)},
                 {"bound", number(record.verdict.bound)},
                 {"detail", record.verdict.detail}}},
               {"runs_per_sample", record.runs_per_sample},
               {"samples_s", record.samples_s},
               {"rank_medians_s", record.rank_medians_s},
               {"counters", numbers_of(record.counters)},
               {"telemetry", numbers_of(record.telemetry)},
               {"details", object_of(record.details)}};
  if (!record.samples_s.empty()) {
    const Interval interval = median_interval95(record.samples_s);
    json["median_s"] = number(median(record.samples_s));
    json["interval95_s"] = {number(interval.low), number(interval.high)};
  }
  Json series = Json::object();
  for (const auto& [key, values] : record.series_s) series[key] = values;
  json["series_s"] = std::move(series);
  return json;
}

}  // namespace

std::string report_json(const Run& run, const std::string& path) {
  Json records = Json::array();
  for (const Record& record : run.records) records.push_back(record_json(record));
  const Json document = {{"result_file", path},
                         {"complete", run.complete},
                         {"suite", run.suite},
                         {"backend", run.backend},
                         {"device", run.device},
                         {"ranks", run.ranks},
                         {"environment", object_of(run.environment)},
                         {"warnings", run.warnings},
                         {"records", std::move(records)}};
  return document.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace farscale
