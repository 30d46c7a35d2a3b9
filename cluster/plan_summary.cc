// Several plans side by side.
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
  bool of_job = false;  // says nothing where none trains
};

std::string with_letter(const std::string& text, Evidence evidence) {
  return fmt::format("{} {}", text, letter(evidence));
}

// The weakest evidence of any site's jobs.
Evidence weakest_of(const PlanReport& report, Evidence JobReport::*of) {
  Evidence evidence = Evidence::kMeasured;
  for (const SiteReport& site : report.sites) evidence = weakest(evidence, site.job.*of);
  return evidence;
}

std::string jobs_text(const FleetPeak& fleet) {
  if (fleet.jobs == 0) return "0";
  return fmt::format("{} in {}", format_count(fleet.training_gpus), plural(fleet.jobs, "job"));
}

std::string best_size_text(const JobReport& job) {
  return job.peak_inside ? range_of(job.best_job_gpus, 1e3, "k GPUs") : "the whole fleet";
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

// What some plan of those shown has, and all must therefore say.
struct Contents {
  bool several_workloads = false, batch = false;
};

Contents contents_of(const std::vector<PlanReport>& reports) {
  const auto workload = [](const PlanReport& report) -> const std::string& { return report.plan.training.workload; };
  Contents contents;
  for (const PlanReport& report : reports) {
    contents.several_workloads = contents.several_workloads || workload(report) != workload(reports.front());
    contents.batch = contents.batch || report.plan.training.critical_batch.has_value();
  }
  return contents;
}

using Report = const PlanReport&;
using Job = const JobReport&;

// A figure of the largest job, with its letter.
SummaryRow job_row(const char* label, std::string (*text)(Job), Evidence JobReport::*evidence) {
  return {label, [=](Report, Job job) { return with_letter(text(job), job.*evidence); }, true};
}

std::string kept_text(Report report) {
  return with_letter(si_range(report.peak.kept_per_s), weakest(weakest_of(report, &JobReport::rate_evidence),
                                                               weakest_of(report, &JobReport::goodput_evidence)));
}

std::string power_text(Report report, Job job) {
  return is_rented(report.plan) ? "the lessor's" : with_letter(si_range(peak_power(report)), job.power_evidence);
}

std::string complete_range(Report report) {
  return fmt::format("{} – {}", complete_date(report, &Estimate::p05), complete_date(report, &Estimate::p95));
}

std::string useful_text(Report report, Job job) {
  return report.plan.training.critical_batch ? percent_range(job.useful_share) : "all";
}

std::vector<SummaryRow> summary_rows(const Contents& of_all) {
  const auto rate = &JobReport::rate_evidence;
  std::vector<SummaryRow> rows = {
      {"GPUs that train", [](Report report, Job) { return jobs_text(report.peak); }},
      {"a job delivers most at", [](Report, Job job) { return best_size_text(job); }, true},
      {"samples/s",
       [=](Report report, Job) { return with_letter(si_range(report.peak.samples_per_s), weakest_of(report, rate)); }},
      job_row(
          "MFU", [](Job job) { return percent_range(job.prediction.mfu); }, rate),
      job_row(
          "scaling efficiency", [](Job job) { return percent_range(job.prediction.scaling_efficiency); }, rate),
      job_row(
          "exposed communication", [](Job job) { return percent_range(job.prediction.exposed_comm_share); }, rate),
      job_row(
          "time between failures", [](Job job) { return time_range(job.goodput.mtbf_s); }, &JobReport::mtbf_evidence),
      job_row(
          "goodput", [](Job job) { return percent_range(job.goodput.goodput); }, &JobReport::goodput_evidence),
      {"samples/s kept", [](Report report, Job) { return kept_text(report); }},
      {"95 % in service", [](Report report, Job) { return complete_date(report, &Estimate::p50); }},
      {"  5th–95th percentile", [](Report report, Job) { return complete_range(report); }},
      {"power, MW", power_text}};
  if (of_all.several_workloads)
    rows.insert(rows.begin(), {"trains", [](Report report, Job) { return report.plan.training.workload; }});
  if (of_all.batch) rows.push_back({"useful by critical batch", useful_text});
  return rows;
}

std::string summary_block(const std::vector<PlanReport>& reports, size_t first, size_t last) {
  std::vector<std::string> header = {""};
  for (size_t i = first; i < last; ++i) header.push_back(reports[i].plan.name);
  TextTable table = wrapped_table(header);
  for (const SummaryRow& row : summary_rows(contents_of(reports))) {
    std::vector<std::string> cells = {row.label};
    for (size_t i = first; i < last; ++i) {
      const JobReport& job = reports[i].largest_site().job;
      cells.push_back(row.of_job && job.jobs == 0 ? "-" : row.text(reports[i], job));
    }
    table.add(cells);
  }
  return table.str();
}

}  // namespace

std::string summary_text(const std::vector<PlanReport>& reports) {
  std::string text;
  for (size_t first = 0; first < reports.size(); first += kPlansAcross)
    text += summary_block(reports, first, std::min(first + kPlansAcross, reports.size())) + "\n";
  const bool several = contents_of(reports).several_workloads;
  text +=
      wrapped(fmt::format("Each fleet on the day with most GPUs in service{}. {}Median (5th–95th percentile). The "
                          "letter is the weakest evidence a figure rests "
                          "on: M measured, P published, D data sheet, A assumed.",
                          several ? "" : ", training " + reports.front().plan.training.workload,
                          several ? "Samples of different workloads are not comparable. " : ""));
  for (const PlanReport& report : reports)
    if (report.sites.size() > 1)
      text +=
          wrapped(fmt::format("{}: samples/s of its {} sites on that day; MFU to goodput of the largest job, at {}.",
                              report.plan.name, report.sites.size(), report.largest_site().name));
  return text;
}

}  // namespace farscale
