// What is different around two runs, and what should make their comparison doubted.
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <set>

#include "results/compare.h"

namespace farscale {
namespace {

std::string joined(std::vector<std::string> items, bool unique) {
  if (unique) {
    std::sort(items.begin(), items.end());
    items.erase(std::unique(items.begin(), items.end()), items.end());
  }
  std::string text;
  for (const std::string& item : items) text += (text.empty() ? "" : ", ") + item;
  return text;
}

// The facts of a side; where its launches differ, all values.
std::map<std::string, std::string> facts_of(const std::vector<Run>& runs) {
  std::map<std::string, std::vector<std::string>> values;
  for (const Run& run : runs) {
    values["backend"].push_back(run.backend);
    values["device"].push_back(run.device);
    values["suite"].push_back(run.suite);
    values["ranks"].push_back(fmt::format("{}", run.ranks));
    values["hosts"].push_back(joined(run.hosts, true));
    for (const auto& [key, value] : run.environment) values[key].push_back(value);
  }
  std::map<std::string, std::string> facts;
  for (auto& [key, list] : values) facts[key] = joined(std::move(list), true);
  return facts;
}

double leading_number(const std::map<std::string, std::string>& facts, const std::string& key) {
  const auto found = facts.find(key);
  return found == facts.end() ? 0 : std::strtod(found->second.c_str(), nullptr);
}

// Foreign load slows a run down as a change of the program would.
void warn_about_load(const Run& run, std::vector<std::string>& warnings) {
  const double load = leading_number(run.environment, "load_average_start");
  const double threads = leading_number(run.environment, "backend.hardware_threads");
  if (threads > 0 && load > threads) {
    warnings.push_back(
        fmt::format("{} began under a load of {:.1f} on {:.0f} CPUs: differences may be those of "
                    "other programs; repeat on an idle machine",
                    run.path, load, threads));
  }
}

}  // namespace

std::vector<Difference> differences_of(const std::vector<Run>& baseline, const std::vector<Run>& other) {
  const auto before = facts_of(baseline), after = facts_of(other);
  std::set<std::string> keys;
  for (const auto& [key, value] : before) keys.insert(key);
  for (const auto& [key, value] : after) keys.insert(key);
  std::vector<Difference> differences;
  const auto value_in = [](const auto& facts, const std::string& key) {
    const auto found = facts.find(key);
    return found == facts.end() || found->second.empty() ? std::string("-") : found->second;
  };
  for (const std::string& key : keys) {
    const std::string a = value_in(before, key), b = value_in(after, key);
    if (a != b) differences.push_back({.what = key, .baseline = a, .other = b});
  }
  return differences;
}

std::vector<std::string> warnings_about(const std::vector<Run>& baseline, const std::vector<Run>& other) {
  std::vector<std::string> warnings;
  for (const auto* runs : {&baseline, &other}) {
    for (const Run& run : *runs) {
      if (!run.complete) warnings.push_back(fmt::format("{} is incomplete: killed, or still running", run.path));
      warn_about_load(run, warnings);
    }
  }
  if (baseline[0].backend != other[0].backend || baseline[0].device != other[0].device) {
    warnings.push_back("different devices: the ratios compare machines, not versions");
  }
  if (std::min(baseline.size(), other.size()) < kEnoughLaunches) {
    warnings.push_back(
        "fewer than 3 launches on a side: what varies from launch to launch is assumed, not measured; folders of "
        "launches can be compared too");
  }
  return warnings;
}

}  // namespace farscale
