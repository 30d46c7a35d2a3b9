// Gauss-Newton on the predictor itself; groups are left out on its last linearisation.
#include "cluster/share_fit.h"

#include <fmt/format.h>

#include <Eigen/Dense>
#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <tuple>

#include "cluster/backtest_fabric.h"
#include "cluster/backtest_workload.h"
#include "cluster/machine.h"
#include "cluster/predictor.h"
#include "kernels/error.h"
#include "results/statistics.h"

namespace farscale {
namespace {

using Eigen::Index;
using Eigen::MatrixXd;
using Eigen::VectorXd;

constexpr size_t kCount = kLearnedShares.size();
using Logs = std::array<double, kCount>;

// What was believed before any step was read, and how surely (5th to 95th percentile). Grouped convolutions are charged
// for their narrow tiles already (quantised_flops), so that their share is not far from that of dense ones.
constexpr std::array<Estimate, kCount> kPrior = {{{0.35, 0.55, 0.80},       // assumption: large GEMMs 0.74, less im2col
                                                  {0.15, 0.40, 0.80},       // assumption: as above
                                                  {0.65, 0.82, 0.95},       // assumption: copies attain 0.85 to 0.93
                                                  {1.5e-6, 5e-6, 15e-6}}};  // assumption: start, tail and drain
constexpr double kNinety = 1.645;          // standard deviations from the middle to the 5th and 95th percentile
constexpr double kStepSigma = 0.10;        // of log time around the model, for the weight of the prior: assumption
constexpr double kLeastShareSigma = 0.03;  // of the log of a share, and of whole steps: assumption
constexpr double kRobust = 0.15;           // residuals of log time beyond this lose their pull (Cauchy's weights)
constexpr int kIterations = 5;
constexpr int kRangeDraws = 200;  // Monte Carlo draws of the range of one step

Quantity& share_of(Efficiency& efficiency, size_t which) {
  switch (which) {
    case 0:
      return efficiency.tensor[KernelClass::kConvolution];
    case 1:
      return efficiency.tensor[KernelClass::kGroupedConvolution];
    case 2:
      return efficiency.memory;
    default:
      return efficiency.launch_s;
  }
}

double prior_sigma(size_t which) { return std::log(kPrior[which].p95 / kPrior[which].p05) / (2 * kNinety); }

Machine machine_with(const std::string& hardware, const ShareFit& fit) {
  auto data = std::make_shared<Machine::Data>(load_hardware(hardware).data());
  for (size_t i = 0; i < kCount; ++i) share_of(data->efficiency, i).value = fit.shares[i];
  data->model_log_sigma = fit.log_sigma;
  return Machine(data);
}

ShareFit at(const Logs& logs) {
  ShareFit fit;
  for (size_t i = 0; i < kCount; ++i) fit.shares[i] = {std::exp(logs[i]), std::exp(logs[i]), std::exp(logs[i])};
  return fit;
}

PredictOptions options_of(const PublishedStep& step, int draws) {
  return {.layout = fmt::format("dp={} mb={}", step.gpus, step.samples_per_gpu), .draws = draws, .ignore_memory = true};
}

class Steps {
 public:
  explicit Steps(const std::vector<PublishedStep>& steps) : steps_(steps) {
    for (const PublishedStep& step : steps) {
      if (!workloads_.contains(step.workload)) workloads_.emplace(step.workload, load_workload(step.workload));
    }
  }

  size_t size() const { return steps_.size(); }
  const PublishedStep& operator[](size_t i) const { return steps_[i]; }
  Prediction predicted(size_t i, const ShareFit& fit, int draws) const {
    return predict(workloads_.at(steps_[i].workload), machine_with(steps_[i].hardware, fit), steps_[i].gpus,
                   options_of(steps_[i], draws));
  }

  // Log of predicted over published time of every step.
  VectorXd residuals(const Logs& logs) const {
    const ShareFit fit = at(logs);
    VectorXd found(static_cast<Index>(size()));
    for (size_t i = 0; i < size(); ++i) {
      const PublishedStep& step = steps_[i];
      Predictor predictor(workloads_.at(step.workload), machine_with(step.hardware, fit), options_of(step, 0));
      const Choice choice{.layout = parse_layout(options_of(step, 0).layout, step.gpus)};
      found[Index(i)] = std::log(predictor.median_times(choice, step.gpus).total() / step.time_s);
    }
    return found;
  }

 private:
  const std::vector<PublishedStep>& steps_;
  std::map<std::string, Workload> workloads_;
};

// The model around a point: log residuals and their derivatives by the logs of the shares.
struct Linearised {
  Logs point{};
  VectorXd residual;
  MatrixXd slope;
};

Linearised linearise(const Steps& steps, const Logs& point) {
  constexpr double kMove = 0.05;
  Linearised model{point, steps.residuals(point), MatrixXd(Index(steps.size()), Index(kCount))};
  for (size_t k = 0; k < kCount; ++k) {
    Logs moved = point;
    moved[k] += kMove;
    model.slope.col(Index(k)) = (steps.residuals(moved) - model.residual) / kMove;
  }
  return model;
}

using Keep = std::function<bool(const PublishedStep&)>;

// The shares that fit the kept steps best on the linearised model, from there and the prior.
Logs solve(const Steps& steps, const Linearised& model, const Keep& keep) {
  const auto rows = Index(steps.size());
  MatrixXd design = MatrixXd::Zero(rows + Index(kCount), Index(kCount));
  VectorXd target = VectorXd::Zero(rows + Index(kCount));
  for (Index i = 0; i < rows; ++i) {
    if (!keep(steps[size_t(i)])) continue;
    const double weight = 1 / std::hypot(1, model.residual[i] / kRobust);
    design.row(i) = weight * model.slope.row(i);
    target[i] = -weight * model.residual[i];
  }
  for (size_t k = 0; k < kCount; ++k) {
    const double weight = kStepSigma / prior_sigma(k);
    design(rows + Index(k), Index(k)) = weight;
    target[rows + Index(k)] = weight * (std::log(kPrior[k].p50) - model.point[k]);
  }
  const VectorXd move = design.colPivHouseholderQr().solve(target);
  Logs found = model.point;
  for (size_t k = 0; k < kCount; ++k) found[k] += std::clamp(move[Index(k)], -0.5, 0.5);
  return found;
}

std::string group_of(const PublishedStep& step, SheetLeaveOut leave_out) {
  return leave_out == SheetLeaveOut::kHardware ? step.hardware : step.workload;
}

// The solution without each group.
std::map<std::string, Logs> without_each(const Steps& steps, const Linearised& model, SheetLeaveOut leave_out) {
  std::map<std::string, Logs> solutions;
  for (size_t i = 0; i < steps.size(); ++i) {
    const std::string group = group_of(steps[i], leave_out);
    if (solutions.contains(group)) continue;
    solutions[group] = solve(steps, model, [&](const PublishedStep& one) { return group_of(one, leave_out) != group; });
  }
  return solutions;
}

double jackknife_sigma(const std::map<std::string, Logs>& solutions, size_t which) {
  const auto n = double(solutions.size());
  double mean = 0, squares = 0;
  for (const auto& [group, logs] : solutions) mean += logs[which] / n;
  for (const auto& [group, logs] : solutions) squares += (logs[which] - mean) * (logs[which] - mean);
  return std::sqrt((n - 1) / n * squares);
}

struct Learned {
  Linearised model;  // around the solution
  ShareFit fit;
};

// `logs` with the ranges of what was learned from all steps.
ShareFit with_ranges(const Logs& logs, const std::array<double, kCount>& sigmas) {
  ShareFit fit;
  for (size_t k = 0; k < kCount; ++k) {
    const double reach = std::exp(kNinety * sigmas[k]);
    const double value = std::exp(logs[k]);
    const double most = std::string_view(kLearnedShares[k]) == "launch_s" ? INFINITY : 1;
    fit.shares[k] = {value / reach, value, std::min(value * reach, std::max(most, value))};
  }
  return fit;
}

// `learned`'s ranges around the solution of others.
ShareFit around(const Logs& logs, const ShareFit& learned) {
  ShareFit fit = at(logs);
  fit.log_sigma = learned.log_sigma;
  for (size_t k = 0; k < kCount; ++k) {
    const Estimate& range = learned.shares[k];
    fit.shares[k].p05 *= range.p05 / range.p50;
    fit.shares[k].p95 *= range.p95 / range.p50;
  }
  return fit;
}

// The least spread of whole steps with which nine of ten steps of GPUs left out lie in their ranges.
double spread_of_steps(const Steps& steps, const std::map<std::string, Logs>& solutions, const ShareFit& learned) {
  std::vector<double> needed;
  for (size_t i = 0; i < steps.size(); ++i) {
    const Logs& others = solutions.at(group_of(steps[i], SheetLeaveOut::kHardware));
    const Estimate range = steps.predicted(i, around(others, learned), kRangeDraws).step_time_s;
    const double miss = std::log(steps[i].time_s / range.p50) / kNinety;
    const double width = std::log(miss > 0 ? range.p95 / range.p50 : range.p50 / range.p05) / kNinety;
    needed.push_back(std::sqrt(std::max(0.0, miss * miss - width * width)));
  }
  return std::max(kLeastShareSigma, quantile(needed, 0.9));
}

Learned learn(const Steps& steps) {
  if (steps.size() == 0) {
    throw InputError(
        "no step can be predicted from a data sheet: expected rows of data-parallel training with whole samples on "
        "every GPU, a GPU of `farscale list hardware` and a network of `farscale list workloads`");
  }
  Logs point;
  for (size_t k = 0; k < kCount; ++k) point[k] = std::log(kPrior[k].p50);
  Learned learned;
  for (int i = 0; i < kIterations; ++i) {
    learned.model = linearise(steps, point);
    point = solve(steps, learned.model, [](const PublishedStep&) { return true; });
  }
  learned.model = linearise(steps, point);
  const auto by_hardware = without_each(steps, learned.model, SheetLeaveOut::kHardware);
  const auto by_workload = without_each(steps, learned.model, SheetLeaveOut::kWorkload);
  std::array<double, kCount> sigmas{};
  for (size_t k = 0; k < kCount; ++k) {
    sigmas[k] = std::max({kLeastShareSigma, jackknife_sigma(by_hardware, k), jackknife_sigma(by_workload, k)});
  }
  learned.fit = with_ranges(point, sigmas);
  learned.fit.log_sigma = spread_of_steps(steps, by_hardware, learned.fit);
  return learned;
}

}  // namespace

std::vector<PublishedStep> published_steps(const std::vector<ScalingRow>& rows) {
  using Key = std::tuple<std::string, std::string, int64_t, int64_t>;
  std::map<Key, std::vector<double>> alike;
  std::map<std::string, std::string> known_gpus, known_networks;  // names already looked up
  for (const ScalingRow& row : rows) {
    const auto [gpu, new_gpu] = known_gpus.try_emplace(row.hardware);
    if (new_gpu) gpu->second = shipped_hardware_like(row.hardware);
    const auto [network, new_network] = known_networks.try_emplace(row.graph);
    if (new_network) network->second = shipped_workload_like(row.graph);
    const std::string &hardware = gpu->second, &workload = network->second;
    const double samples = row.samples_per_gpu();
    if (row.kind != TableClass::kVision || hardware.empty() || workload.empty()) continue;
    if (samples < 1 || samples != std::floor(samples)) continue;
    alike[{hardware, workload, row.gpus, int64_t(samples)}].push_back(row.time_s);
  }
  std::vector<PublishedStep> steps;
  for (const auto& [key, times] : alike) {
    const auto& [hardware, workload, gpus, samples] = key;
    steps.push_back({hardware, workload, gpus, samples, median(times), times.size()});
  }
  return steps;
}

ShareFit fit_shares(const std::vector<PublishedStep>& steps) { return learn(Steps(steps)).fit; }

SheetReport predict_from_sheets(const std::vector<PublishedStep>& published, SheetLeaveOut leave_out, int draws) {
  const Steps steps(published);
  const Learned learned = learn(steps);
  const auto solutions = without_each(steps, learned.model, leave_out);
  SheetReport report{learned.fit, {}};
  for (size_t i = 0; i < steps.size(); ++i) {
    const ShareFit others = around(solutions.at(group_of(steps[i], leave_out)), learned.fit);
    report.steps.push_back({steps[i], steps.predicted(i, others, draws).step_time_s});
  }
  return report;
}

}  // namespace farscale
