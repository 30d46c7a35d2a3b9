// What one plan has more than another, over common random numbers.
#include "cluster/plan_difference.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "cluster/plan_output.h"
#include "kernels/format.h"

namespace farscale {
namespace {

TotalDifference difference_in(const Outcomes& base, const Outcomes& other, Total total) {
  std::vector<double> columns = other[size_t(total)].columns;
  constexpr double kRounding = 1e-12;  // of sums in another order
  for (size_t c = 0; c < columns.size(); ++c) {
    const double before = base[size_t(total)].columns[c];
    columns[c] = std::abs(columns[c] - before) <= kRounding * std::abs(before) ? 0 : columns[c] - before;
  }
  const auto first = columns.begin() + (columns.size() > 1 ? 1 : 0);
  const auto more = std::count_if(first, columns.end(), [](double value) { return value > 0; });
  return {estimate_of(columns), double(more) / double(columns.end() - first)};
}

PartDifference part_difference(const std::string& name, const Outcomes& base, const Outcomes& other) {
  PartDifference part{.name = name, .totals = {}};
  for (size_t t = 0; t < kCompared.size(); ++t) part.totals[t] = difference_in(base, other, kCompared[t]);
  return part;
}

template <typename Part>
const Part* find_part(const std::vector<Part>& parts, const std::string& name) {
  const auto found = std::find_if(parts.begin(), parts.end(), [&](const Part& one) { return one.name == name; });
  return found == parts.end() ? nullptr : &*found;
}

template <typename Part>
PartDifferences part_differences(const std::vector<Part>& base, const std::vector<Part>& other) {
  PartDifferences parts;
  for (const Part& one : base) {
    if (const Part* then = find_part(other, one.name))
      parts.both.push_back(part_difference(one.name, one.outcomes, then->outcomes));
    else
      parts.only_base.push_back(one.name);
  }
  for (const Part& one : other)
    if (!find_part(base, one.name)) parts.only_other.push_back(one.name);
  return parts;
}

std::string difference_text(const TotalDifference& difference, bool has_draws) {
  std::string text = si_range(difference.more);
  if (has_draws) text += fmt::format(", more in {:.0f} %", 100 * difference.share_more);
  return text;
}

// A row a total: for the whole plans, then for each part that all plans have.
void add_rows(TextTable& table, const std::string& prefix, const std::vector<const PartDifference*>& parts,
              bool has_draws) {
  for (size_t t = 0; t < kCompared.size(); ++t) {
    std::vector<std::string> cells = {prefix + info(kCompared[t]).label};
    for (const PartDifference* part : parts) cells.push_back(part ? difference_text(part->totals[t], has_draws) : "-");
    table.add(cells);
  }
}

void add_parts(TextTable& table, const std::vector<std::string>& names, const std::vector<PlanDifference>& all,
               PartDifferences PlanDifference::*of, bool has_draws) {
  for (const std::string& name : names) {
    std::vector<const PartDifference*> parts;
    for (const PlanDifference& one : all) parts.push_back(find_part((one.*of).both, name));
    if (std::any_of(parts.begin(), parts.end(), [](const PartDifference* part) { return part != nullptr; }))
      add_rows(table, name + ": ", parts, has_draws);
  }
}

std::string joined(const std::vector<std::string>& names) { return fmt::format("{}", fmt::join(names, ", ")); }

// Names of parts that nothing is held against.
std::string alone_text(const PlanDifference& difference, const char* what, const PartDifferences& parts) {
  std::string text;
  if (!parts.only_base.empty())
    text += fmt::format("Only {} has the {} {}.\n", difference.base, what, joined(parts.only_base));
  if (!parts.only_other.empty())
    text += fmt::format("Only {} has the {} {}.\n", difference.other, what, joined(parts.only_other));
  return text;
}

std::vector<std::string> names_of_organisations(const PlanReport& report) {
  std::vector<std::string> names;
  for (const OrganisationOutcomes& one : by_organisation(report)) names.push_back(one.name);
  return names;
}

std::vector<std::string> names_of_sites(const PlanReport& report) {
  std::vector<std::string> names;
  for (const SiteReport& site : report.sites) names.push_back(site.name);
  return names;
}

std::string gain_text(const Outcomes& from, const Outcomes& to, Total total, const char* what) {
  const Estimate change = difference_in(from, to, total).more;
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
    const OrganisationOutcomes* then = find_part(organisations, one.name);
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

PlanDifference difference_of(const PlanReport& base, const PlanReport& other) {
  return {.base = base.plan.name,
          .other = other.plan.name,
          .whole = part_difference("", base.outcomes, other.outcomes),
          .organisations = part_differences(by_organisation(base), by_organisation(other)),
          .sites = part_differences(base.sites, other.sites)};
}

std::string difference_text(const std::vector<PlanReport>& reports) {
  if (reports.size() < 2) return "";
  const PlanReport& base = reports.front();
  const bool has_draws = base.options.draws > 0;
  std::vector<std::string> header = {"more than " + base.plan.name};
  std::vector<PlanDifference> all;
  std::vector<const PartDifference*> whole;
  for (size_t i = 1; i < reports.size(); ++i) {
    header.push_back(reports[i].plan.name);
    all.push_back(difference_of(base, reports[i]));
  }
  for (const PlanDifference& one : all) whole.push_back(&one.whole);
  TextTable table(header);
  add_rows(table, "", whole, has_draws);
  const std::vector<std::string> organisations = names_of_organisations(base), sites = names_of_sites(base);
  if (organisations.size() > 1) add_parts(table, organisations, all, &PlanDifference::organisations, has_draws);
  if (sites.size() > organisations.size()) add_parts(table, sites, all, &PlanDifference::sites, has_draws);
  std::string text =
      table.str() + wrapped(
                        "Differences draw by draw over common random numbers: median (5th–95th percentile), and the "
                        "share of draws in which the plan has more.");
  for (size_t i = 1; i < reports.size(); ++i) {
    text +=
        fmt::format("\nWith {} instead of {}:\n{}", reports[i].plan.name, base.plan.name, gains_text(base, reports[i]));
    text += wrapped(alone_text(all[i - 1], "organisation", all[i - 1].organisations) +
                        alone_text(all[i - 1], "site", all[i - 1].sites),
                    "  ");
  }
  return text;
}

}  // namespace farscale
