// Whole plans on a machine with known answers: sums by hand, ranges, job size, JSON.
#include "cluster/plan_run.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "cluster/plan_output.h"
#include "cluster/tests/plan_fixture.h"

namespace farscale {
namespace {

TEST(PlanRun, SumsByHand) {
  const PlanReport report = run_plan(simple_plan(), {.draws = 0}, steady_machine);
  EXPECT_DOUBLE_EQ(total(report, Total::kIdleGpuDays), 30 * 1000);
  EXPECT_DOUBLE_EQ(total(report, Total::kStoredGpuDays), 30 * 1000);
  EXPECT_DOUBLE_EQ(total(report, Total::kPeakStored), 1000);
  EXPECT_DOUBLE_EQ(total(report, Total::kServiceGpuDays), 70 * 1000);
  EXPECT_NEAR(total(report, Total::kSamples), 70 * 86400.0 * 10 * 1000, 1e5);
  EXPECT_NEAR(total(report, Total::kEnergyMwh), 70 * 24 * 1.25, 1e-6);  // 1,000 GPUs of 1 kW, PUE 1.25
  EXPECT_NEAR(total(report, Total::kEnergyUsd), 70 * 24 * 1.25 * 1000 * 0.1, 1e-3);
  EXPECT_NEAR(total(report, Total::kCapitalUsd), 1000 * 45e3, 1);  // 30,000 USD are 2/3 of the cluster
  EXPECT_NEAR(total(report, Total::kIdleUsd), 30 * 1000 * 45e3 / (4 * 365.25), 1);
  EXPECT_DOUBLE_EQ(total(report, Total::kCompleteDay), 30);
  const std::vector<TimelineRow> months = month_ends(report);
  ASSERT_EQ(months.size(), 4U);  // June, July, August, and the last day
  EXPECT_EQ(iso_date(months[0].date), "2024-06-30");
  EXPECT_EQ(months[0].bottleneck, Bottleneck::kHall);
  EXPECT_NEAR(months[1].samples_per_s.p50, 1e4, 1);
  EXPECT_NEAR(months[1].samples_in_month.p50, 31 * 86400.0 * 10 * 1000, 1e5);
  EXPECT_NEAR(months[3].cost_usd.p50, total(report, Total::kCostUsd), 1);
  ASSERT_GE(report.sites[0].periods.size(), 2U);
  EXPECT_EQ(iso_date(report.sites[0].periods[0].until), "2024-06-30");
}

TEST(PlanRun, MonteCarloCoversTheInputs) {
  Plan plan = simple_plan();
  plan.sites[0].halls[0].ready = {between(plan.sites[0].halls[0].ready.days.value.p50 - 10,
                                          plan.sites[0].halls[0].ready.days.value.p50,
                                          plan.sites[0].halls[0].ready.days.value.p50 + 20)};
  const PlanReport report = run_plan(plan, {.draws = 2000, .seed = 3}, steady_machine);
  const Estimate stored = report.outcomes[size_t(Total::kStoredGpuDays)].estimate;
  EXPECT_NEAR(stored.p05, 20e3, 1.5e3);
  EXPECT_NEAR(stored.p50, 30e3, 1.5e3);
  EXPECT_NEAR(stored.p95, 50e3, 1.5e3);
  const Estimate rate = report.timeline.back().samples_per_s;
  EXPECT_NEAR(rate.p05, 8e3, 50);
  EXPECT_NEAR(rate.p95, 12e3, 50);
}

TEST(PlanRun, SameSeedSameAnswerOtherSeedNear) {
  Plan plan = simple_plan();
  plan.failures = default_failure_model();
  const PlanReport a = run_plan(plan, {.draws = 500, .seed = 1}, steady_machine);
  const PlanReport b = run_plan(plan, {.draws = 500, .seed = 1}, steady_machine);
  const PlanReport c = run_plan(plan, {.draws = 500, .seed = 2}, steady_machine);
  EXPECT_EQ(plans_json({a}), plans_json({b}));
  EXPECT_NE(plans_json({a}), plans_json({c}));
  EXPECT_NEAR(total(c, Total::kSamples) / total(a, Total::kSamples), 1, 0.02);
}

TEST(PlanRun, EarlierDeliveryAndMorePowerNeverTrainLess) {
  Plan plan = simple_plan();
  plan.sites[0].power = {{on(kStart), exactly(1.0)}};  // 800 GPUs of 1.25 kW
  plan.failures = default_failure_model();
  const double base = total(run_plan(plan, {.draws = 50}, steady_machine), Total::kSamples);
  Plan more = plan;
  more.sites[0].power[0].megawatts = exactly(1.1);
  EXPECT_GT(total(run_plan(more, {.draws = 50}, steady_machine), Total::kSamples), base);
  Plan late = plan;
  late.deliveries[0].first = on(kStart + std::chrono::days(45));
  EXPECT_LT(total(run_plan(late, {.draws = 50}, steady_machine), Total::kSamples), base);
}

TEST(PlanRun, BeyondTheBestSizeTheFleetIsSplit) {
  const PlanReport split = run_plan(large_plan(300000, 0), {.draws = 0}, steady_machine);
  const PlanReport one = run_plan(large_plan(300000, 1), {.draws = 0}, steady_machine);
  const JobReport& job = split.sites[0].job;
  EXPECT_NEAR(job.best_job_gpus.p50, 150e3, 15e3);  // RSC-1 rates, 30 s checkpoints, 600 s restarts; perfect scaling
  EXPECT_TRUE(job.peak_inside);
  EXPECT_GE(job.jobs, 2);
  EXPECT_NEAR(job.one_job_delivered_per_s.p50, 300e3 * 10 * 0.118, 300e3 * 10 * 0.002);
  EXPECT_GT(total(split, Total::kSamples), 1.8 * total(one, Total::kSamples));
  EXPECT_THAT(verdicts(split.sites[0], split.plan)[1], testing::HasSubstr("deliver less"));
  const PlanReport small = run_plan(large_plan(16384, 0), {.draws = 0}, steady_machine);
  EXPECT_EQ(small.sites[0].job.jobs, 1);
  EXPECT_FALSE(small.sites[0].job.peak_inside);
  EXPECT_NEAR(small.sites[0].job.delivered_per_s.p50, 16384 * 10 * 0.827, 16384 * 10 * 0.002);
  EXPECT_NEAR(small.sites[0].job.linear_goodput, 0.820, 0.002);  // Meta's form: close here
  EXPECT_LT(one.sites[0].job.linear_goodput, 0.1);               // and of no use at a job's best size already
}

TEST(PlanRun, NoMoreJobsThanNodes) {
  Plan plan = large_plan(800, 200);
  plan.training.jobs_where = "plans/x.toml:9";
  try {
    run_plan(plan, {.draws = 0}, steady_machine);
    FAIL();
  } catch (const InputError& error) {
    EXPECT_THAT(error.what(), testing::AllOf(testing::HasSubstr("plans/x.toml:9"), testing::HasSubstr("100 nodes")));
  }
  plan.training.jobs = 100;
  plan.sites[0].power = {{on(kStart), exactly(0.5)}};  // 400 GPUs of 1.25 kW
  const JobReport job = run_plan(plan, {.draws = 0}, steady_machine).sites[0].job;
  EXPECT_EQ(job.jobs, 50);
  EXPECT_NEAR(job.samples_per_s.p50, 4000, 1);
}

TEST(PlanRun, WithoutPowerNothingTrains) {
  Plan plan = simple_plan();
  plan.sites[0].power = {{on(kStart), exactly(0)}};
  const PlanReport report = run_plan(plan, {.draws = 10}, steady_machine);
  EXPECT_EQ(report.sites[0].job.jobs, 0);
  EXPECT_EQ(report.sites[0].job.samples_per_s.p50, 0);
  const std::string summary = summary_text({report});
  EXPECT_THAT(summary, testing::Not(testing::ContainsRegex("(MFU|goodput) +[0-9]")));
  EXPECT_THAT(plan_text(report, false), testing::HasSubstr("no GPU ever trains"));
  EXPECT_EQ(nlohmann::json::parse(plans_json({report})).at("plans").at(0).at("name"), "simple");
}

TEST(PlanRun, LayoutMistakesNameThePlan) {
  Plan plan = simple_plan();
  plan.training.layout_where = "plans/x.toml:8";
  const auto mistake = [&plan](const std::string& layout, int64_t gpus) {
    const MachineSource failing = [](const std::string&, const Site&) {
      PlanMachine machine = steady_machine("", {});
      machine.predict = [](int64_t, const PredictOptions&) -> Prediction {
        throw InputError("does not fit: use --layout auto, or --ignore-memory");
      };
      return machine;
    };
    try {
      located(plan, failing)("w", plan.sites[0]).predict(gpus, {.layout = layout, .draws = 100});
    } catch (const InputError& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  EXPECT_THAT(mistake("tp=3 pp=1", 50176),
              testing::AllOf(testing::StartsWith("plans/x.toml:8"), testing::HasSubstr("divides 512, not 3"),
                             testing::Not(testing::HasSubstr("50176"))));
  EXPECT_THAT(mistake("dp=50000", 50176), testing::HasSubstr("no dp="));
  EXPECT_THAT(mistake("mb=64", 50176), testing::Not(testing::HasSubstr("--")));
}

TEST(PlanRun, InterpolationIsCloseToThePredictionItself) {
  const DeliveryCurve curve(steady_machine("", {}), {exactly(6.5e-3), exactly(30), exactly(600), exactly(0)}, 300000,
                            {.draws = 0});
  for (const double gpus : {8.0, 100.0, 5000.0, 33333.0, 120000.0, 299000.0}) {
    EXPECT_NEAR(curve.samples_per_s(0, gpus) / (gpus * 10), 1, 1e-4);
    const double goodput = FailureDraw{6.5e-3, 30, 600, 0}.goodput(gpus / 8);
    EXPECT_NEAR(curve.delivered_per_s(0, gpus) / (gpus * 10) / goodput, 1, 0.01);
  }
}

TEST(PlanRun, SitesWithOneMedianAndTwoRangesAreTwoMachines) {
  int built = 0;
  const MachineSource machines = remembering([&built](const std::string& workload, const Site& site) {
    ++built;
    PlanMachine machine = steady_machine(workload, site);
    machine.node_power_w = *site.network.oversubscription;  // stands for all that follows from it
    return machine;
  });
  Site narrow, wide;
  narrow.network.oversubscription = between(1.9, 2, 2.1);
  wide.network.oversubscription = between(1, 2, 7);
  EXPECT_EQ(machines("w", narrow).node_power_w.value.p95, 2.1);
  EXPECT_EQ(machines("w", wide).node_power_w.value.p95, 7);
  EXPECT_EQ(machines("w", narrow).node_power_w.value.p05, 1.9);
  EXPECT_EQ(built, 2);
}

TEST(PlanRun, SitesAndOrganisationsAddUp) {
  Plan plan = simple_plan();
  plan.sites.push_back(plan.sites[0]);
  plan.sites[1].name = "other";
  plan.sites[1].organisation = "X";
  plan.deliveries.push_back(plan.deliveries[0]);
  plan.deliveries[1].site = 1;
  plan.deliveries[1].gpus = exactly(504);
  const PlanReport report = run_plan(plan, {.draws = 20}, steady_machine);
  const auto parts = by_organisation(report);
  ASSERT_EQ(parts.size(), 2U);
  EXPECT_EQ(parts[1].name, "X");
  EXPECT_DOUBLE_EQ(parts[1].outcomes[size_t(Total::kStoredGpuDays)].estimate.p50, 30 * 504.0);
  EXPECT_DOUBLE_EQ(total(report, Total::kStoredGpuDays), 30 * 1504.0);
  EXPECT_DOUBLE_EQ(total(report, Total::kPeakStored), 1504);
}

TEST(PlanRun, RentedGpusCostRentAndNothingElse) {
  Plan plan = simple_plan();
  plan.sites[0].rented = true;
  plan.deliveries.clear();
  plan.rentals = {{.site = 0,
                   .gpus = exactly(1000),
                   .from = on(kStart + std::chrono::days(10)),
                   .until = on(kStart + std::chrono::days(59)),
                   .usd_per_gpu_hour = exactly(2)}};
  const PlanReport report = run_plan(plan, {.draws = 0}, steady_machine);
  EXPECT_DOUBLE_EQ(total(report, Total::kServiceGpuDays), 50e3);
  EXPECT_DOUBLE_EQ(total(report, Total::kRentUsd), 50e3 * 24 * 2);
  EXPECT_DOUBLE_EQ(total(report, Total::kCostUsd), 50e3 * 24 * 2);
  EXPECT_DOUBLE_EQ(total(report, Total::kEnergyMwh), 0);
}

TEST(PlanRun, JsonKeepsTheContract) {
  const PlanReport report = run_plan(simple_plan(), {.draws = 100}, steady_machine);
  const auto json = nlohmann::json::parse(plans_json({report}));
  const auto& plan = json.at("plans").at(0);
  EXPECT_EQ(plan.at("name"), "simple");
  for (const char* key : {"delivered", "stored", "installed", "in_service", "power_mw", "samples_per_s", "goodput"})
    for (const auto& row : plan.at("timeline")) {
      const auto& value = row.at(key);
      EXPECT_LE(value.at("p05").get<double>(), value.at("p50").get<double>()) << key;
      EXPECT_LE(value.at("p50").get<double>(), value.at("p95").get<double>()) << key;
    }
  EXPECT_EQ(plan.at("timeline").at(0).at("date"), "2024-06-30");
  for (const char* key : {"samples", "idle_gpu_days", "energy_mwh", "cost_usd"})
    EXPECT_TRUE(plan.at("totals").at(key).contains("p50")) << key;
  EXPECT_TRUE(plan.at("answers").is_object());
  EXPECT_TRUE(plan.at("evidence").is_array());
  EXPECT_EQ(plan.at("answers").at("complete_date").at("p50"), "2024-07-01");
}

TEST(PlanRun, WhatNeverHappensIsNullAndSaid) {
  Plan plan = simple_plan();
  plan.sites[0].halls[0].ready = on(plan.end + std::chrono::days(100));
  const PlanReport report = run_plan(plan, {.draws = 10}, steady_machine);
  const auto json = nlohmann::json::parse(plans_json({report}));
  EXPECT_TRUE(json.at("plans").at(0).at("answers").at("complete_date").at("p50").is_null());
  EXPECT_THAT(plan_text(report, false), testing::HasSubstr("not by 2024-09-08"));
  EXPECT_DOUBLE_EQ(total(report, Total::kSamples), 0);
}

TEST(PlanText, ProseIsWrapped) {
  std::string words;
  for (int i = 0; i < 100; ++i) words += "word ";
  const std::string text = wrapped("Note: " + words, "  ");
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 5);
  EXPECT_THAT(text, testing::HasSubstr("\n  word"));
  EXPECT_EQ(wrapped("a b\n  c"), "a b\n  c\n");
  EXPECT_EQ(digits(0.000122), "0.000122");
}

TEST(PlanText, TablesSayWhatAManagerNeeds) {
  Plan second = simple_plan();
  second.name = "second";
  second.deliveries[0].gpus = exactly(1200);
  const PlanReport a = run_plan(simple_plan(), {.draws = 50}, steady_machine);
  const PlanReport b = run_plan(second, {.draws = 50}, steady_machine);
  const std::string summary = summary_text({a, b});
  for (const char* word : {"samples/s", "MFU", "scaling efficiency", "exposed communication", "time between failures",
                           "goodput", "M measured, P published, D data sheet, A assumed", "simple", "second"})
    EXPECT_THAT(summary, testing::HasSubstr(word));
  EXPECT_THAT(summary, testing::Not(testing::HasSubstr("trains  ")));
  Plan longer = second;
  longer.training.workload = "w-2";  // contains the other's name
  const std::string mixed = summary_text({a, run_plan(longer, {.draws = 50}, steady_machine)});
  EXPECT_THAT(mixed, testing::AllOf(testing::HasSubstr("trains "), testing::HasSubstr("w-2"),
                                    testing::HasSubstr("are not comparable")));
  EXPECT_THAT(difference_text({a, b}), testing::HasSubstr("6.00 k, more in 100 %"));  // 200 GPUs for 30 days
  EXPECT_THAT(plan_text(a, true),
              testing::HasSubstr("waits, in the run of medians, for: hall 2024-06-01 to 2024-06-30"));
}

TEST(PlanQuestions, BudgetByHand) {
  const BudgetAnswer answer = answer_budget(simple_plan(), 3e9, {.draws = 0}, steady_machine);
  EXPECT_NEAR(answer.gpus_of_vendor.p50, 100e3, 1);
  EXPECT_NEAR(answer.gpus_of_cluster.p50, 100e3 * 2 / 3, 1);
  EXPECT_NEAR(answer.kept_per_s.p50, 100e3 * 2 / 3 * 10, 100);
  EXPECT_THROW(answer_budget(simple_plan(), 1e15, {.draws = 0}, steady_machine), InputError);
  EXPECT_THAT(budget_text(answer_budget(simple_plan(), 1, {.draws = 0}, steady_machine)), testing::HasSubstr("no GPU"));
}

TEST(PlanRun, BudgetedDelivery) {
  Plan plan = simple_plan();
  plan.deliveries[0].budget_usd = between(24e6, 30e6, 36e6);
  const PlanReport report = run_plan(plan, {.draws = 1000}, steady_machine);
  EXPECT_NEAR(report.timeline.back().delivered.p50, 1000, 5);
  EXPECT_NEAR(report.timeline.back().delivered.p95, 1200, 10);
  EXPECT_NEAR(report.outcomes[size_t(Total::kCapitalUsd)].estimate.p95, 36e6 * 1.5, 0.5e6);
}

// A workload too large for one node, and splits that need round counts.
PlanMachine large_model_machine(const std::string&, const Site&) {
  PlanMachine machine = steady_machine("", {});
  machine.predict = [](int64_t gpus, const PredictOptions& options) {
    if (gpus < 256 || gpus % 64 != 0) throw InputError("does not fit");
    Prediction prediction = steady_machine("", {}).predict(gpus, options);
    prediction.layout.tp = 8;
    return prediction;
  };
  return machine;
}

TEST(PlanRun, LargeModelsTrainFromTheirLeastSizeOn) {
  const DeliveryCurve curve(large_model_machine("", {}), no_failures(), 9001, {.draws = 0});
  EXPECT_EQ(curve.samples_per_s(0, 100), 0);
  EXPECT_NEAR(curve.samples_per_s(0, 2000), 20000, 1);
  const PlanReport report = run_plan(large_plan(9001, 1), {.draws = 0}, large_model_machine);
  EXPECT_EQ(report.sites[0].job.job_gpus % 64, 0);
  EXPECT_GT(report.sites[0].job.job_gpus, 8800);
  EXPECT_THROW(run_plan(large_plan(100, 1), {.draws = 0}, large_model_machine), InputError);
}

TEST(Draws, AreStratifiedAndIndependentByName) {
  const auto a = uniform_draws(1, "a", 1000), b = uniform_draws(1, "b", 1000);
  double sum = 0, product = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += a[i], product += (a[i] - 0.5) * (b[i] - 0.5);
  EXPECT_NEAR(sum / 1000, 0.5, 1e-12);  // one in each stratum
  EXPECT_NEAR(product / 1000 * 12, 0, 0.1);
  EXPECT_EQ(a, uniform_draws(1, "a", 1000));
  EXPECT_NE(a, uniform_draws(2, "a", 1000));
  auto sorted = quantity_draws(between(1, 2, 4), 1, "q", 4000);
  const Estimate estimate = percentiles(sorted);
  EXPECT_NEAR(estimate.p05, 1, 0.01);
  EXPECT_NEAR(estimate.p50, 2, 0.01);
  EXPECT_NEAR(estimate.p95, 4, 0.02);
}

}  // namespace
}  // namespace farscale
