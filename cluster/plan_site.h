// A site's figures as draws: from a plan's quantities to the numbers one run of the bring-up needs.
#pragma once

#include <string>
#include <vector>

#include "cluster/failure_simulation.h"
#include "cluster/plan.h"
#include "cluster/plan_bringup.h"

namespace farscale {

// Streams of draws, column 0 the medians. Named after site and figure, so that plans that share them share draws.
class SiteFigures {
 public:
  SiteFigures(const Plan& plan, size_t site, const Quantity& node_power_w, int gpus_per_node, int draws, uint64_t seed);

  bool rented() const { return rented_; }
  SiteDraw draw(int column, bool failures_come_from_outside) const;  // of an owned site
  double rented_gpus(int column, int day) const;                     // rented GPUs are in service while they are rented
  FleetFigures fleet(int column, const FailureDraw& failures) const;

  double facility_w_per_gpu(int column) const;   // at training load, with fabric, cooling and losses
  double capital_usd_per_gpu(int column) const;  // of the whole cluster; 0 for rented GPUs
  double usd_per_kwh(int column) const { return usd_per_kwh_[size_t(column)]; }
  double lifetime_days(int column) const { return lifetime_days_[size_t(column)]; }
  // Until the end of a day of the plan: clusters of the GPUs delivered, and rent.
  double delivered_capital_usd(int column, int day) const;
  double rent_usd(int column, int day) const;
  double most_gpus() const;       // largest fleet in any column
  double gpus(int column) const;  // ordered, rented, there at the start or to be moved here, less what is moved away
  double spare_power(int column) const { return spare_power_[size_t(column)]; }

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
  void read_lots(size_t site);
  void read_building(const Site& site);
  void read_pipeline(const Site& site);
  void read_prices(const Site& site);
  double cluster_usd(const Lot& lot, size_t column) const;

  const Plan& plan_;
  std::string name_;
  bool rented_;
  int draws_;
  uint64_t seed_;
  Stream it_w_per_gpu_, pue_, fabric_share_, in_service_;
  Stream vendor_share_, usd_per_kwh_, lifetime_days_, node_failures_per_day_;
  Stream node_usd_, network_usd_, building_usd_per_w_;  // beside the GPU; empty: the vendor's share says it
  Stream racked_power_, burn_in_power_, repair_power_, spare_power_;
  Stream rack_per_day_, burn_in_days_, burn_in_at_once_, first_pass_yield_, repair_days_, repair_share_;
  Stream repairs_per_day_, infant_excess_, infant_days_;
  int gpus_per_node_;
  std::vector<Lot> lots_;
  std::vector<Stream> moved_here_, moved_away_;
  std::vector<Change> halls_, cooling_, power_;
};

}  // namespace farscale
