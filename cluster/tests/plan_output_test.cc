// What plans say: ranges everywhere, days, differences by organisation and site.
#include "cluster/plan_output.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "cluster/plan_difference.h"
#include "cluster/tests/plan_fixture.h"

namespace farscale {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

Plan two_sites(const std::string& second, const std::string& organisation) {
  Plan plan = simple_plan();
  plan.sites.push_back(plan.sites[0]);
  plan.sites[1].name = second;
  plan.sites[1].organisation = organisation;
  plan.deliveries.push_back(plan.deliveries[0]);
  plan.deliveries[1].name = "second lot";
  plan.deliveries[1].site = 1;
  return plan;
}

TEST(PlanRanges, SamplesOfATrainingAreDrawn) {
  Plan plan = simple_plan();
  plan.training.samples_per_training = exactly(1e9);
  const auto width = [](const Plan& p) {
    const Estimate usd = trainings_of(run_plan(p, {.draws = 500}, steady_machine))->usd;
    return usd.p95 / usd.p05;
  };
  const double before = width(plan);
  plan.training.samples_per_training = between(1e8, 1e9, 1e10);
  EXPECT_GT(width(plan), 50 * before);
  const PlanReport report = run_plan(plan, {.draws = 500}, steady_machine);
  const Estimate trainings = trainings_of(report)->trainings;
  EXPECT_NEAR(trainings.p50 / (70 * 86400.0 * 10 * 1000 / 1e9), 1, 0.1);
  EXPECT_GT(trainings.p95 / trainings.p05, 50);
  const auto json = nlohmann::json::parse(plans_json({report})).at("plans").at(0);
  EXPECT_DOUBLE_EQ(json.at("answers").at("trainings").at("count").at("p95"), trainings.p95);
}

TEST(PlanRanges, BestSizesAndSparesHaveThem) {
  Plan plan = large_plan(300000, 0);
  plan.failures.node_failures_per_day = between(2e-3, 6.5e-3, 1e-2);
  plan.sites[0].pipeline.repair_share = exactly(0.5);
  plan.sites[0].pipeline.repair_days = between(1, 2, 4);
  const JobReport job = run_plan(plan, {.draws = 100}, steady_machine).sites[0].job;
  EXPECT_LT(job.best_job_gpus.p05, 0.95 * job.best_job_gpus.p50);
  EXPECT_GT(job.best_job_gpus.p95, 1.05 * job.best_job_gpus.p50);
  EXPECT_LT(job.near_best_gpus.p50, job.best_job_gpus.p50);
  EXPECT_GT(job.spares_needed_nodes.p95, 1.2 * job.spares_needed_nodes.p05);
}

TEST(PlanByDay, EveryStateHasItsRangeAndTheyAddUp) {
  Plan plan = simple_plan();
  plan.sites[0].halls[0].ready = {between(plan.sites[0].halls[0].ready.days.value.p50 - 10,
                                          plan.sites[0].halls[0].ready.days.value.p50,
                                          plan.sites[0].halls[0].ready.days.value.p50 + 20)};
  plan.sites[0].pipeline.burn_in_days = exactly(3);
  const PlanReport report = run_plan(plan, {.draws = 200, .by_day = true}, steady_machine);
  const auto json = nlohmann::json::parse(plans_json({report})).at("plans").at(0).at("by_day");
  EXPECT_EQ(json.at("of"), "draws");
  EXPECT_EQ(json.at("from"), "2024-06-01");
  const auto at = [&](const char* state, const char* percentile, size_t day) {
    return json.at("states").at(state).at(percentile).at(day).get<double>();
  };
  ASSERT_EQ(json.at("states").at("in_service").at("p50").size(), 100U);
  EXPECT_EQ(at("stored", "p50", 5), 1000);
  EXPECT_EQ(at("in_service", "p95", 28), 1000);  // an early hall, and a late one
  EXPECT_EQ(at("in_service", "p05", 45), 0);
  for (size_t day = 0; day < 100; ++day)
    EXPECT_NEAR(at("idle", "p50", day) + at("in_service", "p50", day), 1000, 1) << day;
  const auto nominal = nlohmann::json::parse(plans_json({run_plan(plan, {.draws = 10}, steady_machine)}));
  const auto& states = nominal.at("plans").at(0).at("by_day");
  EXPECT_EQ(states.at("of"), "run of medians");
  EXPECT_EQ(states.at("states").at("in_service").size(), 100U);
}

TEST(PlanByDay, TheTablesHaveTheRowsThatAreAskedFor) {
  const auto lines = [](TableRows rows) {
    const PlanReport report = run_plan(simple_plan(), {.draws = 20, .rows = rows}, steady_machine);
    return std::count_if(report.timeline.begin(), report.timeline.end(),
                         [](const TimelineRow& row) { return row.shown; });
  };
  EXPECT_EQ(lines(TableRows::kDays), 100);
  EXPECT_EQ(lines(TableRows::kWeeks), 15);  // 14 whole weeks and two days
  EXPECT_EQ(lines(TableRows::kMonths), 4);
  Plan plan = simple_plan();
  plan.deliveries[0].gpus = between(800, 1000, 1200);
  const PlanReport report = run_plan(plan, {.draws = 50, .rows = TableRows::kDays}, steady_machine);
  EXPECT_NEAR(report.timeline.back().samples_since_shown.p50 / (86400.0 * 10 * 1000), 1, 0.05);
  EXPECT_THAT(plan_text(report, false), AllOf(HasSubstr("2024-06-02"), testing::ContainsRegex("1,000 .8[0-9]+")));
}

TEST(PlanSummary, SitesThatPeakOnDifferentDaysAreNotAdded) {
  Plan plan = two_sites("other", "X");
  plan.sites[0].halls[0].ready = plan.sites[1].halls[0].ready = on(kStart);
  plan.deliveries[1].gpus = exactly(8);
  plan.transfers = {{.name = "all",
                     .from = 0,
                     .to = 1,
                     .gpus = exactly(1000),
                     .date = on(kStart + std::chrono::days(50)),
                     .transit_days = exactly(0)}};
  const PlanReport report = run_plan(plan, {.draws = 0}, steady_machine);
  EXPECT_NEAR(report.sites[0].job.training_gpus + report.sites[1].job.training_gpus, 2008, 1);
  EXPECT_NEAR(report.peak.training_gpus, 1008, 1);
  EXPECT_NEAR(report.peak.samples_per_s.p50, 10080, 10);
  EXPECT_THAT(summary_text({report}), HasSubstr("1,008 in"));
}

TEST(PlanDifferences, BySiteAndOrganisationWithThoseOfOnePlanNamed) {
  const Plan plan = two_sites("east", "Tesla");
  Plan other = two_sites("west", "X");
  other.deliveries[0].gpus = exactly(1200);
  const PlanReport a = run_plan(plan, {.draws = 20}, steady_machine),
                   b = run_plan(other, {.draws = 20}, steady_machine);
  const PlanDifference difference = difference_of(a, b);
  ASSERT_EQ(difference.sites.both.size(), 1U);
  EXPECT_EQ(difference.sites.both[0].name, "hall");
  EXPECT_NEAR(difference.sites.both[0].totals[2].more.p50, 200 * 30, 1);  // idle GPU-days until the hall is ready
  EXPECT_EQ(difference.sites.both[0].totals[2].share_more, 1);
  EXPECT_THAT(difference.sites.only_base, testing::ElementsAre("east"));
  EXPECT_THAT(difference.sites.only_other, testing::ElementsAre("west"));
  EXPECT_THAT(difference.organisations.only_other, testing::ElementsAre("X"));
  EXPECT_THAT(difference_text({a, b}), AllOf(HasSubstr("hall: GPU-days idle"), HasSubstr("has the site east"),
                                             HasSubstr("has the organisation X")));
  const auto json = nlohmann::json::parse(plans_json({a, b})).at("differences").at(0);
  EXPECT_EQ(json.at("sites").at("only_in_plan").at(0), "west");
  EXPECT_NEAR(json.at("sites").at("in_both").at(0).at("totals").at("idle_gpu_days").at("p50"), 6000, 1);
  EXPECT_NEAR(json.at("totals").at("idle_gpu_days").at("p50"), 6000, 1);
  EXPECT_FALSE(nlohmann::json::parse(plans_json({a})).contains("differences"));
}

TEST(PlanJobs, AJobOfOneGpuIsNotANode) {
  Plan plan = simple_plan();
  plan.sites[0].rented = true;
  plan.deliveries.clear();
  plan.rentals = {{.site = 0, .gpus = exactly(1), .from = on(kStart), .until = {}, .usd_per_gpu_hour = exactly(2)}};
  const PlanReport report = run_plan(plan, {.draws = 0}, steady_machine);
  EXPECT_NEAR(report.sites[0].job.samples_per_s.p50, 10, 0.1);
  EXPECT_EQ(report.sites[0].job.job_gpus, 1);
  EXPECT_THAT(summary_text({report}), HasSubstr("1 in 1 job"));
}

TEST(PlanNumbers, UnitsFitTheirFigures) {
  EXPECT_EQ(si_range({1140e12, 1140e12, 1140e12}), "1.14 P");
  EXPECT_EQ(si_range({1.62e12, 1.62e12, 1.62e12}, "Wh"), "1.62 TWh");
  EXPECT_EQ(si_range({216e3, 665e3, 2533e3}), "665 k (216–2,533)");
  EXPECT_EQ(time_range({0.12, 0.15, 0.22}), "150 ms (120–220)");
  EXPECT_EQ(plural(1, "node"), "1 node");
  EXPECT_EQ(plural(2000, "node"), "2,000 nodes");
}

}  // namespace
}  // namespace farscale
