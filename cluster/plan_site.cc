// Streams of draws for every figure of a site.
#include "cluster/plan_site.h"

#include <algorithm>
#include <cmath>

#include "cluster/plan_draws.h"

namespace farscale {

SiteFigures::SiteFigures(const Plan& plan, size_t site_index, const Quantity& node_power_w, int gpus_per_node,
                         int draws, uint64_t seed)
    : plan_(plan),
      name_(plan.sites[site_index].name),
      rented_(plan.sites[site_index].rented),
      draws_(draws),
      seed_(seed) {
  const Site& site = plan.sites[site_index];
  it_w_per_gpu_ = stream(node_power_w, site.hardware + " node power");
  for (double& watts : it_w_per_gpu_) watts /= gpus_per_node;
  vendor_share_ = stream(plan.prices.vendor_share, "vendor share");
  usd_per_kwh_ = stream(plan.prices.usd_per_kwh, "energy price");
  lifetime_days_ = stream(plan.prices.lifetime_years, "lifetime");
  for (double& days : lifetime_days_) days *= 365.25;
  node_failures_per_day_ = stream(plan.failures.node_failures_per_day, "node failures per day");
  if (site.in_service) in_service_ = stream(*site.in_service, name_ + " in service");
  // The first and the last day of a delivery slip together: one stream for both.
  for (const Delivery& d : plan.deliveries) {
    if (d.site != site_index) continue;
    lots_.push_back({day_stream(d.first, d.name + " dates"), day_stream(d.last.value_or(d.first), d.name + " dates"),
                     stream(d.gpus, d.name + " gpus"), stream(d.usd_per_gpu, "price of " + site.hardware)});
    Lot& lot = lots_.back();
    if (!d.last) lot.last_day = lot.first_day;
    if (d.budget_usd) {
      lot.gpus = stream(*d.budget_usd, d.name + " budget");
      for (size_t c = 0; c < lot.gpus.size(); ++c) lot.gpus[c] /= std::max(lot.usd[c], 1.0);
    }
  }
  for (const Rental& r : plan.rentals) {
    if (r.site != site_index) continue;
    lots_.push_back({day_stream(r.from, name_ + " from"),
                     {},
                     stream(r.gpus, name_ + " gpus"),
                     stream(r.usd_per_gpu_hour, "rent of " + site.hardware)});
    lots_.back().last_day = r.until ? day_stream(*r.until, name_ + " until") : Stream(size_t(draws) + 1, 1e9);
  }
  if (!rented_) read_building(site);
}

void SiteFigures::read_building(const Site& site) {
  pue_ = stream(site.pue, name_ + " pue");
  fabric_share_ = stream(site.fabric_share, name_ + " fabric share");
  for (const Hall& hall : site.halls)
    halls_.push_back({day_stream(hall.ready, name_ + " " + hall.name + " ready"),
                      stream(hall.gpus, name_ + " " + hall.name + " places")});
  for (size_t i = 0; i < site.power.size(); ++i) {
    const std::string step = name_ + " power " + std::to_string(i);
    power_.push_back({day_stream(site.power[i].from, step + " from"), stream(site.power[i].megawatts, step)});
  }
  const Pipeline& pipeline = site.pipeline;
  rack_per_day_ = stream(pipeline.rack_per_day, name_ + " rack per day");
  burn_in_days_ = stream(pipeline.burn_in_days, name_ + " burn-in days");
  burn_in_at_once_ = stream(pipeline.burn_in_at_once, name_ + " burn-in at once");
  first_pass_yield_ = stream(pipeline.first_pass_yield, name_ + " first pass yield");
  repair_days_ = stream(pipeline.repair_days, name_ + " repair days");
  repair_share_ = stream(pipeline.repair_share, name_ + " repair share");
  infant_excess_ = stream(pipeline.infant_excess, name_ + " infant excess");
  infant_days_ = stream(pipeline.infant_days, name_ + " infant days");
}

SiteFigures::Stream SiteFigures::stream(const Quantity& quantity, const std::string& name) const {
  Stream values = quantity_draws(quantity, seed_, name, draws_);
  values.insert(values.begin(), quantity.value.p50);
  return values;
}

SiteFigures::Stream SiteFigures::day_stream(const PlanDate& date, const std::string& name) const {
  Stream values = stream(date.days, name);
  const double start = double(plan_.start.time_since_epoch().count());
  for (double& day : values) day -= start;
  return values;
}

SiteDraw SiteFigures::draw(size_t c) const {
  SiteDraw site;
  for (const Lot& lot : lots_)
    site.arrivals.push_back({lot.first_day[c], std::max(lot.first_day[c], lot.last_day[c]), lot.gpus[c]});
  for (const Change& hall : halls_) site.halls.push_back({hall.day[c], hall.amount[c]});
  const double watts = facility_w_per_gpu(int(c));
  for (const Change& step : power_) site.power.push_back({step.day[c], std::max(step.amount[c], 0.0) * 1e6 / watts});
  if (!in_service_.empty()) site.in_service = in_service_[c];
  site.rack_per_day = rack_per_day_[c];
  site.burn_in_days = std::max(burn_in_days_[c], 0.0);
  site.burn_in_at_once = burn_in_at_once_[c];
  site.first_pass_yield = std::clamp(first_pass_yield_[c], 0.01, 1.0);
  site.repair_days = std::max(repair_days_[c], 0.0);
  site.repairs_per_gpu_day = node_failures_per_day_[c] * std::clamp(repair_share_[c], 0.0, 1.0);
  site.infant_excess = std::max(infant_excess_[c], 0.0);
  site.infant_days = std::max(infant_days_[c], 0.1);
  return site;
}

void SiteFigures::days(int column, std::vector<SiteDay>& out) const {
  if (rented_) return rented_days(size_t(column), out);
  bring_up(draw(size_t(column)), plan_.days(), out);
}

// Rented GPUs are in service while they are rented; the owner repairs them.
void SiteFigures::rented_days(size_t c, std::vector<SiteDay>& out) const {
  out.assign(size_t(plan_.days()), {});
  for (size_t day = 0; day < out.size(); ++day) {
    double gpus = in_service_.empty() ? 0 : in_service_[c];
    for (const Lot& lot : lots_)
      if (std::floor(lot.first_day[c]) <= double(day) && double(day) <= lot.last_day[c]) gpus += lot.gpus[c];
    out[day].delivered = out[day].in_service = gpus;
  }
}

double SiteFigures::facility_w_per_gpu(int column) const {
  if (rented_) return 0;
  const auto c = size_t(column);
  return it_w_per_gpu_[c] * (1 + std::max(fabric_share_[c], 0.0)) * std::max(pue_[c], 1.0);
}

double SiteFigures::capital_usd_per_gpu(int column) const {
  if (rented_ || lots_.empty()) return 0;
  return lots_[0].usd[size_t(column)] / vendor_share_[size_t(column)];
}

double SiteFigures::delivered_capital_usd(int column) const {
  if (rented_) return 0;
  const auto c = size_t(column);
  double sum = 0;
  for (const Lot& lot : lots_) {
    const double span = std::max(std::floor(lot.last_day[c]) - std::floor(lot.first_day[c]) + 1, 1.0);
    const double share = std::clamp((double(plan_.days()) - std::floor(lot.first_day[c])) / span, 0.0, 1.0);
    sum += lot.gpus[c] * share * lot.usd[c] / vendor_share_[c];
  }
  return sum;
}

double SiteFigures::rent_usd(int column) const {
  if (!rented_) return 0;
  const auto c = size_t(column);
  double sum = 0;
  for (const Lot& lot : lots_) {
    const double from = std::max(std::floor(lot.first_day[c]), 0.0);
    const double until = std::min(std::floor(lot.last_day[c]) + 1, double(plan_.days()));
    sum += lot.gpus[c] * lot.usd[c] * 24 * std::max(until - from, 0.0);
  }
  return sum;
}

double SiteFigures::gpus(int column) const {
  double sum = in_service_.empty() ? 0 : in_service_[size_t(column)];
  for (const Lot& lot : lots_) sum += lot.gpus[size_t(column)];
  return sum;
}

double SiteFigures::most_gpus() const {
  double most = 0;
  for (int column = 0; column <= draws_; ++column) most = std::max(most, gpus(column));
  return most;
}

}  // namespace farscale
