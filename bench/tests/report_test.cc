// Tables, budgets, names and provenance.
#include "bench/report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "bench/environment.h"
#include "bench/run_setup.h"
#include "bench/session.h"
#include "bench/tests/fake_backend.h"
#include "kernels/module.h"
#include "kernels/tests/thread_world.h"

namespace farscale {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

farscale::Run small_run() {
  farscale::Run run;
  run.device = "a machine";
  run.backend = "host";
  for (double time_s : {1e-3, 2e-3}) {
    Record record;
    record.name = "gemm/" + std::to_string(time_s);
    record.family = "gemm";
    record.problem = GemmProblem{.m = 100, .n = 100, .k = 100};
    record.settings = {{"cache", "hot"}, {"data", "normal"}};
    record.samples_s = std::vector<double>(9, time_s);
    record.counters["flops_per_s"] = 2e6 / time_s;
    record.verdict = {.checked = true, .correct = true};
    run.records.push_back(record);
  }
  return run;
}

TEST(Report, SharesAreOfTheBestSeen) {
  const std::string text = report_tables(small_run());
  EXPECT_THAT(text, AllOf(HasSubstr("a machine"), HasSubstr("fp32 nn hot"), HasSubstr("100x100x100")));
  EXPECT_THAT(text, AllOf(HasSubstr("2.00  100.0 %  correct"), HasSubstr("1.00   50.0 %  correct")));
}

TEST(Report, SmallRatesKeepTheirDigitsAndLargeOnesHaveNoExponent) {
  farscale::Run run = small_run();
  run.records[0].counters["flops_per_s"] = 4.56e5;
  run.records[1].counters["flops_per_s"] = 1.3123e13;
  EXPECT_THAT(report_tables(run), AllOf(HasSubstr("0.000456"), HasSubstr("13,123")));
}

TEST(Report, ASlowdownHasTheRangeThatItsSamplesLeave) {
  farscale::Run run;
  Record record;
  record.family = "step";
  record.samples_s = std::vector<double>(9, 1.0);
  record.counters = {{"share_linear", 0.75}, {"slowdown_linear", 1.5}, {"share_norm", 0.25}, {"slowdown_norm", 0.525}};
  record.series_s["class/linear"] = std::vector<double>(9, 1.0);
  record.series_s["class_beside_traffic/linear"] = std::vector<double>(9, 1.5);
  record.series_s["class/norm"] = {1, 2, 3, 4, 5, 6, 7, 8, 9};
  record.series_s["class_beside_traffic/norm"] = {1, 1, 2, 2, 2.6, 3, 4, 8, 9};
  run.records = {record};
  EXPECT_THAT(report_tables(run),
              AllOf(HasSubstr("+50.0 % (+50.0 … +50.0)"), HasSubstr("25.0 %"), HasSubstr("-47.5 % (-87.5 … +300.0)"),
                    HasSubstr("MFU: FLOPs the model needs")));
}

// Each rank would wait in cases that the others do not have.
TEST(PlanRun, RanksWithOtherArgumentsAreFoundBeforeTheFirstCase) {
  const auto planned = [](const char* second_family) {
    return on_ranks<std::string>(2, [&](World& world) -> std::string {
      const RunRequest request{.only = {world.rank() == 0 ? "memory" : second_family}};
      try {
        plan_run(request, Agreement(world));
      } catch (const AgreedError& error) {
        return error.code() == ExitCode::kBadInput ? error.what() : "another code";
      }
      return "the same";
    });
  };
  EXPECT_THAT(planned("collective"), testing::Each(HasSubstr("rank 1 was started with other arguments")));
  EXPECT_THAT(planned("memory"), testing::Each("the same"));
}

TEST(Report, WhatIsWrongShowsItsReasonAndNoTime) {
  farscale::Run run = small_run();
  EXPECT_EQ(exit_code_of(run), 0);
  run.records[1].status = Status::kWrong;
  run.records[1].reason = "entry 7 differs";
  EXPECT_EQ(exit_code_of(run), 1);
  EXPECT_THAT(report_tables(run), AllOf(HasSubstr("wrong: entry 7 differs"), Not(HasSubstr("2.00 ms"))));
  run.records[1].status = Status::kSkipped;
  EXPECT_EQ(exit_code_of(run), 0);
  run.records[0].status = Status::kFailed;
  EXPECT_EQ(exit_code_of(run), 1);
}

TEST(FairBudget, FitsWhatIsLeft) {
  EXPECT_EQ(fair_budget(2, 0, 1e9, 5), 2) << "no limit";
  EXPECT_EQ(fair_budget(2, 100, 0, 10), 2) << "thirty seconds would be its three shares";
  EXPECT_EQ(fair_budget(2, 100, 95, 10), 1.5);
  EXPECT_EQ(fair_budget(2, 100, 500, 10), 0.05) << "late: the least";
}

TEST(Environment, OnlyWhatTunesIsAllowed) {
  for (const char* name :
       {"NCCL_ALGO", "OMP_NUM_THREADS", "OPENBLAS_CORETYPE", "OMPI_MCA_btl", "OMPI_MCA_coll_tuned_use_dynamic_rules"}) {
    EXPECT_TRUE(is_allowed_variable(name)) << name;
  }
  for (const char* name : {"HOME", "AWS_SECRET_ACCESS_KEY", "OMPI_MCA_orte_hnp_uri", "OMPI_MCA_ess_base_jobid",
                           "GITHUB_TOKEN", "PATH", "OMP_NUM_THREADS_SECRET"}) {
    EXPECT_FALSE(is_allowed_variable(name)) << name;
  }
}

TEST(DefaultResultName, IsAFileName) {
  EXPECT_THAT(default_result_name("host", "my suite", "node/7"),
              testing::MatchesRegex("farscale-host-my_suite-node_7-20[0-9]{6}T[0-9]{6}Z\\.json"));
}

TEST(Session, CasesBecomeRecordsInOrderAndBudgetsShrink) {
  const auto world = single_world();
  const auto state = std::make_shared<FakeState>();
  state->behaviour = {.flops_per_s = 1e6, .jitter = 0.5, .absent = "fp64"};
  const auto backend = fake_backend(state);
  Lab lab{.world = *world, .backend = *backend, .backend_name = "host", .clock = fake_clock(state)};
  std::vector<Case> cases;
  for (NumberType type : {NumberType::kFp32, NumberType::kFp64, NumberType::kInt8}) {
    Case item;
    item.family = "gemm";
    item.problem = GemmProblem{.m = 10, .n = 10, .k = 10, .batch = 1, .type = type};
    item.name = name(*item.problem);
    item.sampling = {.interval = 1e-4, .budget_s = 100, .least_samples = 6, .most_samples = 100000, .sample_s = 0.002};
    cases.push_back(item);
  }
  RunLog log({}, "");
  run_session(cases, lab, log, {.flags = {}, .display = Display::kNothing, .total_s = 2});
  ASSERT_EQ(log.run().records.size(), 3u);
  EXPECT_TRUE(log.run().complete);
  EXPECT_EQ(log.run().records[1].status, Status::kSkipped);
  EXPECT_EQ(log.run().records[0].name, cases[0].name);
  EXPECT_THAT(log.run().records[0].reason, HasSubstr("budget 2.00 s used up"));
  EXPECT_EQ(log.run().records[0].counters.at("share_of_best_seen"), 1);
  EXPECT_LT(log.run().records[2].samples_s.size(), log.run().records[0].samples_s.size() / 10);
}

}  // namespace
}  // namespace farscale
