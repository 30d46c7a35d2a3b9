// Parameters by name, one Gauss-Newton with sparse rows.
#include "cluster/scaling_model.h"

#include <fmt/format.h>

#include <Eigen/Dense>
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "results/statistics.h"

namespace farscale {
namespace {

using Eigen::MatrixXd;
using Eigen::VectorXd;

// Priors: weak enough for a network with several series to speak for itself, strong enough to carry one that has none.
struct Prior {
  double mean, sigma;
};
constexpr Prior kVisionFloor{-4.83, 0.6};  // log s: 8 ms; ResNet-50, SSD, RetinaNet, UNet3D, Mask R-CNN: 6 to 16 ms
constexpr Prior kFloorPerParameter{-24.6, 0.7};  // log s: 20 ps a parameter: gathering its weights twice over NVLink
constexpr Prior kDepth{-9.9, 1.5};               // log s a doubling: 50 us
constexpr Prior kFloorSpeed{0.6, 0.1};           // the floor follows the machine's speed by this power
constexpr Prior kNode{0.01, 0.02};               // a doubling inside a node
constexpr Prior kStragglers{0.005, 0.005};       // a doubling beyond 8
constexpr Prior kLeaveNode{0.01, 0.02};
constexpr Prior kRecompute{0.2877, 0.05};  // log 4/3
constexpr double kNetworkSpeed = 5, kHardwareSpeed = 0.7, kPeriodSpeed = 0.05, kPairSpeed = 0.05, kPeriodFloor = 0.3;
constexpr double kSeriesSpeed = 0.045;  // scatter of a series' speed around its network, hardware and period
// Scatter of rows around their series: submissions of a round change chassis and software between sizes, recipes of one
// release do not.
constexpr double scatter_of(TableClass kind) {
  return kind == TableClass::kVision ? 0.035 : kind == TableClass::kFsdp ? 0.018 : 0.008;
}
constexpr double kFreedom = 4;  // of the Student-t

double depth_of(double gpus) { return std::log2(std::max(gpus / 8, 1.0)); }

struct Term {
  int parameter;
  double slope;
};

// log T of a row and its derivatives.
struct Evaluation {
  double log_time = 0;
  double floor_share = 0;
  std::array<Term, 10> terms{};
  size_t count = 0;
  void add(int parameter, double slope) { terms[count++] = {parameter, slope}; }
};

struct RowNames {
  int speed, network, hardware, period, pair, floor, depth, period_floor;
};

}  // namespace

namespace {

// Weight of a residual under Student-t errors of scale `sigma`.
double student_weight(double residual, double sigma) {
  const double z = residual / sigma;
  return (kFreedom + 1) / (kFreedom + z * z) / (sigma * sigma);
}

void accumulate(MatrixXd& normal, VectorXd& gradient, const Term* terms, size_t count, double residual, double weight) {
  for (size_t i = 0; i < count; ++i) {
    gradient[terms[i].parameter] -= weight * terms[i].slope * residual;
    for (size_t j = 0; j < count; ++j) {
      normal(terms[i].parameter, terms[j].parameter) += weight * terms[i].slope * terms[j].slope;
    }
  }
}

}  // namespace

struct ScalingModel::State {
  std::map<std::string, int> index;
  std::vector<double> value, mean, sigma;
  int speed_power = 0, node = 0, stragglers = 0, leave_node = 0, recompute = 0;
  MatrixXd inverse;  // covariance of the parameters

  void start_at_medians(const std::vector<const ScalingRow*>& rows, const std::vector<RowNames>& names) {
    std::map<int, std::vector<double>> speeds;
    for (size_t i = 0; i < rows.size(); ++i) {
      const double speed = std::log(rows[i]->time_s / rows[i]->samples_per_gpu());
      speeds[names[i].speed].push_back(speed);
      speeds[names[i].network].push_back(speed);
    }
    for (const auto& [place, all] : speeds) value[size_t(place)] = median(all);
  }

  void start_from(const State& other) {
    for (const auto& [name, place] : index) {
      const auto known = other.index.find(name);
      if (known != other.index.end()) value[size_t(place)] = other.value[size_t(known->second)];
    }
  }

  void add_priors(MatrixXd& normal, VectorXd& gradient) const {
    for (size_t i = 0; i < value.size(); ++i) {
      if (!std::isfinite(sigma[i])) continue;
      const double weight = 1 / (sigma[i] * sigma[i]);
      normal(Eigen::Index(i), Eigen::Index(i)) += weight;
      gradient[Eigen::Index(i)] -= weight * (value[i] - mean[i]);
    }
  }

  // A series' speed lies near the sum of what its network, hardware, period and their pair say.
  void add_series_prior(MatrixXd& normal, VectorXd& gradient, const RowNames& at) const {
    const std::array<Term, 5> terms = {
        {{at.speed, 1}, {at.network, -1}, {at.hardware, -1}, {at.period, -1}, {at.pair, -1}}};
    double residual = 0;
    for (const Term& term : terms) residual += term.slope * value[size_t(term.parameter)];
    accumulate(normal, gradient, terms.data(), terms.size(), residual, student_weight(residual, kSeriesSpeed));
  }

  int parameter(const std::string& name, double first, Prior prior) {
    const auto [found, fresh] = index.try_emplace(name, int(value.size()));
    if (fresh) {
      value.push_back(first);
      mean.push_back(prior.mean);
      sigma.push_back(prior.sigma);
    }
    return found->second;
  }

  RowNames names_of(const ScalingRow& row) {
    const double speed = std::log(row.time_s / row.samples_per_gpu());
    const bool per_parameter = row.parameters > 0 && row.kind == TableClass::kFsdp;
    const Prior floor = per_parameter
                            ? Prior{kFloorPerParameter.mean + std::log(row.parameters), kFloorPerParameter.sigma}
                            : kVisionFloor;
    return {.speed = parameter("series " + row.series, speed, {0, INFINITY}),
            .network = parameter("network " + row.workload, speed, {speed, kNetworkSpeed}),
            .hardware = parameter("hardware " + row.hardware, 0, {0, kHardwareSpeed}),
            .period = parameter(fmt::format("period {} {}", row.period, row.workload), 0, {0, kPeriodSpeed}),
            .pair = parameter(fmt::format("pair {} {}", row.hardware, row.workload), 0, {0, kPairSpeed}),
            .floor = parameter("floor " + row.workload, floor.mean, floor),
            .depth = parameter("depth " + row.workload, kDepth.mean, kDepth),
            .period_floor = parameter("period floor " + row.period, 0, {0, kPeriodFloor})};
  }

  Evaluation evaluate(const ScalingRow& row, const RowNames& at) const {
    const double power = value[size_t(speed_power)];
    const double speed = value[size_t(at.speed)];
    const double faster = speed - value[size_t(at.network)];
    const double work =
        row.accumulation * row.micro_batch * std::exp(speed + (row.checkpointing ? value[size_t(recompute)] : 0));
    const double floor =
        row.accumulation * std::exp(value[size_t(at.floor)] + power * faster + value[size_t(at.period_floor)]);
    const double depth = depth_of(double(row.gpus));
    const double sync = std::exp(value[size_t(at.depth)]) * depth;
    const double total = work + floor + sync;
    const double inside = std::log2(std::min(double(row.gpus), row.gpus_per_node) / row.gpus_per_node);
    const double outside = double(row.gpus) > row.gpus_per_node ? 1 : 0;
    Evaluation result;
    result.log_time = std::log(total) + value[size_t(node)] * inside + value[size_t(stragglers)] * depth +
                      value[size_t(leave_node)] * outside;
    result.floor_share = (floor + sync) / total;
    result.add(at.speed, (work + power * floor) / total);
    result.add(at.network, -power * floor / total);
    result.add(at.floor, floor / total);
    result.add(at.period_floor, floor / total);
    result.add(at.depth, sync / total);
    result.add(speed_power, faster * floor / total);
    result.add(node, inside);
    result.add(stragglers, depth);
    result.add(leave_node, outside);
    if (row.checkpointing) result.add(recompute, work / total);
    return result;
  }
};

ScalingModel::~ScalingModel() = default;
ScalingModel::ScalingModel(ScalingModel&&) noexcept = default;

namespace {

// The normal equations of one Gauss-Newton step.
struct Normal {
  MatrixXd matrix;
  VectorXd gradient;
};

}  // namespace

ScalingModel::ScalingModel(const std::vector<const ScalingRow*>& rows, const ScalingModel* start)
    : state_(std::make_unique<State>()) {
  State& s = *state_;
  s.speed_power = s.parameter("speed power", kFloorSpeed.mean, kFloorSpeed);
  s.node = s.parameter("node", kNode.mean, kNode);
  s.stragglers = s.parameter("stragglers", kStragglers.mean, kStragglers);
  s.leave_node = s.parameter("leave node", kLeaveNode.mean, kLeaveNode);
  s.recompute = s.parameter("recompute", kRecompute.mean, kRecompute);
  std::vector<RowNames> names;
  std::map<int, RowNames> series;
  for (const ScalingRow* row : rows) {
    names.push_back(s.names_of(*row));
    series.emplace(names.back().speed, names.back());
  }
  s.start_at_medians(rows, names);
  if (start != nullptr) s.start_from(*start->state_);
  const auto parameters = Eigen::Index(s.value.size());
  Normal normal;
  for (int pass = 0; pass < 40; ++pass) {
    normal = {MatrixXd::Identity(parameters, parameters) * 1e-9, VectorXd::Zero(parameters)};
    // Errors are taken as nearly normal first and heavy-tailed last, so that no outlier decides where the fit ends.
    const double wide = std::max(1.0, (start == nullptr ? 16 : 4) * std::pow(0.6, pass));
    s.add_priors(normal.matrix, normal.gradient);
    for (size_t i = 0; i < rows.size(); ++i) {
      const Evaluation e = s.evaluate(*rows[i], names[i]);
      const double residual = e.log_time - std::log(rows[i]->time_s);
      accumulate(normal.matrix, normal.gradient, e.terms.data(), e.count, residual,
                 student_weight(residual, wide * scatter_of(rows[i]->kind)));
    }
    for (const auto& [speed, at] : series) s.add_series_prior(normal.matrix, normal.gradient, at);
    const VectorXd step = normal.matrix.ldlt().solve(normal.gradient);
    for (Eigen::Index i = 0; i < parameters; ++i) s.value[size_t(i)] += std::clamp(step[i], -0.5, 0.5);
    if (wide == 1 && step.cwiseAbs().maxCoeff() < 1e-4) break;
  }
  s.inverse = normal.matrix.ldlt().solve(MatrixXd::Identity(parameters, parameters));
}

ScalingPrediction ScalingModel::predict(const ScalingRow& row, int64_t fitted_gpus) const {
  const RowNames names = state_->names_of(row);
  const Evaluation e = state_->evaluate(row, names);
  double variance = 0;
  for (size_t i = 0; i < e.count; ++i) {
    for (size_t j = 0; j < e.count; ++j) {
      if (std::max(e.terms[i].parameter, e.terms[j].parameter) >= state_->inverse.rows()) continue;
      variance += e.terms[i].slope * e.terms[j].slope * state_->inverse(e.terms[i].parameter, e.terms[j].parameter);
    }
  }
  // Rows scatter around their series, more the farther they are from the fitted rows: assumption, held to the coverage
  // that the backtest prints.
  const double far = std::log2(std::max(1.0, double(row.gpus) / double(fitted_gpus)));
  const double scatter = scatter_of(row.kind) * std::sqrt(1 + 0.15 * far);
  return {.time_s = std::exp(e.log_time),
          .log_sigma = std::sqrt(variance + scatter * scatter),
          .floor_share = e.floor_share};
}

}  // namespace farscale
