// How wrong data sheets and learned shares are, for people and as JSON.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>

#include "cluster/share_fit.h"
#include "kernels/format.h"
#include "results/statistics.h"

namespace farscale {
namespace {

struct SheetGroup {
  std::string name;
  std::vector<const SheetStep*> steps;
};

struct SheetErrors {
  double median = 0, p90 = 0, bias = 0, coverage90 = 0;
};

// All steps, then by how many GPUs, by kind of GPU and by network.
std::vector<SheetGroup> groups_of(const SheetReport& report) {
  std::vector<SheetGroup> groups = {{"all", {}}, {"up to 16 GPUs", {}}, {"up to 512 GPUs", {}}, {"beyond", {}}};
  std::map<std::string, std::vector<const SheetStep*>> hardware, workloads;
  for (const SheetStep& one : report.steps) {
    const int64_t gpus = one.step.gpus;
    groups[0].steps.push_back(&one);
    groups[gpus <= 16 ? 1 : gpus <= 512 ? 2 : 3].steps.push_back(&one);
    hardware[one.step.hardware].push_back(&one);
    workloads[one.step.workload].push_back(&one);
  }
  for (const auto& by : {hardware, workloads}) {
    for (const auto& [name, steps] : by) groups.push_back({name, steps});
  }
  std::erase_if(groups, [](const SheetGroup& group) { return group.steps.empty(); });
  return groups;
}

SheetErrors errors_of(const SheetGroup& group) {
  std::vector<double> sizes, signed_errors;
  SheetErrors errors;
  for (const SheetStep* step : group.steps) {
    sizes.push_back(std::abs(step->error()));
    signed_errors.push_back(step->error());
    errors.coverage90 += step->covered() / double(group.steps.size());
  }
  errors.median = median(sizes);
  errors.p90 = quantile(sizes, 0.9);
  errors.bias = median(signed_errors);
  return errors;
}

std::string share_text(size_t which, double value) {
  return std::string_view(kLearnedShares[which]) == "launch_s" ? format_seconds(value) : format_percent(value);
}

const char* left_out(SheetLeaveOut leave_out) {
  return leave_out == SheetLeaveOut::kHardware ? "kind of GPU" : "network";
}

}  // namespace

std::string sheet_text(const SheetReport& report, SheetLeaveOut leave_out) {
  std::string text =
      fmt::format("learned from {} published steps (cluster/efficiency.toml holds them)\n", report.steps.size());
  TextTable shares({"share", "value", "90 % range"});
  for (size_t k = 0; k < kLearnedShares.size(); ++k) {
    const Estimate& e = report.learned.shares[k];
    shares.add(
        {kLearnedShares[k], share_text(k, e.p50), fmt::format("{} … {}", share_text(k, e.p05), share_text(k, e.p95))});
  }
  shares.add({"spread of whole steps", format_percent(report.learned.log_sigma), ""});
  text += shares.str();
  text += fmt::format("\npredicted from data sheets and shares learned without the same {}: no row of it was fitted\n",
                      left_out(leave_out));
  TextTable table({"steps", "number", "median |error|", "90th percentile", "bias", "in 90 % range"});
  for (const SheetGroup& group : groups_of(report)) {
    const SheetErrors errors = errors_of(group);
    table.add({group.name, std::to_string(group.steps.size()), format_percent(errors.median),
               format_percent(errors.p90), fmt::format("{:+.1f} %", 100 * errors.bias),
               format_percent(errors.coverage90)});
  }
  return text + table.str();
}

std::string sheet_json(const SheetReport& report, SheetLeaveOut leave_out) {
  using nlohmann::json;
  json document = {{"left_out", leave_out == SheetLeaveOut::kHardware ? "hardware" : "workload"},
                   {"spread", report.learned.log_sigma},
                   {"shares", json::object()},
                   {"by_class", json::object()},
                   {"steps", json::array()}};
  for (size_t k = 0; k < kLearnedShares.size(); ++k) {
    const Estimate& e = report.learned.shares[k];
    document["shares"][kLearnedShares[k]] = {{"p05", e.p05}, {"p50", e.p50}, {"p95", e.p95}};
  }
  for (const SheetGroup& group : groups_of(report)) {
    const SheetErrors errors = errors_of(group);
    document["by_class"][group.name] = {{"steps", group.steps.size()},
                                        {"median_abs_error", errors.median},
                                        {"p90_abs_error", errors.p90},
                                        {"bias", errors.bias},
                                        {"coverage90", errors.coverage90}};
  }
  for (const SheetStep& one : report.steps) {
    document["steps"].push_back({{"hardware", one.step.hardware},
                                 {"workload", one.step.workload},
                                 {"gpus", one.step.gpus},
                                 {"samples_per_gpu", one.step.samples_per_gpu},
                                 {"rows", one.step.rows},
                                 {"measured_s", one.step.time_s},
                                 {"predicted_s", one.predicted_s.p50},
                                 {"low_s", one.predicted_s.p05},
                                 {"high_s", one.predicted_s.p95},
                                 {"error", one.error()}});
  }
  return document.dump(1) + "\n";
}

}  // namespace farscale
