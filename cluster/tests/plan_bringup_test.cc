// Bring-up against schedules worked out by hand, Little's law, conservation and monotonicity.
#include "cluster/plan_bringup.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "cluster/random.h"

namespace farscale {
namespace {

std::vector<SiteDay> days_of(const SiteDraw& site, int days) {
  std::vector<SiteDay> out;
  bring_up(site, days, out);
  return out;
}

double sum(const std::vector<SiteDay>& days, double (*what)(const SiteDay&)) {
  return std::accumulate(days.begin(), days.end(), 0.0, [what](double s, const SiteDay& d) { return s + what(d); });
}
double stored(const SiteDay& day) { return day.stored; }
double idle(const SiteDay& day) { return day.idle(); }
double serving(const SiteDay& day) { return day.in_service; }

double arrived_by(const std::vector<Arrival>& arrivals, int day) {
  double sum = 0;
  for (const Arrival& arrival : arrivals) sum += farscale::arrived_by(arrival, day);
  return sum;
}

SiteDraw plain_site() {
  SiteDraw site;
  site.arrivals = {{0, 0, 1000}};
  site.halls = {{0, 5000}};
  site.power = {{0, 5000}};
  return site;
}

TEST(BringUp, NothingInTheWayMeansServiceOnTheDayOfArrival) {
  const auto days = days_of(plain_site(), 3);
  EXPECT_DOUBLE_EQ(days[0].in_service, 1000);
  EXPECT_DOUBLE_EQ(days[2].in_service, 1000);
  EXPECT_EQ(days[2].bottleneck, Bottleneck::kNone);
}

TEST(BringUp, HandComputedSchedule) {
  SiteDraw site =
      plain_site();  // 1,000 on day 0, 250 racked a day from day 0, 3 days of burn-in, 80 % pass, 2 days repair
  site.rack_per_day = 250;
  site.burn_in_days = 3;
  site.first_pass_yield = 0.8;
  site.repair_days = 2;
  const auto days = days_of(site, 12);
  EXPECT_DOUBLE_EQ(days[0].stored, 750);
  EXPECT_DOUBLE_EQ(days[0].burning_in, 250);
  EXPECT_DOUBLE_EQ(days[2].burning_in, 750);
  EXPECT_DOUBLE_EQ(days[3].stored, 0);
  EXPECT_DOUBLE_EQ(days[3].in_service, 200);  // the first 250: 200 pass, 50 go to repair
  EXPECT_DOUBLE_EQ(days[3].in_repair, 50);
  EXPECT_DOUBLE_EQ(days[4].in_service, 400);
  EXPECT_DOUBLE_EQ(days[6].in_service, 800);   // all four lots once through
  EXPECT_DOUBLE_EQ(days[8].in_service, 840);   // the 50 of day 3, repaired on day 5, pass again at 80 % on day 8
  EXPECT_DOUBLE_EQ(days[11].in_service, 960);  // and the three other lots
}

TEST(BringUp, LateHallLeavesGpusInTheWarehouse) {
  SiteDraw site = plain_site();
  site.halls = {{30, 5000}};
  const auto days = days_of(site, 40);
  EXPECT_DOUBLE_EQ(sum(days, stored), 30.0 * 1000);  // 1,000 GPUs for 30 days, and not one more
  EXPECT_DOUBLE_EQ(sum(days, idle), 30.0 * 1000);
  EXPECT_DOUBLE_EQ(sum(days, serving), 10.0 * 1000);
  EXPECT_EQ(days[29].bottleneck, Bottleneck::kHall);
  EXPECT_EQ(days[30].bottleneck, Bottleneck::kNone);
}

TEST(BringUp, OrderedFromTheOrderToTheDelivery) {
  SiteDraw site = plain_site();
  site.arrivals = {{10, 19, 1000, 4}};
  const auto days = days_of(site, 25);
  EXPECT_DOUBLE_EQ(days[3].ordered, 0);
  EXPECT_DOUBLE_EQ(days[4].ordered, 1000);
  EXPECT_DOUBLE_EQ(days[14].ordered, 500);
  EXPECT_DOUBLE_EQ(days[19].ordered, 0);
}

TEST(BringUp, EvenDeliveryIntoALateHall) {
  SiteDraw site = plain_site();
  site.arrivals = {{0, 9, 1000}};  // 100 a day for ten days
  site.halls = {{20, 5000}};
  const auto days = days_of(site, 30);
  EXPECT_DOUBLE_EQ(days[4].delivered, 500);
  // 100 + 200 + … + 1000 over ten days, then 1,000 for ten more.
  EXPECT_NEAR(sum(days, stored), 5500 + 10 * 1000, 1e-9);
}

TEST(BringUp, SmallHallAndLittlePower) {
  SiteDraw site = plain_site();
  site.halls = {{0, 600}, {5, 300}};
  site.power = {{0, 400}, {10, 700}};
  const auto days = days_of(site, 15);
  EXPECT_DOUBLE_EQ(days[0].in_service, 400);
  EXPECT_DOUBLE_EQ(days[0].racked, 200);
  EXPECT_DOUBLE_EQ(days[0].stored, 400);
  EXPECT_EQ(days[0].bottleneck, Bottleneck::kPower);
  EXPECT_DOUBLE_EQ(days[5].installed(), 900);
  EXPECT_DOUBLE_EQ(days[10].in_service, 700);
  EXPECT_DOUBLE_EQ(days[14].stored, 100);
}

TEST(BringUp, PowerThatFallsDarkensGpus) {
  SiteDraw site = plain_site();
  site.power = {{0, 1000}, {5, 300}};
  const auto days = days_of(site, 10);
  EXPECT_DOUBLE_EQ(days[4].in_service, 1000);
  EXPECT_DOUBLE_EQ(days[5].in_service, 300);
  EXPECT_DOUBLE_EQ(days[5].dark, 700);
}

TEST(BringUp, PowerThatFallsStopsBurnInFirst) {
  SiteDraw site = plain_site();
  site.in_service = 500;
  site.arrivals = {{2, 2, 500}};
  site.burn_in_days = 10;
  site.power = {{0, 1000}, {5, 600}, {8, 300}, {20, 1000}};
  const auto days = days_of(site, 40);
  EXPECT_DOUBLE_EQ(days[4].burning_in, 500);
  EXPECT_DOUBLE_EQ(days[5].in_service, 500);
  EXPECT_DOUBLE_EQ(days[5].burning_in, 100);
  EXPECT_DOUBLE_EQ(days[5].racked, 400);
  EXPECT_EQ(days[5].bottleneck, Bottleneck::kPower);
  EXPECT_DOUBLE_EQ(days[8].in_service, 300);
  EXPECT_DOUBLE_EQ(days[8].dark, 200);
  EXPECT_DOUBLE_EQ(days[8].burning_in, 0);
  EXPECT_DOUBLE_EQ(days[20].burning_in, 500);  // all over again
  EXPECT_DOUBLE_EQ(days[29].in_service, 500);
  EXPECT_DOUBLE_EQ(days[30].in_service, 1000);
}

TEST(BringUp, TheNewestLotLosesItsPowerFirst) {
  SiteDraw site = plain_site();
  site.arrivals = {{0, 0, 100}, {3, 3, 100}};
  site.burn_in_days = 10;
  site.power = {{0, 200}, {5, 100}, {6, 200}};
  const auto days = days_of(site, 20);
  EXPECT_DOUBLE_EQ(days[10].in_service, 100);  // the lot of day 0 burned on
  EXPECT_DOUBLE_EQ(days[15].in_service, 100);
  EXPECT_DOUBLE_EQ(days[16].in_service, 200);  // that of day 3 began again on day 6
}

TEST(BringUp, PowerStepsKeepTheOrderOfTheFile) {
  SiteDraw site = plain_site();
  site.power = {{0, 100}, {30, 200}, {20, 1000}};  // the small step is late
  const auto days = days_of(site, 50);
  EXPECT_DOUBLE_EQ(days[19].in_service, 100);
  EXPECT_DOUBLE_EQ(days[20].in_service, 1000);
  EXPECT_DOUBLE_EQ(days[49].in_service, 1000);
  EXPECT_DOUBLE_EQ(power_at(site.power, 49), 1000);
}

TEST(BringUp, WhatIsThereAtTheStartTakesPlacesAndCooling) {
  SiteDraw site;
  site.in_service = 4000;
  site.arrivals = {{0, 0, 4000}};
  site.halls = {{0, 4000}, {10, 1000}};
  site.power = {{0, 1e6}};
  const auto days = days_of(site, 20);
  EXPECT_DOUBLE_EQ(days[9].stored, 4000);
  EXPECT_EQ(days[9].bottleneck, Bottleneck::kHall);
  EXPECT_DOUBLE_EQ(days[10].installed(), 5000);
  site.cooling = {{0, 3000}};
  EXPECT_DOUBLE_EQ(days_of(site, 20)[9].in_service, 3000);
}

TEST(BringUp, NodesAreWhole) {
  SiteDraw site = plain_site();
  site.gpus_per_node = 8;
  site.arrivals = {{0, 0, 1001}};
  site.first_pass_yield = 0.8;
  site.repair_days = 3;
  const auto days = days_of(site, 100);
  EXPECT_DOUBLE_EQ(days[0].in_service, 8 * 100);  // of 125 nodes
  EXPECT_DOUBLE_EQ(days[0].in_repair, 8 * 25);
  EXPECT_DOUBLE_EQ(days[3].in_service, 8 * 120);
  EXPECT_DOUBLE_EQ(days[99].in_service, 1000);
  EXPECT_DOUBLE_EQ(days[99].stored, 1);  // waits for the rest of its node
  site.arrivals = {{0, 9, 40}};          // four a day: a node every second day
  site.first_pass_yield = 1;
  EXPECT_DOUBLE_EQ(days_of(site, 10)[2].in_service, 8);
  EXPECT_DOUBLE_EQ(days_of(site, 10)[2].stored, 4);
  EXPECT_DOUBLE_EQ(days_of(site, 10)[3].in_service, 16);
  site.arrivals = {{0, 0, 8}};
  site.first_pass_yield = 0.8;  // one node passes or it does not
  for (const SiteDay& day : days_of(site, 10)) EXPECT_TRUE(day.in_service == 0 || day.in_service == 8);
}

// Lots keep their spread: nodes racked in the course of a day come out of burn-in in the course of a day.
TEST(BringUp, TimeIsContinuous) {
  SiteDraw site = plain_site();
  site.rack_per_day = 100;
  site.burn_in_days = 5.5;
  const auto days = days_of(site, 20);
  EXPECT_DOUBLE_EQ(days[4].in_service, 0);
  EXPECT_DOUBLE_EQ(days[5].in_service, 50);
  EXPECT_DOUBLE_EQ(days[6].in_service, 150);
  EXPECT_DOUBLE_EQ(days[15].in_service, 1000);
  site.arrivals = {{0.75, 0.75, 1000}};
  EXPECT_DOUBLE_EQ(days_of(site, 20)[0].burning_in, 25);
  EXPECT_DOUBLE_EQ(days_of(site, 20)[1].burning_in, 125);
  site.rack_per_day = 0.4;  // a GPU takes two days and a half
  EXPECT_DOUBLE_EQ(days_of(site, 20)[2].installed(), 0);
  EXPECT_DOUBLE_EQ(days_of(site, 20)[3].installed(), 1);
  EXPECT_DOUBLE_EQ(days_of(site, 20)[13].installed(), 5);
}

TEST(BringUpLuck, IsBinomialAndTheSameHoweverLotsAreCut) {
  double sum = 0, squares = 0;
  constexpr int kTrials = 4000;
  for (uint64_t seed = 1; seed <= kTrials; ++seed) {
    BurnInLuck whole(0.2, seed << 20), parts(0.2, seed << 20);
    const auto failed = double(whole.failures(100));
    EXPECT_EQ(parts.failures(1) + parts.failures(60) + parts.failures(0) + parts.failures(39), failed);
    sum += failed, squares += failed * failed;
  }
  const double mean = sum / kTrials;
  EXPECT_NEAR(mean, 20, 0.25);                            // 4 standard errors
  EXPECT_NEAR(squares / kTrials - mean * mean, 16, 1.5);  // n p (1 - p)
  BurnInLuck even(0.11, 0), never(0, 5), always(1, 5);
  EXPECT_EQ(even.failures(50), 6);
  EXPECT_EQ(even.failures(50), 5);
  EXPECT_EQ(never.failures(1000000), 0);
  EXPECT_EQ(always.failures(1000), 1000);
}

TEST(BringUpLuck, RepairsTakeTheirMeanTime) {
  SiteDraw site = plain_site();
  site.arrivals = {{0, 999, 100 * 1000}};  // 100 a day, each repaired once on average, for four days on average
  site.rack_per_day = 100;
  site.halls = site.power = {{0, 1e6}};
  site.first_pass_yield = 0.5;
  site.repair_days = 4;
  double in_repair = 0, differs = 0;
  for (uint64_t luck = 1; luck <= 100; ++luck) {
    site.luck = luck << 30;
    const auto days = days_of(site, 1000);
    for (int d = 200; d < 1000; ++d) in_repair += days[size_t(d)].in_repair / 800 / 100;
    differs += days[900].in_repair != days[901].in_repair ? 1 : 0;
  }
  EXPECT_NEAR(in_repair, 100 * 4, 10);
  EXPECT_GT(differs, 80);
}

TEST(BringUp, BurnInPlacesAreARate) {
  SiteDraw site = plain_site();
  site.burn_in_days = 5;
  site.burn_in_at_once = 100;
  const auto days = days_of(site, 61);
  EXPECT_DOUBLE_EQ(days[49].in_service, 900);  // 100 every five days
  EXPECT_DOUBLE_EQ(days[50].in_service, 1000);
  EXPECT_EQ(days[20].bottleneck, Bottleneck::kBurnIn);
}

TEST(BringUp, CoolingLimitsLikePower) {
  SiteDraw site = plain_site();
  site.cooling = {{0, 300}, {5, 200}};  // two halls
  const auto days = days_of(site, 10);
  EXPECT_DOUBLE_EQ(days[4].in_service, 300);
  EXPECT_EQ(days[4].bottleneck, Bottleneck::kCooling);
  EXPECT_DOUBLE_EQ(days[5].in_service, 500);
  site.power = {{0, 100}};
  EXPECT_EQ(days_of(site, 10)[4].bottleneck, Bottleneck::kPower);
}

TEST(BringUp, PowerByState) {
  SiteDraw site = plain_site();
  site.burn_in_days = 5;
  site.burn_in_power = 0.5;
  site.power = {{0, 400}};
  const auto days = days_of(site, 20);
  EXPECT_DOUBLE_EQ(days[0].burning_in, 800);  // at half the power each
  EXPECT_DOUBLE_EQ(days[0].powered, 400);
  EXPECT_DOUBLE_EQ(days[10].in_service, 400);
  for (const SiteDay& day : days) EXPECT_LE(day.powered, 400 + 1e-9);
  site.power = {{0, 5000}};
  site.repair_power = 0.25;
  site.first_pass_yield = 0.8;
  site.repair_days = 3;
  EXPECT_DOUBLE_EQ(days_of(site, 20)[5].powered, 800 + 0.25 * 200);
}

TEST(BringUp, FewHandsRepairOneAfterTheOther) {
  SiteDraw site = plain_site();
  site.first_pass_yield = 0.5;  // 500 fail on day 0, 50 are taken on a day, each takes 2 days; half of them fail again
  site.repair_days = 2;
  site.repairs_per_day = 50;
  const auto days = days_of(site, 40);
  EXPECT_DOUBLE_EQ(days[0].in_repair, 500);
  EXPECT_DOUBLE_EQ(days[1].in_service, 500);
  EXPECT_DOUBLE_EQ(days[2].in_service, 525);  // taken on in the course of day 0, repaired in the course of day 2
  EXPECT_DOUBLE_EQ(days[10].in_service, 500 + 9 * 25);
  site.repairs_per_day = std::numeric_limits<double>::infinity();
  EXPECT_DOUBLE_EQ(days_of(site, 40)[4].in_service, 875);  // 500, half of 500 on day 2, half of 250 on day 4
}

TEST(BringUp, HandsGoOnWithTheNextLotTheSameDay) {
  SiteDraw site = plain_site();
  site.arrivals = {{0, 0, 20}, {0.05, 0.05, 20}};  // half fail: ten are taken on by 0.1, ten more by 0.2
  site.first_pass_yield = 0.5;
  site.repair_days = 1;
  site.repairs_per_day = 100;
  const auto days = days_of(site, 5);
  EXPECT_DOUBLE_EQ(days[0].in_service, 20);
  EXPECT_DOUBLE_EQ(days[1].in_service, 30);
}

TEST(BringUp, VeryManyHandsAreAsGoodAsNoLimit) {
  SiteDraw site = plain_site();
  site.rack_per_day = 250;
  site.burn_in_days = 3.3;
  site.first_pass_yield = 0.8;
  site.repair_days = 2.4;
  const double without = sum(days_of(site, 60), idle);
  site.repairs_per_day = 1e8;
  EXPECT_DOUBLE_EQ(sum(days_of(site, 60), idle), without);
}

TEST(BringUp, TransfersTakeAndGive) {
  SiteDraw from = plain_site(), to;
  to.halls = {{0, 5000}};
  to.power = {{0, 5000}};
  SitePipeline a(from), b(to);
  a.step(0), b.step(0);
  EXPECT_DOUBLE_EQ(a.take_out(400), 400);
  EXPECT_DOUBLE_EQ(a.step(1).in_service, 600);
  EXPECT_DOUBLE_EQ(a.today().in_transit, 400);  // the sender's until they arrive, and idle
  EXPECT_DOUBLE_EQ(a.today().delivered, 1000);
  EXPECT_DOUBLE_EQ(a.today().idle(), 400);
  a.hand_over(400);
  b.receive(2.5, 400);
  b.step(1);
  EXPECT_DOUBLE_EQ(a.step(2).delivered, 600);
  EXPECT_DOUBLE_EQ(a.today().idle(), 0);
  EXPECT_DOUBLE_EQ(b.step(2).in_service, 400);
  EXPECT_DOUBLE_EQ(a.take_out(1e9), 600);  // no more than there are
  EXPECT_DOUBLE_EQ(a.step(3).in_service, 0);
}

TEST(BringUp, FailuresFromOutside) {
  SiteDraw site = plain_site();
  site.failures_come_from_outside = true;
  site.repairs_per_gpu_day = 0.01;
  site.repair_days = 4;
  SitePipeline pipeline(site);
  pipeline.step(0);
  pipeline.fail(80, 0);
  EXPECT_DOUBLE_EQ(pipeline.step(1).in_service, 920);
  EXPECT_DOUBLE_EQ(pipeline.today().in_repair, 80);
  pipeline.fail(8, 80);
  EXPECT_DOUBLE_EQ(pipeline.step(2).in_service, 992);
}

TEST(BringUp, LittlesLaw) {
  SiteDraw site = plain_site();
  site.rack_per_day = 50;
  site.arrivals = {{0, 399, 50 * 400}};
  site.halls = {{0, 1e6}};
  site.power = {{0, 1e6}};
  site.burn_in_days = 7;
  const auto days = days_of(site, 400);
  EXPECT_NEAR(days[300].burning_in, 50 * 7, 1e-6);  // held = rate x time

  SiteDraw failing = plain_site();
  failing.repairs_per_gpu_day = 0.01;
  failing.repair_days = 4;
  const auto steady = days_of(failing, 600);
  // In balance: failures a day x 4 days = in repair; whole GPUs, so on average over 100 days.
  const auto mean = [](const std::vector<SiteDay>& of, double SiteDay::*state) {
    return std::accumulate(of.end() - 100, of.end(), 0.0, [&](double s, const SiteDay& d) { return s + d.*state; }) /
           100;
  };
  EXPECT_NEAR(mean(steady, &SiteDay::in_repair), 0.01 * mean(steady, &SiteDay::in_service) * 4, 0.1);
  EXPECT_NEAR(mean(steady, &SiteDay::in_service), 1000 / 1.04, 0.2);
  double drawn = 0;  // the law asks for the mean turnaround alone
  for (uint64_t luck = 1; luck <= 50; ++luck) {
    failing.luck = luck << 40;
    drawn += mean(days_of(failing, 600), &SiteDay::in_service) / 50;
  }
  EXPECT_NEAR(drawn, 1000 / 1.04, 1.5);
  failing.luck = 0;
  failing.repair_days = 0.7;
  EXPECT_NEAR(mean(days_of(failing, 600), &SiteDay::in_repair), 7, 0.5);
}

TEST(BringUp, InfantMortalityAddsItsWholeExcess) {
  SiteDraw site = plain_site();
  site.repairs_per_gpu_day = 1e-4;
  site.repair_days = 0;
  site.infant_excess = 10;
  site.infant_days = 20;
  const auto days = days_of(site, 200);
  EXPECT_NEAR(days[199].in_service, 1000, 1e-6);
  site.repair_days = 1e-9;
  SiteDraw slow = site;
  slow.repair_days = 150;  // nothing comes back: the sum of failures stays visible
  const auto held = days_of(slow, 140);
  // Settled: 1000 x 1e-4 x 139 days; excess: 1000 x 1e-4 x 10 x about 20 days.
  EXPECT_NEAR(held[139].in_repair, 13.9 + 20, 1.0);
}

SiteDraw random_site(Rng& random) {
  SiteDraw site;
  const auto up_to = [&random](double most) { return most * random.uniform(); };
  for (int i = 0; i < 3; ++i) {
    const double first = up_to(100);
    site.arrivals.push_back({first, first + up_to(60), up_to(3000)});
    site.halls.push_back({up_to(150), up_to(4000)});
    site.power.push_back({up_to(150), up_to(8000)});
  }
  site.gpus_per_node = random.uniform() < 0.5 ? 1 : 8;
  site.luck = random.uniform() < 0.5 ? 0 : random.next();
  site.in_service = up_to(500);
  site.rack_per_day = 20 + up_to(300);
  site.burn_in_days = up_to(12);
  site.burn_in_at_once = 50 + up_to(1000);
  site.first_pass_yield = 0.5 + up_to(0.5);
  site.repair_days = up_to(15);
  site.repairs_per_gpu_day = up_to(0.02);
  site.infant_excess = up_to(4);
  site.infant_days = 5 + up_to(40);
  if (random.uniform() < 0.5) site.repairs_per_day = 5 + up_to(200);
  if (random.uniform() < 0.3) site.cooling = {{up_to(50), up_to(3000)}, {up_to(150), up_to(3000)}};
  site.racked_power = up_to(0.2);
  site.burn_in_power = 0.3 + up_to(0.7);
  site.repair_power = up_to(0.2);
  return site;
}

TEST(BringUp, NoGpuAppearsOrVanishes) {
  Rng random(1);
  for (int trial = 0; trial < 300; ++trial) {
    const SiteDraw site = random_site(random);
    double ordered = std::floor(site.in_service);
    for (const Arrival& arrival : site.arrivals) ordered += std::floor(arrival.gpus);
    const auto days = days_of(site, 300);
    for (int d = 0; d < 300; ++d) {
      const SiteDay& day = days[size_t(d)];
      ASSERT_EQ(day.stored + day.installed() + day.in_transit, day.delivered);
      ASSERT_EQ(day.delivered, std::floor(site.in_service) + arrived_by(site.arrivals, d));
      ASSERT_EQ(day.delivered + day.ordered, ordered);
      for (const double state : {day.racked, day.burning_in, day.in_repair, day.dark, day.in_service}) {
        ASSERT_GE(state, 0);
        ASSERT_EQ(std::fmod(state, site.gpus_per_node), 0);  // whole nodes
      }
      ASSERT_GE(day.stored, 0);
    }
    EXPECT_EQ(days.back().delivered, ordered);
  }
}

TEST(BringUp, LimitsHoldEveryDay) {
  Rng random(2);
  for (int trial = 0; trial < 300; ++trial) {
    const SiteDraw site = random_site(random);
    const auto days = days_of(site, 300);
    for (int d = 1; d < 300; ++d) {
      const SiteDay& day = days[size_t(d)];
      ASSERT_LE(day.powered, power_at(site.power, d) + 1e-6);
      const double cooling = site.cooling.empty() ? 1e9 : places_at(site.cooling, d);
      ASSERT_LE(day.powered, cooling + 1e-6);
      ASSERT_GE(day.powered, day.in_service);
      ASSERT_LE(day.installed(), std::max(places_at(site.halls, d), site.in_service) + 1e-6);
      ASSERT_LE(day.installed() - days[size_t(d - 1)].installed(), site.rack_per_day + site.gpus_per_node + 1e-6);
      ASSERT_LE(day.burning_in, site.burn_in_at_once + 1e-6);
    }
  }
}

// Service days within the horizon, for a site and one with more of something. Power never falls here: where it does,
// burn-in is interrupted, and more of it can mean fewer in service later; hands suffice, for a fleet that grows sooner
// fails sooner. Moments inside a day at which lots cross each other's way are good to a part of the day.
TEST(BringUp, MoreNeverDeliversLess) {
  Rng random(3);
  for (int trial = 0; trial < 500; ++trial) {
    SiteDraw site = random_site(random);
    site.infant_excess = site.racked_power = site.repair_power = 0;
    site.burn_in_power = 1;
    site.cooling.clear();
    site.luck = 0;
    site.repairs_per_day = std::numeric_limits<double>::infinity();
    std::sort(site.power.begin(), site.power.end(), [](auto& a, auto& b) { return a.day < b.day; });
    for (size_t i = 1; i < site.power.size(); ++i) site.power[i].amount += site.power[i - 1].amount;
    const double base = sum(days_of(site, 300), serving);
    SiteDraw more_power = site, earlier = site, more_hall = site, faster = site;
    for (Step& step : more_power.power) step.amount *= 1.2;
    for (Arrival& arrival : earlier.arrivals) arrival.first_day -= 20, arrival.last_day -= 20;
    for (Step& hall : more_hall.halls) hall.day -= 15;
    faster.rack_per_day *= 1.5;
    int which = 0;
    for (const SiteDraw& better : {more_power, earlier, more_hall, faster})
      EXPECT_GE(sum(days_of(better, 300), serving), base * (1 - 1e-3)) << "trial " << trial << " change " << which++;
  }
}

TEST(BringUp, ColossusIsPlausible) {
  SiteDraw site;  // 100,000 in 122 days: arrivals over 92 days, 1,200 racked a day, a week of burn-in, 89 % first pass
  site.arrivals = {{0, 91, 1e5}};
  site.halls = {{0, 1e5}};
  site.power = {{0, 1e6}};
  site.rack_per_day = 1200;
  site.burn_in_days = 7;
  site.first_pass_yield = 0.89;
  site.repair_days = 5;
  const auto days = days_of(site, 200);
  int complete = 0;
  while (days[size_t(complete)].in_service < 0.99e5) ++complete;
  EXPECT_GT(complete, 95);
  EXPECT_LT(complete, 122);
}

}  // namespace
}  // namespace farscale
