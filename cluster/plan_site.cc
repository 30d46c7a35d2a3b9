// Streams of draws for every figure of a site.
#include "cluster/plan_site.h"

#include <algorithm>
#include <cmath>

#include "cluster/plan_draws.h"

namespace farscale {
namespace {

double whole(double gpus) { return std::round(gpus); }

// No part of a node is sold: what the plan does not say for certain comes in whole ones.
double sold(const Delivery& delivery, double gpus, int node) {
  const bool certain = !delivery.budget_usd && delivery.gpus.value.p05 == delivery.gpus.value.p95;
  return certain || gpus < node ? whole(gpus) : std::round(gpus / node) * node;
}

}  // namespace

SiteFigures::SiteFigures(const Plan& plan, size_t site_index, const Quantity& node_power_w, int gpus_per_node,
                         int draws, uint64_t seed)
    : plan_(plan),
      name_(plan.sites[site_index].name),
      rented_(plan.sites[site_index].rented),
      draws_(draws),
      seed_(seed),
      gpus_per_node_(gpus_per_node) {
  const Site& site = plan.sites[site_index];
  it_w_per_gpu_ = stream(node_power_w, site.hardware + " node power");
  for (double& watts : it_w_per_gpu_) watts /= gpus_per_node;
  node_failures_per_day_ = stream(plan.failures.node_failures_per_day, "node failures per day");
  spare_power_ = stream(plan.state_power.spare, "spare power");
  read_prices(site);
  read_fleet(site);
  read_lots(site_index);
  if (!rented_) read_building(site);
}

void SiteFigures::read_prices(const Site& site) {
  const PlanPrices& prices = plan_.prices;
  vendor_share_ = stream(prices.vendor_share, "vendor share");
  usd_per_kwh_ = stream(prices.usd_per_kwh, "energy price");
  lifetime_days_ = stream(prices.lifetime_years, "lifetime");
  for (double& days : lifetime_days_) days *= 365.25;
  if (!prices.parts) return;
  node_usd_ = stream(prices.parts->node_usd_per_gpu, "node price of " + site.hardware);
  network_usd_ = stream(prices.parts->network_usd_per_gpu, "network price");
  building_usd_per_w_ = stream(prices.parts->building_usd_per_mw, "building price");
  for (double& usd : building_usd_per_w_) usd /= 1e6;
}

// What trains at the start was bought once too: at a price of its own, or at that of its like in this plan.
void SiteFigures::read_fleet(const Site& site) {
  if (!site.in_service) return;
  in_service_ = stream(*site.in_service, name_ + " in service");
  for (double& gpus : in_service_) gpus = whole(gpus);
  if (site.usd_per_gpu) {
    in_service_usd_ = stream(*site.usd_per_gpu, name_ + " price of GPUs in service");
    return;
  }
  for (const Delivery& delivery : plan_.deliveries)
    if (in_service_usd_.empty() && plan_.sites[delivery.site].hardware == site.hardware)
      in_service_usd_ = stream(delivery.usd_per_gpu, "price of " + site.hardware);
}

// The first and the last day of a delivery slip together: one stream for both.
void SiteFigures::read_lots(size_t site_index) {
  const std::string& hardware = plan_.sites[site_index].hardware;
  for (const Delivery& d : plan_.deliveries) {
    if (d.site != site_index) continue;
    Lot lot{day_stream(d.first, d.name + " dates"),
            day_stream(d.last.value_or(d.first), d.name + " dates"),
            stream(d.gpus, d.name + " gpus"),
            stream(d.usd_per_gpu, "price of " + hardware),
            {}};
    if (d.ordered) {
      lot.first_day = lot.ordered_day = day_stream(*d.ordered, d.name + " ordered");
      const Stream lead = stream(*d.lead_days, d.name + " lead days");
      for (size_t c = 0; c < lead.size(); ++c) lot.first_day[c] += std::max(lead[c], 0.0);
    }
    if (!d.last) lot.last_day = lot.first_day;
    if (d.budget_usd) {
      lot.gpus = stream(*d.budget_usd, d.name + " budget");
      for (size_t c = 0; c < lot.gpus.size(); ++c) lot.gpus[c] /= std::max(lot.usd[c], 1.0);
    }
    for (double& gpus : lot.gpus) gpus = sold(d, gpus, gpus_per_node_);
    if (d.less) {
      const Delivery& other = plan_.deliveries[*d.less];
      const Stream taken = stream(other.gpus, other.name + " gpus");
      for (size_t c = 0; c < taken.size(); ++c)
        lot.gpus[c] = std::max(lot.gpus[c] - sold(other, taken[c], gpus_per_node_), 0.0);
    }
    if (d.per_day) {
      const Stream rate = stream(*d.per_day, d.name + " per day");
      for (size_t c = 0; c < rate.size(); ++c)
        lot.last_day[c] = lot.first_day[c] + std::max(std::ceil(lot.gpus[c] / rate[c]) - 1, 0.0);
    }
    lots_.push_back(std::move(lot));
  }
  for (const Rental& r : plan_.rentals) {
    if (r.site != site_index) continue;
    lots_.push_back({day_stream(r.from, name_ + " from"),
                     {},
                     stream(r.gpus, name_ + " gpus"),
                     stream(r.usd_per_gpu_hour, "rent of " + hardware),
                     {}});
    lots_.back().last_day = r.until ? day_stream(*r.until, name_ + " until") : Stream(size_t(draws_) + 1, 1e9);
  }
  for (const Transfer& t : plan_.transfers) {
    if (t.to == site_index) moved_here_.push_back(stream(t.gpus, t.name + " gpus"));
    if (t.from == site_index) moved_away_.push_back(stream(t.gpus, t.name + " gpus"));
  }
}

void SiteFigures::read_building(const Site& site) {
  pue_ = stream(site.pue, name_ + " pue");
  fabric_share_ = stream(site.fabric_share, name_ + " fabric share");
  for (const Hall& hall : site.halls) {
    const std::string hall_name = name_ + " " + hall.name;
    halls_.push_back({day_stream(hall.ready, hall_name + " ready"), stream(hall.gpus, hall_name + " places")});
    if (hall.cooling_mw) cooling_.push_back({halls_.back().day, stream(*hall.cooling_mw, hall_name + " cooling")});
  }
  for (size_t i = 0; i < site.power.size(); ++i) {
    const std::string step = name_ + " power " + std::to_string(i);
    power_.push_back({day_stream(site.power[i].from, step + " from"), stream(site.power[i].megawatts, step)});
  }
  racked_power_ = stream(plan_.state_power.racked, "racked power");
  burn_in_power_ = stream(plan_.state_power.burn_in, "burn-in power");
  repair_power_ = stream(plan_.state_power.repair, "repair power");
  read_pipeline(site);
}

void SiteFigures::read_pipeline(const Site& site) {
  const Pipeline& pipeline = site.pipeline;
  rack_per_day_ = stream(pipeline.rack_per_day, name_ + " rack per day");
  burn_in_days_ = stream(pipeline.burn_in_days, name_ + " burn-in days");
  burn_in_at_once_ = stream(pipeline.burn_in_at_once, name_ + " burn-in at once");
  first_pass_yield_ = stream(pipeline.first_pass_yield, name_ + " first pass yield");
  repair_days_ = stream(pipeline.repair_days, name_ + " repair days");
  repairs_per_day_ = stream(pipeline.repairs_per_day, name_ + " repairs per day");
  repair_share_ = stream(pipeline.repair_share, name_ + " repair share");
  infant_excess_ = stream(pipeline.infant_excess, name_ + " infant excess");
  infant_days_ = stream(pipeline.infant_days, name_ + " infant days");
  luck_ = uniform_draws(seed_, name_ + " luck", draws_);
  luck_.insert(luck_.begin(), 0.0);
}

SiteFigures::Stream SiteFigures::stream(const Quantity& quantity, const std::string& name) const {
  return column_values(quantity, seed_, name, draws_);
}

SiteFigures::Stream SiteFigures::day_stream(const PlanDate& date, const std::string& name) const {
  Stream values = stream(date.days, name);
  const double start = double(plan_.start.time_since_epoch().count());
  for (double& day : values) day -= start;
  return values;
}

SiteDraw SiteFigures::draw(int column, bool failures_come_from_outside, double scale) const {
  const auto c = size_t(column);
  const auto share = [c](const Stream& stream) { return std::clamp(stream[c], 0.0, 1.0); };
  SiteDraw site{.gpus_per_node = node_gpus(column, scale)};
  for (const Lot& lot : lots_) site.arrivals.push_back(arrival(lot, c, scale));
  for (const Change& hall : halls_) site.halls.push_back({hall.day[c], hall.amount[c]});
  const double watts = facility_w_per_gpu(column), heat_w = watts / std::max(pue_[c], 1.0);
  for (const Change& step : power_) site.power.push_back({step.day[c], std::max(step.amount[c], 0.0) * 1e6 / watts});
  for (const Change& hall : cooling_)
    site.cooling.push_back({hall.day[c], std::max(hall.amount[c], 0.0) * 1e6 / heat_w});
  if (!in_service_.empty()) site.in_service = in_service_[c];
  site.rack_per_day = rack_per_day_[c];
  site.burn_in_days = std::max(burn_in_days_[c], 0.0);
  site.burn_in_at_once = burn_in_at_once_[c];
  site.first_pass_yield = std::clamp(first_pass_yield_[c], 0.01, 1.0);
  site.repair_days = std::max(repair_days_[c], 0.0);
  site.repairs_per_day = repairs_per_day_[c];
  site.repairs_per_gpu_day = node_failures_per_day_[c] * share(repair_share_);
  site.infant_excess = std::max(infant_excess_[c], 0.0);
  site.infant_days = std::max(infant_days_[c], 0.1);
  site.racked_power = share(racked_power_);
  site.burn_in_power = share(burn_in_power_);
  site.repair_power = share(repair_power_);
  site.failures_come_from_outside = failures_come_from_outside;
  site.luck = uint64_t(std::ldexp(luck_[c], 60));
  return site;
}

// A site of fewer GPUs than a node has is one smaller node.
int SiteFigures::node_gpus(int column, double scale) const {
  double most = gpus(column, scale);
  for (const Stream& moved : moved_away_) most += moved[size_t(column)];
  return most < gpus_per_node_ ? std::max(1, int(most)) : gpus_per_node_;
}

// The owner of rented nodes swaps them at once.
FleetFigures SiteFigures::fleet(int column, const FailureDraw& failures) const {
  if (rented_) return {.failures = failures};
  const auto c = size_t(column);
  return {.failures = failures,
          .repair_share = std::clamp(repair_share_[c], 0.0, 1.0),
          .repair_days = std::max(repair_days_[c], 0.0),
          .repairs_per_day = repairs_per_day_[c] / gpus_per_node_};
}

double SiteFigures::rented_gpus(int column, int day, double scale) const {
  const auto c = size_t(column);
  double gpus = in_service_.empty() ? 0 : in_service_[c];
  for (const Lot& lot : lots_)
    if (std::floor(lot.first_day[c]) <= day && day <= lot.last_day[c]) gpus += scale * lot.gpus[c];
  return gpus;
}

double SiteFigures::facility_w_per_gpu(int column) const {
  if (rented_) return 0;
  const auto c = size_t(column);
  return it_w_per_gpu_[c] * (1 + std::max(fabric_share_[c], 0.0)) * std::max(pue_[c], 1.0);
}

// A GPU with its share of everything around it.
double SiteFigures::cluster_usd(const Stream& gpu_usd, size_t c) const {
  if (node_usd_.empty()) return gpu_usd[c] / vendor_share_[c];
  return gpu_usd[c] + node_usd_[c] + network_usd_[c] + building_usd_per_w_[c] * facility_w_per_gpu(int(c));
}

Arrival SiteFigures::arrival(const Lot& lot, size_t c, double scale) const {
  return {.first_day = lot.first_day[c],
          .last_day = std::max(lot.first_day[c], lot.last_day[c]),
          .gpus = scale * lot.gpus[c],
          .ordered_day = lot.ordered_day.empty() ? 0 : lot.ordered_day[c],
          .together = gpus_per_node_};
}

Holding SiteFigures::bought(int column, int day) const {
  if (rented_) return {};
  const auto c = size_t(column);
  Holding sum;
  if (!in_service_.empty()) sum.gpus = in_service_[c];
  if (!in_service_usd_.empty()) sum.usd = sum.gpus * cluster_usd(in_service_usd_, c);
  for (const Lot& lot : lots_) {
    const double here = arrived_by(arrival(lot, c), day);
    sum.gpus += here;
    sum.usd += here * cluster_usd(lot.usd, c);
  }
  return sum;
}

double SiteFigures::one_more_usd(int column) const {
  const Lot& lot = lots_.at(0);
  const auto c = size_t(column);
  return rented_ ? lot.usd[c] * 24 * rented_days(lot, c, plan_.days() - 1) : cluster_usd(lot.usd, c);
}

double SiteFigures::rented_days(const Lot& lot, size_t c, int last_day) {
  const double from = std::max(std::floor(lot.first_day[c]), 0.0);
  return std::max(std::min(std::floor(lot.last_day[c]), double(last_day)) + 1 - from, 0.0);
}

double SiteFigures::delivered_capital_usd(int column, int day) const {
  if (rented_) return 0;
  const auto c = size_t(column);
  double sum = 0;
  for (const Lot& lot : lots_) sum += cluster_usd(lot.usd, c) * arrived_by(arrival(lot, c), day);
  return sum;
}

double SiteFigures::rent_usd(int column, int day) const {
  if (!rented_) return 0;
  const auto c = size_t(column);
  double sum = 0;
  for (const Lot& lot : lots_) sum += lot.gpus[c] * lot.usd[c] * 24 * rented_days(lot, c, day);
  return sum;
}

double SiteFigures::gpus(int column, double scale) const {
  const auto c = size_t(column);
  double sum = in_service_.empty() ? 0 : in_service_[c];
  for (const Lot& lot : lots_) sum += scale * lot.gpus[c];
  for (const Stream& moved : moved_here_) sum += moved[c];
  for (const Stream& moved : moved_away_) sum -= moved[c];
  return std::max(sum, 0.0);
}

double SiteFigures::most_gpus(double scale) const {
  double most = 0;
  for (int column = 0; column <= draws_; ++column) {
    double away = 0;  // still here at first
    for (const Stream& moved : moved_away_) away += moved[size_t(column)];
    most = std::max(most, gpus(column, scale) + away);
  }
  return most;
}

}  // namespace farscale
