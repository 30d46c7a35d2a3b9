// Several plans side by side, and their differences over common random numbers.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <functional>

#include "cluster/plan_output.h"
#include "kernels/format.h"

namespace farscale {
namespace {

constexpr size_t kPlansAcross = 4;

// One row of the compact table; the job is that of the site with the largest fleet.
struct SummaryRow {
  const char* label;
  std::function<std::string(const PlanReport&, const JobReport&)> text;
};

std::string with_letter(const std::string& text, Evidence evidence) {
  return fmt::format("{} {}", text, letter(evidence));
}

// All sites of a plan, each with its fleet at its largest. Their uncertain figures are shared, so percentiles add up.
struct FleetRates {
  double training_gpus = 0;
  int64_t jobs = 0;
  Estimate samples_per_s, delivered_per_s;
  Evidence rate_evidence = Evidence::kMeasured, goodput_evidence = Evidence::kMeasured;
};

void add(Estimate& sum, const Estimate& part) { sum = {sum.p05 + part.p05, sum.p50 + part.p50, sum.p95 + part.p95}; }

FleetRates fleet_of(const PlanReport& report) {
  FleetRates fleet;
  for (const SiteReport& site : report.sites) {
    fleet.training_gpus += site.job.training_gpus;
    fleet.jobs += site.job.jobs;
    add(fleet.samples_per_s, site.job.samples_per_s);
    add(fleet.delivered_per_s, site.job.delivered_per_s);
    fleet.rate_evidence = weakest(fleet.rate_evidence, site.job.rate_evidence);
    fleet.goodput_evidence = weakest(fleet.goodput_evidence, site.job.goodput_evidence);
  }
  return fleet;
}

std::string jobs_text(const FleetRates& fleet) {
  return fmt::format("{} in {} job{}", format_count(fleet.training_gpus), fleet.jobs, fleet.jobs == 1 ? "" : "s");
}

std::string best_size_text(const JobReport& job) {
  return job.peak_inside ? fmt::format("{} GPUs", about_count(job.best_job_gpus)) : "the whole fleet";
}

// Megawatts when the fleet is largest.
Estimate peak_power(const PlanReport& report) {
  Estimate most;
  for (const TimelineRow& row : report.timeline)
    if (row.power_mw.p50 >= most.p50) most = row.power_mw;
  return most;
}

// The day on which 95 % of the fleet is in service, or that the plan ends before it.
std::string complete_date(const PlanReport& report, double Estimate::*percentile) {
  const double day = report.outcomes[size_t(Total::kCompleteDay)].estimate.*percentile;
  return day >= report.plan.days() ? "later" : date_range(report.plan, {.p05 = day, .p50 = day, .p95 = day});
}

// The words of a name in two lines of about equal length, so that four plans fit across a screen.
std::array<std::string, 2> two_lines(const std::string& name) {
  size_t split = std::string::npos;
  for (size_t at = name.find('-'); at != std::string::npos; at = name.find('-', at + 1))
    if (at < 18) split = at;
  if (name.size() <= 20 || split == std::string::npos) return {name, ""};
  return {name.substr(0, split + 1), name.substr(split + 1)};
}

// A table whose header takes two lines.
TextTable wrapped_table(const std::vector<std::string>& header) {
  std::vector<std::string> first, second;
  for (const std::string& name : header) {
    const std::array<std::string, 2> lines = two_lines(name);
    first.push_back(lines[0]);
    second.push_back(lines[1]);
  }
  TextTable table(first);
  table.add(second);
  return table;
}

std::vector<SummaryRow> summary_rows(bool with_batch) {
  using Report = const PlanReport&;
  using Job = const JobReport&;
  std::vector<SummaryRow> rows = {
      {"GPUs that train", [](Report report, Job) { return jobs_text(fleet_of(report)); }},
      {"a job delivers most at", [](Report, Job job) { return best_size_text(job); }},
      {"samples/s",
       [](Report report, Job) {
         return with_letter(si_range(fleet_of(report).samples_per_s), fleet_of(report).rate_evidence);
       }},
      {"MFU", [](Report, Job job) { return with_letter(percent_range(job.prediction.mfu), job.rate_evidence); }},
      {"scaling efficiency",
       [](Report, Job job) {
         return with_letter(percent_range(job.prediction.scaling_efficiency), job.rate_evidence);
       }},
      {"exposed communication",
       [](Report, Job job) {
         return with_letter(percent_range(job.prediction.exposed_comm_share), job.rate_evidence);
       }},
      {"time between failures",
       [](Report, Job job) { return with_letter(time_range(job.goodput.mtbf_s), job.mtbf_evidence); }},
      {"goodput",
       [](Report, Job job) { return with_letter(percent_range(job.goodput.goodput), job.goodput_evidence); }},
      {"samples/s kept",
       [](Report report, Job) {
         const FleetRates fleet = fleet_of(report);
         return with_letter(si_range(fleet.delivered_per_s), weakest(fleet.rate_evidence, fleet.goodput_evidence));
       }},
      {"95 % in service", [](Report report, Job) { return complete_date(report, &Estimate::p50); }},
      {"  5th–95th percentile",
       [](Report report, Job) {
         return fmt::format("{} – {}", complete_date(report, &Estimate::p05), complete_date(report, &Estimate::p95));
       }},
      {"power, MW",
       [](Report report, Job job) { return with_letter(si_range(peak_power(report)), job.power_evidence); }},
  };
  if (with_batch)
    rows.push_back({"useful by critical batch", [](Report report, Job job) {
                      return report.plan.training.critical_batch ? percent_range(job.useful_share) : std::string("all");
                    }});
  return rows;
}

std::string summary_block(const std::vector<PlanReport>& reports, size_t first, size_t last) {
  std::vector<std::string> header = {""};
  for (size_t i = first; i < last; ++i) header.push_back(reports[i].plan.name);
  TextTable table = wrapped_table(header);
  const bool with_batch = std::any_of(reports.begin(), reports.end(), [](const PlanReport& report) {
    return report.plan.training.critical_batch.has_value();
  });
  for (const SummaryRow& row : summary_rows(with_batch)) {
    std::vector<std::string> cells = {row.label};
    for (size_t i = first; i < last; ++i) cells.push_back(row.text(reports[i], reports[i].largest_site().job));
    table.add(cells);
  }
  return table.str();
}

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
    text += fmt::format("{} {}; it {}.\n  In its warehouse: {}; instead of {}.\n", one.name,
                        gain_text(one.outcomes, then->outcomes, Total::kServiceGpuDays, "GPU-days in service"),
                        gain_text(one.outcomes, then->outcomes, Total::kSamples, "samples"),
                        stored_text(then->outcomes), stored_text(one.outcomes));
  }
  return text;
}

}  // namespace

std::string summary_text(const std::vector<PlanReport>& reports) {
  std::string text;
  for (size_t first = 0; first < reports.size(); first += kPlansAcross)
    text += summary_block(reports, first, std::min(first + kPlansAcross, reports.size())) + "\n";
  std::string workloads;
  for (const PlanReport& report : reports)
    if (workloads.find(report.plan.training.workload) == std::string::npos)
      workloads += (workloads.empty() ? "" : ", ") + report.plan.training.workload;
  text += fmt::format(
      "Each fleet at its largest, training {}. Median (5th–95th percentile). The letter is the weakest\n"
      "evidence a figure rests on: M measured, P published, D data sheet, A assumed.\n",
      workloads);
  for (const PlanReport& report : reports)
    if (report.sites.size() > 1)
      text += fmt::format("{}: samples/s of its {} sites together; MFU to goodput of the largest job, at {}.\n",
                          report.plan.name, report.sites.size(), report.largest_site().name);
  return text;
}

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
  std::string text = table.str() +
                     "Differences draw by draw over common random numbers: median (5th–95th percentile), and the "
                     "share of draws in which the plan has more.\n";
  for (size_t i = 1; i < reports.size(); ++i)
    text +=
        fmt::format("\nWith {} instead of {}:\n{}", reports[i].plan.name, base.plan.name, gains_text(base, reports[i]));
  return text;
}

}  // namespace farscale
