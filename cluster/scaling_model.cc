// Parameters by name, one Gauss-Newton over all series.
#include "cluster/scaling_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

#include "cluster/scaling_solver.h"
#include "results/statistics.h"

namespace farscale {
namespace {

constexpr double kFreedom = 4;  // of the Student-t

double depth_of(double gpus) { return std::log2(std::max(gpus / 8, 1.0)); }

bool on_pcie(const ScalingRow& row) { return row.hardware.find("PCIe") != std::string::npos; }

// Log seconds a sample and GPU.
double raw_speed(const ScalingRow& row) { return std::log(row.time_s / row.samples_per_gpu()); }

// Weight of a residual under Student-t errors of scale `sigma`.
double student_weight(double residual, double sigma) {
  const double z = residual / sigma;
  return (kFreedom + 1) / (kFreedom + z * z) / (sigma * sigma);
}

// Log T of a row and its derivatives.
struct Evaluation {
  double log_time = 0;
  double floor_share = 0;
  Gradient gradient;
};

// What a floor is counted in before any row says it, and how far a network may be from that.
struct FloorBasis {
  double launches = 0, bytes = 0, unfilled = 0;  // unfilled: 0 or 1
  int launch = -1, byte = -1, share = -1;        // parameters: what one of them costs
  double spread = 0;
};

// A row's parameters; -1 where it has none.
struct RowNames {
  FloorBasis basis;
  int series, network, hardware, period, pair, floor, floor_hardware, floor_period, depth, node, stragglers_network,
      leave_fabric;
};

}  // namespace

struct ScalingModel::State {
  ScalingPriors priors;
  std::map<std::string, int> index, series_index;
  std::vector<double> value, series_value;
  std::vector<Prior> prior;
  int floor_speed = 0, stragglers = 0, leave_node = 0, recompute = 0;
  std::unique_ptr<ArrowSystem> system;

  explicit State(const ScalingPriors& given) : priors(given) {
    floor_speed = parameter("floor speed", priors.floor_speed);
    stragglers = parameter("stragglers", priors.stragglers);
    leave_node = parameter("leave node", priors.leave_node);
    recompute = parameter("recompute", priors.recompute);
  }

  int parameter(const std::string& name, double first, Prior believed) {
    const auto [found, fresh] = index.try_emplace(name, int(value.size()));
    if (fresh) {
      value.push_back(first);
      prior.push_back(believed);
    }
    return found->second;
  }
  int effect(const std::string& name, double sigma) { return parameter(name, 0, {0, sigma}); }

  int parameter(const std::string& name, Prior believed) { return parameter(name, believed.mean, believed); }

  FloorBasis basis_of(const ScalingRow& row) {
    if (row.kind == TableClass::kFsdp && row.parameters > 0) {
      return {.bytes = row.parameters, .byte = parameter("gather", priors.gather), .spread = priors.floor_fsdp};
    }
    const bool vision = row.kind == TableClass::kVision, known = vision && row.launches > 0;
    return {.launches = known ? row.launches : priors.typical_launches,
            .bytes = known ? row.gradient_bytes : priors.typical_bytes,
            .unfilled = vision ? 1.0 : 0.0,
            .launch = parameter("launch", priors.launch),
            .byte = parameter("byte", priors.byte),
            .share = parameter("unfilled", priors.unfilled),
            .spread = known ? priors.floor_described : priors.floor_unknown};
  }

  RowNames names_of(const ScalingRow& row) {
    const FloorBasis basis = basis_of(row);
    const double speed = raw_speed(row);
    const auto [place, fresh] = series_index.try_emplace(row.series, int(series_value.size()));
    if (fresh) series_value.push_back(speed);
    return {.basis = basis,
            .series = place->second,
            .network = parameter("network " + row.workload, speed, {speed, priors.network_speed}),
            .hardware = effect("hardware " + row.hardware, priors.hardware_speed),
            .period = effect(fmt::format("period {} {}", row.period, row.workload), priors.period_speed),
            .pair = effect(fmt::format("pair {} {}", row.hardware, row.workload), priors.pair_speed),
            .floor = effect("floor " + row.workload, basis.spread),
            .floor_hardware = effect("floor hardware " + row.hardware, priors.floor_hardware[size_t(row.kind)]),
            .floor_period = effect("floor period " + row.period, priors.floor_period),
            .depth = parameter("depth " + row.workload, priors.depth),
            .node = on_pcie(row) ? parameter("node PCIe", priors.node_pcie) : parameter("node", priors.node),
            .stragglers_network = effect("stragglers " + row.workload, priors.stragglers_network),
            .leave_fabric = effect("leave " + row.fabric, priors.leave_fabric)};
  }

  double at(int parameter) const { return parameter < 0 ? 0 : value[size_t(parameter)]; }

  Evaluation evaluate(const ScalingRow& row, const RowNames& n) const {
    const double speed = series_value[size_t(n.series)];
    const double power = at(floor_speed), faster = speed - at(n.network);
    const double work = row.accumulation * row.micro_batch * std::exp(speed + (row.checkpointing ? at(recompute) : 0));
    const FloorBasis& basis = n.basis;
    const double scale =
        row.accumulation * std::exp(at(n.floor) + power * faster + at(n.floor_period) + at(n.floor_hardware));
    const double launches = scale * basis.launches * std::exp(at(basis.launch));
    const double bytes = scale * basis.bytes * std::exp(at(basis.byte));
    const double unfilled = scale * basis.unfilled * std::exp(at(basis.share) + at(n.network) / 2);
    const double floor = launches + bytes + unfilled;
    const double depth = depth_of(double(row.gpus));
    const double sync = std::exp(at(n.depth)) * depth;
    const double total = work + floor + sync;
    const double inside = std::log2(std::min(double(row.gpus), row.gpus_per_node) / 8);
    const double outside = double(row.gpus) > row.gpus_per_node ? 1 : 0;
    Evaluation result;
    result.log_time = std::log(total) + at(n.node) * inside + (at(stragglers) + at(n.stragglers_network)) * depth +
                      (at(leave_node) + at(n.leave_fabric)) * outside;
    result.floor_share = (floor + sync) / total;
    Gradient& g = result.gradient;
    g.series = n.series, g.own = (work + power * floor) / total;
    g.add(n.network, (unfilled / 2 - power * floor) / total);
    g.add(basis.launch, launches / total), g.add(basis.byte, bytes / total), g.add(basis.share, unfilled / total);
    for (const int one : {n.floor, n.floor_period, n.floor_hardware}) g.add(one, floor / total);
    g.add(n.depth, sync / total);
    g.add(floor_speed, faster * floor / total);
    g.add(n.node, inside);
    for (const int one : {stragglers, n.stragglers_network}) g.add(one, depth);
    for (const int one : {leave_node, n.leave_fabric}) g.add(one, outside);
    if (row.checkpointing) g.add(recompute, work / total);
    return result;
  }

  // A series' speed lies near the sum of what its network, hardware, period and their pair say.
  void add_series_prior(const RowNames& n) {
    Gradient g;
    g.series = n.series, g.own = 1;
    double residual = series_value[size_t(n.series)];
    for (const int one : {n.network, n.hardware, n.period, n.pair}) {
      g.add(one, -1);
      residual -= at(one);
    }
    system->add(g, residual, student_weight(residual, priors.series_speed));
  }

  void add_priors() {
    for (size_t i = 0; i < value.size(); ++i) {
      Gradient g;
      g.add(int(i), 1);
      system->add(g, value[i] - prior[i].mean, 1 / (prior[i].sigma * prior[i].sigma));
    }
  }

  void start_from(const State& other) {
    const auto copy = [](const auto& from, const auto& values, const auto& to, auto& into) {
      for (const auto& [name, place] : to) {
        const auto known = from.find(name);
        if (known != from.end()) into[size_t(place)] = values[size_t(known->second)];
      }
    };
    copy(other.index, other.value, index, value);
    copy(other.series_index, other.series_value, series_index, series_value);
  }

  void start_at_medians(const std::vector<const ScalingRow*>& rows, const std::vector<RowNames>& names) {
    std::map<int, std::vector<double>> own, network;
    for (size_t i = 0; i < rows.size(); ++i) {
      own[names[i].series].push_back(raw_speed(*rows[i]));
      network[names[i].network].push_back(raw_speed(*rows[i]));
    }
    for (const auto& [place, all] : own) series_value[size_t(place)] = median(all);
    for (const auto& [place, all] : network) value[size_t(place)] = median(all);
  }

  // One Gauss-Newton step with errors taken `wide` times as wide; returns its largest change.
  double step(const std::vector<const ScalingRow*>& rows, const std::vector<RowNames>& names, double wide) {
    system = std::make_unique<ArrowSystem>(value.size(), series_value.size());
    add_priors();
    std::vector<bool> seen(series_value.size(), false);
    for (size_t i = 0; i < rows.size(); ++i) {
      const Evaluation e = evaluate(*rows[i], names[i]);
      const double residual = e.log_time - std::log(rows[i]->time_s);
      system->add(e.gradient, residual, student_weight(residual, wide * priors.scatter[size_t(rows[i]->kind)]));
      if (!seen[size_t(names[i].series)]) add_series_prior(names[i]);
      seen[size_t(names[i].series)] = true;
    }
    system->solve();
    double largest = 0;
    const auto move = [&](double& one, double by) {
      largest = std::max(largest, std::abs(by));
      one += std::clamp(by, -0.5, 0.5);
    };
    for (size_t i = 0; i < value.size(); ++i) move(value[i], system->shared_step(i));
    for (size_t i = 0; i < series_value.size(); ++i) move(series_value[i], system->own_step(i));
    return largest;
  }
};

ScalingModel::~ScalingModel() = default;
ScalingModel::ScalingModel(ScalingModel&&) noexcept = default;

ScalingModel::ScalingModel(const std::vector<const ScalingRow*>& rows, const ScalingModel* start,
                           const ScalingPriors& priors)
    : state_(std::make_unique<State>(priors)) {
  std::vector<RowNames> names;
  for (const ScalingRow* row : rows) names.push_back(state_->names_of(*row));
  state_->start_at_medians(rows, names);
  if (start != nullptr) state_->start_from(*start->state_);
  // Errors are taken as nearly normal first and heavy-tailed last, so that no outlier decides where the fit ends.
  for (int pass = 0; pass < 40; ++pass) {
    const double wide = std::max(1.0, (start == nullptr ? 16 : 4) * std::pow(0.6, pass));
    if (state_->step(rows, names, wide) < 1e-4 && wide == 1) break;
  }
}

ScalingPrediction ScalingModel::predict(const ScalingRow& row, int64_t fitted_gpus) const {
  const RowNames names = state_->names_of(row);
  if (names.series >= int(state_->series_value.size())) return {};
  const Evaluation e = state_->evaluate(row, names);
  // Rows scatter around their series, more the farther they are from the fitted rows.
  const double far = std::log2(std::max(1.0, double(row.gpus) / double(fitted_gpus)));
  const double scatter = state_->priors.scatter[size_t(row.kind)];
  double variance = scatter * scatter * (1 + state_->priors.scatter_far * far);
  // Names that no fitted row had are as uncertain as their prior.
  Gradient known = e.gradient;
  known.count = 0;
  for (size_t i = 0; i < e.gradient.count; ++i) {
    const Slope& slope = e.gradient.shared[i];
    if (size_t(slope.parameter) < state_->system->shared()) {
      known.shared[known.count++] = slope;
    } else {
      variance += std::pow(slope.value * state_->prior[size_t(slope.parameter)].sigma, 2);
    }
  }
  return {.time_s = std::exp(e.log_time),
          .log_sigma = std::sqrt(variance + state_->system->variance(known)),
          .floor_share = e.floor_share};
}

double ScalingModel::parameter(const std::string& name) const {
  const auto found = state_->index.find(name);
  return found == state_->index.end() ? std::numeric_limits<double>::quiet_NaN() : state_->value[size_t(found->second)];
}

}  // namespace farscale
