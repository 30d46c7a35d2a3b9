// The backtest command: fit on the small rows of each published series, predict the large ones, print the errors.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>

#include "cluster/backtest.h"
#include "cluster/commands.h"
#include "kernels/format.h"

namespace farscale {
namespace {

using nlohmann::json;

struct Group {
  std::string name;
  std::vector<const BacktestRow*> rows;
};

// By class, and step classes by how far beyond the fitted rows.
std::vector<Group> groups_of(const BacktestReport& report) {
  std::vector<Group> groups;
  const auto put = [&](const std::string& name, const BacktestRow& row) {
    auto found = std::find_if(groups.begin(), groups.end(), [&](const Group& g) { return g.name == name; });
    if (found == groups.end()) found = groups.insert(groups.end(), {name, {}});
    found->rows.push_back(&row);
  };
  for (const BacktestRow& row : report.rows) {
    put(row.kind, row);
    const double far = row.distance();
    if (row.bytes == 0) put(row.kind + (far <= 4 ? ", up to 4x" : far <= 16 ? ", 4 to 16x" : ", beyond 16x"), row);
  }
  std::stable_sort(groups.begin(), groups.end(), [](const Group& a, const Group& b) { return a.name < b.name; });
  return groups;
}

json to_json(const BacktestSummary& s) {
  return {{"rows", s.rows},
          {"series", s.series},
          {"median_abs_error", s.median_abs_error},
          {"p90_abs_error", s.p90_abs_error},
          {"bias", s.bias},
          {"coverage90", s.coverage90},
          {"baseline_linear_median_abs_error", s.linear_median},
          {"baseline_linear_p90_abs_error", s.linear_p90},
          {"baseline_amdahl_median_abs_error", s.amdahl_median},
          {"baseline_amdahl_p90_abs_error", s.amdahl_p90},
          {"baseline_two_constant_median_abs_error", s.two_constant_median},
          {"baseline_two_constant_p90_abs_error", s.two_constant_p90}};
}

json to_json(const BacktestRow& row) {
  json node = {{"class", row.kind},
               {"series", row.series},
               {"where", row.where},
               {"gpus", row.gpus},
               {"fitted_on_gpus", row.fitted_on_gpus},
               {"measured_s", row.measured_s},
               {"predicted_s", row.predicted_s},
               {"low_s", row.low_s},
               {"high_s", row.high_s},
               {"error", row.error()},
               {"baseline_linear_error", row.linear_s / row.measured_s - 1},
               {"outlier", row.outlier}};
  if (row.bytes > 0) node["bytes"] = row.bytes;
  if (row.amdahl_s > 0) node["baseline_amdahl_error"] = row.amdahl_s / row.measured_s - 1;
  if (row.two_constant_s > 0) node["baseline_two_constant_error"] = row.two_constant_s / row.measured_s - 1;
  return node;
}

json to_json(const BacktestReport& report) {
  json document = {{"rows", json::array()}, {"by_class", json::object()}, {"notes", report.notes}};
  std::vector<const BacktestRow*> all;
  for (const BacktestRow& row : report.rows) {
    document["rows"].push_back(to_json(row));
    all.push_back(&row);
  }
  document["summary"] = to_json(summarise(all));
  for (const Group& group : groups_of(report)) document["by_class"][group.name] = to_json(summarise(group.rows));
  return document;
}

std::string signed_percent(double share) { return fmt::format("{:+.1f} %", 100 * share); }

void print_rows(const BacktestReport& report) {
  TextTable table(
      {"series", "GPUs", "fitted on", "measured", "predicted", "90 % range", "error", "linear", "two constants"});
  for (const BacktestRow& row : report.rows) {
    std::string fitted;
    for (const int64_t gpus : row.fitted_on_gpus) fitted += fmt::format("{}{}", fitted.empty() ? "" : ",", gpus);
    const std::string series = row.bytes > 0 ? fmt::format("{} {}", row.series, format_bytes(row.bytes)) : row.series;
    table.add({series, format_count(double(row.gpus)), fitted, format_seconds(row.measured_s),
               format_seconds(row.predicted_s),
               fmt::format("{} … {}", format_seconds(row.low_s), format_seconds(row.high_s)),
               signed_percent(row.error()) + (row.outlier ? " outlier" : ""),
               signed_percent(row.linear_s / row.measured_s - 1),
               row.two_constant_s > 0 ? signed_percent(row.two_constant_s / row.measured_s - 1) : ""});
  }
  fmt::print("{}\n", table.str());
}

void print_summary(const BacktestReport& report) {
  TextTable table({"class", "rows", "median error", "90th percentile", "bias", "in the 90 % range", "linear", "Amdahl",
                   "two constants"});
  const auto pair = [](double middle, double high) {
    return high > 0 ? fmt::format("{} / {}", format_percent(middle), format_percent(high)) : "";
  };
  for (const Group& group : groups_of(report)) {
    const BacktestSummary s = summarise(group.rows);
    table.add({group.name, std::to_string(s.rows), format_percent(s.median_abs_error), format_percent(s.p90_abs_error),
               signed_percent(s.bias), format_percent(s.coverage90), pair(s.linear_median, s.linear_p90),
               pair(s.amdahl_median, s.amdahl_p90), pair(s.two_constant_median, s.two_constant_p90)});
  }
  fmt::print("{}", table.str());
  for (const BacktestRow& row : report.rows) {
    if (row.outlier) {
      fmt::print("outlier: {} {} at {} GPUs, {} measured, {} predicted: counted in every figure above\n", row.where,
                 row.series, row.gpus, format_seconds(row.measured_s), format_seconds(row.predicted_s));
    }
  }
  for (const std::string& note : report.notes) fmt::print("note: {}\n", note);
}

struct BacktestArguments {
  std::vector<std::string> tables;
  std::string leave_out = "series";
  bool no_background = false;
  bool as_json = false;
};

void run_command(const BacktestArguments& arguments) {
  BacktestOptions options;
  options.leave_out = arguments.leave_out == "hardware"   ? LeaveOut::kHardware
                      : arguments.leave_out == "workload" ? LeaveOut::kWorkload
                                                          : LeaveOut::kSeries;
  options.background = !arguments.no_background;
  const BacktestReport report = run_backtest(arguments.tables, options);
  if (arguments.as_json) {
    fmt::print("{}\n", to_json(report).dump(1));
    return;
  }
  print_rows(report);
  print_summary(report);
}

}  // namespace

void add_backtest_command(CLI::App& app, ExitCode&) {
  auto arguments = std::make_shared<BacktestArguments>();
  CLI::App* command =
      app.add_subcommand("backtest", "fit on few GPUs of published series, predict many, print how wrong");
  command->footer("example: farscale backtest results/published/vision_scaling.csv --leave-out hardware");
  command->add_option("tables", arguments->tables, "CSV tables with the columns of results/published")->required();
  command
      ->add_option("--leave-out", arguments->leave_out,
                   "learn nothing from rows of the same series, hardware or workload")
      ->check(CLI::IsMember({"series", "hardware", "workload"}))
      ->capture_default_str();
  command->add_flag("--no-background", arguments->no_background,
                    "learn only from the tables named, not from the shipped ones");
  command->add_flag("--json", arguments->as_json, "one JSON document on stdout");
  command->callback([arguments] { run_command(*arguments); });
}

}  // namespace farscale
