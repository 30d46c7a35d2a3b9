// One site of a plan: what all its columns share, and the report on them.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "cluster/plan_delivery.h"
#include "cluster/plan_run.h"
#include "cluster/plan_site.h"

namespace farscale {

// Fields of a timeline row, one value a column, summed over the sites; progress_per_s is samples_per_s times goodput.
struct RowColumns {
  int day = 0;
  bool month_end = false, shown = false;
  std::vector<double> delivered, stored, installed, in_service, power_mw, samples_per_s, progress_per_s, samples,
      cost_usd;
  RowColumns(int on_day, size_t columns);
};

// A job with a budget, as its site runs it.
struct SiteJob {
  const Job* job = nullptr;
  const DeliveryCurve* curve = nullptr;
  bool is_of_plan = true;                             // trains the plan's workload
  std::vector<double> samples, gpu_hours, most_gpus;  // [column]; empty when not given
  Outcome done_day, kept, used_hours;
};

class SiteRun {
 public:
  SiteRun(const Plan& plan, size_t index, const RunOptions& options, const MachineSource& machines);

  SiteReport report();  // once all columns are run

  const Plan& plan() const { return plan_; }
  size_t index() const { return index_; }
  const RunOptions& options() const { return options_; }
  const SiteFigures& figures() const { return figures_; }
  const DeliveryCurve& curve() const { return curve_; }
  int gpus_per_node() const { return machine_.gpus_per_node; }
  double spare_share(int column) const { return spare_share_[size_t(column)]; }
  int64_t jobs(double gpus) const;  // that a fleet of so many training GPUs is split into
  const std::vector<SiteDay>& nominal_days() const { return nominal_days_; }
  // What a fleet in service keeps, column by column.
  struct Rates {
    double training_gpus = 0;  // less hot spares, nominal
    int64_t jobs = 0;
    std::vector<double> samples_per_s, kept_per_s;
  };
  Rates rates(double in_service) const;
  double ordered() const { return figures_.gpus(0); }

  // What a column leaves behind; columns may run at the same time.
  struct ColumnResult {
    std::array<double, kTotalCount> totals{};
    double closed_form_samples = 0;
    struct JobResult {
      double done_day = 0, kept = 0, used_hours = 0;
    };
    std::vector<JobResult> jobs;
    std::vector<SiteDay> days;  // of column 0 alone
  };
  void store(int column, ColumnResult result);
  const std::vector<SiteJob>& site_jobs() const { return jobs_; }

 private:
  size_t columns() const { return size_t(options_.draws) + 1; }
  void check_jobs() const;
  void check_places() const;
  void read_jobs(const MachineSource& machines);
  std::vector<Period> periods() const;
  JobReport job() const;
  Estimate spread(const std::function<double(int column)>& of) const;
  Prediction prediction_of(double job_gpus) const;
  void add_spares(JobReport& job) const;
  void add_evidence(JobReport& job) const;

  const Plan& plan_;
  size_t index_;
  const Site& site_;
  const RunOptions& options_;
  PlanMachine machine_;
  SiteFigures figures_;
  DeliveryCurve curve_;
  std::vector<double> spare_share_;
  std::vector<std::unique_ptr<DeliveryCurve>> other_curves_;  // of jobs that train another workload
  std::vector<SiteJob> jobs_;
  Outcomes outcomes_;
  Outcome closed_form_samples_;
  std::vector<SiteDay> nominal_days_;
};

}  // namespace farscale
