// One site of a plan over all columns: bring-up, training delivered, power and money.
#pragma once

#include <vector>

#include "cluster/plan_delivery.h"
#include "cluster/plan_run.h"
#include "cluster/plan_site.h"

namespace farscale {

// Fields of a timeline row, one value a column, summed over the sites.
struct MonthColumns {
  int day = 0;
  std::vector<double> delivered, stored, installed, in_service, power_mw, samples_per_s, delivered_per_s, samples;
  MonthColumns(int last_day, size_t columns);
};

class SiteRun {
 public:
  SiteRun(const Plan& plan, size_t index, const RunOptions& options, PlanMachine machine);

  // Runs one column and adds it to the months and to `fleet_stored`, the stored GPUs of all sites by day.
  void run(int column, std::vector<MonthColumns>& months, std::vector<double>& fleet_stored);

  SiteReport report();  // once all columns are run
  const std::vector<SiteDay>& nominal_days() const { return nominal_days_; }
  double ordered() const { return figures_.gpus(0); }

 private:
  size_t columns() const { return size_t(options_.draws) + 1; }
  double training_gpus(int column, double in_service) const;
  int64_t jobs(double gpus) const;
  double fleet_rate(int column, double in_service, bool kept) const;
  void add_month(MonthColumns& month, size_t column, const SiteDay& day, double kept_per_s, double samples) const;
  void add_money(int column, std::array<double, kTotalCount>& sum) const;
  std::vector<Period> periods() const;
  JobReport job() const;
  void add_rates(JobReport& job) const;
  void add_spares(JobReport& job) const;

  const Plan& plan_;
  const Site& site_;
  const RunOptions& options_;
  PlanMachine machine_;
  SiteFigures figures_;
  DeliveryCurve curve_;
  std::vector<double> spare_share_;
  Outcomes outcomes_;
  Outcome target_day_;
  std::vector<SiteDay> days_, nominal_days_;
};

}  // namespace farscale
