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
  if (fleet.jobs == 0) return "0";
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

std::vector<SummaryRow> summary_rows(const Contents& of_all) {
  using Report = const PlanReport&;
  using Job = const JobReport&;
  std::vector<SummaryRow> rows = {
      {"GPUs that train", [](Report report, Job) { return jobs_text(fleet_of(report)); }},
      {"a job delivers most at", [](Report, Job job) { return best_size_text(job); }, true},
      {"samples/s",
       [](Report report, Job) {
         return with_letter(si_range(fleet_of(report).samples_per_s), fleet_of(report).rate_evidence);
       }},
      {"MFU", [](Report, Job job) { return with_letter(percent_range(job.prediction.mfu), job.rate_evidence); }, true},
      {"scaling efficiency",
       [](Report, Job job) { return with_letter(percent_range(job.prediction.scaling_efficiency), job.rate_evidence); },
       true},
      {"exposed communication",
       [](Report, Job job) { return with_letter(percent_range(job.prediction.exposed_comm_share), job.rate_evidence); },
       true},
      {"time between failures",
       [](Report, Job job) { return with_letter(time_range(job.goodput.mtbf_s), job.mtbf_evidence); }, true},
      {"goodput", [](Report, Job job) { return with_letter(percent_range(job.goodput.goodput), job.goodput_evidence); },
       true},
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
       [](Report report, Job job) {
         if (is_rented(report.plan)) return std::string("the lessor's");
         return with_letter(si_range(peak_power(report)), job.power_evidence);
       }},
  };
  if (of_all.several_workloads)
    rows.insert(rows.begin(), {"trains", [](Report report, Job) { return report.plan.training.workload; }});
  if (of_all.batch)
    rows.push_back({"useful by critical batch", [](Report report, Job job) {
                      return report.plan.training.critical_batch ? percent_range(job.useful_share) : std::string("all");
                    }});
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
  text += wrapped(fmt::format(
      "Each fleet at its largest{}. {}Median (5th–95th percentile). The letter is the weakest evidence a figure rests "
      "on: M measured, P published, D data sheet, A assumed.",
      several ? "" : ", training " + reports.front().plan.training.workload,
      several ? "Samples of different workloads are not comparable. " : ""));
  for (const PlanReport& report : reports)
    if (report.sites.size() > 1)
      text += wrapped(fmt::format("{}: samples/s of its {} sites together; MFU to goodput of the largest job, at {}.",
                                  report.plan.name, report.sites.size(), report.largest_site().name));
  return text;
}

}  // namespace farscale
