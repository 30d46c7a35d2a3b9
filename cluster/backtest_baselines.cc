// Linear, Amdahl/USL and two-constant curves.
#include "cluster/backtest_baselines.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "cluster/least_squares.h"
#include "results/statistics.h"

namespace farscale {
namespace {

double depth(const ScalingRow& row) { return std::log2(std::max(double(row.gpus) / 8, 1.0)); }

double shape(const TwoConstants& constants, const ScalingRow& row) {
  return row.samples_per_gpu() + constants.floor_samples + constants.depth_samples * depth(row);
}

// Sum over series of the spread of log(shape / time), capped so that a freak row cannot lead.
double misfit(const TwoConstants& constants, const std::map<std::string, RowPointers>& series) {
  double cost = 0;
  for (const auto& [name, rows] : series) {
    std::vector<double> logs;
    for (const ScalingRow* row : rows) logs.push_back(std::log(shape(constants, *row) / row->time_s));
    const double middle = median(logs);
    for (const double one : logs) cost += std::min(0.3, std::abs(one - middle));
  }
  return cost;
}

}  // namespace

double linear_baseline(const RowPointers& fitted, const ScalingRow& row) {
  std::vector<double> speeds;
  for (const ScalingRow* one : fitted) speeds.push_back(one->time_s / one->samples_per_gpu());
  return median(speeds) * row.samples_per_gpu();
}

double amdahl_baseline(const RowPointers& fitted, const ScalingRow& row) {
  double first = double(row.gpus);
  for (const ScalingRow* one : fitted) first = std::min(first, double(one->gpus));
  const auto terms = [&](const ScalingRow& one) {
    const double b = one.samples_per_gpu();
    const double more = double(one.gpus) - first;
    return std::vector<double>{b, b * more, b * more * double(one.gpus)};
  };
  std::vector<std::vector<double>> rows;
  std::vector<double> times;
  for (const ScalingRow* one : fitted) {
    rows.push_back(terms(*one));
    times.push_back(one->time_s);
  }
  return fit_relative(rows, times).at(terms(row));
}

TwoConstants fit_two_constants(const RowPointers& others) {
  std::map<std::string, RowPointers> series;
  std::vector<double> batches;
  for (const ScalingRow* row : others) {
    series[row->series].push_back(row);
    batches.push_back(row->samples_per_gpu());
  }
  std::erase_if(series, [](const auto& one) { return one.second.size() < 2; });
  TwoConstants best;
  if (series.empty()) return best;
  const double scale = median(batches);
  double least = misfit(best, series);
  // Coarse to fine on a logarithmic grid.
  double floor_at = 0.1 * scale, depth_at = 0.01 * scale;
  for (double step : {4.0, 2.0, 1.4, 1.15, 1.05}) {
    const TwoConstants centre{floor_at, depth_at};
    for (int i = -4; i <= 4; ++i) {
      for (int j = -4; j <= 4; ++j) {
        const TwoConstants tried{centre.floor_samples * std::pow(step, i), centre.depth_samples * std::pow(step, j)};
        const double cost = misfit(tried, series);
        if (cost < least) least = cost, best = tried, floor_at = tried.floor_samples, depth_at = tried.depth_samples;
      }
    }
  }
  return best;
}

double two_constant_baseline(const TwoConstants& constants, const RowPointers& fitted, const ScalingRow& row) {
  std::vector<double> speeds;
  for (const ScalingRow* one : fitted) speeds.push_back(one->time_s / shape(constants, *one));
  return median(speeds) * shape(constants, row);
}

}  // namespace farscale
