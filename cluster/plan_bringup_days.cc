// What a day of the bring-up reports, and what deliveries and steps come to by a day.
#include <algorithm>
#include <cmath>

#include "cluster/plan_bringup.h"

namespace farscale {
namespace {

constexpr double kUsualRepairs = 0.02;  // of a fleet: not worth a word below this share
constexpr double kRounding = 1e-9;      // relative, of shares of a delivery

}  // namespace

void SiteDay::add(const SiteDay& other) {
  for (double SiteDay::*field :
       {&SiteDay::ordered, &SiteDay::delivered, &SiteDay::in_transit, &SiteDay::stored, &SiteDay::racked,
        &SiteDay::burning_in, &SiteDay::in_repair, &SiteDay::dark, &SiteDay::in_service, &SiteDay::powered})
    this->*field += other.*field;
}

double SitePipeline::ordered(double now) const {
  double sum = 0;
  for (size_t i = 0; i < arrived_.size(); ++i)
    if (site_.arrivals[i].ordered_day < now) sum += std::floor(site_.arrivals[i].gpus) - arrived_[i];
  return sum;
}

void SitePipeline::close_day(int day) {
  today_ = {.ordered = ordered(day + 1),
            .delivered = delivered_,
            .in_transit = gpus(in_transit_),
            .stored = double(stored_),
            .racked = gpus(racked_),
            .burning_in = gpus(burning_),
            .in_repair = gpus(in_repair()),
            .dark = gpus(accepted_ - lit()),
            .in_service = gpus(lit())};
  const double first = double(lit()) + double(burning_) * site_.burn_in_power;
  const double rest = double(in_repair()) * site_.repair_power + double(racked_) * site_.racked_power;
  today_.powered = (first + std::clamp(rest, 0.0, std::max(limit() - first, 0.0))) * site_.gpus_per_node;
  today_.bottleneck = bottleneck();
}

Bottleneck SitePipeline::bottleneck() const {
  const double little = 1e-3 * (delivered_ + undelivered_);
  const auto many = [&](double gpus) { return gpus > little; };
  const bool by_power = free_burn_in() < 1 && double(burning_ + 1) * site_.gpus_per_node <= site_.burn_in_at_once;
  if (many(today_.dark) || (many(today_.racked) && by_power))
    return !site_.cooling.empty() && limits_.cooling < limits_.power ? Bottleneck::kCooling : Bottleneck::kPower;
  if (many(today_.racked)) return Bottleneck::kBurnIn;
  if (many(gpus(stored_ / site_.gpus_per_node))) return room() < 1 ? Bottleneck::kHall : Bottleneck::kRacking;
  if (many(undelivered_)) return Bottleneck::kDelivery;
  if (many(today_.burning_in)) return Bottleneck::kBurnIn;
  return today_.in_repair > kUsualRepairs * delivered_ ? Bottleneck::kRepair : Bottleneck::kNone;
}

std::string_view name(Bottleneck bottleneck) {
  constexpr std::string_view kNames[] = {"none",    "delivery", "hall",    "racking",
                                         "burn-in", "power",    "cooling", "repair"};
  return kNames[size_t(bottleneck)];
}

double arrived_by(const Arrival& arrival, int day) {
  const double first = std::floor(arrival.first_day);
  const double span = std::max(std::floor(arrival.last_day) - first + 1, 1.0);
  const double share = (day + 1 - first) / span, all = std::floor(arrival.gpus);
  if (share >= 1) return all;
  return std::floor(all * std::max(share, 0.0) / arrival.together * (1 + kRounding)) * arrival.together;
}

double places_at(const std::vector<Step>& halls, double day) {
  double sum = 0;
  for (const Step& hall : halls)
    if (std::floor(hall.day) <= day) sum += hall.amount;
  return sum;
}

double power_at(const std::vector<Step>& power, double day) {
  double amount = 0;
  for (const Step& step : power)
    if (std::floor(step.day) <= day) amount = step.amount;
  return amount;
}

}  // namespace farscale
