// The tornado: nominal runs with one input moved at a time.
#include "cluster/plan_sensitivity.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "cluster/plan_output.h"
#include "kernels/error.h"
#include "kernels/format.h"
#include "kernels/suggest.h"

namespace farscale {
namespace {

constexpr size_t kBars = 15;  // of a table
constexpr int kHalfWidth = 18;

// An input of the machine model moves the rate of every job on that kind of machine.
MachineSource with_rates(const MachineSource& machines, const std::string& hardware, double factor) {
  return [=](const std::string& workload, const Site& site) {
    PlanMachine machine = machines(workload, site);
    if (site.hardware != hardware) return machine;
    machine.predict = [predict = machine.predict, factor](int64_t gpus, const PredictOptions& options) {
      Prediction prediction = predict(gpus, options);
      Estimate& rate = prediction.samples_per_s;
      rate = {rate.p05 * factor, rate.p50 * factor, rate.p95 * factor};
      for (double& draw : prediction.samples_per_s_draws) draw *= factor;
      return prediction;
    };
    return machine;
  };
}

MachineSource with_node_power(const MachineSource& machines, const std::string& hardware, double watts) {
  return [=](const std::string& workload, const Site& site) {
    PlanMachine machine = machines(workload, site);
    if (site.hardware == hardware) machine.node_power_w.value = {watts, watts, watts};
    return machine;
  };
}

class Tornado {
 public:
  Tornado(const Plan& plan, const SensitivityQuestion& question, uint64_t seed, const MachineSource& machines,
          const std::function<void(double)>& progress)
      : plan_(plan),
        question_(question),
        options_{.draws = 0, .seed = seed},
        machines_(remembering(machines)),
        progress_(progress) {}

  SensitivityAnswer run() {
    answer_ = {
        .answer = question_.answer, .label = question_.label, .unit = question_.unit, .base = ask(plan_, machines_)};
    move_figures();
    for (const Site& site : plan_.sites) move_machine(site);
    std::erase_if(answer_.bars, [](const SensitivityBar& bar) { return bar.swing() == 0; });
    std::stable_sort(answer_.bars.begin(), answer_.bars.end(),
                     [](const SensitivityBar& a, const SensitivityBar& b) { return a.swing() > b.swing(); });
    return std::move(answer_);
  }

 private:
  double ask(const Plan& plan, const MachineSource& machines) const { return question_.ask(plan, options_, machines); }

  void add(const std::string& input, const Estimate& values, double low, double high) {
    ++answer_.inputs;
    answer_.bars.push_back({input, values, low, high});
  }

  double with_figure(const std::string& name, double Estimate::*percentile) const {
    Plan moved = plan_;
    visit_figures(moved, [&](const std::string& other, Quantity& figure) {
      const double value = figure.value.*percentile;
      if (other == name) figure.value = {value, value, value};
    });
    return ask(moved, machines_);
  }

  void move_figures() {
    std::vector<std::string> done;
    Plan copy = plan_;
    int all = 0;
    visit_figures(copy, [&](const std::string&, const Quantity&) { ++all; });
    int visited = 0;
    visit_figures(copy, [&](const std::string& name, const Quantity& figure) {
      if (progress_) progress_(double(++visited) / all);
      if (figure.value.p05 == figure.value.p95 || std::find(done.begin(), done.end(), name) != done.end()) return;
      done.push_back(name);
      add(name, figure.value, with_figure(name, &Estimate::p05), with_figure(name, &Estimate::p95));
    });
  }

  void move_machine(const Site& site) {
    if (std::find(machines_done_.begin(), machines_done_.end(), site.hardware) != machines_done_.end()) return;
    machines_done_.push_back(site.hardware);
    const PlanMachine machine = machines_(plan_.training.workload, site);
    const Estimate& watts = machine.node_power_w.value;
    if (watts.p05 != watts.p95)
      add(site.hardware + " node power", watts, ask(plan_, with_node_power(machines_, site.hardware, watts.p05)),
          ask(plan_, with_node_power(machines_, site.hardware, watts.p95)));
    if (!machine.sensitivities) return;
    const PlanReport nominal = run_plan(plan_, options_, machines_);
    const Prediction& job = nominal.largest_site().job.prediction;
    if (job.gpus == 0) return;
    const PredictOptions asked{.layout = job.layout.str(), .draws = 100, .seed = options_.seed};
    for (const Sensitivity& input : machine.sensitivities(job.gpus, asked))
      add(site.hardware + ": " + input.what, {},
          ask(plan_, with_rates(machines_, site.hardware, 1 / (1 + input.low_share))),
          ask(plan_, with_rates(machines_, site.hardware, 1 / (1 + input.high_share))));
  }

  const Plan& plan_;
  const SensitivityQuestion& question_;
  RunOptions options_;
  MachineSource machines_;
  const std::function<void(double)>& progress_;
  std::vector<std::string> machines_done_;
  SensitivityAnswer answer_;
};

std::string answer_value(double value, const SensitivityAnswer& answer, const Plan& plan) {
  if (std::isinf(value)) return "no number";
  if (answer.answer == info(Total::kCompleteDay).key) return date_range(plan, {value, value, value});
  if (answer.unit == "USD") return usd_range({value, value, value});
  if (answer.unit == "GPUs") return format_count(value) + " GPUs";
  return si_range({value, value, value}, answer.unit == "samples" ? "" : answer.unit);
}

// "   ▒▒▒│███": p05 left or right of the middle, p95 the other.
std::string bar_text(const SensitivityBar& bar, double base, double scale) {
  const auto cells = [&](double value) {
    if (std::isinf(value)) return kHalfWidth;
    return std::clamp(int(std::lround((value - base) / scale * kHalfWidth)), -kHalfWidth, kHalfWidth);
  };
  const int low = cells(bar.low), high = cells(bar.high);
  std::string text;
  for (int cell = -kHalfWidth; cell <= kHalfWidth; ++cell) {
    if (cell == 0)
      text += "│";
    else if ((low < 0 && cell >= low && cell < 0) || (low > 0 && cell <= low && cell > 0))
      text += "░";
    else if ((high < 0 && cell >= high && cell < 0) || (high > 0 && cell <= high && cell > 0))
      text += "█";
    else
      text += " ";
  }
  return text;
}

}  // namespace

double SensitivityBar::swing() const { return std::isinf(low) && std::isinf(high) ? 0 : std::abs(high - low); }

std::vector<std::string> total_keys() {
  std::vector<std::string> keys;
  for (size_t t = 0; t < kTotalCount; ++t) keys.emplace_back(info(Total(t)).key);
  return keys;
}

SensitivityQuestion total_question(const std::string& key) {
  const std::vector<std::string> keys = total_keys();
  const auto found = std::find(keys.begin(), keys.end(), key);
  if (found == keys.end()) {
    std::vector<std::string> known = keys;
    known.insert(known.end(), {"need", "budget"});
    throw InputError("--sensitivity: " + unknown_name("answer", key, known));
  }
  const auto total = Total(found - keys.begin());
  return {key, info(total).label, info(total).unit,
          [total](const Plan& plan, const RunOptions& options, const MachineSource& machines) {
            return run_plan(plan, options, machines).outcomes[size_t(total)].estimate.p50;
          }};
}

SensitivityAnswer answer_sensitivity(const Plan& plan, const SensitivityQuestion& question, uint64_t seed,
                                     const MachineSource& machines, const std::function<void(double)>& progress) {
  return Tornado(plan, question, seed, machines, progress).run();
}

std::string sensitivity_text(const SensitivityAnswer& answer, const Plan& plan) {
  std::string text =
      wrapped(fmt::format("{}, {}: {} with every input at its median, which is not the median of all draws where an "
                          "answer bends. One input at "
                          "a time at its 5th (░) and 95th percentile (█):\n",
                          plan.name, answer.label, answer_value(answer.base, answer, plan)));
  if (answer.bars.empty()) return text + "none of the inputs that have a range moves it.\n";
  double scale = 0;
  for (const SensitivityBar& bar : answer.bars)
    for (const double value : {bar.low, bar.high})
      if (std::isfinite(value)) scale = std::max(scale, std::abs(value - answer.base));
  TextTable table({"input", "", "at its 5th", "at its 95th"});
  for (size_t i = 0; i < std::min(kBars, answer.bars.size()); ++i) {
    const SensitivityBar& bar = answer.bars[i];
    table.add({bar.input, bar_text(bar, answer.base, std::max(scale, 1e-300)), answer_value(bar.low, answer, plan),
               answer_value(bar.high, answer, plan)});
  }
  text += table.str();
  const size_t rest = answer.bars.size() - std::min(kBars, answer.bars.size());
  return text + fmt::format("{}{} inputs were moved, {} move nothing.\n",
                            rest > 0 ? fmt::format("{} more move it less; --json lists them. ", rest) : "",
                            answer.inputs, answer.inputs - int(answer.bars.size()));
}

}  // namespace farscale
