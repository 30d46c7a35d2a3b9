// What one plan has more than another, over common random numbers.
#include <fmt/format.h>

#include <algorithm>

#include "cluster/plan_output.h"
#include "kernels/format.h"

namespace farscale {
namespace {

std::vector<double> differences(const Outcomes& from, const Outcomes& to, Total total) {
  std::vector<double> columns = to[size_t(total)].columns;
  for (size_t c = 0; c < columns.size(); ++c) columns[c] -= from[size_t(total)].columns[c];
  return columns;
}

std::string difference_of(const Outcomes& from, const Outcomes& to, Total total) {
  const std::vector<double> columns = differences(from, to, total);
  const auto more = std::count_if(columns.begin() + 1, columns.end(), [](double value) { return value > 0; });
  std::string text = si_range(estimate_of(columns));
  if (columns.size() > 1) text += fmt::format(", more in {:.0f} %", 100.0 * double(more) / double(columns.size() - 1));
  return text;
}

const OrganisationOutcomes* find_organisation(const std::vector<OrganisationOutcomes>& all, const std::string& name) {
  const auto found = std::find_if(all.begin(), all.end(), [&](const auto& one) { return one.name == name; });
  return found == all.end() ? nullptr : &*found;
}

// Rows of an organisation that all plans have.
void add_organisation(TextTable& table, const OrganisationOutcomes& base,
                      const std::vector<std::vector<OrganisationOutcomes>>& others) {
  for (const Total total : {Total::kSamples, Total::kServiceGpuDays, Total::kIdleGpuDays, Total::kStoredGpuDays,
                            Total::kPeakStored, Total::kCostUsd}) {
    std::vector<std::string> cells = {fmt::format("{}: {}", base.name, info(total).label)};
    for (const auto& organisations : others) {
      const OrganisationOutcomes* other = find_organisation(organisations, base.name);
      if (!other) return;
      cells.push_back(difference_of(base.outcomes, other->outcomes, total));
    }
    table.add(cells);
  }
}

std::string gain_text(const Outcomes& from, const Outcomes& to, Total total, const char* what) {
  const Estimate change = estimate_of(differences(from, to, total));
  if (change.p05 > 0) return fmt::format("gains {} {}", si_range(change), what);
  if (change.p95 < 0) return fmt::format("loses {} {}", si_range({-change.p95, -change.p50, -change.p05}), what);
  if (change.p05 == 0 && change.p95 == 0) return fmt::format("has as many {}", what);
  return fmt::format("neither gains nor loses {} for certain, {}", what, si_range(change));
}

std::string stored_text(const Outcomes& outcomes) {
  const auto at = [&](Total total) { return si_range(outcomes[size_t(total)].estimate); };
  return fmt::format("{} GPUs on the worst day, {} GPU-days", at(Total::kPeakStored), at(Total::kStoredGpuDays));
}

// Who gains and loses, and what stands in a warehouse instead.
std::string gains_text(const PlanReport& base, const PlanReport& other) {
  std::string text;
  const auto organisations = by_organisation(other);
  for (const OrganisationOutcomes& one : by_organisation(base)) {
    const OrganisationOutcomes* then = find_organisation(organisations, one.name);
    if (!then) continue;
    text += wrapped(fmt::format("{} {}; it {}.\n  In its warehouse: {}; instead of {}.\n", one.name,
                                gain_text(one.outcomes, then->outcomes, Total::kServiceGpuDays, "GPU-days in service"),
                                gain_text(one.outcomes, then->outcomes, Total::kSamples, "samples"),
                                stored_text(then->outcomes), stored_text(one.outcomes)),
                    "  ");
  }
  return text;
}

}  // namespace

std::string difference_text(const std::vector<PlanReport>& reports) {
  if (reports.size() < 2) return "";
  const PlanReport& base = reports.front();
  std::vector<std::string> header = {"more than " + base.plan.name};
  std::vector<std::vector<OrganisationOutcomes>> organisations;
  for (size_t i = 1; i < reports.size(); ++i) {
    header.push_back(reports[i].plan.name);
    organisations.push_back(by_organisation(reports[i]));
  }
  TextTable table(header);
  for (const Total total : {Total::kSamples, Total::kServiceGpuDays, Total::kIdleGpuDays, Total::kStoredGpuDays,
                            Total::kPeakStored, Total::kEnergyMwh, Total::kCostUsd, Total::kWrittenOffUsd}) {
    std::vector<std::string> cells = {info(total).label};
    for (size_t i = 1; i < reports.size(); ++i)
      cells.push_back(difference_of(base.outcomes, reports[i].outcomes, total));
    table.add(cells);
  }
  if (base.sites.size() > 1)
    for (const OrganisationOutcomes& one : by_organisation(base)) add_organisation(table, one, organisations);
  std::string text =
      table.str() + wrapped(
                        "Differences draw by draw over common random numbers: median (5th–95th percentile), and the "
                        "share of draws in which the plan has more.");
  for (size_t i = 1; i < reports.size(); ++i)
    text +=
        fmt::format("\nWith {} instead of {}:\n{}", reports[i].plan.name, base.plan.name, gains_text(base, reports[i]));
  return text;
}

}  // namespace farscale
