// The backtest: fit each published series on its small rows, predict its large ones, and print how wrong that is beside
// what simpler curves give.
#pragma once

#include <string>
#include <vector>

#include "cluster/backtest_table.h"

namespace farscale {

struct BacktestRow {
  std::string kind;  // "vision", "fsdp", "transformer", "collectives, sizes", "collectives, nodes"
  std::string series;
  std::string where;  // file:line
  int64_t gpus = 0;
  double bytes = 0;  // of a collective; 0 for steps
  std::vector<int64_t> fitted_on_gpus;
  double measured_s = 0, predicted_s = 0, low_s = 0, high_s = 0;
  // Baselines; 0: does not exist here. For collectives, `amdahl_s` is Hockney's latency + bandwidth line.
  double linear_s = 0, amdahl_s = 0, two_constant_s = 0;
  bool outlier = false;  // the published row itself is off: reported, kept in every figure
  bool doubted = false;  // its source warns of it, or the network's rate is a guess
  std::string reason;    // why the row is hard to predict, as far as the table tells; "" when nothing is known
  double error() const { return predicted_s / measured_s - 1; }
  double distance() const;  // GPUs over the largest fitted count
};

struct BacktestSummary {
  size_t rows = 0, series = 0;
  double median_abs_error = 0, p90_abs_error = 0, bias = 0, coverage90 = 0;
  double linear_median = 0, linear_p90 = 0, amdahl_median = 0, amdahl_p90 = 0, two_constant_median = 0,
         two_constant_p90 = 0;
};

// Whose rows the model may not learn from, besides those of the row's own series: of the same hardware, of the same
// workload, or (as when a new GPU arrives) of the same hardware and of the same or later rounds; or of several of
// these.
struct LeaveOut {
  bool hardware = false, workload = false, later = false;
};

struct BacktestOptions {
  LeaveOut leave_out;
  bool background = true;  // learn from the shipped tables too
};

struct BacktestReport {
  std::vector<BacktestRow> rows;
  std::vector<std::string> notes;
};

BacktestReport run_backtest(const std::vector<std::string>& paths, const BacktestOptions& options);

BacktestSummary summarise(const std::vector<const BacktestRow*>& rows);

// What the project asks of a class; 0: nothing.
struct BacktestTarget {
  double median = 0, p90 = 0;
  bool met(const BacktestSummary& summary) const {
    return summary.median_abs_error <= median && (p90 == 0 || summary.p90_abs_error <= p90);
  }
};

// Rows by class, and classes of steps by how far beyond the fitted rows; in the order they are printed.
struct BacktestGroup {
  std::string name;
  BacktestTarget target;
  std::vector<const BacktestRow*> rows;
};
std::vector<BacktestGroup> groups_of(const BacktestReport& report);

// Rows of step tables, of one class at a time.
void backtest_steps(const std::vector<ScalingRow>& rows, const BacktestOptions& options, BacktestReport& report);
// Collectives: sizes predicted from other sizes, node counts from smaller ones.
void backtest_collectives(const CsvTable& table, const BacktestOptions& options, BacktestReport& report);

}  // namespace farscale
