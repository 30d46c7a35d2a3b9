// Weak scaling of measured steps: efficiencies against hand-made samples.
#include "cluster/step_scaling.h"

#include <gmock/gmock.h>

namespace farscale {
namespace {

farscale::Run run_of(int ranks, std::vector<double> samples_s, const std::string& scale = "1024") {
  farscale::Run run{.ranks = ranks};
  run.records.push_back({.name = "step", .family = "step", .settings = {{"workload", "net"}, {"scale", scale}}});
  run.records[0].verdict = {.checked = true, .correct = true};
  run.records[0].samples_s = std::move(samples_s);
  return run;
}

TEST(StepScaling, EfficiencyIsTheFewestRanksTimeOverThisOne) {
  const auto rows =
      step_scaling({run_of(4, {0.25, 0.25, 0.25}), run_of(1, {0.2, 0.2, 0.2}), run_of(2, {0.2, 0.2, 0.2})});
  ASSERT_EQ(rows.size(), 3u);
  EXPECT_EQ(rows[0].ranks, 1);
  EXPECT_DOUBLE_EQ(rows[0].efficiency, 1);
  EXPECT_DOUBLE_EQ(rows[1].efficiency, 1);
  EXPECT_DOUBLE_EQ(rows[2].efficiency, 0.8);
}

TEST(StepScaling, IntervalCoversTheNoiseOfBothSides) {
  const auto rows = step_scaling({run_of(1, {0.9, 1.0, 1.1}), run_of(2, {1.8, 2.0, 2.2})});
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_DOUBLE_EQ(rows[1].efficiency, 0.5);
  EXPECT_NEAR(rows[1].efficiency_interval95.low, 0.9 / 2.2, 1e-12);
  EXPECT_NEAR(rows[1].efficiency_interval95.high, 1.1 / 1.8, 1e-12);
}

TEST(StepScaling, LaunchesOfOneNumberOfRanksArePooled) {
  const auto rows = step_scaling({run_of(1, {1, 1, 1}), run_of(1, {3, 3, 3}), run_of(2, {2, 2, 2})});
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_DOUBLE_EQ(rows[0].step_time_s, 2);
  EXPECT_DOUBLE_EQ(rows[1].efficiency_interval95.low, 0.5);
  EXPECT_DOUBLE_EQ(rows[1].efficiency_interval95.high, 1.5);
}

TEST(StepScaling, ImpossibleEfficiencyIsSaidToBeNoise) {
  EXPECT_NE(step_scaling_text({run_of(1, {2, 2}), run_of(2, {1, 1})}).find("launches differ"), std::string::npos);
  EXPECT_EQ(step_scaling_text({run_of(1, {1, 1}), run_of(2, {1, 1})}).find("launches differ"), std::string::npos);
}

TEST(StepScaling, DifferentScalesAndSingleCountsAreNotCompared) {
  EXPECT_TRUE(step_scaling({run_of(1, {1, 1}), run_of(2, {1, 1}, "64")}).empty());
  EXPECT_EQ(step_scaling_text({run_of(1, {1, 1})}), "");
}

TEST(StepScaling, WrongStepsDoNotCount) {
  farscale::Run wrong = run_of(2, {1, 1});
  wrong.records[0].status = Status::kWrong;
  EXPECT_TRUE(step_scaling({run_of(1, {1, 1}), wrong}).empty());
}

}  // namespace
}  // namespace farscale
