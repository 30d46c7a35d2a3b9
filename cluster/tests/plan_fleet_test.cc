// Whole plans with failures as events, transfers, jobs with budgets, critical batches, cluster parts, threads.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "cluster/machine.h"
#include "cluster/plan_output.h"
#include "cluster/tests/plan_fixture.h"

namespace farscale {
namespace {

// 20,000 GPUs in service from the first day, with failures, repairs and spares.
Plan steady_fleet() {
  Plan plan = large_plan(20000, 1);
  plan.sites[0].pipeline.repair_share = exactly(0.5);
  plan.sites[0].pipeline.repair_days = exactly(4);
  plan.training.spare_share = exactly(0.03);
  plan.failures = {between(2.34e-3, 3.79e-3, 6.5e-3), between(5, 10, 30), between(180, 420, 900), exactly(10)};
  return plan;
}

TEST(PlanEvents, AgreeWithTheClosedFormDrawByDraw) {
  const PlanReport closed = run_plan(steady_fleet(), {.draws = 60}, steady_machine);
  const PlanReport played = run_plan(steady_fleet(), {.draws = 60, .events = true}, steady_machine);
  const auto& a = closed.outcomes[size_t(Total::kSamples)].columns;
  const auto& b = played.outcomes[size_t(Total::kSamples)].columns;
  for (size_t c = 0; c < a.size(); ++c) EXPECT_NEAR(b[c] / a[c], 1, 0.04) << c;
  EXPECT_NEAR(total(played, Total::kSamples) / total(closed, Total::kSamples), 1, 0.01);
  EXPECT_NEAR(total(played, Total::kFailures) / total(closed, Total::kFailures), 1, 0.02);
  const auto mean = [](const PlanReport& report, Total which) {
    const std::vector<double>& columns = report.outcomes[size_t(which)].columns;
    return std::accumulate(columns.begin(), columns.end(), 0.0) / double(columns.size());
  };
  EXPECT_NEAR(mean(played, Total::kRepairs) / mean(closed, Total::kRepairs), 1, 0.02);
  EXPECT_NEAR(total(played, Total::kServiceGpuDays) / total(closed, Total::kServiceGpuDays), 1, 0.002);
  EXPECT_NEAR(played.sites[0].closed_form_samples.estimate.p50 / total(closed, Total::kSamples), 1, 0.005);
  EXPECT_THAT(plan_text(played, false), testing::HasSubstr("played as an event"));
}

TEST(PlanEvents, SameSeedSameAnswerOnAnyNumberOfThreads) {
  for (const bool events : {false, true}) {
    const PlanReport one = run_plan(steady_fleet(), {.draws = 40, .events = events, .threads = 1}, steady_machine);
    const PlanReport four = run_plan(steady_fleet(), {.draws = 40, .events = events, .threads = 4}, steady_machine);
    EXPECT_EQ(plans_json({one}), plans_json({four}));
  }
  const PlanReport other = run_plan(steady_fleet(), {.draws = 40, .seed = 2, .events = true}, steady_machine);
  EXPECT_NE(plans_json({other}), plans_json({run_plan(steady_fleet(), {.draws = 40, .events = true}, steady_machine)}));
}

TEST(PlanEvents, FewHandsLeaveFewerInService) {
  Plan plan = steady_fleet();
  const PlanReport enough = run_plan(plan, {.draws = 20, .events = true}, steady_machine);
  plan.sites[0].pipeline.repairs_per_day = exactly(8);  // one node; about five go to repair a day
  const PlanReport few = run_plan(plan, {.draws = 20, .events = true}, steady_machine);
  EXPECT_LT(total(few, Total::kServiceGpuDays), 0.95 * total(enough, Total::kServiceGpuDays));
  EXPECT_EQ(few.timeline.back().bottleneck, Bottleneck::kRepair);
}

TEST(PlanEvents, SitesFailApart) {
  Plan plan = steady_fleet();
  plan.sites.push_back(plan.sites[0]);
  plan.sites[1].name = "twin";
  plan.deliveries.push_back(plan.deliveries[0]);
  plan.deliveries[1].site = 1;
  const PlanReport report = run_plan(plan, {.draws = 0, .events = true}, steady_machine);
  const auto samples = [&](size_t site) { return report.sites[site].outcomes[size_t(Total::kSamples)].columns[0]; };
  EXPECT_NE(samples(0), samples(1));
  EXPECT_NEAR(samples(0) / samples(1), 1, 0.05);
}

TEST(PlanEvents, InfantMortalityCostsGoodput) {
  Plan plan = steady_fleet();
  const double before = total(run_plan(plan, {.draws = 0}, steady_machine), Total::kSamples);
  plan.sites[0].pipeline.infant_excess = exactly(3);
  EXPECT_LT(total(run_plan(plan, {.draws = 0}, steady_machine), Total::kSamples), 0.97 * before);
}

// Two sites; 600 of the first one's 1,000 GPUs move to the second in the middle.
Plan moving_plan() {
  Plan plan = simple_plan();
  plan.sites[0].halls[0].ready = on(kStart);
  plan.sites.push_back(plan.sites[0]);
  plan.sites[1].name = "other";
  plan.sites[1].organisation = "X";
  plan.transfers = {{.name = "move",
                     .from = 0,
                     .to = 1,
                     .gpus = exactly(600),
                     .date = on(kStart + std::chrono::days(50)),
                     .transit_days = exactly(5)}};
  return plan;
}

TEST(PlanTransfers, GpusLeaveOneOrganisationAndServeAnother) {
  const PlanReport report = run_plan(moving_plan(), {.draws = 0}, steady_machine);
  const auto parts = by_organisation(report);
  const auto at = [&](size_t i) { return parts[i].outcomes[size_t(Total::kServiceGpuDays)].estimate.p50; };
  EXPECT_DOUBLE_EQ(at(0), 50 * 1000 + 50 * 400);
  EXPECT_DOUBLE_EQ(at(1), 45 * 600);
  EXPECT_DOUBLE_EQ(total(report, Total::kIdleGpuDays), 5 * 600);  // on the road
  for (size_t d = 0; d < report.days.size(); ++d) {
    EXPECT_EQ(report.days[d].delivered, 1000) << d;
    EXPECT_EQ(report.days[d].in_transit, d >= 50 && d < 55 ? 600 : 0) << d;
  }
}

TEST(PlanTransfers, AnEmptiedSiteTrainsNothing) {
  Plan plan = moving_plan();
  plan.transfers[0].gpus = exactly(1000);
  const PlanReport report = run_plan(plan, {.draws = 0}, steady_machine);
  EXPECT_EQ(report.days[52].in_service, 0);
  EXPECT_EQ(report.days[52].idle(), 1000);
}

TEST(PlanTransfers, WhatIsNotThereYetFollows) {
  Plan plan = moving_plan();
  plan.deliveries[0].last = on(kStart + std::chrono::days(99));  // ten a day
  plan.transfers[0].date = on(kStart);
  plan.transfers[0].transit_days = exactly(0);
  const PlanReport report = run_plan(plan, {.draws = 20}, steady_machine);
  EXPECT_NEAR(report.days.back().delivered, 1000, 1e-6);
  EXPECT_NEAR(report.sites[1].job.in_service, 600, 1e-6);
  for (const SiteDay& day : report.days) EXPECT_EQ(day.stored + day.installed() + day.in_transit, day.delivered);
}

TEST(PlanJobs, BudgetsAreSpentByPriority) {
  Plan plan = simple_plan();
  plan.sites[0].halls[0].ready = on(kStart);
  const double day_of_all = 86400.0 * 10 * 1000;
  Job first{.name = "first", .workload = "w", .priority = 1};
  first.samples = exactly(10 * day_of_all);
  Job second{.name = "second", .workload = "w"};
  second.gpu_hours = exactly(24 * 500 * 20);
  second.most_gpus = exactly(500);
  plan.jobs = {first, second};
  const PlanReport report = run_plan(plan, {.draws = 0}, steady_machine);
  const std::vector<BudgetedJob>& jobs = report.sites[0].jobs;
  ASSERT_EQ(jobs.size(), 2U);
  EXPECT_NEAR(jobs[0].done_day.p50, 9, 1.01);  // all GPUs for ten days
  EXPECT_NEAR(jobs[0].samples.p50 / (10 * day_of_all), 1, 1e-9);
  EXPECT_NEAR(jobs[1].done_day.p50, 29, 1.01);  // then half of them for twenty
  EXPECT_NEAR(jobs[1].gpu_hours.p50, 24 * 500 * 20, 1e-6);
  EXPECT_NEAR(total(report, Total::kSamples) / (100 * day_of_all), 1, 0.02);  // the rest goes on training
  EXPECT_THAT(plan_text(report, false), testing::HasSubstr("GPU-hours"));
}

TEST(PlanJobs, AnotherWorkloadIsNotCountedAmongThePlansSamples) {
  Plan plan = simple_plan();
  plan.sites[0].halls[0].ready = on(kStart);
  Job other{.name = "other", .workload = "v"};
  other.samples = exactly(1e30);
  plan.jobs = {other};
  const PlanReport report = run_plan(plan, {.draws = 0}, steady_machine);
  EXPECT_NEAR(total(report, Total::kSamples), 0, 1);
  EXPECT_NEAR(report.sites[0].jobs[0].samples.p50 / (100 * 86400.0 * 10 * 1000), 1, 1e-3);
  EXPECT_EQ(report.sites[0].jobs[0].done_day.p50, plan.days());  // never
}

TEST(PlanBatch, TheCriticalBatchLimitsWhatALargerJobGives) {
  Plan plan = large_plan(100000, 1);
  plan.failures = no_failures();
  const double free = total(run_plan(plan, {.draws = 0}, steady_machine), Total::kSamples);
  plan.training.critical_batch = exactly(100000);  // a job of all GPUs has a batch of 100,000
  const PlanReport limited = run_plan(plan, {.draws = 0}, steady_machine);
  EXPECT_NEAR(total(limited, Total::kSamples) / free, 0.5, 0.005);
  EXPECT_NEAR(limited.sites[0].job.useful_share.p50, 0.5, 0.005);
  EXPECT_NEAR(limited.timeline.back().goodput.p50, 1, 1e-6);  // another axis
  plan.training.jobs = 4;
  EXPECT_NEAR(total(run_plan(plan, {.draws = 0}, steady_machine), Total::kSamples) / free, 0.8, 0.005);
}

TEST(PlanPrices, PartsAddUp) {
  Plan plan = simple_plan();
  plan.prices.parts = ClusterParts{
      .node_usd_per_gpu = exactly(10e3), .network_usd_per_gpu = exactly(5e3), .building_usd_per_mw = exactly(8e6)};
  const PlanReport report = run_plan(plan, {.draws = 0}, steady_machine);
  EXPECT_NEAR(total(report, Total::kCapitalUsd), 1000 * (30e3 + 10e3 + 5e3 + 8 * 1250), 1);  // 1.25 kW a GPU
}

TEST(PlanPower, IdleSparesDrawLess) {
  Plan plan = simple_plan();
  plan.training.spare_share = exactly(0.1);
  const double full = total(run_plan(plan, {.draws = 0}, steady_machine), Total::kEnergyMwh);
  plan.state_power.spare = exactly(0.5);
  EXPECT_NEAR(total(run_plan(plan, {.draws = 0}, steady_machine), Total::kEnergyMwh) / full, 0.95, 1e-9);
}

TEST(PlanMonotonic, MorePowerAndEarlierGpusNeverTrainLessInAnyDraw) {
  Plan plan = simple_plan();
  plan.sites[0].power = {{on(kStart), between(0.8, 1.0, 1.1)}};
  plan.failures = default_failure_model();
  plan.deliveries[0].first = on(kStart + std::chrono::days(40));
  Plan more = plan, earlier = plan;
  more.sites[0].power[0].megawatts = between(1.0, 1.2, 1.3);
  earlier.deliveries[0].first = on(kStart + std::chrono::days(20));
  const auto samples = [](const Plan& p) {
    return run_plan(p, {.draws = 200}, steady_machine).outcomes[size_t(Total::kSamples)].columns;
  };
  const auto base = samples(plan), powered = samples(more), early = samples(earlier);
  for (size_t c = 0; c < base.size(); ++c) {
    EXPECT_GE(powered[c], base[c] * (1 - 1e-6)) << c;
    EXPECT_GE(early[c], base[c] * (1 - 1e-6)) << c;
  }
}

TEST(PlanMachines, HostsAreRefused) {
  auto data = std::make_shared<Machine::Data>(load_hardware("h100-sxm").data());
  data->kind = "host";
  Site site{.name = "desk", .hardware = "desk.toml"};
  site.where = "plans/x.toml:7";
  try {
    machine_at(site, load_workload("resnet50"), Machine(data));
    FAIL();
  } catch (const InputError& error) {
    EXPECT_THAT(error.what(), testing::AllOf(testing::HasSubstr("plans/x.toml:7"), testing::HasSubstr("is a host")));
  }
}

TEST(PlanMachines, OversubscriptionSlowsJobsThatSpanPods) {
  Site flat{.name = "a", .hardware = "h100-sxm"}, thin = flat;
  thin.network.pod_gpus = exactly(512);
  thin.network.oversubscription = exactly(7);
  const PredictOptions asked{.layout = "auto", .draws = 100, .seed = 1};
  const auto rate = [&](const Site& site, int64_t gpus) {
    return machine_for("hydranet-regnety16gf", site).predict(gpus, asked).samples_per_s.p50;
  };
  EXPECT_NEAR(rate(thin, 512) / rate(flat, 512), 1, 1e-9);
  EXPECT_LT(rate(thin, 4096), rate(flat, 4096));
}

}  // namespace
}  // namespace farscale
