// The life of a case on fakes: wrong results publish nothing, a skip on one rank is a skip on all.
#include "bench/measure.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "bench/tests/fake_backend.h"
#include "kernels/tests/thread_world.h"
#include "results/statistics.h"

namespace farscale {
namespace {

using testing::HasSubstr;

Case case_of(const Problem& problem, const std::string& family) {
  Case item;
  item.name = name(problem);
  item.family = family;
  item.problem = problem;
  item.sampling = {.interval = 0.01, .budget_s = 1, .least_samples = 6, .most_samples = 50, .sample_s = 0.002};
  return item;
}

const GemmProblem kGemm{.m = 100, .n = 50, .k = 20, .batch = 1, .type = NumberType::kFp32};

struct Measured {
  Record record;
  FakeState state;
};

// Measures on `ranks` fakes; `behave` sets each rank's behaviour.
std::vector<Measured> measure_on(int ranks, const Case& item, const std::function<void(int, FakeBehaviour&)>& behave) {
  return on_ranks<Measured>(ranks, [&](World& world) {
    const auto state = std::make_shared<FakeState>();
    behave(world.rank(), state->behaviour);
    const auto backend = fake_backend(state);
    Lab lab{.world = world, .backend = *backend, .backend_name = "host", .clock = fake_clock(state)};
    Record record = measure(item, lab);
    return Measured{std::move(record), *state};
  });
}

Record measure_alone(const Case& item, const FakeBehaviour& behaviour) {
  return measure_on(1, item, [&](int, FakeBehaviour& b) { b = behaviour; })[0].record;
}

TEST(Measure, RatesFollowFromTheMedian) {
  const Record gemm = measure_alone(case_of(kGemm, "gemm"), {.flops_per_s = 2e9, .jitter = 0.2});
  EXPECT_EQ(gemm.status, Status::kOk);
  EXPECT_TRUE(gemm.verdict.checked && gemm.verdict.correct);
  EXPECT_NEAR(gemm.counters.at("flops_per_s"), kGemm.flops() / median(gemm.samples_s), 1);
  EXPECT_NEAR(gemm.counters.at("flops_per_s") / 2e9, 1, 0.1);
  EXPECT_EQ(gemm.runs_per_sample, 20) << "2 ms over 0.1 ms";
  EXPECT_THAT(gemm.reason, HasSubstr("samples"));
  const MemoryProblem copy{.kind = MemoryKind::kCopy, .elements = 1000, .type = NumberType::kFp32};
  const Record memory = measure_alone(case_of(copy, "memory"), {.bytes_per_s = 3e8});
  EXPECT_NEAR(memory.counters.at("bytes_per_s"), 3e8, 1e3);
}

TEST(Measure, BusBandwidthIsTheTables) {
  const CollectiveProblem problem{
      .kind = CollectiveKind::kAllReduce, .bytes = 4000, .type = NumberType::kFp32, .ranks = 4};
  const auto all = measure_on(4, case_of(problem, "collective"), [](int rank, FakeBehaviour& b) {
    b.latency_s = 0;
    b.bus_bytes_per_s = rank == 2 ? 1e6 : 4e6;  // the slowest rank counts
  });
  for (const Measured& one : all) {
    EXPECT_NEAR(one.record.counters.at("bytes_per_s"), 1e6, 1);
    EXPECT_NEAR(one.record.counters.at("bus_bytes_per_s"), 1.5e6, 1) << "2 (4 - 1) / 4";
    ASSERT_EQ(one.record.rank_medians_s.size(), 4u);
    EXPECT_NEAR(one.record.rank_medians_s[2], 4e-3, 1e-9);
    EXPECT_NEAR(one.record.rank_medians_s[3], 1e-3, 1e-9);
    EXPECT_EQ(one.state.runs, all[0].state.runs);
  }
}

TEST(Measure, OneRankSkipsCollectives) {
  const CollectiveProblem problem{.bytes = 4000};
  const Record record = measure_alone(case_of(problem, "collective"), {});
  EXPECT_EQ(record.status, Status::kSkipped);
  EXPECT_THAT(record.reason, HasSubstr("one rank"));
}

TEST(Measure, AWrongResultPublishesNoTiming) {
  const auto all = measure_on(3, case_of(kGemm, "gemm"), [](int rank, FakeBehaviour& b) {
    if (rank == 1) b.wrong = "gemm";
  });
  for (const Measured& one : all) {
    EXPECT_EQ(one.record.status, Status::kWrong);
    EXPECT_TRUE(one.record.samples_s.empty());
    EXPECT_TRUE(one.record.counters.empty());
    EXPECT_EQ(one.record.verdict.worst_error, 7);
    EXPECT_THAT(one.record.reason, HasSubstr("rank 1: entry (3, 5)"));
    EXPECT_EQ(one.state.runs, 0) << "nothing is timed";
    EXPECT_EQ(one.state.alive, 0);
  }
}

TEST(Measure, ASkipOnOneRankIsAgreed) {
  const auto all = measure_on(2, case_of(kGemm, "gemm"), [](int rank, FakeBehaviour& b) {
    if (rank == 1) b.absent = "gemm";
  });
  for (const Measured& one : all) {
    EXPECT_EQ(one.record.status, Status::kSkipped);
    EXPECT_EQ(one.record.reason, "rank 1: not supported by the fake");
    EXPECT_EQ(one.state.verified, 0);
  }
}

TEST(Measure, FailuresCarryTheCallAndNoTiming) {
  for (bool preparing : {true, false}) {
    const auto all = measure_on(2, case_of(kGemm, "gemm"), [&](int rank, FakeBehaviour& b) {
      if (rank == 0) (preparing ? b.throws_preparing : b.throws_running) = "gemm";
      b.throws_at = 30;
    });
    for (const Measured& one : all) {
      EXPECT_EQ(one.record.status, Status::kFailed);
      EXPECT_THAT(one.record.reason, HasSubstr(preparing ? "out of memory (code 2)" : "device on fire (code 7)"));
      EXPECT_TRUE(one.record.samples_s.empty());
      EXPECT_EQ(one.state.alive, 0);
    }
  }
}

TEST(Measure, NumbersThatAreNoneStayOut) {
  FakeBehaviour behaviour;
  behaviour.telemetry = {{"clock_hz", 1e9}, {"power_w", std::numeric_limits<double>::quiet_NaN()}};
  const Record record = measure_alone(case_of(kGemm, "gemm"), behaviour);
  EXPECT_EQ(record.telemetry, (Telemetry{{"clock_hz", 1e9}}));
  const Record broken = measure_alone(case_of(kGemm, "gemm"), {.no_time = "gemm"});
  EXPECT_EQ(broken.status, Status::kFailed);
  Record counted;
  set_counter(counted, "ratio", std::numeric_limits<double>::infinity());
  EXPECT_TRUE(counted.counters.empty());
  EXPECT_EQ(counted.details.count("dropped_ratio"), 1u);
}

TEST(Measure, StartsAreTimedOnceEach) {
  Case item;
  item.family = "start";
  item.sampling.least_samples = item.sampling.most_samples = 4;
  item.start = StartKind::kFirstAllReduce;
  item.start_bytes = 1 << 20;
  const auto all = measure_on(2, item, [](int rank, FakeBehaviour& b) { b.latency_s = 0.01 * (rank + 1); });
  for (const Measured& one : all) {
    EXPECT_EQ(one.record.status, Status::kOk) << one.record.reason;
    EXPECT_EQ(one.record.samples_s.size(), 4u);
    EXPECT_NEAR(one.record.samples_s[0], 0.02 + double(1 << 20) / 1e7, 1e-9) << "the slower rank's first call";
    EXPECT_EQ(one.state.runs, 4);
  }
  item.start = StartKind::kCommunicator;
  EXPECT_EQ(measure_alone(item, {}).status, Status::kSkipped);
}

}  // namespace
}  // namespace farscale
