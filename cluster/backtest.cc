// Running the backtest over tables, and its summary.
#include "cluster/backtest.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <set>

#include "cluster/backtest_workload.h"
#include "kernels/error.h"
#include "kernels/module.h"
#include "results/statistics.h"

namespace farscale {
namespace {

// Adds the shipped tables' rows of series that the user's tables do not hold: knowledge, not questions.
void add_background(std::vector<ScalingRow>& rows) {
  std::set<std::string> known;
  for (const ScalingRow& row : rows) known.insert(row.series);
  for (const char* file : {"vision_scaling.csv", "fsdp_scaling.csv", "transformer_scaling.csv"}) {
    const std::string path = data_folder("results/published") + "/" + file;
    if (!std::filesystem::exists(path)) continue;
    for (ScalingRow& row : read_scaling_rows(read_csv(path))) {
      if (known.contains(row.series)) continue;
      row.background = true;
      rows.push_back(std::move(row));
    }
  }
}

// Any column that only such a table has: the others, when one is missing or misspelt, are then asked for by name.
bool looks_like_collectives(const CsvTable& table) { return table.has("collective") || table.has("busbw_gb_s"); }
bool looks_like_steps(const CsvTable& table) {
  return table.has("step_time_s") || table.has("global_batch") || table.has("series");
}

}  // namespace

double BacktestRow::distance() const {
  return fitted_on_gpus.empty() ? 1 : double(gpus) / double(fitted_on_gpus.back());
}

BacktestReport run_backtest(const std::vector<std::string>& paths, const BacktestOptions& options) {
  BacktestReport report;
  std::vector<ScalingRow> rows;
  std::vector<std::string> others;
  for (const std::string& path : paths) {
    const CsvTable table = read_csv(path);
    if (looks_like_collectives(table)) {
      backtest_collectives(table, options, report);
    } else if (looks_like_steps(table)) {
      for (ScalingRow& row : read_scaling_rows(table)) rows.push_back(std::move(row));
    } else {
      others.push_back(path);
    }
  }
  if (others.size() == paths.size()) {
    throw InputError(
        fmt::format("{}: neither a scaling table (series, global_batch, step_time_s) nor a table of collectives "
                    "(collective, bytes, busbw_gb_s); see results/published/README.md for the columns",
                    fmt::join(others, ", ")));
  }
  if (!others.empty()) {
    report.notes.push_back(fmt::format("neither steps nor collectives, left out: {}", fmt::join(others, ", ")));
  }
  if (options.background && !rows.empty()) add_background(rows);
  describe_workloads(rows, report.notes);
  backtest_steps(rows, options, report);
  if (report.rows.empty()) {
    report.notes.push_back("no series has rows at more than one GPU count: nothing to predict");
  }
  return report;
}

namespace {

constexpr BacktestTarget kVisionNear{0.03, 0.10}, kVisionFar{0.05, 0.18}, kVisionFarthest{0.05, 0.20};
constexpr BacktestTarget kTransformers{0.01, 0.10}, kCollectives{0.10, 0};

BacktestTarget target_of(const std::string& group) {
  if (group.starts_with("vision, up")) return kVisionNear;
  if (group.starts_with("vision, 4")) return kVisionFar;
  if (group.starts_with("vision, beyond")) return kVisionFarthest;
  if (group == "fsdp and transformer") return kTransformers;
  return group.starts_with("collectives") || group.starts_with("first") ? kCollectives : BacktestTarget{};
}

// Names of the groups that a row counts in.
std::vector<std::string> groups_of(const BacktestRow& row) {
  if (row.bytes > 0 && row.kind == "collectives, first network" && !row.doubted) {
    return {row.kind, "first network, its rate told"};
  }
  if (row.bytes > 0) return {row.kind};
  if (row.kind != "vision") return {row.kind, "fsdp and transformer"};
  const double far = row.distance();
  return {row.kind, far <= 4 ? "vision, up to 4x" : far <= 16 ? "vision, 4 to 16x" : "vision, beyond 16x"};
}

}  // namespace

std::vector<BacktestGroup> groups_of(const BacktestReport& report) {
  constexpr const char* kOrder[] = {"vision",
                                    "vision, up to 4x",
                                    "vision, 4 to 16x",
                                    "vision, beyond 16x",
                                    "fsdp",
                                    "transformer",
                                    "fsdp and transformer",
                                    "collectives, sizes",
                                    "collectives, nodes",
                                    "collectives, first network",
                                    "first network, its rate told"};
  std::vector<BacktestGroup> groups;
  for (const char* name : kOrder) groups.push_back({name, target_of(name), {}});
  for (const BacktestRow& row : report.rows) {
    for (const std::string& name : groups_of(row)) {
      for (BacktestGroup& group : groups) {
        if (group.name == name) group.rows.push_back(&row);
      }
    }
  }
  std::erase_if(groups, [](const BacktestGroup& group) { return group.rows.empty(); });
  return groups;
}

BacktestSummary summarise(const std::vector<const BacktestRow*>& rows) {
  BacktestSummary summary;
  summary.rows = rows.size();
  if (rows.empty()) return summary;
  std::set<std::string> series;
  std::vector<double> errors, signed_errors, linear, amdahl, two;
  size_t covered = 0;
  const auto error = [](double predicted, double measured) { return std::abs(predicted / measured - 1); };
  for (const BacktestRow* row : rows) {
    series.insert(row->kind + row->series);
    errors.push_back(std::abs(row->error()));
    signed_errors.push_back(row->error());
    if (row->linear_s > 0) linear.push_back(error(row->linear_s, row->measured_s));
    if (row->amdahl_s > 0) amdahl.push_back(error(row->amdahl_s, row->measured_s));
    if (row->two_constant_s > 0) two.push_back(error(row->two_constant_s, row->measured_s));
    if (row->low_s <= row->measured_s && row->measured_s <= row->high_s) ++covered;
  }
  const auto at = [](const std::vector<double>& values, double q) { return values.empty() ? 0 : quantile(values, q); };
  summary.series = series.size();
  summary.median_abs_error = median(errors), summary.p90_abs_error = quantile(errors, 0.9);
  summary.bias = median(signed_errors);
  summary.coverage90 = double(covered) / double(rows.size());
  summary.linear_median = at(linear, 0.5), summary.linear_p90 = at(linear, 0.9);
  summary.amdahl_median = at(amdahl, 0.5), summary.amdahl_p90 = at(amdahl, 0.9);
  summary.two_constant_median = at(two, 0.5), summary.two_constant_p90 = at(two, 0.9);
  return summary;
}

}  // namespace farscale
