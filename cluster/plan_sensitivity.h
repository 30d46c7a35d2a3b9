// Which input moves an answer most: every drawn input alone at its 5th and 95th percentile, the rest at the median.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "cluster/plan_run.h"

namespace farscale {

struct SensitivityBar {
  std::string input;  // "giga-texas-south rack per day"; "h100-sxm: convolution"
  Estimate values;    // of the input; zeros for inputs of the machine model, which have no one unit
  double low = 0;     // the answer with the input at its 5th percentile
  double high = 0;    // and at its 95th
  double swing() const;
};

struct SensitivityAnswer {
  std::string answer;  // "samples", "complete_day", "need", …
  std::string label;   // "samples kept"
  std::string unit;
  double base = 0;                   // with every input at its median
  std::vector<SensitivityBar> bars;  // largest swing first; inputs that move nothing are left out
  int inputs = 0;                    // that were moved
};

// One question about a plan with a number for an answer, asked again for each input.
struct SensitivityQuestion {
  std::string answer;
  std::string label;
  std::string unit;
  std::function<double(const Plan&, const RunOptions&, const MachineSource&)> ask;
};

// A total's key ("samples", "cost_usd", …; "complete_day"). Throws InputError with the nearest name.
SensitivityQuestion total_question(const std::string& key);
std::vector<std::string> total_keys();

// `progress` is told the share of the inputs done.
SensitivityAnswer answer_sensitivity(const Plan& plan, const SensitivityQuestion& question, uint64_t seed,
                                     const MachineSource& machines = machine_for,
                                     const std::function<void(double)>& progress = {});

// Calls `visit` with every figure of a plan that is drawn, and the name of its stream: equal names move together.
void visit_figures(Plan& plan, const std::function<void(const std::string& name, Quantity&)>& visit);

std::string sensitivity_text(const SensitivityAnswer& answer, const Plan& plan);

}  // namespace farscale
