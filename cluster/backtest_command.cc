// The backtest command: fit on the small rows of each published series, predict the large ones, print the errors.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>

#include "cluster/backtest.h"
#include "cluster/commands.h"
#include "cluster/share_fit.h"
#include "kernels/format.h"

namespace farscale {
namespace {

using nlohmann::json;

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
  if (row.amdahl_s > 0) {
    node[row.bytes > 0 ? "baseline_hockney_error" : "baseline_amdahl_error"] = row.amdahl_s / row.measured_s - 1;
  }
  if (!row.reason.empty()) node["reason"] = row.reason;
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
  for (const BacktestGroup& group : groups_of(report)) {
    const BacktestSummary summary = summarise(group.rows);
    json node = to_json(summary);
    if (group.target.median > 0) {
      node["target"] = {{"median_abs_error", group.target.median}, {"met", group.target.met(summary)}};
      if (group.target.p90 > 0) node["target"]["p90_abs_error"] = group.target.p90;
    }
    document["by_class"][group.name] = std::move(node);
  }
  return document;
}

// A name whose ends tell it from others, its middle left out; --json has it in full.
std::string shortened(const std::string& text, size_t most = 44) {
  if (text.size() <= most) return text;
  const auto inside = [&](size_t i) { return (static_cast<unsigned char>(text[i]) & 0xC0u) == 0x80u; };  // a character
  size_t head = most / 2, tail = text.size() - (most - head - 1);
  while (head > 0 && inside(head)) --head;
  while (tail < text.size() && inside(tail)) ++tail;
  return fmt::format("{}…{}", text.substr(0, head), text.substr(tail));
}

// "vision_scaling.csv:12"
std::string file_and_line(const BacktestRow& row) { return row.where.substr(row.where.rfind('/') + 1); }

std::string signed_percent(double share) { return fmt::format("{:+.1f} %", 100 * share); }

void print_rows(const BacktestReport& report) {
  TextTable table(
      {"series", "GPUs", "fitted on", "measured", "predicted", "90 % range", "error", "linear", "two constants"});
  for (const BacktestRow& row : report.rows) {
    const std::string size = row.bytes > 0 ? " " + format_bytes(row.bytes) : "";
    table.add({shortened(row.series) + size, format_count(double(row.gpus)),
               fmt::format("{}", fmt::join(row.fitted_on_gpus, ",")), format_seconds(row.measured_s),
               format_seconds(row.predicted_s),
               fmt::format("{} … {}", format_seconds(row.low_s), format_seconds(row.high_s)),
               signed_percent(row.error()) + (row.outlier ? " outlier" : ""),
               signed_percent(row.linear_s / row.measured_s - 1),
               row.two_constant_s > 0 ? signed_percent(row.two_constant_s / row.measured_s - 1) : ""});
  }
  fmt::print("{}\n", table.str());
}

std::string error_pair(double middle, double high) {
  return middle > 0 ? fmt::format("{:.1f} / {:.1f} %", 100 * middle, 100 * high) : "";
}

std::string target_text(const BacktestGroup& group, const BacktestSummary& summary) {
  if (group.target.median == 0) return "";
  const std::string asked = group.target.p90 > 0
                                ? fmt::format("{:.0f} / {:.0f} %", 100 * group.target.median, 100 * group.target.p90)
                                : fmt::format("{:.0f} %", 100 * group.target.median);
  return asked + (group.target.met(summary) ? ", met" : ", missed");
}

void print_classes(const std::vector<BacktestGroup>& groups) {
  TextTable table({"median / 90th percentile of |error|", "rows", "model", "target", "bias", "in 90 % range", "linear",
                   "Amdahl, Hockney", "two constants"});
  for (const BacktestGroup& group : groups) {
    const BacktestSummary s = summarise(group.rows);
    table.add({group.name, std::to_string(s.rows), error_pair(s.median_abs_error, s.p90_abs_error),
               target_text(group, s), signed_percent(s.bias), format_percent(s.coverage90),
               error_pair(s.linear_median, s.linear_p90), error_pair(s.amdahl_median, s.amdahl_p90),
               error_pair(s.two_constant_median, s.two_constant_p90)});
  }
  fmt::print("{}", table.str());
}

// The worst rows of every class that has a target, with what the table tells about why.
void print_worst(const std::vector<BacktestGroup>& groups) {
  constexpr size_t kMost = 3;
  TextTable table({"worst rows", "GPUs", "measured", "predicted", "error", "why"});
  for (const BacktestGroup& group : groups) {
    if (group.target.median == 0) continue;
    std::vector<const BacktestRow*> rows = group.rows;
    std::sort(rows.begin(), rows.end(), [](auto* a, auto* b) { return std::abs(a->error()) > std::abs(b->error()); });
    std::set<std::string> series;  // one row of each
    for (size_t i = 0; i < rows.size() && series.size() < kMost; ++i) {
      const BacktestRow& row = *rows[i];
      if (!series.insert(row.series).second) continue;
      // Steps that contradict their own series need no other reason; for collectives the source's warning is one.
      const std::string what = row.outlier && row.bytes == 0 ? "contradicts its own series" : row.reason;
      table.add({fmt::format("{} {}", file_and_line(row), shortened(row.series, 32)), format_count(double(row.gpus)),
                 format_seconds(row.measured_s), format_seconds(row.predicted_s), signed_percent(row.error()),
                 (row.outlier ? "outlier: " : "") + what});
    }
  }
  fmt::print("\n{}", table.str());
}

void print_summary(const BacktestReport& report) {
  const std::vector<BacktestGroup> groups = groups_of(report);
  print_classes(groups);
  print_worst(groups);
  fmt::print("\n");
  for (const BacktestRow& row : report.rows) {
    if (!row.outlier) continue;
    fmt::print("outlier, counted in every figure: {} {} at {} GPUs: {} measured, {} predicted\n", file_and_line(row),
               shortened(row.series), format_count(double(row.gpus)), format_seconds(row.measured_s),
               format_seconds(row.predicted_s));
  }
  for (const std::string& note : report.notes) fmt::print("note: {}\n", note);
}

struct BacktestArguments {
  std::vector<std::string> tables;
  std::vector<std::string> leave_out = {"series"};
  bool no_background = false;
  bool data_sheet = false;
  bool as_json = false;
  bool leaves_out(const char* what) const {
    return std::find(leave_out.begin(), leave_out.end(), what) != leave_out.end();
  }
};

// Steps from data sheets and shares learned from the others, nothing fitted to their own series.
void run_data_sheet(const BacktestArguments& arguments) {
  std::vector<ScalingRow> rows;
  for (const std::string& path : arguments.tables) {
    for (ScalingRow& row : read_scaling_rows(read_csv(path))) rows.push_back(std::move(row));
  }
  const auto leave_out = arguments.leaves_out("workload") ? SheetLeaveOut::kWorkload : SheetLeaveOut::kHardware;
  const SheetReport report = predict_from_sheets(published_steps(rows), leave_out);
  fmt::print("{}", arguments.as_json ? sheet_json(report, leave_out) : sheet_text(report, leave_out));
}

void run_command(const BacktestArguments& arguments) {
  if (arguments.data_sheet) return run_data_sheet(arguments);
  BacktestOptions options;
  options.leave_out = {.hardware = arguments.leaves_out("hardware"),
                       .workload = arguments.leaves_out("workload"),
                       .later = arguments.leaves_out("later")};
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
                   "learn nothing from rows of the same series, hardware or workload, or of both (hardware,workload); "
                   "later: nor "
                   "from the same or later rounds, as when a new GPU arrives")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->check(CLI::IsMember({"series", "hardware", "workload", "later"}))
      ->capture_default_str();
  command->add_flag("--no-background", arguments->no_background,
                    "learn only from the tables named, not from the shipped ones");
  command->add_flag("--data-sheet", arguments->data_sheet,
                    "predict every step of data-parallel training from its GPU's data sheet and its network's layers, "
                    "with what was learned from other GPUs (or --leave-out workload: other networks)");
  command->add_flag("--json", arguments->as_json, "one JSON document on stdout");
  command->callback([arguments] { run_command(*arguments); });
}

}  // namespace farscale
