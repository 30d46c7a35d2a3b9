// Burst and sustained on a device whose clock falls, wavers or is held down, and whose results may change.
#include "bench/pace.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "bench/measure.h"
#include "bench/tests/fake_backend.h"
#include "results/statistics.h"

namespace farscale {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

constexpr double kRun_s = 1e-3;  // at the highest clock
constexpr double kHighest_hz = 1.98e9;

// A device whose clock follows from how long it has been at work.
struct Hot {
  std::function<double(double busy_s)> clock_hz;
  double busy_s = 0;
  double now_s = 0;
  double paused_s = 0;
  double last_clock_hz = kHighest_hz;

  PaceTask task(const Sampling& sampling) {
    return {.sampling = sampling,
            .time =
                [this](int64_t runs) {
                  last_clock_hz = clock_hz(busy_s);
                  const double time_s = double(runs) * kRun_s * kHighest_hz / last_clock_hz;
                  busy_s += time_s;
                  now_s += time_s;
                  return time_s;
                },
            .clock = [this] { return now_s; },
            .pause =
                [this](double seconds) {
                  paused_s += seconds;
                  busy_s = 0;
                },
            .telemetry =
                [this] {
                  return Telemetry{{"sm_clock_hz", last_clock_hz}, {"power_w", 700}};
                },
            .recheck = [] { return std::nullopt; }};
  }
};

// 100 ms at the highest clock, then down to 1.4 GHz within some 0.2 s.
double falling(double busy_s) { return 1.4e9 + 0.58e9 * std::exp(-std::max(0.0, busy_s - 0.1) / 0.05); }

const Sampling kSampling{.interval = 0.01,
                         .budget_s = 1,
                         .least_samples = 10,
                         .most_samples = 500,
                         .sample_s = 0.005,
                         .cool_s = 0.2,
                         .sustain_s = 1};

TEST(Pace, AFallingClockGivesTwoFigures) {
  Hot hot{.clock_hz = falling};
  const auto world = single_world();
  const Paced paced = take_paced_samples(Agreement(*world), hot.task(kSampling));
  EXPECT_EQ(hot.paused_s, 0.2);
  EXPECT_NEAR(median(paced.burst.slowest_s), kRun_s, 0.02 * kRun_s);
  ASSERT_TRUE(paced.has_sustained);
  EXPECT_NEAR(median(paced.sustained.slowest_s), kRun_s * 1.98 / 1.4, 0.02 * kRun_s);
  EXPECT_THAT(paced.pace, StartsWith("steady after "));
  for (const auto& [key, values] : paced.telemetry) EXPECT_EQ(values.size(), paced.sustained.slowest_s.size()) << key;
  for (const auto& [key, values] : paced.burst_telemetry) EXPECT_EQ(values.size(), paced.burst.slowest_s.size()) << key;
  EXPECT_NEAR(median(paced.burst_telemetry.at("sm_clock_hz")), kHighest_hz, 0.02e9);
  EXPECT_NEAR(median(paced.telemetry.at("sm_clock_hz")), 1.4e9, 0.02e9);
}

TEST(Pace, AWaveringClockEndsAtTheLimit) {
  int flip = 0;
  Hot hot{.clock_hz = [&](double) { return ++flip % 2 == 0 ? 1.5e9 : 1.9e9; }};
  const auto world = single_world();
  const Paced paced = take_paced_samples(Agreement(*world), hot.task(kSampling));
  EXPECT_THAT(paced.pace, AllOf(StartsWith("not steady after 1."), HasSubstr("sm_clock_hz ± 11.8 %")));
  EXPECT_THAT(paced.sustained.stop_reason, HasSubstr("the second half of"));
  EXPECT_LT(hot.now_s, 1.3);
  EXPECT_GT(paced.sustained.slowest_s.size(), 50u);
}

// Between two of its readings, the same one again and again agrees with itself.
TEST(Pace, AMeterThatReadsSeldomIsWaitedFor) {
  Hot hot{.clock_hz = [](double) { return 1.5e9; }};
  for (const bool settles : {true, false}) {
    hot.now_s = hot.busy_s = 0;
    PaceTask task = hot.task(kSampling);
    task.telemetry = [&] {  // anew every 100 ms, and 5 % less each time until it settles
      const double step = std::floor(hot.busy_s / 0.1);
      return Telemetry{{"sm_clock_hz", 1.5e9},
                       {"power_w", 700 - 35 * (settles ? std::min(step, 2.0) : step) + step / 100}};
    };
    const auto world = single_world();
    const Paced paced = take_paced_samples(Agreement(*world), task);
    if (settles) {
      EXPECT_THAT(paced.pace, AllOf(StartsWith("steady after 6"), HasSubstr(" ms, 5 readings of power")));
    } else {
      EXPECT_THAT(paced.pace, AllOf(StartsWith("not steady after 1."), HasSubstr("power_w ±")));
    }
  }
}

TEST(Pace, AShortRunIsNotCalledSteady) {
  Hot hot{.clock_hz = [](double) { return 1.5e9; }};
  Sampling sampling = kSampling;
  sampling.sustain_s = 0.3;
  const auto world = single_world();
  const Paced paced = take_paced_samples(Agreement(*world), hot.task(sampling));
  EXPECT_THAT(paced.pace, AllOf(StartsWith("not steady after 30"), HasSubstr("less than 500 ms")));
  EXPECT_NEAR(paced.heated_s, 0.3, 0.02);
}

TEST(Pace, WithoutTelemetryThereIsOneFigureAndNoPause) {
  Hot hot{.clock_hz = falling};
  PaceTask task = hot.task(kSampling);
  for (const Telemetry& told : {Telemetry{}, Telemetry{{"load_average", 2}}}) {  // nothing, or what a host tells
    task.telemetry = [&] { return told; };
    const auto world = single_world();
    const Paced paced = take_paced_samples(Agreement(*world), task);
    EXPECT_FALSE(paced.has_sustained);
    EXPECT_EQ(hot.paused_s, 0);
    EXPECT_GE(paced.burst.slowest_s.size(), 10u);
    EXPECT_EQ(paced.burst_telemetry.size(), told.size());
  }
}

TEST(Pace, AResultThatChangesEndsIt) {
  Hot hot{.clock_hz = falling};
  PaceTask task = hot.task(kSampling);
  int looks = 0;
  task.recheck = [&]() -> std::optional<Verdict> {
    return Verdict{.correct = ++looks < 3, .detail = "C[3,5] was 7, multiplied again 8"};
  };
  const auto world = single_world();
  const Paced paced = take_paced_samples(Agreement(*world), task);
  EXPECT_EQ(paced.wrong, "C[3,5] was 7, multiplied again 8");
  EXPECT_EQ(paced.rechecks, 3);
}

TEST(Pace, UnsteadySaysWhat) {
  const std::vector<double> steady(8, 1e9);
  std::vector<double> power(8, 600);
  EXPECT_EQ(unsteady({{"sm_clock_hz", steady}, {"power_w", power}}, 8), "");
  power.back() = 700;
  EXPECT_EQ(unsteady({{"sm_clock_hz", steady}, {"power_w", power}}, 8), "power_w ± 7.7 %");
  EXPECT_EQ(unsteady({{"sm_clock_hz", {1e9}}}, 8), "1 samples of sm_clock_hz");
  EXPECT_EQ(unsteady({}, 8), "few samples");
}

Record measured(const FakeBehaviour& behaviour) {
  const auto world = single_world();
  const auto state = std::make_shared<FakeState>();
  state->behaviour = behaviour;
  const auto backend = fake_backend(state);
  Lab lab{.world = *world, .backend = *backend, .backend_name = "cuda", .clock = fake_clock(state)};
  lab.pause = [&](double seconds) { state->now_s += seconds; };
  const GemmProblem problem{.m = 100, .n = 50, .k = 20};
  Case item;
  item.name = problem.name();
  item.family = "gemm";
  item.problem = problem;
  item.sampling = kSampling;
  return measure(item, lab);
}

TEST(Pace, TheRecordKeepsBothAndFlagsThrottling) {
  const Record record = measured(
      {.jitter = 0.01,
       .telemetry = {{"sm_clock_hz", 1.5e9}, {"power_w", 700}, {"throttle_reasons", 4}, {"throttle_sw_power_cap", 1}}});
  ASSERT_EQ(record.status, Status::kOk) << record.reason;
  EXPECT_EQ(record.settings.at("pace"), "sustained");
  EXPECT_EQ(record.details.at("cool_s"), "0.2");
  EXPECT_GT(std::stod(record.details.at("heated_s")), 0.4);
  EXPECT_EQ(record.series_s.at("burst_rank_medians").size(), 1U);
  EXPECT_FALSE(record.series_s.at("burst").empty());
  for (const char* key : {"sm_clock_hz", "power_w", "throttle_reasons"}) {
    EXPECT_EQ(record.series_s.at(key).size(), record.samples_s.size()) << key;
  }
  EXPECT_NEAR(record.counters.at("burst_flops_per_s") / record.counters.at("flops_per_s"), 1, 0.02);
  EXPECT_NEAR(record.counters.at("sustained_over_burst"), 1, 0.02);
  const std::string all = std::to_string(record.samples_s.size());
  EXPECT_EQ(record.details.at("throttled_samples"), all + " of " + all) << "kept, and flagged";
  EXPECT_EQ(record.telemetry.at("throttled_share"), 1);
  EXPECT_EQ(record.telemetry.at("sm_clock_hz"), 1.5e9);
  EXPECT_FALSE(measured({.jitter = 0.01}).settings.contains("pace")) << "nothing tells";
}

}  // namespace
}  // namespace farscale
