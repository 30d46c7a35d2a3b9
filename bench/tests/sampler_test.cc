// The stopping rule, and ranks that agree although their speeds differ.
#include "bench/sampler.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "kernels/tests/thread_world.h"
#include "results/statistics.h"

namespace farscale {
namespace {

TEST(StopReason, IntervalBudgetAndCounts) {
  const Sampling sampling{.interval = 0.01, .budget_s = 2, .least_samples = 6, .most_samples = 20, .sample_s = 0.002};
  const std::vector<double> steady(12, 0.5);
  EXPECT_EQ(stop_reason(sampling, steady, 0), "interval 0.0 % after 12 samples");
  EXPECT_EQ(stop_reason(sampling, std::vector<double>(5, 0.5), 7), "") << "fewer than least_samples";
  std::vector<double> noisy;
  for (int i = 0; i < 10; ++i) noisy.push_back(i % 2 == 0 ? 1.0 : 1.5);
  EXPECT_EQ(stop_reason(sampling, noisy, 1.99), "");
  const std::string found = stop_reason(sampling, noisy, 2.0);
  EXPECT_TRUE(found.starts_with("budget 2.00 s used up: interval ")) << found;
  EXPECT_TRUE(found.ends_with(" after 10 samples")) << found;
  for (int i = 0; i < 10; ++i) noisy.push_back(i % 2 == 0 ? 1.0 : 1.5);
  EXPECT_TRUE(stop_reason(sampling, noisy, 0).starts_with("most samples taken: ")) << stop_reason(sampling, noisy, 0);
}

TEST(StopReason, ASlowCaseEndsWithThreeSamplesUnlessTheirNumberIsAsked) {
  Sampling sampling{.interval = 0.01, .budget_s = 2, .least_samples = 6, .most_samples = 20, .sample_s = 0.002};
  EXPECT_EQ(stop_reason(sampling, {5, 6}, 11), "");
  EXPECT_EQ(stop_reason(sampling, {2, 2.1, 2.2}, 7.9), "");
  EXPECT_EQ(stop_reason(sampling, {5, 5, 6}, 16), "4 times the budget of 2.00 s used up: range ± 10.0 % of 3 samples");
  sampling.most_samples = 6;
  EXPECT_EQ(stop_reason(sampling, {5, 5, 6}, 16), "") << "exactly six were asked for";
}

TEST(RunsFor, FillsASample) {
  const Sampling sampling{.sample_s = 0.002};
  EXPECT_EQ(runs_for(sampling, 0.001), 2);
  EXPECT_EQ(runs_for(sampling, 0.0011), 2);
  EXPECT_EQ(runs_for(sampling, 5), 1);
  EXPECT_EQ(runs_for(sampling, 1e-12), 1000000);
  EXPECT_EQ(runs_for(sampling, 0), 1);
}

// A rank whose every run takes `run_s` of its own clock.
struct SlowRank {
  double run_s;
  double now_s = 0;
  int64_t calls = 0;
  TimeRuns time() {
    return [this](int64_t runs) {
      ++calls;
      now_s += run_s * double(runs);
      return run_s * double(runs);
    };
  }
  Clock clock() {
    return [this] { return now_s; };
  }
};

TEST(TakeSamples, RanksOfDifferentSpeedTakeTheSameSamples) {
  struct Result {
    Samples samples;
    int64_t calls;
  };
  const auto results = on_ranks<Result>(3, [](World& world) {
    SlowRank rank{.run_s = 1e-5 * (1 + 10 * world.rank())};
    const Sampling sampling{.interval = 0.01, .budget_s = 1, .least_samples = 8, .most_samples = 50, .sample_s = 0.002};
    Samples samples = take_samples(Agreement(world), sampling, rank.time(), rank.clock());
    return Result{std::move(samples), rank.calls};
  });
  for (int rank = 0; rank < 3; ++rank) {
    const Result& result = results[static_cast<size_t>(rank)];
    EXPECT_EQ(result.samples.failure, "");
    EXPECT_EQ(result.calls, results[0].calls);
    EXPECT_EQ(result.samples.slowest_s, results[0].samples.slowest_s);
    EXPECT_EQ(result.samples.runs_per_sample, 10) << "2 ms over 0.21 ms of the slowest rank";
    EXPECT_NEAR(median(result.samples.own_s), 1e-5 * (1 + 10 * rank), 1e-12);
    EXPECT_NEAR(median(result.samples.slowest_s), 21e-5, 1e-12) << "the slowest rank's";
  }
  EXPECT_EQ(results[0].samples.slowest_s.size(), 8u);
}

TEST(TakeSamples, OnlyRank0sClockDecides) {
  // Rank 1's clock runs a thousand times faster: alone it would stop at once.
  const auto counts = on_ranks<size_t>(2, [](World& world) {
    SlowRank rank{.run_s = 0.01};
    int flip = 0;
    const TimeRuns time = [&](int64_t runs) { return rank.time()(runs) * (++flip % 2 == 0 ? 1.0 : 1.4); };
    const Clock clock = [&] { return rank.now_s * (world.rank() == 1 ? 1000 : 1); };
    const Sampling sampling{
        .interval = 0.001, .budget_s = 0.2, .least_samples = 3, .most_samples = 500, .sample_s = 0.002};
    return take_samples(Agreement(world), sampling, time, clock).slowest_s.size();
  });
  EXPECT_EQ(counts[0], counts[1]);
  EXPECT_NEAR(double(counts[0]), 20, 1) << "0.2 s of 10 ms";
}

TEST(TakeSamples, AFailureOnOneRankEndsAllWithItsMessage) {
  const auto failures = on_ranks<std::string>(3, [](World& world) {
    SlowRank rank{.run_s = 0.001};
    int calls = 0;
    const TimeRuns time = [&](int64_t runs) {
      if (++calls == 5 && world.rank() == 1) throw CallError("launch failed (code 700)");
      return rank.time()(runs);
    };
    const Sampling sampling{.least_samples = 20, .most_samples = 20};
    const Samples samples = take_samples(Agreement(world), sampling, time, rank.clock());
    EXPECT_EQ(samples.slowest_s.size(), 2u) << "5th call: two pilots and two samples before it";
    return samples.failure;
  });
  for (const std::string& failure : failures) EXPECT_EQ(failure, "rank 1: launch failed (code 700)");
}

TEST(TakeSamples, NoTimeIsAFailure) {
  for (double broken : {0.0, -1.0, std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}) {
    const auto world = single_world();
    const TimeRuns time = [&](int64_t) { return broken; };
    const Samples samples = take_samples(Agreement(*world), {}, time, steady_clock_s());
    EXPECT_TRUE(samples.failure.starts_with("the clock gave")) << samples.failure;
    EXPECT_TRUE(samples.slowest_s.empty());
  }
}

TEST(Agreement, ReasonsNameTheLowestRank) {
  const auto reasons = on_ranks<std::string>(3, [](World& world) {
    const Agreement agreement(world);
    EXPECT_EQ(agreement.reason(""), "");
    EXPECT_EQ(agreement.reason("no GPU"), "no GPU") << "all say the same: no rank is singled out";
    EXPECT_EQ(agreement.each(world.rank() * 0.1), (std::vector<double>{0.0, 0.1, 0.2}));
    EXPECT_EQ(agreement.count(100 + world.rank()), 100);
    EXPECT_EQ(agreement.number(1.0 / 3 + world.rank()), 1.0 / 3) << "exactly rank 0's";
    EXPECT_FALSE(agreement.decide(world.rank() != 0));
    EXPECT_TRUE(agreement.decide(world.rank() == 0));
    return agreement.reason(world.rank() == 0 ? "" : "too hot");
  });
  for (const std::string& reason : reasons) EXPECT_EQ(reason, "rank 1: too hot");
}

TEST(Agreement, TogetherThrowsOnAllRanksTheSame) {
  const auto codes = on_ranks<int>(2, [](World& world) {
    try {
      Agreement(world).together([&] {
        if (world.rank() == 1) throw EnvironmentError("disk full");
      });
    } catch (const AgreedError& error) {
      EXPECT_STREQ(error.what(), "rank 1: disk full");
      return static_cast<int>(error.code());
    }
    return -1;
  });
  EXPECT_EQ(codes, (std::vector<int>{3, 3}));
}

TEST(ThreadWorld, NoticesRanksThatDiverge) {
  EXPECT_THROW(run_ranks(2, [](World& world) { world.rank() == 0 ? world.barrier() : (void)world.gather("x"); }),
               CallError);
}

}  // namespace
}  // namespace farscale
