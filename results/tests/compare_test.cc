// The comparison: what a real change does, what noise does not, and everything that is not a timing.
#include "results/compare.h"

#include <gmock/gmock.h>

#include "kernels/error.h"
#include "results/tests/example_run.h"
#include "results/tests/noise.h"

namespace farscale {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::Field;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::ThrowsMessage;

struct Cases {
  int count = 40;
  int samples = 10;
  double spread = 0.03;
  double slower = 1;  // factor on the first case
  double launch_spread = 0;
};

farscale::Run synthetic_run(Noise& noise, const Cases& cases) {
  farscale::Run run;
  run.complete = true;
  for (int i = 0; i < cases.count; ++i) {
    const double centre_s = 1e-3 * (i + 1) * (i == 0 ? cases.slower : 1) * noise.timing(1, cases.launch_spread);
    run.records.push_back(
        gemm_record("case" + std::to_string(i), noise.timings(cases.samples, centre_s, cases.spread)));
    std::get<GemmProblem>(*run.records.back().problem).m = 64 + i;
  }
  return run;
}

int count_of(const Comparison& result, Change change) {
  return static_cast<int>(std::count_if(result.cases.begin(), result.cases.end(),
                                        [&](const CaseComparison& item) { return item.change == change; }));
}

// A table of 40 cases in which nothing changed: a false alarm in under 5 % of tables, for any shape of noise.
TEST(Compare, NoiseAloneSeldomAlarms) {
  for (const double spread : {0.01, 0.05, 0.3}) {
    Noise noise(17);
    int alarms = 0;
    constexpr int kTables = 60;
    for (int table = 0; table < kTables; ++table) {
      const Cases same{.spread = spread};
      const auto before = synthetic_run(noise, same), after = synthetic_run(noise, same);
      const Comparison result = compare({before}, {after}, {.draws = 500, .seed = uint64_t(table)});
      alarms += !result.regressions().empty();
    }
    EXPECT_LE(alarms, 3) << spread;
  }
}

TEST(Compare, ARealSlowDownIsFoundAmongMany) {
  Noise noise(23);
  int found = 0, others = 0;
  for (int table = 0; table < 10; ++table) {
    const auto before = synthetic_run(noise, {.samples = 12, .spread = 0.01});
    const auto after = synthetic_run(noise, {.samples = 12, .spread = 0.01, .slower = 1.06});
    const Comparison result = compare({before}, {after}, {.draws = 3000});
    found += result.cases[0].change == Change::kSlower;
    others += static_cast<int>(result.regressions().size()) - (result.cases[0].change == Change::kSlower);
    EXPECT_NEAR(result.cases[0].ratio.ratio, 1.06, 0.02);
  }
  EXPECT_GE(found, 9);
  EXPECT_LE(others, 1);
}

TEST(Compare, VerdictsFollowTheThreshold) {
  Noise noise(5);
  const auto before = synthetic_run(noise, {.count = 3, .samples = 20, .spread = 0.002});
  auto after = before;
  for (double& sample : after.records[0].samples_s) sample *= 1.05;
  for (double& sample : after.records[1].samples_s) sample /= 1.05;
  const Comparison tight = compare({before}, {after}, {.threshold = 0.02});
  EXPECT_EQ(tight.cases[0].change, Change::kSlower);
  EXPECT_EQ(tight.cases[1].change, Change::kFaster);
  EXPECT_EQ(tight.cases[2].change, Change::kSame);
  EXPECT_THAT(tight.regressions(), ElementsAre("case0"));
  const Comparison wide = compare({before}, {after}, {.threshold = 0.1});
  EXPECT_EQ(count_of(wide, Change::kSame), 3);
  EXPECT_THAT(wide.regressions(), IsEmpty());
}

TEST(Compare, AMirroredComparisonHasTheInverseRatio) {
  Noise noise(6);
  const auto a = synthetic_run(noise, {.count = 2}), b = synthetic_run(noise, {.count = 2, .slower = 1.3});
  const Comparison one = compare({a}, {b}, {}), other = compare({b}, {a}, {});
  EXPECT_DOUBLE_EQ(one.cases[0].ratio.ratio, 1 / other.cases[0].ratio.ratio);
  EXPECT_EQ(one.cases[0].change, Change::kSlower);
  EXPECT_EQ(other.cases[0].change, Change::kFaster);
}

// Three samples a side are one of twenty arrangements: no verdict, however far apart; and the reader is told.
TEST(Compare, FewSamplesAreUnclear) {
  farscale::Run before, after;
  before.records = {gemm_record("a", {1, 1.01, 1.02})};
  after.records = {gemm_record("a", {2, 2.01, 2.02})};
  const Comparison result = compare({before}, {after}, {});
  EXPECT_EQ(result.cases[0].change, Change::kUnclear);
  EXPECT_THAT(result.cases[0].note, HasSubstr("only 3 samples"));
  before.records[0].samples_s = after.records[0].samples_s = {1};
  EXPECT_EQ(compare({before}, {after}, {}).cases[0].change, Change::kUnclear);
}

// Six samples a case are what a long case gets: twice the time is a regression in each of sixty of them.
TEST(Compare, EverythingTwiceAsSlow) {
  Noise noise(12);
  const auto before = synthetic_run(noise, {.count = 60, .samples = 6, .spread = 0.03});
  auto after = synthetic_run(noise, {.count = 60, .samples = 6, .spread = 0.03});
  for (Record& record : after.records) {
    for (double& sample : record.samples_s) sample *= 2;
  }
  const Comparison result = compare({before}, {after}, {.draws = 2000});
  EXPECT_EQ(count_of(result, Change::kSlower), 60);
  EXPECT_NEAR(result.families[0].ratio.ratio, 2, 0.05);
}

TEST(Compare, RatesAreOfTheProblem) {
  farscale::Run before;
  before.records = {gemm_record("gemm", {2e-6}), Record{.name = "all", .family = "collective"}};
  before.records[1].problem = CollectiveProblem{.bytes = 4000, .ranks = 4};
  before.records[1].samples_s = {1e-3};
  const Comparison result = compare({before}, {before}, {});
  EXPECT_DOUBLE_EQ(result.cases[0].baseline_rate, 2.0 * 64 * 32 * 16 / 2e-6);
  EXPECT_EQ(result.cases[0].rate_unit, "FLOP/s");
  EXPECT_DOUBLE_EQ(result.cases[1].baseline_rate, 1.5 * 4000 / 1e-3);
  EXPECT_EQ(result.cases[1].rate_unit, "B/s bus");
}

TEST(Compare, BrokenIsARegressionAndMendedIsNot) {
  const auto with = [](Status status) {
    farscale::Run run;
    run.records = {gemm_record("a", {1, 2, 3}), gemm_record("b", {1, 1, 1})};
    std::get<GemmProblem>(*run.records[1].problem).n = 7;
    run.records[0].status = status;
    run.records[0].reason = "why";
    return run;
  };
  const auto change = [&](Status a, Status b) { return compare({with(a)}, {with(b)}, {}).cases[0].change; };
  EXPECT_EQ(change(Status::kOk, Status::kWrong), Change::kBroken);
  EXPECT_EQ(change(Status::kOk, Status::kFailed), Change::kBroken);
  EXPECT_EQ(change(Status::kWrong, Status::kOk), Change::kMended);
  EXPECT_EQ(change(Status::kWrong, Status::kFailed), Change::kNotTimed);
  EXPECT_EQ(change(Status::kOk, Status::kSkipped), Change::kNotTimed);
  const Comparison broken = compare({with(Status::kOk)}, {with(Status::kWrong)}, {});
  EXPECT_THAT(broken.regressions(), ElementsAre("a"));
  EXPECT_THAT(broken.cases[0].note, HasSubstr("ok -> wrong (why)"));
  // A record that says ok but failed its check is wrong, whatever it says.
  auto liar = with(Status::kOk);
  liar.records[0].verdict = {.checked = true, .correct = false};
  EXPECT_EQ(compare({with(Status::kOk)}, {liar}, {}).cases[0].change, Change::kBroken);
}

TEST(Compare, MatchedByProblemAndSettingsNotByName) {
  farscale::Run before, after;
  before.records = {gemm_record("old name", {1, 1, 1}), gemm_record("cold", {1, 1, 1})};
  after.records = {gemm_record("new name", {1, 1, 1}), gemm_record("cold", {1, 1, 1})};
  before.records[1].settings["cache"] = "hot";
  after.records[1].settings["cache"] = "lukewarm";
  const Comparison result = compare({before}, {after}, {});
  ASSERT_EQ(result.cases.size(), 1u);
  EXPECT_EQ(result.cases[0].name, "old name");
  EXPECT_THAT(result.only_in_baseline, ElementsAre("cold"));
  EXPECT_THAT(result.only_in_other, ElementsAre("cold"));
}

TEST(Compare, NothingInCommonIsRefused) {
  farscale::Run before, after;
  before.records = {gemm_record("a", {1})};
  after.records = {Record{.name = "step/x", .family = "step"}};
  EXPECT_THAT([&] { compare({before}, {after}, {}); },
              ThrowsMessage<InputError>(testing::AllOf(HasSubstr("'a'"), HasSubstr("'step/x'"))));
}

TEST(Compare, AnotherMetricIsASeries) {
  farscale::Run before;
  before.records = {gemm_record("a", {1, 1, 1}), gemm_record("b", {1, 1, 1})};
  std::get<GemmProblem>(*before.records[1].problem).n = 7;
  before.records[1].series_s.clear();
  auto after = before;
  before.records[0].series_s["exposed"] = std::vector<double>(12, 0.1);
  after.records[0].series_s["exposed"] = std::vector<double>(12, 0.2);
  const Comparison result = compare({before}, {after}, {.metric = "exposed"});
  EXPECT_EQ(result.cases[0].change, Change::kSlower);
  EXPECT_DOUBLE_EQ(result.cases[0].ratio.ratio, 2);
  EXPECT_EQ(result.cases[0].rate_unit, "");
  EXPECT_EQ(result.cases[1].change, Change::kNotTimed);
  EXPECT_THAT([&] { compare({before}, {after}, {.metric = "expsed"}); },
              ThrowsMessage<InputError>(HasSubstr("did you mean 'exposed'?")));
  EXPECT_THAT([&] { compare({before}, {after}, {.metric = "burst"}); },
              ThrowsMessage<InputError>(HasSubstr("no burst in these files (in them: ")));
}

TEST(Compare, DifferencesOfTheEnvironment) {
  farscale::Run before = example_run(), after = example_run();
  before.complete = after.complete = true;
  EXPECT_THAT(compare({before}, {after}, {}).differences, IsEmpty());
  after.environment["blas_core"] = "SkylakeX";
  after.environment["driver"] = "580";
  after.device = "another CPU";
  after.complete = false;
  after.path = "after.json";
  const Comparison result = compare({before}, {after}, {});
  ASSERT_EQ(result.differences.size(), 3u);
  EXPECT_THAT(result.differences,
              Contains(testing::AllOf(Field(&Difference::what, "blas_core"), Field(&Difference::baseline, "Haswell"),
                                      Field(&Difference::other, "SkylakeX"))));
  EXPECT_THAT(result.differences,
              Contains(testing::AllOf(Field(&Difference::what, "driver"), Field(&Difference::baseline, "-"))));
  EXPECT_THAT(result.warnings, Contains(HasSubstr("after.json is incomplete")));
  EXPECT_THAT(result.warnings, Contains(HasSubstr("different devices")));
}

// A baseline that is sometimes as slow as the other is no evidence of a change.
TEST(Compare, AModeTheBaselineHasToo) {
  Noise noise(8);
  farscale::Run before, after;
  before.records = {gemm_record("a", noise.timings(20, 1, 0.01))};
  after.records = {gemm_record("a", noise.timings(20, 1.5, 0.01))};
  EXPECT_EQ(compare({before}, {after}, {}).cases[0].change, Change::kSlower);
  for (size_t i = 0; i < 6; ++i) before.records[0].samples_s[i] *= 1.53;
  const Comparison result = compare({before}, {after}, {});
  EXPECT_EQ(result.cases[0].change, Change::kUnclear);
  EXPECT_THAT(result.cases[0].note, HasSubstr("two modes in baseline"));
  EXPECT_EQ(compare({after}, {before}, {}).cases[0].change, Change::kUnclear);
}

// Noise inside a launch widens the range beyond what independent samples would have; quiet samples keep it narrow.
TEST(Compare, NoisyLaunchesAreBelievedLess) {
  Noise noise(9);
  const auto verdict = [&](double spread) {
    farscale::Run before, after;
    before.records = {gemm_record("a", noise.timings(400, 1, spread))};
    after.records = {gemm_record("a", noise.timings(400, 1.08, spread))};
    return compare({before}, {after}, {.draws = 2000}).cases[0].change;
  };
  EXPECT_EQ(verdict(0.01), Change::kSlower);
  EXPECT_EQ(verdict(0.3), Change::kUnclear);
}

TEST(Compare, ALoadedMachineIsSaid) {
  farscale::Run before = example_run(), after = example_run();
  after.environment["load_average_start"] = "17.8 14.6 12.6";
  after.environment["backend.hardware_threads"] = "2";
  after.path = "after.json";
  EXPECT_THAT(compare({before}, {after}, {}).warnings, Contains(HasSubstr("after.json began under a load of 17.8")));
}

// Launches 5 % apart with quiet samples inside: one launch a side alarms, five a side know better.
TEST(Compare, LaunchesKeepPlacementFromLookingLikeAChange) {
  Noise noise(31);
  int alarms_one = 0, alarms_five = 0;
  const Cases quiet{.count = 10, .samples = 10, .spread = 0.002, .launch_spread = 0.05};
  for (int table = 0; table < 10; ++table) {
    std::vector<farscale::Run> before, after;
    for (int launch = 0; launch < 5; ++launch) {
      before.push_back(synthetic_run(noise, quiet));
      after.push_back(synthetic_run(noise, quiet));
    }
    const auto regressions = [](const Comparison& result) { return static_cast<int>(result.regressions().size()); };
    alarms_one += regressions(compare({before[0]}, {after[0]}, {.draws = 1000}));
    alarms_five += regressions(compare(before, after, {.draws = 1000}));
  }
  EXPECT_GE(alarms_one, 15);  // of 100 cases
  EXPECT_LE(alarms_five, 5);
}

TEST(Compare, GeometricMeanOfAFamily) {
  farscale::Run before, after;
  before.records = {gemm_record("a", {1, 1, 1}), gemm_record("b", {1, 1, 1})};
  std::get<GemmProblem>(*before.records[1].problem).n = 7;
  after = before;
  after.records[0].samples_s = {2, 2, 2};
  after.records[1].samples_s = {8, 8, 8};
  const Comparison result = compare({before}, {after}, {});
  ASSERT_EQ(result.families.size(), 1u);
  EXPECT_EQ(result.families[0].cases, 2u);
  EXPECT_DOUBLE_EQ(result.families[0].ratio.ratio, 4);
}

}  // namespace
}  // namespace farscale
