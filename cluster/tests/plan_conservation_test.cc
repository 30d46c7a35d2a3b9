// No GPU appears or vanishes, in any state on any day, in whole plans with several sites and transfers; limits of a
// site hold in all of its draws.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "cluster/plan_columns.h"
#include "cluster/random.h"
#include "cluster/tests/plan_fixture.h"

namespace farscale {
namespace {

double of_all_states(const SiteDay& day) { return day.in_transit + day.stored + day.installed(); }

// Every draw of a plan, every day: what was there and what was delivered is what all states add up to, in whole GPUs.
void expect_conserved(const Plan& plan, bool events) {
  const RunOptions options{.draws = 6, .seed = 5, .events = events, .threads = 1};
  const PlanColumns columns(plan, options, steady_machine);
  columns.each([&](int column) {
    columns.play(column, 1, [&](int day, PlanColumns::Parts& sites) {
      SiteDay sum;
      double come = 0;
      for (size_t s = 0; s < sites.size(); ++s) {
        const SiteDay& today = sites[s].today();
        const SiteFigures& figures = columns.sites()[s]->figures();
        come += figures.rented() ? today.delivered : figures.bought(column, day).gpus;
        EXPECT_EQ(of_all_states(today), today.delivered) << plan.name << " " << day;
        EXPECT_GE(std::min({today.in_transit, today.stored, today.racked, today.burning_in, today.in_repair, today.dark,
                            today.in_service}),
                  0);
        sum.add(today);
      }
      EXPECT_EQ(sum.delivered, come) << plan.name << " column " << column << " day " << day;
      EXPECT_EQ(sum.idle() + sum.in_service, come);
      return !testing::Test::HasFailure();
    });
  });
}

TEST(PlanConservation, ShippedPlans) {
  for (const std::string& name : shipped_plans())
    for (const bool events : {false, true}) expect_conserved(load_plan(name), events);
}

// Three sites that order, start with, and send each other GPUs; power goes up and down.
Plan random_plan(Rng& random) {
  const auto up_to = [&random](double most) { return most * random.uniform(); };
  const auto within = [&](double most) {
    const double value = up_to(most);
    return between(0.7 * value, value, 1.5 * value);
  };
  const auto day = [&](double most) {
    PlanDate date = on(kStart);
    const double late = up_to(most);
    for (double* at : {&date.days.value.p05, &date.days.value.p50, &date.days.value.p95}) *at += late;
    date.days.value.p95 += up_to(20);
    return date;
  };
  Plan plan = simple_plan();
  const Site pattern = plan.sites[0];
  plan.sites.clear(), plan.deliveries.clear();
  plan.training.jobs = 0;
  for (size_t s = 0; s < 3; ++s) {
    Site site = pattern;
    site.name = std::string(1, char('a' + s));
    site.halls = {{"old", exactly(1000), on(kStart), {}}, {"new", within(2000), day(60), {}}};
    site.power = {{on(kStart), within(2)}, {day(30), within(2)}, {on(kStart + std::chrono::days(40)), within(2)}};
    site.in_service = exactly(std::floor(up_to(900)));
    site.pipeline.rack_per_day = within(200);
    site.pipeline.burn_in_days = within(8);
    site.pipeline.first_pass_yield = between(0.8, 0.9, 0.95);
    site.pipeline.repair_days = within(8);
    site.pipeline.repair_share = exactly(0.5);
    if (random.uniform() < 0.5) site.pipeline.repairs_per_day = within(100);
    plan.sites.push_back(site);
    plan.deliveries.push_back({.name = "lot " + site.name,
                               .site = s,
                               .gpus = within(3000),
                               .first = day(40),
                               .last = {},
                               .usd_per_gpu = exactly(30e3)});
    plan.transfers.push_back({.name = "move from " + site.name,
                              .from = s,
                              .to = (s + 1) % 3,
                              .gpus = within(1500),
                              .date = day(80),
                              .transit_days = within(30)});
  }
  plan.failures = default_failure_model();
  return plan;
}

TEST(PlanConservation, RandomPlans) {
  Rng random(11);
  for (int trial = 0; trial < 30; ++trial) {
    const Plan plan = random_plan(random);
    expect_conserved(plan, false);
    expect_conserved(plan, true);
  }
}

// A certain 1.25 MW from day 20 on, in every draw, however late the small step before it is.
TEST(PlanPower, ALateSmallStepReplacesNoLargerOne) {
  Plan plan = simple_plan();
  plan.sites[0].halls[0].ready = on(kStart);
  PlanDate late = on(kStart + std::chrono::days(10));
  late.days.value.p95 += 40;
  plan.sites[0].power = {
      {on(kStart), exactly(0.1)}, {late, exactly(0.2)}, {on(kStart + std::chrono::days(20)), exactly(1.25)}};
  const PlanReport report = run_plan(plan, {.draws = 200}, steady_machine);
  EXPECT_EQ(report.timeline.back().in_service.p05, 1000);
  EXPECT_EQ(report.outcomes[size_t(Total::kCompleteDay)].estimate.p95, 20);
}

TEST(PlanPower, SitesStayWithinALimitThatFalls) {
  Plan plan = simple_plan();
  plan.sites[0].halls[0].ready = on(kStart);
  plan.sites[0].pipeline.burn_in_days = exactly(10);
  plan.sites[0].power = {{on(kStart), exactly(1.25)}, {on(kStart + std::chrono::days(5)), exactly(0.01)}};
  const PlanReport report = run_plan(plan, {.draws = 0}, steady_machine);
  for (const TimelineRow& row : report.timeline)
    EXPECT_LE(row.power_mw.p95, row.date < kStart + std::chrono::days(5) ? 1.25 : 0.01) << iso_date(row.date);
}

TEST(PlanPeriods, ShortStretchesMakeUpOne) {
  Plan plan = simple_plan();
  plan.sites[0].halls[0].ready = on(kStart);
  plan.sites[0].pipeline.rack_per_day = exactly(250);
  plan.sites[0].pipeline.burn_in_days = exactly(3);
  plan.sites[0].pipeline.first_pass_yield = exactly(0.8);
  plan.sites[0].pipeline.repair_days = exactly(2);
  plan.sites[0].power = {{on(kStart), exactly(0.1)}, {on(kStart + std::chrono::days(20)), exactly(10)}};
  const std::vector<Period> periods = run_plan(plan, {.draws = 0}, steady_machine).sites[0].periods;
  const auto power = std::find_if(periods.begin(), periods.end(),
                                  [](const Period& period) { return period.bottleneck == Bottleneck::kPower; });
  ASSERT_LT(power + 1, periods.end());
  EXPECT_EQ(iso_date(power->until), "2024-06-20");
  EXPECT_EQ((power + 1)->bottleneck, Bottleneck::kBurnIn);  // three days each time, and two of repair
}

TEST(PlanPlaces, WhatIsInServiceNeedsThem) {
  Plan plan = simple_plan();
  plan.sites[0].in_service = exactly(500);  // the only hall is ready on day 30
  EXPECT_THROW(run_plan(plan, {.draws = 0}, steady_machine), InputError);
  plan.sites[0].halls.push_back({"old", exactly(500), on(kStart), {}});
  plan.sites[0].halls[0].gpus = exactly(600);
  const PlanReport report = run_plan(plan, {.draws = 0}, steady_machine);
  EXPECT_EQ(report.days.front().in_service, 496);  // 62 nodes; four GPUs are half a node
  EXPECT_EQ(report.days.back().installed(), 496 + 600);
}

}  // namespace
}  // namespace farscale
