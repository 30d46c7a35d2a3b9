// How many GPUs a training by a date needs with a plan's own sites, halls, power and dates.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "cluster/plan_output.h"
#include "cluster/tests/plan_fixture.h"

namespace farscale {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

constexpr double kDay = 86400.0 * 10 * 1000;  // samples of the plan's 1,000 GPUs in a day
const Day kLast = kStart + std::chrono::days(99);

TEST(PlanNeed, IsReadAndMistakesAreTold) {
  const Need need = parse_need("hydranet-regnety16gf:1.4e9 samples by 2025-06-30");
  EXPECT_EQ(need.workload, "hydranet-regnety16gf");
  EXPECT_DOUBLE_EQ(need.samples, 1.4e9);
  EXPECT_EQ(iso_date(need.by), "2025-06-30");
  for (const char* wrong :
       {"", "w", "w:1e9", "w:1e9 samples", "w:x samples by 2025-06-30", "w:-1 samples by 2025-06-30",
        "w:1e9 samples by 2025-02-30", "w:1e300 samples by 2025-06-30", "w:nan samples by 2025-06-30",
        "w:1e999 samples by 2025-06-30"})
    EXPECT_THROW(parse_need(wrong), InputError) << wrong;
  EXPECT_THROW(answer_need(simple_plan(), parse_need("w:1 samples by 2024-05-31"), {.draws = 0}, steady_machine),
               InputError);
  try {
    answer_need(simple_plan(), parse_need("w:1 samples by 2399-02-01"), {.draws = 0}, steady_machine);
    FAIL();
  } catch (const InputError& error) {
    EXPECT_THAT(error.what(), AllOf(HasSubstr("2034-06-08"), HasSubstr("ten years")));
  }
}

TEST(PlanNeed, CountsTheHallsDateByHand) {
  // The hall is ready on day 30: 70 of 100 days are left, at 10 samples/s a GPU, give or take 20 %.
  const Need need{.workload = "w", .samples = 1.5 * 70 * kDay, .by = kLast};
  const NeedAnswer answer = answer_need(simple_plan(), need, {.draws = 1000}, steady_machine);
  EXPECT_NEAR(answer.scale.p50, 1.5, 0.015);
  EXPECT_NEAR(answer.gpus.p05, 1500 / 1.2, 20);
  EXPECT_NEAR(answer.gpus.p95, 1500 / 0.8, 25);
  EXPECT_EQ(answer.plan_gpus, 1000);
  EXPECT_LT(answer.plan_share, 0.01);
  EXPECT_NEAR(answer.one_job.gpus.p50, 1500 * 0.7, 10);  // without the hall's date
  EXPECT_THAT(need_text(answer, simple_plan()),
              AllOf(HasSubstr("halls, power and dates"), HasSubstr("Had they all been in service")));
}

TEST(PlanNeed, AgreesWithThePlanItself) {
  Plan plan = simple_plan();
  plan.deliveries[0].last = on(kStart + std::chrono::days(60));
  plan.sites[0].halls[0].ready = {between(plan.sites[0].halls[0].ready.days.value.p50 - 10,
                                          plan.sites[0].halls[0].ready.days.value.p50,
                                          plan.sites[0].halls[0].ready.days.value.p50 + 20)};
  plan.sites.push_back(plan.sites[0]);  // a second site counts as much
  plan.sites[1].name = "second";
  plan.deliveries.push_back(plan.deliveries[0]);
  plan.deliveries[1].name = "lot of the second";
  plan.deliveries[1].site = 1;
  const RunOptions options{.draws = 200};
  const Estimate own = run_plan(plan, options, steady_machine).outcomes[size_t(Total::kSamples)].estimate;
  const NeedAnswer answer = answer_need(plan, {"w", own.p50, kLast}, options, steady_machine);
  EXPECT_NEAR(answer.plan_samples.p50 / own.p50, 1, 1e-3);
  EXPECT_NEAR(answer.plan_samples.p95 / own.p95, 1, 1e-3);
  EXPECT_NEAR(answer.scale.p50, 1, 0.01);
  EXPECT_NEAR(answer.plan_share, 0.5, 0.02);
}

TEST(PlanNeed, NamesTheHallOrThePowerThatBinds) {
  const Need need{.workload = "w", .samples = 2.5 * 70 * kDay, .by = kLast};  // the hall has 2,000 places
  const NeedAnswer hall = answer_need(simple_plan(), need, {.draws = 0}, steady_machine);
  EXPECT_EQ(hall.feasible_share, 0);
  EXPECT_TRUE(std::isinf(hall.gpus.p50));
  EXPECT_NEAR(hall.most_samples.p50 / (2 * 70 * kDay), 1, 1e-3);
  EXPECT_THAT(need_text(hall, simple_plan()),
              AllOf(HasSubstr("No number of GPUs"), HasSubstr("places in halls at hall")));
  Plan dark = simple_plan();
  dark.sites[0].power = {{on(kStart), exactly(1.5)}};  // 1,200 GPUs of 1.25 kW
  EXPECT_THAT(answer_need(dark, need, {.draws = 0}, steady_machine).binding, HasSubstr("power at hall"));
  Plan late = simple_plan();
  late.deliveries[0].first = on(kLast + std::chrono::days(5));
  EXPECT_THAT(answer_need(late, need, {.draws = 0}, steady_machine).binding, HasSubstr("dates of the deliveries"));
}

TEST(PlanNeed, OneJobIsLimitedByFailuresAndAFleetOfJobsIsNot) {
  const Plan one = large_plan(100000, 1), split = large_plan(100000, 0);
  // The best job keeps about 47,400 GPUs' worth of samples (failures of RSC-1, 30 s checkpoints, 600 s restarts).
  const double most = 47.4e3 * 10 * 100 * 86400;
  const NeedAnswer never = answer_need(one, {"w", 1.05 * most, kLast}, {.draws = 0}, steady_machine);
  EXPECT_EQ(never.feasible_share, 0);
  EXPECT_THAT(never.binding, HasSubstr("failures"));
  EXPECT_EQ(never.one_job.feasible_share, 0);
  const NeedAnswer barely = answer_need(one, {"w", 0.95 * most, kLast}, {.draws = 0}, steady_machine);
  EXPECT_LT(barely.gpus.p50, 150e3);
  EXPECT_GT(barely.gpus.p50, 95e3);
  const NeedAnswer many = answer_need(split, {"w", 1.05 * most, kLast}, {.draws = 0}, steady_machine);
  EXPECT_EQ(many.feasible_share, 1);
  EXPECT_LT(many.gpus.p50, 300e3);
}

TEST(PlanNeed, WhatIsThereMaySuffice) {
  Plan plan = simple_plan();
  plan.sites[0].in_service = exactly(500);
  plan.sites[0].halls.push_back({"old", exactly(500), on(kStart), {}});
  const NeedAnswer answer = answer_need(plan, {"w", 40 * kDay, kLast}, {.draws = 0}, steady_machine);
  EXPECT_EQ(answer.scale.p50, 0);
  EXPECT_NEAR(answer.gpus.p50, 500, 1);
  EXPECT_THAT(need_text(answer, plan), HasSubstr("what is in service at the start"));
}

TEST(PlanJobs, AJobIsNeverLargerThanItsBestSize) {
  const auto kept = [](double gpus) {
    return run_plan(large_plan(gpus, 1), {.draws = 20}, steady_machine).outcomes[size_t(Total::kSamples)].columns;
  };
  const std::vector<double> best = kept(140e3), more = kept(400e3);
  for (size_t c = 0; c < best.size(); ++c) EXPECT_GE(more[c], best[c] * (1 - 1e-3)) << c;
  const PlanReport report = run_plan(large_plan(400e3, 1), {.draws = 20}, steady_machine);
  EXPECT_LT(report.sites[0].job.job_gpus, 200000);
  EXPECT_THAT(plan_text(report, false), HasSubstr("The job stays at that size and the rest stands by"));
}

}  // namespace
}  // namespace farscale
