// One site in one column, day by day: bring-up, jobs, failures, power and money.
#pragma once

#include <optional>
#include <vector>

#include "cluster/plan_site_run.h"

namespace farscale {

class SiteColumn {
 public:
  SiteColumn(const SiteRun& run, int column, double scale = 1);  // deliveries and rentals `scale` times as large
  SiteColumn(const SiteColumn&) = delete;                        // its parts refer to each other

  // Transfers, before the day's step: GPUs leave a site, are on the road, and arrive at another; what was paid for them
  // goes with them.
  double take_out(double gpus) { return pipeline_ ? pipeline_->take_out(gpus) : 0; }
  void take_over(SiteColumn& from, double moment, double gpus);
  double samples() const { return result_.totals[size_t(Total::kSamples)]; }  // kept so far
  double standing_by() const { return standing_by_; }  // today: GPUs in service that train nothing
  const SiteDay& today() const { return pipeline_ ? pipeline_->today() : rented_; }
  const SiteDay& step(int day);  // days 0, 1, 2, … in order
  void add_row(RowColumns& row) const;
  SiteRun::ColumnResult finish();

 private:
  // Equal jobs of one kind: a job with a budget, or what the rest of the fleet is split into (job < 0).
  struct Share {
    const DeliveryCurve* curve;
    double gpus;  // of each
    double count;
    int job;
    double kept = 1;  // share of the day that is progress
  };
  struct Memo {
    double failing_nodes = -1, goodput = 1;
  };

  void share_out(double in_service);
  void apply_closed_form(double excess);
  void play_failures(const SiteDay& state, double excess);
  void train(int day);
  double progress(const Share& share, double samples, int day);
  void add_totals(int day, const SiteDay& state, double excess);
  void add_money();
  double capital_usd_per_gpu() const;  // mean of what the site has today
  double& total(Total which) { return result_.totals[size_t(which)]; }

  const SiteRun& run_;
  int column_;
  double scale_;
  SiteDraw draw_;
  std::optional<SitePipeline> pipeline_;  // of an owned site
  FleetFigures fleet_;
  std::optional<FleetHistory> history_;  // when failures are played
  FleetShape shape_;
  SiteDay rented_;
  Holding moved_;  // by transfers: here, less away
  std::vector<Share> shares_;
  std::vector<Memo> memos_;
  double standing_by_ = 0;  // hot spares, and what no job has use for
  double watts_;
  int day_ = 0;
  double power_mw_ = 0, samples_per_s_ = 0, progress_per_s_ = 0, kept_per_s_ = 0;  // today, of the plan's workload
  SiteRun::ColumnResult result_;
};

}  // namespace farscale
