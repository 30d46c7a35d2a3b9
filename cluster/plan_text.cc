// One plan as tables and sentences that a manager can read.
#include <fmt/format.h>

#include <array>
#include <cmath>

#include "cluster/plan_output.h"
#include "kernels/format.h"

namespace farscale {
namespace {

std::string header_text(const PlanReport& report) {
  const Plan& plan = report.plan;
  std::string text = fmt::format("{}: {}\n", plan.name, plan.title);
  text += fmt::format("Trains {}, {} to {}. ", plan.training.workload, iso_date(plan.start), iso_date(plan.end));
  if (report.options.draws == 0) return text + "One nominal run: every figure at its median.\n";
  return text + fmt::format("Median (5 to 95 % of {} draws, seed {}).\n", report.options.draws, report.options.seed);
}

const char* row_name(const PlanReport& report) {
  constexpr std::array kNames = {"at the end of", "in the week to", "at the end of"};
  return kNames[size_t(report.options.rows)];
}

// Where the GPUs are.
std::string fleet_text(const PlanReport& report) {
  TextTable table({row_name(report), "delivered", "in a warehouse", "installed", "in service", "waits for"});
  for (const TimelineRow& row : report.timeline)
    if (row.shown)
      table.add({iso_date(row.date), count_range(row.delivered), count_range(row.stored), count_range(row.installed),
                 count_range(row.in_service),
                 row.bottleneck == Bottleneck::kNone ? "" : std::string(name(row.bottleneck))});
  return table.str();
}

// What they do, and what was kept since the row before.
std::string training_text(const PlanReport& report) {
  const bool counts = report.plan.training.samples_per_training.has_value();
  std::vector<std::string> header = {row_name(report), "power MW", "samples/s", "goodput", "kept since the row before"};
  if (counts) header.emplace_back("trainings");
  TextTable table(header);
  for (const TimelineRow& row : report.timeline) {
    if (!row.shown) continue;
    std::vector<std::string> cells = {
        iso_date(row.date), is_rented(report.plan) ? "lessor's" : range_of(row.power_mw, 1, ""),
        si_range(row.samples_per_s), row.in_service.p50 < 0.5 ? "-" : percent_range(row.goodput),
        si_range(row.samples_since_shown)};
    if (counts) cells.push_back(range_of(row.trainings, 1, ""));
    table.add(cells);
  }
  return table.str();
}

Estimate scaled(const Estimate& value, double factor) {
  return {value.p05 * factor, value.p50 * factor, value.p95 * factor};
}

std::string totals_text(const PlanReport& report) {
  const auto at = [&report](Total total) -> const Estimate& { return report.outcomes[size_t(total)].estimate; };
  const std::optional<TrainingCount> trainings = trainings_of(report);
  TextTable table({"in all", ""});
  table.add({"samples kept", si_range(at(Total::kSamples))});
  if (trainings) table.add({"full trainings", range_of(trainings->trainings, 1, "")});
  table.add({"95 % of the fleet in service", date_range(report.plan, at(Total::kCompleteDay))});
  table.add({"GPU-days in service", si_range(at(Total::kServiceGpuDays))});
  table.add({"GPU-days idle", si_range(at(Total::kIdleGpuDays))});
  table.add({"  of them in a warehouse", si_range(at(Total::kStoredGpuDays))});
  table.add({"GPUs in a warehouse, worst day", count_range(at(Total::kPeakStored))});
  table.add({"energy", is_rented(report.plan) ? "the lessor's" : si_range(scaled(at(Total::kEnergyMwh), 1e6), "Wh")});
  table.add({"clusters bought", usd_range(at(Total::kCapitalUsd))});
  Outcome running = report.outcomes[size_t(Total::kEnergyUsd)];
  for (size_t c = 0; c < running.columns.size(); ++c)
    running.columns[c] += report.outcomes[size_t(Total::kRentUsd)].columns[c];
  table.add({"energy and rent", usd_range(estimate_of(running.columns))});
  table.add({"written off while GPUs stood idle", usd_range(at(Total::kIdleUsd))});
  if (trainings) table.add({"cost of a training, capital written off", usd_range(trainings->usd)});
  table.add({"node failures", si_range(at(Total::kFailures))});
  table.add({"  of them repaired", si_range(at(Total::kRepairs))});
  table.add({"cost of a million samples, capital written off", usd_range(scaled(usd_per_sample(report), 1e6))});
  return table.str();
}

std::string periods_text(const PlanReport& report) {
  std::string text;
  for (const SiteReport& site : report.sites) {
    std::string line;
    for (const Period& period : site.periods) {
      if (period.bottleneck == Bottleneck::kNone) continue;
      line += fmt::format("{}{} {} to {}", line.empty() ? "" : "; ", name(period.bottleneck), iso_date(period.from),
                          iso_date(period.until));
    }
    if (!line.empty()) text += fmt::format("{} waits, in the run of medians, for: {}.\n", site.name, line);
  }
  return text;
}

std::string jobs_text(const PlanReport& report) {
  TextTable table({"job", "at", "trains", "done", "samples", "GPU-hours"});
  for (const SiteReport& site : report.sites)
    for (const BudgetedJob& job : site.jobs)
      table.add({job.name, site.name, job.workload, date_range(report.plan, job.done_day), si_range(job.samples),
                 si_range(job.gpu_hours)});
  return table.empty() ? "" : fmt::format("\n{}", table.str());
}

// Failures as they were played, beside what the closed form says of the same draws.
std::string events_text(const PlanReport& report) {
  if (!report.options.events) return "";
  double played = 0, closed = 0;
  for (const SiteReport& site : report.sites) {
    played += site.outcomes[size_t(Total::kSamples)].estimate.p50;
    closed += site.closed_form_samples.estimate.p50;
  }
  return fmt::format(
      "Every failure and repair played as an event: {} failures, {} repairs, {} job-days without a spare; samples "
      "kept {:+.2f} % of what Daly's closed form gives.\n",
      si_range(report.outcomes[size_t(Total::kFailures)].estimate),
      si_range(report.outcomes[size_t(Total::kRepairs)].estimate),
      si_range(report.outcomes[size_t(Total::kWaitingDays)].estimate), 100 * (played / std::max(closed, 1e-300) - 1));
}

std::string organisations_text(const PlanReport& report) {
  const std::vector<OrganisationOutcomes> organisations = by_organisation(report);
  if (report.sites.size() < 2) return "";
  TextTable table({"organisation", "samples kept", "GPU-days in service", "GPU-days idle", "in a warehouse"});
  for (const OrganisationOutcomes& one : organisations) {
    const auto at = [&one](Total total) { return si_range(one.outcomes[size_t(total)].estimate); };
    table.add({one.name, at(Total::kSamples), at(Total::kServiceGpuDays), at(Total::kIdleGpuDays),
               at(Total::kStoredGpuDays)});
  }
  std::string text = table.str();
  text.insert(text.begin(), '\n');
  return text;
}

std::string evidence_text(const PlanReport& report, bool in_full) {
  std::string text;
  std::array<int, 4> count{};
  for (const EvidenceLine& line : report.evidence) {
    ++count[size_t(line.evidence)];
    if (in_full) text += wrapped(fmt::format("{}  {} [{}]", letter(line.evidence), line.what, line.source), "   ");
  }
  std::string sum;
  for (const Evidence evidence : {Evidence::kMeasured, Evidence::kPublished, Evidence::kDataSheet, Evidence::kAssumed})
    if (count[size_t(evidence)] > 0)
      sum += fmt::format("{}{} {}", sum.empty() ? "" : ", ", count[size_t(evidence)], name(evidence));
  if (!in_full) sum += " (--evidence lists them)";
  return text + "\nRests on figures: " + sum + ".\n";
}

}  // namespace

std::vector<std::string> verdicts(const SiteReport& site, const Plan& plan) {
  const JobReport& job = site.job;
  std::vector<std::string> lines;
  if (job.jobs == 0) return {fmt::format("{}: no GPU ever trains.", site.name)};
  const std::string gpus = format_count(job.training_gpus);
  if (job.jobs == 1 && !job.peak_inside) {
    lines.push_back(
        fmt::format("{}: one job of {} GPUs keeps {}.", site.name, gpus, si_range(job.delivered_per_s, "samples/s")));
  } else {
    lines.push_back(fmt::format("{}: {} of {} GPUs keep{} {}; one job of all {} would keep {}.", site.name,
                                plural(job.jobs, "job"), format_count(double(job.job_gpus)), job.jobs == 1 ? "s" : "",
                                si_range(job.delivered_per_s, "samples/s"), gpus,
                                si_range(job.one_job_delivered_per_s, "samples/s")));
  }
  if (plan.training.critical_batch)
    lines.push_back(
        fmt::format("A job's batch of {} samples against the critical batch size: {} of the samples are of "
                    "use; samples kept are those.",
                    si_range({job.batch, job.batch, job.batch}), percent_range(job.useful_share)));
  if (job.peak_inside) {
    lines.push_back(
        fmt::format("More GPUs in one job deliver less beyond about {}: failures and restarts, communication "
                    "and stragglers cost more than the added GPUs give. {} GPUs already keep 90 % of that.",
                    about_range(job.best_job_gpus), about_range(job.near_best_gpus)));
    if (plan.training.jobs == 1)
      lines.push_back("The job stays at that size and the rest stands by; jobs = \"auto\" would split the fleet.");
  } else {
    lines.push_back("Up to this size a larger job still delivers more.");
  }
  if (job.spares_needed_nodes.p50 > 0)
    lines.push_back(
        fmt::format("Nodes, spares and repairs together, with which 99.9 % of failures find a spare at once: {}; the "
                    "plan has {}{}.",
                    count_range(job.spares_needed_nodes), count_range(job.spare_pool_nodes),
                    job.spare_pool_nodes.p50 < job.spares_needed_nodes.p50 ? ": too few" : ""));
  if (!job.prediction.binding.empty())
    lines.push_back(fmt::format("A step takes {}, most of it {}; checkpoint every {}.",
                                time_range(job.prediction.step_time_s), job.prediction.binding,
                                time_range(job.goodput.checkpoint_interval_s)));
  return lines;
}

std::vector<OrganisationOutcomes> by_organisation(const PlanReport& report) {
  std::vector<OrganisationOutcomes> result;
  for (const SiteReport& site : report.sites) {
    bool known = false;
    for (const OrganisationOutcomes& one : result) known = known || one.name == site.organisation;
    if (known) continue;
    std::vector<const Outcomes*> parts;
    for (const SiteReport& other : report.sites)
      if (other.organisation == site.organisation) parts.push_back(&other.outcomes);
    result.push_back({site.organisation, sum_outcomes(parts)});
  }
  return result;
}

std::string plan_text(const PlanReport& report, bool with_evidence) {
  std::string text = wrapped(header_text(report)) + "\n" + fleet_text(report) + "\n" + training_text(report) + "\n" +
                     totals_text(report);
  text +=
      organisations_text(report) + jobs_text(report) + "\n" + wrapped(periods_text(report) + events_text(report), "  ");
  for (const SiteReport& site : report.sites)
    for (const std::string& line : verdicts(site, report.plan)) text += wrapped(line, "  ");
  for (const std::string& note : report.plan.notes) text += wrapped("Note: " + note, "  ");
  return text + evidence_text(report, with_evidence);
}

}  // namespace farscale
