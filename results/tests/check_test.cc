// Acceptance: the slow rank and the slow host are named, noise accuses nobody, and statuses count.
#include "results/check.h"

#include <gmock/gmock.h>

#include "kernels/error.h"
#include "results/tests/example_run.h"
#include "results/tests/noise.h"

namespace farscale {
namespace {

using testing::AllOf;
using testing::Contains;
using testing::ElementsAre;
using testing::Field;
using testing::HasSubstr;
using testing::IsEmpty;

// A machine of `ranks` ranks, two on each host, 10 GEMMs; ranks in `slow` take `factor` times as long.
farscale::Run machine(Noise& noise, int ranks, std::vector<int> slow = {}, double factor = 1, double spread = 0.01) {
  farscale::Run run;
  run.complete = true;
  run.ranks = ranks;
  for (int rank = 0; rank < ranks; ++rank) run.hosts.push_back("node" + std::to_string(rank / 2));
  for (int i = 0; i < 10; ++i) {
    Record record = gemm_record("case" + std::to_string(i), {});
    std::get<GemmProblem>(*record.problem).m = 64 + i;
    double slowest = 0;
    record.rank_medians_s.clear();
    for (int rank = 0; rank < ranks; ++rank) {
      const bool is_slow = std::find(slow.begin(), slow.end(), rank) != slow.end();
      record.rank_medians_s.push_back(noise.timing(1e-3 * (i + 1), spread) * (is_slow ? factor : 1));
      slowest = std::max(slowest, record.rank_medians_s.back());
    }
    record.samples_s = noise.timings(12, slowest, spread);
    run.records.push_back(record);
  }
  return run;
}

std::vector<std::string> slow_ones(const Check& outcome) {
  std::vector<std::string> who;
  for (const Standing& standing : outcome.standings) {
    if (standing.slow) who.push_back(standing.who);
  }
  return who;
}

TEST(CheckMachine, TheSlowRankIsNamedAndNoOther) {
  Noise noise(1);
  const Check outcome = check(machine(noise, 8, {5}, 1.12), nullptr, {});
  EXPECT_THAT(slow_ones(outcome), Contains("rank 5"));
  EXPECT_THAT(outcome.findings,
              Contains(AllOf(Field(&Finding::what, "slow rank"), Field(&Finding::where, "rank 5 on node2"),
                             Field(&Finding::why, HasSubstr("1.1")))));
  for (const std::string& who : slow_ones(outcome)) EXPECT_TRUE(who == "rank 5" || who == "host node2") << who;
}

TEST(CheckMachine, ASlowHostIsNamed) {
  Noise noise(2);
  const Check outcome = check(machine(noise, 8, {2, 3}, 1.3), nullptr, {});
  EXPECT_THAT(slow_ones(outcome), testing::UnorderedElementsAre("rank 2", "rank 3", "host node1"));
}

TEST(CheckMachine, TwoRanksAreEnough) {
  Noise noise(3);
  EXPECT_THAT(slow_ones(check(machine(noise, 2, {1}, 1.2), nullptr, {})), ElementsAre("rank 1"));
}

TEST(CheckMachine, NoiseAccusesNobody) {
  Noise noise(4);
  int accused = 0;
  for (int trial = 0; trial < 50; ++trial) {
    accused += static_cast<int>(check(machine(noise, 8, {}, 1, 0.03), nullptr, {}).findings.size());
  }
  EXPECT_LE(accused, 1);
}

TEST(CheckMachine, TheThresholdIsTheTolerance) {
  Noise noise(5);
  const auto run = machine(noise, 4, {1}, 1.08, 0.001);
  EXPECT_THAT(slow_ones(check(run, nullptr, {.threshold = 0.05})), Contains("rank 1"));
  EXPECT_THAT(slow_ones(check(run, nullptr, {.threshold = 0.10})), IsEmpty());
}

TEST(CheckMachine, SlowerThanTheBaseline) {
  Noise noise(6);
  const auto good = machine(noise, 4);
  auto today = machine(noise, 4);
  EXPECT_THAT(check(today, &good, {}).findings, IsEmpty());
  for (double& sample : today.records[3].samples_s) sample *= 1.3;
  const Check outcome = check(today, &good, {});
  ASSERT_EQ(outcome.findings.size(), 1u);
  EXPECT_EQ(outcome.findings[0].what, "slower");
  EXPECT_EQ(outcome.findings[0].where, "case3");
  EXPECT_EQ(outcome.compared, 10u);
}

TEST(CheckMachine, StatusesMissingCasesAndUnfinishedRuns) {
  Noise noise(7);
  const auto good = machine(noise, 2);
  auto today = good;
  today.records[0].status = Status::kWrong;
  today.records[0].reason = "entry 3";
  today.records[1].status = Status::kSkipped;
  today.records[2].verdict.correct = false;  // says ok, but failed its check
  today.records.pop_back();
  today.complete = false;
  std::vector<std::string> what;
  for (const Finding& finding : check(today, &good, {}).findings) what.push_back(finding.what + " " + finding.where);
  EXPECT_THAT(what, testing::UnorderedElementsAre("incomplete ", "wrong case0", "skipped case1", "wrong case2",
                                                  "missing case9"));
  EXPECT_THROW(check(farscale::Run{}, nullptr, {}), InputError);
}

}  // namespace
}  // namespace farscale
