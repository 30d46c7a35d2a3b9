// The -J file of nccl-tests (src/util.cu of NVIDIA/nccl-tests 2.19: jsonOutputInit, writeDeviceReport,
// writeBenchmarkLineBody, writePerIterReport).
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "results/json_cursor.h"
#include "results/nccl_rows.h"

namespace farscale {
namespace {

void add_placement(const JsonCursor& result, CollectiveProblem problem, NcclRows& collector) {
  const std::string key = problem.in_place ? "in_place" : "out_of_place";
  if (!result.has(key) || result.at(key).is_null()) return;
  const JsonCursor timing = result.at(key);
  problem.bytes = result.at("size").integer(0);
  NcclRow row{.problem = problem,
              .type = result.at("type").text(),
              .times_s = {timing.at(timing.has("cpu_time") ? "cpu_time" : "time").number() * 1e-6},
              .bus_gb_per_s = timing.at("bus_bw").number()};
  row.checked = !timing.at("nwrong").is_null();
  if (row.checked) row.wrong = timing.at("nwrong").number();
  const std::string iterations = key + "_per_iter";
  if (result.has(iterations) && result.at(iterations).has("times_us")) {
    row.times_s = result.at(iterations).at("times_us").numbers();
    for (double& time : row.times_s) time *= 1e-6;
    std::erase_if(row.times_s, [](double time) { return !(time > 0); });
  }
  collector.add(std::move(row));
}

}  // namespace

Run import_nccl_json(const std::string& text, const std::string& path, const std::string& collective) {
  const nlohmann::json document = parse_json(text, path);
  const JsonCursor root(document, path);
  const JsonCursor config = root.at("config");
  Run run;
  run.suite = "nccl-tests";
  run.backend = "cuda";
  run.path = path;
  // One entry a process, which drives nthreads x ngpus ranks.
  const int64_t per_process = config.at("nthreads").integer(1, 1024) * config.at("ngpus").integer(1, 1024);
  for (const JsonCursor& device : config.at("devices").items()) {
    run.device = device.at("device_info").text();
    run.hosts.insert(run.hosts.end(), static_cast<size_t>(per_process), device.at("hostname").text());
  }
  if (run.hosts.empty()) config.at("devices").fail("expected at least one device");
  run.ranks = static_cast<int>(run.hosts.size());
  run.complete = root.has("end_time");
  if (root.has("nccl_version")) run.environment["nccl"] = fmt::format("{}", root.at("nccl_version").integer());
  const std::vector<std::string> arguments = root.at("args").texts();  // "env" beside it may hold secrets: left out
  const std::string program = !collective.empty() ? collective : arguments.empty() ? "" : arguments[0];
  NcclRows collector(run, std::max<int64_t>(1, config.at("iterations").integer()));
  const CollectiveKind kind = nccl_kind(program, path);
  for (const JsonCursor& result : root.at("results").items()) {
    for (const bool in_place : {false, true}) {
      add_placement(result, {.kind = kind, .ranks = run.ranks, .in_place = in_place}, collector);
    }
  }
  collector.finish();
  return run;
}

}  // namespace farscale
