// Plans as JSON. Every estimated quantity carries its percentiles; what never happens is null.
#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "cluster/plan_difference.h"
#include "cluster/plan_output.h"

namespace farscale {
namespace {

using Json = nlohmann::ordered_json;

Json number(double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); }

Json estimate(const Estimate& value) {
  return {{"p05", number(value.p05)}, {"p50", number(value.p50)}, {"p95", number(value.p95)}};
}

Json dates(const Plan& plan, const Estimate& days) {
  const auto date = [&plan](double day) {
    return day >= plan.days() ? Json(nullptr) : Json(iso_date(plan.start + std::chrono::days(int(day))));
  };
  return {{"p05", date(days.p05)}, {"p50", date(days.p50)}, {"p95", date(days.p95)}};
}

Json timeline_json(const PlanReport& report) {
  Json rows = Json::array();
  for (const TimelineRow& row : report.timeline) {
    if (!row.month_end) continue;
    rows.push_back({{"date", iso_date(row.date)},
                    {"delivered", estimate(row.delivered)},
                    {"stored", estimate(row.stored)},
                    {"installed", estimate(row.installed)},
                    {"in_service", estimate(row.in_service)},
                    {"power_mw", estimate(row.power_mw)},
                    {"samples_per_s", estimate(row.samples_per_s)},
                    {"goodput", estimate(row.goodput)},
                    {"samples", estimate(row.samples)},
                    {"samples_in_month", estimate(row.samples_in_month)},
                    {"cost_usd", estimate(row.cost_usd)},
                    {"bottleneck", name(row.bottleneck)}});
    if (report.plan.training.samples_per_training && row.shown && report.options.rows == TableRows::kMonths)
      rows.back()["trainings_in_month"] = estimate(row.trainings);
  }
  return rows;
}

double to_tenths(double gpus) { return std::round(gpus * 10) / 10; }

// Every state on every day: three lists of the range, or, when there were too many draws to keep, the run of medians.
Json by_day_json(const PlanReport& report) {
  Json json = {{"from", iso_date(report.plan.start)},
               {"of", report.by_day.empty() ? "run of medians" : "draws"},
               {"states", Json::object()}};
  for (size_t s = 0; s < kDayStates.size(); ++s) {
    Json& state = json["states"][kDayStates[s].key];
    if (report.by_day.empty()) {
      for (const SiteDay& day : report.days) state.push_back(to_tenths(kDayStates[s].gpus(day)));
      continue;
    }
    for (const auto& [key, percentile] :
         {std::pair{"p05", &Estimate::p05}, std::pair{"p50", &Estimate::p50}, std::pair{"p95", &Estimate::p95}})
      for (const DayRange& day : report.by_day) state[key].push_back(to_tenths(day[s].*percentile));
  }
  return json;
}

Json totals_json(const Outcomes& outcomes) {
  Json totals;
  for (size_t t = 0; t < kTotalCount; ++t)
    if (Total(t) != Total::kCompleteDay) totals[info(Total(t)).key] = estimate(outcomes[t].estimate);
  return totals;
}

Json job_json(const JobReport& job) {
  if (job.jobs == 0) return {{"gpus_in_service", number(job.in_service)}, {"training_gpus", 0}, {"jobs", 0}};
  return {{"gpus_in_service", number(job.in_service)},
          {"training_gpus", number(job.training_gpus)},
          {"jobs", job.jobs},
          {"gpus_per_job", job.job_gpus},
          {"layout", job.prediction.layout.str()},
          {"step_time_s", estimate(job.prediction.step_time_s)},
          {"samples_per_s", estimate(job.samples_per_s)},
          {"mfu", estimate(job.prediction.mfu)},
          {"scaling_efficiency", estimate(job.prediction.scaling_efficiency)},
          {"exposed_comm_share", estimate(job.prediction.exposed_comm_share)},
          {"binding", job.prediction.binding},
          {"mtbf_s", estimate(job.goodput.mtbf_s)},
          {"goodput", estimate(job.goodput.goodput)},
          {"goodput_linear_cross_check", number(job.linear_goodput)},
          {"checkpoint_interval_s", estimate(job.goodput.checkpoint_interval_s)},
          {"kept_samples_per_s", estimate(job.delivered_per_s)},
          {"one_job_kept_samples_per_s", estimate(job.one_job_delivered_per_s)},
          {"samples_per_step", number(job.batch)},
          {"useful_share_by_critical_batch", estimate(job.useful_share)},
          {"best_job_gpus", estimate(job.best_job_gpus)},
          {"gpus_for_90_percent_of_best", estimate(job.near_best_gpus)},
          {"larger_jobs_deliver_less", job.peak_inside},
          {"spare_pool_nodes", estimate(job.spare_pool_nodes)},
          {"spares_needed_nodes", estimate(job.spares_needed_nodes)},
          {"evidence",
           {{"samples_per_s", name(job.rate_evidence)},
            {"mtbf_s", name(job.mtbf_evidence)},
            {"goodput", name(job.goodput_evidence)},
            {"power_mw", name(job.power_evidence)}}}};
}

Json site_json(const SiteReport& site, const Plan& plan) {
  Json periods = Json::array();
  for (const Period& period : site.periods)
    periods.push_back(
        {{"from", iso_date(period.from)}, {"until", iso_date(period.until)}, {"bottleneck", name(period.bottleneck)}});
  Json jobs = Json::array();
  for (const BudgetedJob& job : site.jobs)
    jobs.push_back({{"name", job.name},
                    {"workload", job.workload},
                    {"priority", job.priority},
                    {"done", dates(plan, job.done_day)},
                    {"samples", estimate(job.samples)},
                    {"gpu_hours", estimate(job.gpu_hours)}});
  return {{"site", site.name},
          {"organisation", site.organisation},
          {"hardware", site.hardware},
          {"gpus", number(site.gpus)},
          {"complete_date", dates(plan, site.outcomes[size_t(Total::kCompleteDay)].estimate)},
          {"totals", totals_json(site.outcomes)},
          {"bottlenecks", periods},
          {"job", job_json(site.job)},
          {"jobs_with_a_budget", jobs},
          {"verdict", verdicts(site, plan)}};
}

Json need_json(const NeedAnswer& answer, const Plan& plan) {
  Plan to_date = plan;
  to_date.end = std::max(plan.end, answer.need.by);
  return {{"workload", answer.need.workload},
          {"samples", answer.need.samples},
          {"by", iso_date(answer.need.by)},
          {"feasible_share", answer.feasible_share},
          {"gpus", estimate(answer.gpus)},
          {"scale_of_deliveries", estimate(answer.scale)},
          {"largest_scale", answer.largest_scale},
          {"most_samples", estimate(answer.most_samples)},
          {"binding", answer.binding},
          {"plan_gpus", number(answer.plan_gpus)},
          {"plan_samples", estimate(answer.plan_samples)},
          {"plan_in_time_share", answer.plan_share},
          {"plan_date", dates(to_date, answer.plan_day)},
          {"one_job_in_service_from_the_start",
           {{"site", answer.one_job.site},
            {"feasible_share", answer.one_job.feasible_share},
            {"gpus", estimate(answer.one_job.gpus)},
            {"best_job_gpus", number(answer.one_job.best_job_gpus)}}}};
}

Json budget_json(const BudgetAnswer& answer) {
  Json json = {{"usd", answer.usd}, {"site", answer.site}};
  if (answer.rented) {
    json["gpus_when_rented"] = estimate(answer.gpus_of_cluster);
  } else {
    json["gpus_when_spent_at_the_vendor"] = estimate(answer.gpus_of_vendor);
    json["gpus_when_spent_on_clusters"] = estimate(answer.gpus_of_cluster);
  }
  json["kept_samples_per_s"] = estimate(answer.kept_per_s);
  return json;
}

Json delay_json(const DelayAnswer& answer) {
  return {{"days", answer.days},
          {"moves_anything", answer.moves_anything},
          {"samples_lost", estimate(answer.samples_lost)},
          {"idle_gpu_days", estimate(answer.idle_gpu_days)},
          {"idle_usd", estimate(answer.idle_usd)},
          {"complete_days_later", estimate(answer.days_later)}};
}

Json sensitivity_json(const SensitivityAnswer& answer) {
  Json inputs = Json::array();
  for (const SensitivityBar& bar : answer.bars)
    inputs.push_back({{"input", bar.input},
                      {"input_values", estimate(bar.values)},
                      {"answer_at_p05", number(bar.low)},
                      {"answer_at_p95", number(bar.high)}});
  return {{"answer", answer.answer},
          {"unit", answer.unit},
          {"all_at_median", number(answer.base)},
          {"inputs_moved", answer.inputs},
          {"inputs", inputs}};
}

Json events_json(const PlanReport& report) {
  Json sites = Json::array();
  for (const SiteReport& site : report.sites)
    sites.push_back({{"site", site.name},
                     {"samples", estimate(site.outcomes[size_t(Total::kSamples)].estimate)},
                     {"closed_form_samples", estimate(site.closed_form_samples.estimate)}});
  return {{"histories", report.options.draws + 1}, {"sites", sites}};
}

Json answers_json(const PlanReport& report, const PlanAnswers& asked) {
  Json sites = Json::array(), organisations = Json::array();
  for (const SiteReport& site : report.sites) sites.push_back(site_json(site, report.plan));
  for (const OrganisationOutcomes& one : by_organisation(report))
    organisations.push_back({{"organisation", one.name}, {"totals", totals_json(one.outcomes)}});
  Json answers = {{"complete_date", dates(report.plan, report.outcomes[size_t(Total::kCompleteDay)].estimate)},
                  {"job", job_json(report.largest_site().job)},
                  {"sites", sites},
                  {"organisations", organisations}};
  if (const std::optional<TrainingCount> trainings = trainings_of(report))
    answers["trainings"] = {{"count", estimate(trainings->trainings)}, {"usd_per_training", estimate(trainings->usd)}};
  if (asked.need) answers["need"] = need_json(*asked.need, report.plan);
  if (asked.budget) answers["budget"] = budget_json(*asked.budget);
  if (asked.delay) answers["delay"] = delay_json(*asked.delay);
  if (asked.sensitivity) answers["sensitivity"] = sensitivity_json(*asked.sensitivity);
  if (report.options.events) answers["events"] = events_json(report);
  return answers;
}

Json plan_json(const PlanReport& report, const PlanAnswers& asked) {
  Json evidence = Json::array();
  for (const EvidenceLine& line : report.evidence)
    evidence.push_back({{"what", line.what}, {"evidence", name(line.evidence)}, {"source", line.source}});
  return {{"name", report.plan.name},
          {"title", report.plan.title},
          {"workload", report.plan.training.workload},
          {"start", iso_date(report.plan.start)},
          {"end", iso_date(report.plan.end)},
          {"draws", report.options.draws},
          {"seed", report.options.seed},
          {"timeline", timeline_json(report)},
          {"by_day", by_day_json(report)},
          {"totals", totals_json(report.outcomes)},
          {"answers", answers_json(report, asked)},
          {"notes", report.plan.notes},
          {"warnings", report.warnings},
          {"evidence", evidence}};
}

Json part_json(const PartDifference& part) {
  Json totals;
  for (size_t t = 0; t < kCompared.size(); ++t) {
    totals[info(kCompared[t]).key] = estimate(part.totals[t].more);
    totals[info(kCompared[t]).key]["more_share"] = part.totals[t].share_more;
  }
  return totals;
}

Json parts_json(const char* what, const PartDifferences& parts) {
  Json both = Json::array();
  for (const PartDifference& part : parts.both) both.push_back({{what, part.name}, {"totals", part_json(part)}});
  return {{"in_both", both}, {"only_in_base", parts.only_base}, {"only_in_plan", parts.only_other}};
}

// Each plan less the first, draw by draw.
Json differences_json(const std::vector<PlanReport>& reports) {
  Json differences = Json::array();
  for (size_t i = 1; i < reports.size(); ++i) {
    const PlanDifference difference = difference_of(reports.front(), reports[i]);
    differences.push_back({{"plan", difference.other},
                           {"base", difference.base},
                           {"totals", part_json(difference.whole)},
                           {"organisations", parts_json("organisation", difference.organisations)},
                           {"sites", parts_json("site", difference.sites)}});
  }
  return differences;
}

}  // namespace

std::string plans_json(const std::vector<PlanReport>& reports, const std::vector<PlanAnswers>& answers) {
  Json plans = Json::array();
  for (size_t i = 0; i < reports.size(); ++i)
    plans.push_back(plan_json(reports[i], i < answers.size() ? answers[i] : PlanAnswers{}));
  Json document = {{"plans", plans}};
  if (reports.size() > 1) document["differences"] = differences_json(reports);
  return document.dump(2) + "\n";
}

}  // namespace farscale
