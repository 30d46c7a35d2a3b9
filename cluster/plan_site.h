// A site's figures as draws: from a plan's quantities to the numbers one run of the bring-up needs.
#pragma once

#include <string>
#include <vector>

#include "cluster/failure_simulation.h"
#include "cluster/plan.h"
#include "cluster/plan_bringup.h"

namespace farscale {

// GPUs and what was paid for them with their share of nodes, network and building.
struct Holding {
  double gpus = 0, usd = 0;
  double usd_per_gpu() const { return gpus > 0 ? usd / gpus : 0; }
};

// Streams of draws, column 0 the medians. Named after site and figure, so that plans that share them share draws.
class SiteFigures {
 public:
  SiteFigures(const Plan& plan, size_t site, const Quantity& node_power_w, int gpus_per_node, int draws, uint64_t seed);

  bool rented() const { return rented_; }
  // Of an owned site, with deliveries `scale` times as large.
  SiteDraw draw(int column, bool failures_come_from_outside, double scale = 1) const;
  double rented_gpus(int column, int day, double scale = 1) const;  // in service while they are rented
  FleetFigures fleet(int column, const FailureDraw& failures) const;

  double facility_w_per_gpu(int column) const;  // at training load, with fabric, cooling and losses
  // GPUs that were in service at the start or have been delivered by the end of a day, transfers aside, and what they
  // cost with all around them; rented GPUs are not among them.
  Holding bought(int column, int day) const;
  // One more GPU of the first lot: with all around it, or its rent until the contract or the plan ends.
  double one_more_usd(int column) const;
  double vendor_usd(int column) const { return lots_.at(0).usd[size_t(column)]; }  // the GPU alone
  double usd_per_kwh(int column) const { return usd_per_kwh_[size_t(column)]; }
  double lifetime_days(int column) const { return lifetime_days_[size_t(column)]; }
  // Until the end of a day of the plan: clusters of the GPUs delivered, and rent.
  double delivered_capital_usd(int column, int day) const;
  double rent_usd(int column, int day) const;
  double most_gpus(double scale = 1) const;  // largest fleet in any column
  // Ordered or rented, `scale` times that, there at the start or to be moved here, less what is moved away.
  double gpus(int column, double scale = 1) const;
  double spare_power(int column) const { return spare_power_[size_t(column)]; }

 private:
  using Stream = std::vector<double>;
  struct Lot {
    Stream first_day, last_day, gpus, usd;  // usd per GPU, or per GPU-hour of a rental
    Stream ordered_day;                     // empty: before the start
  };
  struct Change {
    Stream day, amount;
  };
  Stream stream(const Quantity& quantity, const std::string& name) const;
  Stream day_stream(const PlanDate& date, const std::string& name) const;  // days after the start
  void read_lots(size_t site);
  void read_fleet(const Site& site);
  void read_building(const Site& site);
  void read_pipeline(const Site& site);
  void read_prices(const Site& site);
  double cluster_usd(const Stream& gpu_usd, size_t column) const;
  int node_gpus(int column, double scale) const;
  static double rented_days(const Lot& lot, size_t column, int last_day);
  Arrival arrival(const Lot& lot, size_t column, double scale = 1) const;

  const Plan& plan_;
  std::string name_;
  bool rented_;
  int draws_;
  uint64_t seed_;
  Stream it_w_per_gpu_, pue_, fabric_share_;
  Stream in_service_, in_service_usd_;  // at the start, and what was paid for each GPU; empty: none, nothing
  Stream vendor_share_, usd_per_kwh_, lifetime_days_, node_failures_per_day_;
  Stream node_usd_, network_usd_, building_usd_per_w_;  // beside the GPU; empty: the vendor's share says it
  Stream racked_power_, burn_in_power_, repair_power_, spare_power_;
  Stream rack_per_day_, burn_in_days_, burn_in_at_once_, first_pass_yield_, repair_days_, repair_share_;
  Stream repairs_per_day_, infant_excess_, infant_days_;
  Stream luck_;  // SiteDraw::luck, as a number in [0, 1); 0 in the nominal run
  int gpus_per_node_;
  std::vector<Lot> lots_;
  std::vector<Stream> moved_here_, moved_away_;
  std::vector<Change> halls_, cooling_, power_;
};

}  // namespace farscale
