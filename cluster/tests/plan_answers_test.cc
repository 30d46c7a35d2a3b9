// Sensitivity, delay, pictures, and the pages on the shipped plans.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "cluster/plan_canvas.h"
#include "cluster/plan_output.h"
#include "cluster/plan_plot.h"
#include "cluster/tests/plan_fixture.h"
#include "results/result_file.h"

namespace farscale {
namespace {

using testing::HasSubstr;

const SensitivityBar* find_bar(const SensitivityAnswer& answer, const std::string& input) {
  for (const SensitivityBar& bar : answer.bars)
    if (bar.input == input) return &bar;
  return nullptr;
}

TEST(Sensitivity, MovesOneInputAtATimeByHand) {
  Plan plan = simple_plan();  // ready on day 30 of 100
  Estimate& ready = plan.sites[0].halls[0].ready.days.value;
  ready = {ready.p50 - 10, ready.p50, ready.p50 + 20};
  plan.deliveries[0].gpus = between(904, 1000, 1048);  // whole nodes
  plan.prices.usd_per_kwh = between(0.05, 0.1, 0.2);
  const SensitivityAnswer answer = answer_sensitivity(plan, total_question("samples"), 1, steady_machine);
  const double day = 86400.0 * 10 * 1000;
  EXPECT_NEAR(answer.base / (70 * day), 1, 1e-6);
  ASSERT_EQ(answer.bars.size(), 2U);  // the price of energy moves no sample
  EXPECT_EQ(answer.bars[0].input, "hall south ready");
  EXPECT_NEAR(answer.bars[0].low / (80 * day), 1, 1e-6);
  EXPECT_NEAR(answer.bars[0].high / (50 * day), 1, 1e-6);
  EXPECT_NEAR(answer.bars[1].low / (63.28 * day), 1, 1e-6);
  EXPECT_EQ(answer.inputs, 3);
  const SensitivityAnswer cost = answer_sensitivity(plan, total_question("energy_usd"), 1, steady_machine);
  ASSERT_NE(find_bar(cost, "energy price"), nullptr);
  EXPECT_NEAR(find_bar(cost, "energy price")->high / cost.base, 2, 1e-9);
  EXPECT_THAT(sensitivity_text(answer, plan), testing::AllOf(HasSubstr("hall south ready"), HasSubstr("░"),
                                                             HasSubstr("3 inputs were moved, 1 move nothing")));
}

TEST(Sensitivity, OfTheMachineModelAndOfDates) {
  Plan plan = simple_plan();
  const MachineSource machines = [](const std::string& workload, const Site& site) {
    PlanMachine machine = steady_machine(workload, site);
    machine.sensitivities = [](int64_t, const PredictOptions&) {
      return std::vector<Sensitivity>{{"convolution", 0.25, -0.2}};  // of the step time
    };
    return machine;
  };
  const SensitivityAnswer answer = answer_sensitivity(plan, total_question("samples"), 1, machines);
  ASSERT_EQ(answer.bars.size(), 1U);
  EXPECT_EQ(answer.bars[0].input, "h100-sxm: convolution");
  EXPECT_NEAR(answer.bars[0].low / answer.base, 0.8, 1e-6);
  EXPECT_NEAR(answer.bars[0].high / answer.base, 1.25, 1e-6);
  EXPECT_THROW(total_question("sample"), InputError);
  EXPECT_EQ(total_question("complete_day").unit, "days after the start");
}

TEST(Delay, ByHand) {
  const PlanReport report = run_plan(simple_plan(), {.draws = 20}, steady_machine);
  const DelayAnswer answer = answer_delay(report, 10, steady_machine);  // the hall on day 40 instead of 30
  EXPECT_TRUE(answer.moves_anything);
  EXPECT_NEAR(answer.idle_gpu_days.p50, 10 * 1000, 1e-6);
  EXPECT_NEAR(answer.idle_usd.p50, 10 * 1000 * 45e3 / (4 * 365.25), 1e-3);
  EXPECT_NEAR(answer.days_later.p50, 10, 1e-9);
  EXPECT_NEAR(answer.samples_lost.p50 / (10 * 86400.0 * 10 * 1000), 1, 0.05);
  EXPECT_THAT(delay_text(answer, report.plan), HasSubstr("10.0 k more idle"));
  Plan ready = simple_plan();
  ready.sites[0].halls[0].ready = on(kStart);
  EXPECT_FALSE(answer_delay(run_plan(ready, {.draws = 0}, steady_machine), 10, steady_machine).moves_anything);
}

TEST(Answers, AreInTheJson) {
  const PlanReport report = run_plan(simple_plan(), {.draws = 10, .events = true}, steady_machine);
  PlanAnswers answers;
  answers.delay = answer_delay(report, 10, steady_machine);
  answers.sensitivity = answer_sensitivity(report.plan, total_question("samples"), 1, steady_machine);
  const auto json = nlohmann::json::parse(plans_json({report}, {answers})).at("plans").at(0).at("answers");
  EXPECT_EQ(json.at("delay").at("days"), 10);
  EXPECT_EQ(json.at("sensitivity").at("answer"), "samples");
  EXPECT_EQ(json.at("events").at("histories"), 11);
}

// Every tag that opens closes again, and attributes are quoted: enough of a parser for what we write.
void expect_well_formed(const std::string& svg) {
  std::vector<std::string> open;
  for (size_t at = svg.find('<'); at != std::string::npos; at = svg.find('<', at + 1)) {
    const size_t end = svg.find('>', at);
    ASSERT_NE(end, std::string::npos);
    const std::string tag = svg.substr(at + 1, end - at - 1);
    if (tag[0] == '/') {
      ASSERT_FALSE(open.empty());
      EXPECT_EQ(open.back(), tag.substr(1));
      open.pop_back();
    } else if (tag.back() != '/') {
      open.push_back(tag.substr(0, tag.find(' ')));
    }
    EXPECT_EQ(std::count(tag.begin(), tag.end(), '"') % 2, 0) << tag;
  }
  EXPECT_TRUE(open.empty());
}

TEST(Plot, OnePlanShowsStatesAndSeveralTheirNames) {
  Plan second = simple_plan();
  second.name = "second <&>";
  const PlanReport a = run_plan(simple_plan(), {.draws = 20}, steady_machine);
  const PlanReport b = run_plan(second, {.draws = 20}, steady_machine);
  const std::string one = plot_svg({a}), two = plot_svg({a, b});
  for (const std::string& svg : {one, two}) {
    expect_well_formed(svg);
    EXPECT_EQ(svg.find("nan"), std::string::npos);
    EXPECT_EQ(svg.find("inf\""), std::string::npos);
  }
  for (const char* words : {"A hall", "in service", "in a warehouse", "Samples kept", "MW", "USD", "Jun", "2024"})
    EXPECT_THAT(one, HasSubstr(words));
  EXPECT_THAT(two, testing::AllOf(HasSubstr("simple"), HasSubstr("second &lt;&amp;&gt;")));
}

TEST(Plot, TicksAreRound) {
  EXPECT_DOUBLE_EQ(tick_step(50000, 5), 10000);
  EXPECT_DOUBLE_EQ(tick_step(300000, 6), 50000);
  EXPECT_NEAR(tick_step(0.9, 4), 0.5, 1e-12);
}

// docs/plans.md is written by scripts/plan-pages; a plan or a figure that it lacks means that it was not run again.
TEST(Pages, HaveEveryShippedPlanWithItsEvidence) {
  const std::string pages = read_text(std::string(FARSCALE_SOURCE_DIR) + "/docs/plans.md");
  for (const std::string& name : shipped_plans()) {
    const Plan plan = load_plan(name);
    EXPECT_THAT(pages, HasSubstr("## " + name + "\n"));
    EXPECT_THAT(pages, HasSubstr(plan.title));
    for (const EvidenceLine& line : plan.evidence) {
      std::string cell = line.what;
      for (size_t at = 0; (at = cell.find('|', at)) != std::string::npos; at += 2) cell.insert(at, 1, '\\');
      EXPECT_THAT(pages, HasSubstr(cell)) << name << ": run scripts/plan-pages";
    }
  }
}

}  // namespace
}  // namespace farscale
