// One site in one column, day by day: bring-up, jobs, failures, power and money.
#pragma once

#include <optional>
#include <vector>

#include "cluster/plan_site_run.h"

namespace farscale {

class SiteColumn {
 public:
  SiteColumn(const SiteRun& run, int column);
  SiteColumn(const SiteColumn&) = delete;  // its parts refer to each other

  // Transfers, before the day's step.
  double give(double gpus) { return pipeline_ ? pipeline_->give(gpus) : 0; }
  void receive(double gpus) {
    if (pipeline_) pipeline_->receive(gpus);
  }
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
  double& total(Total which) { return result_.totals[size_t(which)]; }

  const SiteRun& run_;
  int column_;
  SiteDraw draw_;
  std::optional<SitePipeline> pipeline_;  // of an owned site
  FleetFigures fleet_;
  std::optional<FleetHistory> history_;  // when failures are played
  FleetShape shape_;
  SiteDay rented_;
  std::vector<Share> shares_;
  std::vector<Memo> memos_;
  double watts_;
  int day_ = 0;
  double power_mw_ = 0, samples_per_s_ = 0, progress_per_s_ = 0, kept_per_s_ = 0;  // today, of the plan's workload
  SiteRun::ColumnResult result_;
};

}  // namespace farscale
