// A site's figures as draws: from a plan's quantities to the numbers one run of the bring-up needs.
#pragma once

#include <string>
#include <vector>

#include "cluster/plan.h"
#include "cluster/plan_bringup.h"

namespace farscale {

// Streams of draws, column 0 the medians. Named after site and figure, so that plans that share them share draws.
class SiteFigures {
 public:
  SiteFigures(const Plan& plan, size_t site, const Quantity& node_power_w, int gpus_per_node, int draws, uint64_t seed);

  // The site's days in one column.
  void days(int column, std::vector<SiteDay>& out) const;

  double facility_w_per_gpu(int column) const;   // at training load, with fabric, cooling and losses
  double capital_usd_per_gpu(int column) const;  // of the whole cluster; 0 for rented GPUs
  double usd_per_kwh(int column) const { return usd_per_kwh_[size_t(column)]; }
  double lifetime_days(int column) const { return lifetime_days_[size_t(column)]; }
  double delivered_capital_usd(int column) const;  // of deliveries within the plan
  double rent_usd(int column) const;               // within the plan
  double most_gpus() const;                        // largest fleet in any column
  double gpus(int column) const;                   // ordered, rented and there at the start

 private:
  using Stream = std::vector<double>;
  struct Lot {
    Stream first_day, last_day, gpus, usd;  // usd per GPU, or per GPU-hour of a rental
  };
  struct Change {
    Stream day, amount;
  };
  Stream stream(const Quantity& quantity, const std::string& name) const;
  Stream day_stream(const PlanDate& date, const std::string& name) const;  // days after the start
  void read_building(const Site& site);
  SiteDraw draw(size_t column) const;
  void rented_days(size_t column, std::vector<SiteDay>& out) const;

  const Plan& plan_;
  std::string name_;
  bool rented_;
  int draws_;
  uint64_t seed_;
  Stream it_w_per_gpu_, pue_, fabric_share_, in_service_;
  Stream vendor_share_, usd_per_kwh_, lifetime_days_, node_failures_per_day_;
  Stream rack_per_day_, burn_in_days_, burn_in_at_once_, first_pass_yield_, repair_days_, repair_share_;
  Stream infant_excess_, infant_days_;
  std::vector<Lot> lots_;
  std::vector<Change> halls_, power_;
};

}  // namespace farscale
