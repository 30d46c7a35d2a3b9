// Bring-up against schedules worked out by hand, Little's law, conservation and monotonicity.
#include "cluster/plan_bringup.h"

#include <gtest/gtest.h>

#include <algorithm>
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
  EXPECT_DOUBLE_EQ(days[2].in_service, 500);
  EXPECT_DOUBLE_EQ(days[3].in_service, 525);
  EXPECT_DOUBLE_EQ(days[10].in_service, 500 + 8 * 25);
  site.repairs_per_day = std::numeric_limits<double>::infinity();
  EXPECT_DOUBLE_EQ(days_of(site, 40)[4].in_service, 875);  // 500, half of 500 on day 2, half of 250 on day 4
}

TEST(BringUp, TransfersTakeAndGive) {
  SiteDraw from = plain_site(), to;
  to.halls = {{0, 5000}};
  to.power = {{0, 5000}};
  SitePipeline a(from, 10), b(to, 10);
  a.step(0), b.step(0);
  b.receive(a.give(400));
  EXPECT_DOUBLE_EQ(a.step(1).in_service, 600);
  EXPECT_DOUBLE_EQ(a.today().delivered, 600);
  EXPECT_DOUBLE_EQ(b.step(1).in_service, 400);
  EXPECT_DOUBLE_EQ(a.give(1e9), 600);  // no more than there are
  EXPECT_DOUBLE_EQ(a.step(2).in_service, 0);
}

TEST(BringUp, FailuresFromOutside) {
  SiteDraw site = plain_site();
  site.failures_come_from_outside = true;
  site.repairs_per_gpu_day = 0.01;
  site.repair_days = 4;
  SitePipeline pipeline(site, 10);
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
  // In balance: failures a day x 4 days = in repair.
  EXPECT_NEAR(steady[599].in_repair, 0.01 * steady[598].in_service * 4, 0.01);
  EXPECT_NEAR(steady[599].in_service, 1000 / 1.04, 0.5);
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
  return site;
}

TEST(BringUp, NoGpuAppearsOrVanishes) {
  Rng random(1);
  for (int trial = 0; trial < 300; ++trial) {
    const SiteDraw site = random_site(random);
    double ordered = site.in_service;
    for (const Arrival& arrival : site.arrivals) ordered += arrival.gpus;
    const auto days = days_of(site, 300);
    double before = 0;
    for (const SiteDay& day : days) {
      ASSERT_NEAR(day.stored + day.installed(), day.delivered, 1e-6);
      for (const double state : {day.stored, day.racked, day.burning_in, day.in_repair, day.dark, day.in_service})
        ASSERT_GE(state, -1e-9);
      ASSERT_GE(day.delivered, before - 1e-9);
      before = day.delivered;
    }
    EXPECT_NEAR(days.back().delivered, ordered, 1e-6);
  }
}

TEST(BringUp, LimitsHoldEveryDay) {
  Rng random(2);
  for (int trial = 0; trial < 300; ++trial) {
    const SiteDraw site = random_site(random);
    const auto days = days_of(site, 300);
    for (int d = 1; d < 300; ++d) {
      const SiteDay& day = days[size_t(d)];
      ASSERT_LE(day.in_service, power_at(site.power, d) + 1e-6);
      ASSERT_LE(day.installed() - site.in_service, places_at(site.halls, d) + 1e-6);
      ASSERT_LE(day.installed() - days[size_t(d - 1)].installed(), site.rack_per_day + 1e-6);
      ASSERT_LE(day.burning_in, site.burn_in_at_once + 1e-6);
    }
  }
}

// Service days within the horizon, for a site and one with more of something. Power never falls here: where it does,
// GPUs in burn-in keep theirs, and more of them can mean fewer in service.
TEST(BringUp, MoreNeverDeliversLess) {
  Rng random(3);
  for (int trial = 0; trial < 500; ++trial) {
    SiteDraw site = random_site(random);
    site.infant_excess = 0;
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
      EXPECT_GE(sum(days_of(better, 300), serving), base * (1 - 1e-9)) << "trial " << trial << " change " << which++;
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
