// The day loop of a site, with delay lines for burn-in and repair.
#include "cluster/plan_bringup.h"

#include <algorithm>
#include <cmath>

namespace farscale {
namespace {

constexpr double kUsualRepairs = 0.02;  // of a fleet: not worth a word below this share

// Things that come out a fixed time after they went in; a time of 2.3 days lets 70 % out after 2 days, 30 % after 3.
class DelayLine {
 public:
  DelayLine(double delay_days, int days) : whole_(int(delay_days)), part_(delay_days - whole_) {
    slots_.assign(size_t(days) + size_t(whole_) + 2, 0.0);
  }
  void push(int day, double amount) {
    slots_[size_t(day + whole_)] += amount * (1 - part_);
    slots_[size_t(day + whole_) + 1] += amount * part_;
    held_ += amount;
  }
  double pop(int day) {
    const double out = std::min(slots_[size_t(day)], held_);
    slots_[size_t(day)] = 0;
    held_ -= out;
    return out;
  }
  double held() const { return held_; }

 private:
  int whole_;
  double part_;
  double held_ = 0;
  std::vector<double> slots_;
};

double arrived_by(const std::vector<Arrival>& arrivals, double day_end) {
  double sum = 0;
  for (const Arrival& a : arrivals) {
    const double span = std::floor(a.last_day) - std::floor(a.first_day) + 1;
    sum += a.gpus * std::clamp((day_end - std::floor(a.first_day)) / std::max(span, 1.0), 0.0, 1.0);
  }
  return sum;
}

class SiteLoop {
 public:
  SiteLoop(const SiteDraw& site, int days)
      : site_(site),
        burn_in_(site.burn_in_days, days),
        rework_(site.repair_days, days),
        repair_(site.repair_days, days),
        infant_decay_(std::exp(-1 / site.infant_days)) {
    now_.in_service = accepted_ = site.in_service;
    for (const Arrival& arrival : site.arrivals) ordered_ += arrival.gpus;
    ordered_ += site.in_service;
  }

  SiteDay step(int day) {
    const double delivered = site_.in_service + arrived_by(site_.arrivals, day + 1);
    now_.stored += delivered - (day == 0 ? site_.in_service : now_.delivered);
    now_.delivered = delivered;
    fail(day);
    finish_waits(day);
    rack(day);
    start_burn_in(day);
    finish_burn_in(day);  // those of zero length
    light_up(day);
    now_.bottleneck = bottleneck();
    return now_;
  }

 private:
  void fail(int day) {
    const double failed = std::min(accepted_, site_.repairs_per_gpu_day * (now_.in_service + infants_));
    infants_ *= infant_decay_;
    accepted_ -= failed;
    repair_.push(day, failed);
  }

  void finish_waits(int day) {
    accepted_ += repair_.pop(day);
    now_.racked += rework_.pop(day);
    finish_burn_in(day);
  }

  void finish_burn_in(int day) {
    const double done = burn_in_.pop(day);
    accepted_ += done * site_.first_pass_yield;
    infants_ += done * site_.first_pass_yield * site_.infant_excess;
    rework_.push(day, done * (1 - site_.first_pass_yield));
    if (site_.repair_days == 0) now_.racked += rework_.pop(day);
  }

  void rack(int day) {
    const double in_halls = now_.delivered - now_.stored - site_.in_service;
    const double room = std::max(places_at(site_.halls, day) - in_halls, 0.0);
    hall_binds_ = room < std::min(now_.stored, site_.rack_per_day);
    const double moved = std::min({now_.stored, site_.rack_per_day, room});
    now_.stored -= moved;
    now_.racked += moved;
  }

  void start_burn_in(int day) {
    const double power = power_at(site_.power, day);
    const double free_power = std::max(power - burn_in_.held() - accepted_, 0.0);
    const double places = std::max(site_.burn_in_at_once - burn_in_.held(), 0.0);
    power_binds_ = free_power < std::min(now_.racked, places);
    const double moved = std::min({now_.racked, places, free_power});
    now_.racked -= moved;
    burn_in_.push(day, moved);
  }

  void light_up(int day) {
    now_.burning_in = burn_in_.held();
    now_.in_service = std::clamp(power_at(site_.power, day) - now_.burning_in, 0.0, accepted_);
    now_.dark = accepted_ - now_.in_service;
    now_.in_repair = repair_.held() + rework_.held();
  }

  Bottleneck bottleneck() const {
    const double little = 1e-3 * ordered_;
    if (now_.dark > little || (now_.racked > little && power_binds_)) return Bottleneck::kPower;
    if (now_.racked > little) return Bottleneck::kBurnIn;
    if (now_.stored > little) return hall_binds_ ? Bottleneck::kHall : Bottleneck::kRacking;
    if (now_.delivered < ordered_ - little) return Bottleneck::kDelivery;
    if (now_.burning_in > little) return Bottleneck::kBurnIn;
    return now_.in_repair > kUsualRepairs * ordered_ ? Bottleneck::kRepair : Bottleneck::kNone;
  }

  const SiteDraw& site_;
  DelayLine burn_in_, rework_, repair_;
  double infant_decay_;
  SiteDay now_;
  double accepted_ = 0;  // passed burn-in and not in repair
  double infants_ = 0;   // accepted GPUs weighted by their excess failure rate
  double ordered_ = 0;
  bool hall_binds_ = false, power_binds_ = false;
};

}  // namespace

std::string_view name(Bottleneck bottleneck) {
  constexpr std::string_view kNames[] = {"none", "delivery", "hall", "racking", "burn-in", "power", "repair"};
  return kNames[size_t(bottleneck)];
}

double places_at(const std::vector<Step>& halls, double day) {
  double sum = 0;
  for (const Step& hall : halls)
    if (std::floor(hall.day) <= day) sum += hall.amount;
  return sum;
}

double power_at(const std::vector<Step>& power, double day) {
  double amount = 0, since = -std::numeric_limits<double>::infinity();
  for (const Step& step : power)
    if (std::floor(step.day) <= day && step.day >= since) amount = step.amount, since = step.day;
  return amount;
}

void bring_up(const SiteDraw& site, int days, std::vector<SiteDay>& out) {
  out.clear();
  SiteLoop loop(site, days);
  for (int day = 0; day < days; ++day) out.push_back(loop.step(day));
}

}  // namespace farscale
