// Running the backtest over tables, and its summary.
#include "cluster/backtest.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <set>

#include "cluster/backtest_baselines.h"
#include "cluster/backtest_range.h"
#include "cluster/backtest_workload.h"
#include "cluster/scaling_model.h"
#include "kernels/error.h"
#include "kernels/module.h"
#include "results/statistics.h"

namespace farscale {
namespace {

constexpr double kOddRow = 0.12;  // a fitted row as far off as this is worth a word
constexpr double kOutlier = 6;    // sigmas from the prediction: the published row is suspect

RowPointers pick(const std::vector<ScalingRow>& rows, const std::vector<size_t>& places) {
  RowPointers picked;
  for (const size_t i : places) picked.push_back(&rows[i]);
  return picked;
}

// Tables repeat each other's rows, under other names of a series: the same work on the same GPUs in the same time.
bool same_measurement(const ScalingRow& a, const ScalingRow& b) {
  return a.gpus == b.gpus && a.workload == b.workload && a.hardware == b.hardware &&
         std::abs(a.time_s / b.time_s - 1) < 1e-9 && a.samples_per_gpu() == b.samples_per_gpu();
}

void note_repeated(const std::vector<ScalingRow>& rows, const std::vector<SeriesSplit>& splits,
                   BacktestReport& report) {
  size_t repeated = 0;
  for (const SeriesSplit& split : splits) {
    for (const size_t i : split.predicted) {
      repeated += size_t(std::any_of(rows.begin(), rows.end(), [&](const ScalingRow& row) {
        return row.series != split.series && same_measurement(rows[i], row);
      }));
    }
  }
  if (repeated > 0) {
    report.notes.push_back(
        fmt::format("{} predicted rows stand in another series too, to the last digit: what is "
                    "predicted from never holds its copies",
                    repeated));
  }
}

bool left_out(const ScalingRow& row, const ScalingRow& own, LeaveOut leave_out) {
  switch (leave_out) {
    case LeaveOut::kSeries:
      return false;
    case LeaveOut::kHardware:
      return row.hardware == own.hardware;
    case LeaveOut::kWorkload:
      return row.workload == own.workload;
    case LeaveOut::kLater:
      return row.hardware == own.hardware || row.period >= own.period;
  }
  return false;
}

// Rows the model may learn from when it predicts rows of `split`.
RowPointers learnable(const std::vector<ScalingRow>& rows, const SeriesSplit& split, LeaveOut leave_out) {
  const ScalingRow& own = rows[split.fitted.front()];
  RowPointers allowed;
  for (const ScalingRow& row : rows) {
    if (row.series == own.series || left_out(row, own, leave_out)) continue;
    const bool repeated = std::any_of(split.predicted.begin(), split.predicted.end(),
                                      [&](size_t i) { return same_measurement(rows[i], row); });
    if (!repeated) allowed.push_back(&row);
  }
  for (const size_t i : split.fitted) allowed.push_back(&rows[i]);
  return allowed;
}

// Rows that nobody will predict, nor copies of those.
RowPointers open_rows(const std::vector<ScalingRow>& rows, const std::vector<SeriesSplit>& splits) {
  RowPointers hidden, open;
  for (const SeriesSplit& split : splits) {
    for (const size_t i : split.predicted) hidden.push_back(&rows[i]);
  }
  for (const ScalingRow& row : rows) {
    const bool seen =
        std::any_of(hidden.begin(), hidden.end(), [&](const ScalingRow* one) { return same_measurement(*one, row); });
    if (!seen) open.push_back(&row);
  }
  return open;
}

// Of a model that saw no large row of any series, on the large rows of each.
std::vector<Surprise> surprises(const std::vector<ScalingRow>& rows, const std::vector<SeriesSplit>& splits,
                                const ScalingModel& open) {
  std::vector<Surprise> all;
  for (const SeriesSplit& split : splits) {
    for (const size_t i : split.predicted) {
      const ScalingPrediction p = open.predict(rows[i], split.fitted_gpus.back());
      all.push_back({split.series, std::abs(std::log(p.time_s / rows[i].time_s)) / p.log_sigma});
    }
  }
  return all;
}

// Why the rows beyond the fitted ones may differ from them by more than their size.
std::string reason_of(const ScalingRow& row, const RowPointers& fitted, const ScalingPrediction& predicted,
                      const ScalingModel& model) {
  const auto differs = [&](auto field) {
    return std::none_of(fitted.begin(), fitted.end(), [&](const ScalingRow* one) { return one->*field == row.*field; });
  };
  std::vector<std::string> reasons;
  if (differs(&ScalingRow::gpus_per_node) && row.gpus > int64_t(row.gpus_per_node)) {
    reasons.push_back(fmt::format("nodes of {} GPUs, none of the fitted rows has them", row.gpus_per_node));
  } else if (differs(&ScalingRow::fabric)) {
    reasons.emplace_back("another chassis or network than the fitted rows");
  }
  for (const ScalingRow* one : fitted) {
    const double off = model.predict(*one, one->gpus).time_s / one->time_s - 1;
    if (std::abs(off) < kOddRow) continue;
    reasons.push_back(
        fmt::format("the fitted row at {} GPUs is itself {:+.0f} % off its series", one->gpus, -100 * off));
  }
  if (row.micro_batch < 1) reasons.emplace_back("less than one sample a GPU");
  if (predicted.floor_share > 0.3) {
    reasons.push_back(fmt::format("{:.0f} % of the step is the floor under it", 100 * predicted.floor_share));
  }
  if (fitted.size() == 1) reasons.emplace_back("one fitted row");
  return fmt::format("{}", fmt::join(reasons, "; "));
}

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

void predict_split(const std::vector<ScalingRow>& rows, const SeriesSplit& split, const RowPointers& allowed,
                   const ScalingModel& start, double sigmas, BacktestReport& report) {
  const ScalingModel model(allowed, &start);
  const RowPointers fitted = pick(rows, split.fitted);
  RowPointers others;
  for (const ScalingRow* row : allowed) {
    if (row->workload == rows[split.fitted.front()].workload && row->series != split.series) others.push_back(row);
  }
  const TwoConstants constants = fit_two_constants(others);
  for (const size_t i : split.predicted) {
    const ScalingRow& row = rows[i];
    const ScalingPrediction predicted = model.predict(row, split.fitted_gpus.back());
    const double reach = std::exp(sigmas * predicted.log_sigma);
    report.rows.push_back(
        {.kind = std::string(name(row.kind)),
         .series = row.series,
         .where = row.where,
         .gpus = row.gpus,
         .fitted_on_gpus = split.fitted_gpus,
         .measured_s = row.time_s,
         .predicted_s = predicted.time_s,
         .low_s = predicted.time_s / reach,
         .high_s = predicted.time_s * reach,
         .linear_s = linear_baseline(fitted, row),
         .amdahl_s = amdahl_baseline(fitted, row),
         .two_constant_s = two_constant_baseline(constants, fitted, row),
         .outlier = std::abs(std::log(predicted.time_s / row.time_s)) > kOutlier * predicted.log_sigma,
         .reason = reason_of(row, fitted, predicted, model)});
  }
}

}  // namespace

double BacktestRow::distance() const {
  return fitted_on_gpus.empty() ? 1 : double(gpus) / double(fitted_on_gpus.back());
}

void backtest_steps(const std::vector<ScalingRow>& all, const BacktestOptions& options, BacktestReport& report) {
  for (const TableClass kind : {TableClass::kVision, TableClass::kFsdp, TableClass::kTransformer}) {
    std::vector<ScalingRow> rows;
    for (const ScalingRow& row : all) {
      if (row.kind == kind) rows.push_back(row);
    }
    const std::vector<SeriesSplit> splits = split_series(rows), every = split_series(rows, true);
    if (splits.empty()) continue;
    // Where each fit starts its steps: a fit that saw no row that anybody will predict.
    const ScalingModel start(open_rows(rows, every));
    const std::vector<Surprise> seen = surprises(rows, every, start);
    note_repeated(rows, splits, report);
    for (const SeriesSplit& split : splits) {
      predict_split(rows, split, learnable(rows, split, options.leave_out), start, reach_of(seen, split.series),
                    report);
    }
  }
}

namespace {

// Any column that only such a table has: the others, when one is missing or misspelt, are then asked for by name.
bool looks_like_collectives(const CsvTable& table) { return table.has("collective") || table.has("busbw_gb_s"); }
bool looks_like_steps(const CsvTable& table) {
  return table.has("step_time_s") || table.has("global_batch") || table.has("series");
}

}  // namespace

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
