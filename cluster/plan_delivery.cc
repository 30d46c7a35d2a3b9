// Predictions at a few sizes, interpolated per draw on a finer grid and multiplied by Daly's goodput.
#include "cluster/plan_delivery.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <memory>
#include <optional>

#include "cluster/machine.h"
#include "cluster/plan_draws.h"
#include "kernels/error.h"

namespace farscale {
namespace {

constexpr size_t kSizes = 64;

// Whole nodes, four times as many each time, twice as many above 4,096 GPUs where communication and stragglers bend.
// The largest is max_gpus rounded up to a count that models with tensor and pipeline splits can be spread over.
std::vector<int64_t> predicted_sizes(int gpus_per_node, double max_gpus) {
  std::vector<int64_t> sizes;
  const auto least_nodes = int64_t(std::max(nodes_of(max_gpus, gpus_per_node), 1.0));
  const int64_t unit = round_unit(least_nodes);
  int64_t most_nodes = (least_nodes + unit - 1) / unit * unit;
  while (most_nodes > unit && double(most_nodes * gpus_per_node) > kMostPlanGpus) most_nodes -= unit;
  for (int64_t nodes = 1; nodes < most_nodes; nodes *= nodes * gpus_per_node < 4096 ? 4 : 2)
    sizes.push_back(nodes * gpus_per_node);
  // The last size but one is dropped when the largest is close to it.
  if (sizes.size() > 1 && double(sizes.back()) > 0.8 * double(most_nodes * gpus_per_node)) sizes.pop_back();
  sizes.push_back(most_nodes * gpus_per_node);
  return sizes;
}

// The layout that the search finds, at one size, so that it does not run again for each: a fleet that grows keeps it.
std::string layout_for(const PlanMachine& machine, const std::vector<int64_t>& sizes, const PredictOptions& options) {
  if (options.layout != "auto") return options.layout;
  constexpr int64_t kTypicalJob = 131072;
  const auto above = std::upper_bound(sizes.begin(), sizes.end(), kTypicalJob);
  Layout found = machine.predict(above == sizes.begin() ? sizes.front() : *(above - 1), options).layout;
  const std::string text = found.str();  // "dp=512 tp=1 pp=1 …"
  return text.substr(text.find(' ') + 1);
}

// Predictions at these sizes. Sizes that the layout does not fit are left out; when none is large enough, the error
// says so.
std::vector<Prediction> predict_sizes(const PlanMachine& machine, const std::vector<int64_t>& sizes,
                                      const PredictOptions& options) {
  std::vector<Prediction> predictions;
  for (const int64_t gpus : sizes) {
    try {
      predictions.push_back(machine.predict(gpus, options));
    } catch (const InputError&) {
      if (gpus == sizes.back()) throw;
    }
  }
  return predictions;
}

// ln of samples/s per GPU, nominal first, then each draw.
std::vector<float> log_rates(const Prediction& prediction, int columns) {
  std::vector<float> logs(static_cast<size_t>(columns));
  const auto log_rate = [&](double samples_per_s) { return float(std::log(samples_per_s / double(prediction.gpus))); };
  logs[0] = log_rate(prediction.samples_per_s.p50);
  for (size_t i = 1; i < logs.size(); ++i) logs[i] = log_rate(prediction.samples_per_s_draws.at(i - 1));
  return logs;
}

// A site may have smaller pods, or more GPUs on a port above them, than the catalogue assumes.
Machine with_network(const Machine& machine, const SiteNetwork& network) {
  if (!network.pod_gpus && !network.oversubscription) return machine;
  auto data = std::make_shared<Machine::Data>(machine.data());
  CollectiveConstants& constants = data->collectives;
  if (network.pod_gpus) constants.pod_ranks = int64_t(network.pod_gpus->value.p50);
  if (network.oversubscription) {
    const Estimate collisions = constants.spine_divisor.value, &over = network.oversubscription->value;
    constants.spine_divisor = *network.oversubscription;
    constants.spine_divisor.value = {over.p05 * collisions.p05, over.p50 * collisions.p50, over.p95 * collisions.p95};
  }
  return Machine(std::move(data));
}

// A figure of a site's network as a key: all that a prediction and its evidence take from it.
std::string key_of(const std::optional<Quantity>& figure) {
  if (!figure) return "none";
  const auto [low, middle, high] = figure->value;
  return fmt::format("{} {} {} {} {}", low, middle, high, name(figure->evidence), figure->source);
}

bool names_dp(const std::string& layout) {
  return layout.starts_with("dp=") || layout.find(" dp=") != std::string::npos ||
         layout.find(",dp=") != std::string::npos;
}

// Why a layout does not run, in terms of the plan: without sizes that only the interpolation knows and without options
// of predict.
std::string layout_mistake(const std::string& layout, int64_t gpus, int gpus_per_node, const std::string& reason) {
  if (layout == "auto") return reason;
  if (names_dp(layout))
    return fmt::format("layout '{}': expected no dp=: data parallelism follows from the GPUs in service", layout);
  const Layout split = parse_layout(layout, 0);
  const int64_t model = split.tp * split.pp * split.cp;
  if (gpus % model != 0)
    return fmt::format(
        "layout '{}': jobs are of whole nodes of {} GPUs in round counts: expected tp x pp x cp that divides "
        "{}, not {}",
        layout, gpus_per_node, round_unit(gpus / gpus_per_node) * gpus_per_node, model);
  const size_t advice = reason.find(": use --layout");
  if (advice == std::string::npos) return reason;
  return reason.substr(0, advice) + ": expected layout = \"auto\", more sharding (zero=, tp=, pp=) or a smaller mb=";
}

// A predictor for each set of options, and what they refer to.
class SharedPredictor {
 public:
  SharedPredictor(Workload workload, Machine machine) : workload_(std::move(workload)), machine_(std::move(machine)) {}
  const Machine& machine() const { return machine_; }
  Predictor& with(const PredictOptions& options) {
    std::unique_ptr<Predictor>& predictor =
        predictors_[fmt::format("{} {} {}", options.layout, options.draws, options.seed)];
    if (!predictor) predictor = std::make_unique<Predictor>(workload_, machine_, options);
    return *predictor;
  }

 private:
  Workload workload_;
  Machine machine_;
  std::map<std::string, std::unique_ptr<Predictor>> predictors_;  // by options
};

}  // namespace

PlanMachine machine_for(const std::string& workload, const Site& site) {
  return machine_at(site, load_workload(workload), load_hardware(site.hardware));
}

PlanMachine machine_at(const Site& site, Workload workload, const Machine& machine) {
  if (machine.data().kind == "host")
    throw InputError(
        fmt::format("{}: site '{}': hardware '{}' is a host: a plan needs GPUs or other accelerators (farscale list "
                    "hardware)",
                    site.where, site.name, site.hardware));
  const auto shared = std::make_shared<SharedPredictor>(std::move(workload), with_network(machine, site.network));
  return {
      .gpus_per_node = shared->machine().gpus_per_node(),
      .node_power_w = shared->machine().node_power_w(),
      .predict = [shared](int64_t gpus, const PredictOptions& options) { return shared->with(options).at(gpus); },
      .sensitivities = [shared](int64_t gpus,
                                const PredictOptions& options) { return shared->with(options).sensitivities(gpus); }};
}

DeliveryOptions DeliveryOptions::of(const Plan& plan, int draws, uint64_t seed) {
  return {.layout = plan.training.layout, .draws = draws, .seed = seed, .critical_batch = plan.training.critical_batch};
}

MachineSource remembering(const MachineSource& machines) {
  const auto known = std::make_shared<std::map<std::string, PlanMachine>>();
  return [machines, known](const std::string& workload, const Site& site) {
    const std::string key = fmt::format("{} {} {} {}", workload, site.hardware, key_of(site.network.pod_gpus),
                                        key_of(site.network.oversubscription));
    const auto found = known->find(key);
    if (found != known->end()) return found->second;
    PlanMachine machine = machines(workload, site);
    const auto predictions = std::make_shared<std::map<std::string, Prediction>>();
    machine.predict = [predict = machine.predict, predictions](int64_t gpus, const PredictOptions& options) {
      const std::string asked = fmt::format("{} {} {} {}", gpus, options.layout, options.draws, options.seed);
      const auto at = predictions->find(asked);
      return at != predictions->end() ? at->second : predictions->emplace(asked, predict(gpus, options)).first->second;
    };
    return known->emplace(key, std::move(machine)).first->second;
  };
}

MachineSource located(const Plan& plan, const MachineSource& machines) {
  return [machines, own = plan.training.workload, layout_where = plan.training.layout_where](
             const std::string& workload, const Site& site) {
    PlanMachine machine = machines(workload, site);
    const std::string where = workload == own ? layout_where : site.where;
    machine.predict = [predict = machine.predict, where, node = machine.gpus_per_node](int64_t gpus,
                                                                                       const PredictOptions& options) {
      try {
        return predict(gpus, options);
      } catch (const InputError& error) {
        throw InputError(where + ": " + layout_mistake(options.layout, gpus, node, error.what()));
      }
    };
    return machine;
  };
}

DeliveryCurve::DeliveryCurve(const PlanMachine& machine, const FailureModel& failures, double max_gpus,
                             const DeliveryOptions& options)
    : gpus_per_node_(machine.gpus_per_node), sizes_(kSizes), columns_(options.draws + 1) {
  predict_at(machine, max_gpus,
             {.layout = options.layout, .draws = std::max(options.draws, 100), .seed = options.seed});
  draw_failures(failures, options);
  const std::vector<double>& at = predicted_gpus_;
  least_gpus_ = at.front();
  step_ = std::max(std::log(at.back() / least_gpus_) / double(sizes_ - 1), 1e-9);
  size_t upper = 0;
  for (size_t s = 0; s < sizes_; ++s) {
    const double log_gpus = std::log(least_gpus_) + step_ * double(s);
    while (upper + 1 < at.size() && std::log(at[upper]) < log_gpus) ++upper;
    const size_t lower = upper == 0 ? 0 : upper - 1;
    const double span = std::log(at[upper] / at[lower]);
    const double share = span > 0 ? std::clamp((log_gpus - std::log(at[lower])) / span, 0.0, 1.0) : 0;
    add_size(log_gpus, share, lower, upper);
  }
  find_best();
}

void DeliveryCurve::predict_at(const PlanMachine& machine, double max_gpus, PredictOptions asked) {
  const std::vector<int64_t> sizes = predicted_sizes(machine.gpus_per_node, max_gpus);
  asked.layout = layout_ = layout_for(machine, sizes, asked);
  for (const Prediction& p : predict_sizes(machine, sizes, asked)) {
    predicted_gpus_.push_back(double(p.gpus));
    predicted_log_rates_.push_back(log_rates(p, columns_));
    predicted_batch_per_gpu_.push_back(p.samples_per_s.p50 * p.step_time_s.p50 / double(p.gpus));
    replica_nodes_ = std::max(1.0, double(p.layout.tp * p.layout.pp * p.layout.cp) / gpus_per_node_);
  }
}

void DeliveryCurve::draw_failures(const FailureModel& failures, const DeliveryOptions& options) {
  failures_ = failure_draws(failures, options.draws, options.seed);
  failures_.insert(failures_.begin(), median_failures(failures));
  for (FailureDraw& draw : failures_) draw.replica_nodes = replica_nodes_;
  if (!options.critical_batch) return;
  critical_batch_ = column_values(*options.critical_batch, options.seed, "critical batch", options.draws);
}

void DeliveryCurve::add_size(double log_gpus, double share, size_t lower, size_t upper) {
  const double gpus = std::exp(log_gpus);
  const std::vector<float>&low = predicted_log_rates_[lower], &high = predicted_log_rates_[upper];
  for (size_t c = 0; c < size_t(columns_); ++c) {
    const double running = low[c] + share * (high[c] - low[c]) + log_gpus;
    const double kept = failures_[c].goodput(gpus / gpus_per_node_) * useful_share(int(c), gpus);
    log_running_.push_back(float(running));
    log_delivered_.push_back(float(running + std::log(std::max(kept, 1e-30))));
  }
}

double DeliveryCurve::batch(double gpus) const {
  const auto above = std::lower_bound(predicted_gpus_.begin(), predicted_gpus_.end(), gpus);
  const auto upper = size_t(std::min(above, predicted_gpus_.end() - 1) - predicted_gpus_.begin());
  return gpus * predicted_batch_per_gpu_[upper];
}

double DeliveryCurve::useful_share(int column, double gpus) const {
  if (critical_batch_.empty()) return 1;
  return 1 / (1 + batch(gpus) / std::max(critical_batch_[size_t(column)], 1.0));
}

DeliveryCurve::Best DeliveryCurve::best_of(const std::vector<double>& log_delivered) const {
  const auto gpus_at = [&](auto size) { return least_gpus_ * std::exp(step_ * double(size - log_delivered.begin())); };
  const auto best = std::max_element(log_delivered.begin(), log_delivered.end());
  const auto is_near = [best](double log) { return log >= *best + std::log(0.9); };
  return {gpus_at(best), gpus_at(std::find_if(log_delivered.begin(), log_delivered.end(), is_near))};
}

void DeliveryCurve::find_best() {
  std::vector<double> near_best, medians, of_column(sizes_);
  for (size_t c = 0; c < size_t(columns_); ++c) {
    for (size_t s = 0; s < sizes_; ++s) of_column[s] = log_delivered_[s * size_t(columns_) + c];
    const Best best = best_of(of_column);
    best_of_column_.push_back(best.gpus);
    near_best.push_back(best.near_gpus);
  }
  for (size_t s = 0; s < sizes_; ++s) {
    const auto row = log_delivered_.begin() + std::ptrdiff_t(s) * columns_;
    std::vector<double> logs(row, row + columns_);
    medians.push_back(columns_ > 1 ? percentiles(logs).p50 : logs[0]);
  }
  const Best middle = best_of(medians);
  const auto around = [](std::vector<double> columns, double median) {
    if (columns.size() > 1) columns.erase(columns.begin());
    const Estimate range = percentiles(columns);
    return Estimate{std::min(range.p05, median), median, std::max(range.p95, median)};
  };
  best_job_gpus_ = around(best_of_column_, middle.gpus);
  near_best_gpus_ = around(near_best, middle.near_gpus);
}

int64_t DeliveryCurve::jobs_for(double gpus) const {
  return std::max<int64_t>(1, int64_t(std::ceil(gpus / best_job_gpus_.p50 - 1e-6)));
}

int64_t DeliveryCurve::jobs_for(double gpus, int64_t asked) const {
  if (asked == 0) return jobs_for(gpus);
  return std::clamp<int64_t>(int64_t(gpus / gpus_per_node_ + 1e-9), 1, asked);
}

DeliveryCurve::Place DeliveryCurve::place(double gpus) const {
  if (gpus <= least_gpus_) return {0, 0, gpus >= least_gpus_ - gpus_per_node_ ? gpus / least_gpus_ : 0};
  const double x = std::min(std::log(gpus / least_gpus_) / step_, double(sizes_ - 1));
  const size_t index = std::min(size_t(x), sizes_ - 2);
  return {index, x - double(index), 1};
}

int64_t round_unit(int64_t nodes) {
  int64_t unit = 1;
  while (unit * 2 <= nodes / 64) unit *= 2;
  return unit;
}

double DeliveryCurve::look_up(const std::vector<float>& logs, int column, double gpus) const {
  if (gpus <= 0) return 0;
  const Place at = place(gpus);
  const float* low = &logs[at.index * size_t(columns_) + size_t(column)];
  const double log_value = *low + at.share * (low[columns_] - *low);
  return at.below * std::exp(log_value);
}

double DeliveryCurve::samples_per_s(int column, double gpus) const { return look_up(log_running_, column, gpus); }

double DeliveryCurve::delivered_per_s(int column, double gpus) const { return look_up(log_delivered_, column, gpus); }

}  // namespace farscale
