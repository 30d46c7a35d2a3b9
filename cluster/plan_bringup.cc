// The day loop of a site, with delay lines for burn-in and repair.
#include "cluster/plan_bringup.h"

#include <algorithm>
#include <cmath>

namespace farscale {
namespace {

constexpr double kUsualRepairs = 0.02;  // of a fleet: not worth a word below this share

}  // namespace

DelayLine::DelayLine(double delay_days, int days) : whole_(int(delay_days)), part_(delay_days - whole_) {
  slots_.assign(size_t(days) + size_t(whole_) + 2, 0.0);
}

void DelayLine::push(int day, double amount) {
  slots_[size_t(day + whole_)] += amount * (1 - part_);
  slots_[size_t(day + whole_) + 1] += amount * part_;
  held_ += amount;
}

double DelayLine::pop(int day) {
  const double out = std::min(slots_[size_t(day)], held_);
  slots_[size_t(day)] = 0;
  held_ -= out;
  return out;
}

SitePipeline::SitePipeline(const SiteDraw& site, int days)
    : site_(site),
      burn_in_(site.burn_in_days, days),
      rework_(site.repair_days, days),
      repair_(site.repair_days, days),
      infant_decay_(std::exp(-1 / site.infant_days)) {
  now_.delivered = now_.in_service = accepted_ = site.in_service;
  for (const Arrival& arrival : site.arrivals) ordered_ += arrival.gpus;
  ordered_ += site.in_service;
}

const SiteDay& SitePipeline::step(int day) {
  const double delivered = site_.in_service + arrived_by(site_.arrivals, day) + received_ - given_;
  now_.stored += delivered - now_.delivered;
  now_.delivered = delivered;
  fail_as_expected();
  start_repairs(day);
  finish_waits(day);
  rack(day);
  start_burn_in(day);
  finish_burn_in(day);  // those of zero length
  light_up();
  now_.bottleneck = bottleneck();
  return now_;
}

double SitePipeline::give(double gpus) {
  const double given = std::min(gpus, accepted_);
  if (given <= 0) return 0;
  infants_ *= 1 - given / accepted_;
  accepted_ -= given;
  given_ += given;
  now_.delivered -= given;
  now_.in_service = std::min(now_.in_service, accepted_);
  return given;
}

void SitePipeline::fail(double to_repair, double repaired) {
  const double net = std::min(to_repair - repaired, accepted_);
  accepted_ -= net;
  outside_repair_ += net;
}

double SitePipeline::infant_excess() const { return accepted_ > 0 ? infants_ / accepted_ : 0; }

void SitePipeline::fail_as_expected() {
  const double lit = accepted_ > 0 ? std::min(1.0, now_.in_service / accepted_) : 0;
  now_.failures = std::min(accepted_, site_.repairs_per_gpu_day * (now_.in_service + infants_ * lit));
  infants_ *= infant_decay_;
  if (site_.failures_come_from_outside) return;
  accepted_ -= now_.failures;
  waiting_repair_ += now_.failures;
}

// Hands take on failures of service first: they were training.
void SitePipeline::start_repairs(int day) {
  const double taken = site_.failures_come_from_outside ? now_.failures : 0;
  const double failed = std::min(waiting_repair_, site_.repairs_per_day);
  const double reworked = std::min(waiting_rework_, std::max(site_.repairs_per_day - failed - taken, 0.0));
  repair_.push(day, failed);
  rework_.push(day, reworked);
  waiting_repair_ -= failed;
  waiting_rework_ -= reworked;
}

void SitePipeline::finish_waits(int day) {
  accepted_ += repair_.pop(day);
  now_.racked += rework_.pop(day);
  finish_burn_in(day);
}

void SitePipeline::finish_burn_in(int day) {
  const double done = burn_in_.pop(day);
  accepted_ += done * site_.first_pass_yield;
  infants_ += done * site_.first_pass_yield * site_.infant_excess;
  waiting_rework_ += done * (1 - site_.first_pass_yield);
  if (done > 0 && std::isinf(site_.repairs_per_day)) {  // at once
    rework_.push(day, waiting_rework_);
    waiting_rework_ = 0;
    now_.racked += rework_.pop(day);
  }
}

void SitePipeline::rack(int day) {
  const double in_halls = now_.delivered - now_.stored - site_.in_service;
  const double room = std::max(places_at(site_.halls, day) - in_halls, 0.0);
  hall_binds_ = room < std::min(now_.stored, site_.rack_per_day);
  const double moved = std::min({now_.stored, site_.rack_per_day, room});
  now_.stored -= moved;
  now_.racked += moved;
}

// What draws power beside the GPUs in service.
double SitePipeline::power_in_use() const {
  return burn_in_.held() * site_.burn_in_power + now_.racked * site_.racked_power + now_.in_repair * site_.repair_power;
}

void SitePipeline::start_burn_in(int day) {
  const double power = power_at(site_.power, day);
  const double cooling = site_.cooling.empty() ? power : site_.in_service + places_at(site_.cooling, day);
  cooling_is_less_ = cooling < power;
  limit_ = std::min(power, cooling);
  const double each = std::max(site_.burn_in_power, 1e-9);
  const double free_power = std::max(limit_ - power_in_use() - accepted_, 0.0) / each;
  const double places = std::max(site_.burn_in_at_once - burn_in_.held(), 0.0);
  power_binds_ = free_power < std::min(now_.racked, places);
  const double moved = std::min({now_.racked, places, free_power});
  now_.racked -= moved;
  burn_in_.push(day, moved);
}

void SitePipeline::light_up() {
  now_.burning_in = burn_in_.held();
  now_.in_repair = repair_.held() + rework_.held() + waiting_repair_ + waiting_rework_ + outside_repair_;
  now_.in_service = std::clamp(limit_ - power_in_use(), 0.0, accepted_);
  now_.dark = accepted_ - now_.in_service;
  now_.powered = now_.in_service + power_in_use();
}

Bottleneck SitePipeline::bottleneck() const {
  const double little = 1e-3 * (ordered_ + received_ - given_);
  const double missing = ordered_ + received_ - given_ - now_.delivered;
  if (now_.dark > little || (now_.racked > little && power_binds_))
    return cooling_is_less_ ? Bottleneck::kCooling : Bottleneck::kPower;
  if (now_.racked > little) return Bottleneck::kBurnIn;
  if (now_.stored > little) return hall_binds_ ? Bottleneck::kHall : Bottleneck::kRacking;
  if (missing > little) return Bottleneck::kDelivery;
  if (now_.burning_in > little) return Bottleneck::kBurnIn;
  return now_.in_repair > kUsualRepairs * now_.delivered ? Bottleneck::kRepair : Bottleneck::kNone;
}

std::string_view name(Bottleneck bottleneck) {
  constexpr std::string_view kNames[] = {"none",    "delivery", "hall",    "racking",
                                         "burn-in", "power",    "cooling", "repair"};
  return kNames[size_t(bottleneck)];
}

double arrived_by(const std::vector<Arrival>& arrivals, int day) {
  double sum = 0;
  for (const Arrival& a : arrivals) {
    const double span = std::floor(a.last_day) - std::floor(a.first_day) + 1;
    sum += a.gpus * std::clamp((day + 1 - std::floor(a.first_day)) / std::max(span, 1.0), 0.0, 1.0);
  }
  return sum;
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
  SitePipeline pipeline(site, days);
  for (int day = 0; day < days; ++day) out.push_back(pipeline.step(day));
}

}  // namespace farscale
