// Steps: each series fitted on its small rows with what all others teach, its large rows predicted.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

#include "cluster/backtest.h"
#include "cluster/backtest_baselines.h"
#include "cluster/backtest_range.h"
#include "cluster/scaling_model.h"

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
  return ((leave_out.hardware || leave_out.later) && row.hardware == own.hardware) ||
         (leave_out.workload && row.workload == own.workload) || (leave_out.later && row.period >= own.period);
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

}  // namespace farscale
