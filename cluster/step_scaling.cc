// Step times at several numbers of ranks, from result files.
#include "cluster/step_scaling.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "kernels/format.h"

namespace farscale {
namespace {

// More ranks cannot make the same work faster: above this, what differs is the launches (clocks, other programs).
constexpr double kPlausibleEfficiency = 1.03;

struct Samples {
  std::vector<double> step_s, exposed_s;
};

std::string setting(const Record& record, const std::string& key) {
  const auto found = record.settings.find(key);
  return found == record.settings.end() ? "" : found->second;
}

// Samples by step, then by number of ranks.
std::map<std::string, std::map<int, Samples>> steps_by_ranks(const std::vector<Run>& runs) {
  std::map<std::string, std::map<int, Samples>> steps;
  for (const Run& run : runs) {
    for (const Record* record : usable(run)) {
      if (record->family != "step") continue;
      const std::string scale = setting(*record, "scale");
      const std::string step = setting(*record, "workload") + (scale.empty() ? "" : ", 1/" + scale);
      Samples& samples = steps[step][run.ranks];
      samples.step_s.insert(samples.step_s.end(), record->samples_s.begin(), record->samples_s.end());
      const auto exposed = record->counters.find("exposed_s");
      if (exposed != record->counters.end()) samples.exposed_s.push_back(exposed->second);
    }
  }
  return steps;
}

StepScalingRow row_of(const std::string& step, int ranks, const Samples& samples) {
  return {.step = step,
          .ranks = ranks,
          .step_time_s = median(samples.step_s),
          .step_time_interval95 = median_interval95(samples.step_s),
          .exposed_s = samples.exposed_s.empty() ? 0 : median(samples.exposed_s)};
}

}  // namespace

std::vector<StepScalingRow> step_scaling(const std::vector<Run>& runs) {
  std::vector<StepScalingRow> rows;
  for (const auto& [step, by_ranks] : steps_by_ranks(runs)) {
    if (by_ranks.size() < 2) continue;
    const StepScalingRow base = row_of(step, by_ranks.begin()->first, by_ranks.begin()->second);
    for (const auto& [ranks, samples] : by_ranks) {
      StepScalingRow row = row_of(step, ranks, samples);
      if (ranks != base.ranks) {
        row.efficiency = base.step_time_s / row.step_time_s;
        row.efficiency_interval95 = {base.step_time_interval95.low / row.step_time_interval95.high,
                                     base.step_time_interval95.high / row.step_time_interval95.low};
      }
      rows.push_back(row);
    }
  }
  return rows;
}

std::string step_scaling_text(const std::vector<Run>& runs) {
  const std::vector<StepScalingRow> rows = step_scaling(runs);
  if (rows.empty()) return "";
  TextTable table({"step (scaled copy)", "ranks", "step time", "95 % interval", "exposed", "efficiency", "95 % range"});
  for (const StepScalingRow& row : rows) {
    const auto [low, high] = row.step_time_interval95;
    const auto [worst, best] = row.efficiency_interval95;
    table.add({row.step, std::to_string(row.ranks), format_seconds(row.step_time_s),
               fmt::format("{} … {}", format_seconds(low), format_seconds(high)),
               row.exposed_s == 0 ? "-" : format_seconds(row.exposed_s), format_percent(row.efficiency),
               fmt::format("{} … {}", format_percent(worst), format_percent(best))});
  }
  std::string text = "step scaling, the same work on every rank (M measured here)\n" + table.str();
  const bool impossible = std::any_of(rows.begin(), rows.end(),
                                      [](const StepScalingRow& row) { return row.efficiency > kPlausibleEfficiency; });
  if (impossible) text += "over 100 %: the launches differ by more than the ranks do; repeat on an idle machine\n";
  return text;
}

}  // namespace farscale
