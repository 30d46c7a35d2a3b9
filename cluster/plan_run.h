// Running a plan: bring-up, training delivered, power and money for every draw, gathered into ranges.
#pragma once

#include <array>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "cluster/plan.h"
#include "cluster/plan_bringup.h"
#include "cluster/plan_by_day.h"
#include "cluster/plan_delivery.h"

namespace farscale {

enum class TableRows : uint8_t { kMonths, kWeeks, kDays };

struct RunOptions {
  int draws = 1000;  // 0: one nominal run, every range a point
  uint64_t seed = 1;
  double largest_scale = 1;  // deliveries and rentals are going to be played up to so many times as large
  bool events = false;       // play every failure and repair of every draw; otherwise goodput is Daly's closed form
  TableRows rows = TableRows::kMonths;   // of the timeline that are shown
  bool by_day = false;                   // keep the range of every state on every day, up to kMostDrawsByDay
  int threads = 0;                       // 0: all cores; the answer does not depend on it
  std::function<void(double)> progress;  // told the share done, from one thread
};

// Sums over a plan's time; the order of kTotals in plan_run.cc.
enum class Total : size_t {
  kSamples,         // trained on and kept
  kServiceGpuDays,  // in service
  kIdleGpuDays,     // delivered and not in service
  kStoredGpuDays,   // of them in a warehouse
  kPeakStored,      // GPUs, on the worst day
  kEnergyMwh,
  kCapitalUsd,  // clusters of the GPUs delivered within the plan
  kEnergyUsd,
  kRentUsd,
  kCostUsd,        // the three together: money spent within the plan
  kWrittenOffUsd,  // the same with capital written off by the day: what the training used up
  kIdleUsd,        // capital written off for idle GPUs
  kFailures,       // of nodes: expected, or played
  kRepairs,        // of them that went to repair
  kWaitingDays,    // of jobs that found no spare; when failures are played
  kCompleteDay,    // first day with 95 % of the fleet in service; the plan's length when never
  kCount
};
inline constexpr size_t kTotalCount = size_t(Total::kCount);

struct TotalInfo {
  const char* key;    // "idle_gpu_days"
  const char* unit;   // "GPU-days"
  const char* label;  // "GPU-days idle"
};
const TotalInfo& info(Total total);

// One value a draw (the nominal run first), and the range over the draws.
struct Outcome {
  std::vector<double> columns;
  Estimate estimate;
};
using Outcomes = std::array<Outcome, kTotalCount>;

// Range over the draws of columns; the nominal value alone when there are none.
Estimate estimate_of(const std::vector<double>& columns);

struct TimelineRow {
  Day date;
  Estimate delivered, stored, installed, in_service, power_mw;
  Estimate samples_per_s;  // while the jobs run
  Estimate goodput;
  Estimate samples;              // since the start
  Estimate samples_in_month;     // since the month's end before; of month ends alone
  Estimate samples_since_shown;  // since the row shown before; of rows that are shown
  Estimate trainings;            // that these make; zeros when the plan does not say what one takes
  Estimate cost_usd;             // since the start
  bool month_end = false, shown = false;
  Bottleneck bottleneck = Bottleneck::kNone;  // of the nominal run, that day
};

struct Period {
  Day from, until;
  Bottleneck bottleneck;
};

// What trains on a site's fleet at its largest (nominal run).
struct JobReport {
  double in_service = 0;
  double training_gpus = 0;  // less hot spares
  int64_t jobs = 0;          // 0: nothing ever trains, and what follows on a job says nothing
  int64_t job_gpus = 0;
  Prediction prediction;      // of one job
  GoodputEstimate goodput;    // of one job
  double linear_goodput = 0;  // Meta's linear form at the medians: a cross-check where failures are rare
  Estimate samples_per_s;     // all jobs, while they run
  Estimate delivered_per_s;   // times goodput
  Estimate best_job_gpus;
  Estimate near_best_gpus;           // a job of this size keeps 90 % of what the best one keeps
  bool peak_inside = false;          // a job larger than best_job_gpus delivers less; otherwise the fleet is the limit
  Estimate one_job_delivered_per_s;  // the whole fleet as one job
  double batch = 0;                  // samples a step of one job
  Estimate useful_share;             // of the samples, by the critical batch size; 1 when none is given
  Estimate spare_pool_nodes;         // hot spares and nodes in repair together; 0 for rented GPUs
  Estimate spares_needed_nodes;      // pool with which 99.9 % of failures find a spare at once
  Evidence rate_evidence = Evidence::kAssumed, mtbf_evidence = Evidence::kAssumed;
  Evidence goodput_evidence = Evidence::kAssumed, power_evidence = Evidence::kAssumed;
};

// A job with a budget.
struct BudgetedJob {
  std::string name, workload;
  int64_t priority = 0;
  Estimate done_day;  // days after the start; the plan's length when never
  Estimate samples, gpu_hours;
};

struct SiteReport {
  std::string name, organisation, hardware;
  double gpus = 0;  // ordered, rented and in service at the start (median)
  Outcomes outcomes;
  std::vector<Period> periods;  // of the nominal run
  JobReport job;
  std::vector<BudgetedJob> jobs;
  Outcome closed_form_samples;  // what Daly's form would have kept, when failures are played
};

// All sites on the day on which they have most GPUs in service together (nominal run).
struct FleetPeak {
  Day date;
  double training_gpus = 0;
  int64_t jobs = 0;
  Estimate samples_per_s, kept_per_s;
};

struct PlanReport {
  Plan plan;
  RunOptions options;
  std::vector<TimelineRow> timeline;  // the start, every week and the last day of each month
  std::vector<SiteDay> days;          // of the nominal run, all sites together
  std::vector<DayRange> by_day;       // with ranges; empty when not asked for, or too many draws
  Outcomes outcomes;
  std::vector<SiteReport> sites;
  FleetPeak peak;
  std::vector<EvidenceLine> evidence;
  std::vector<std::string> warnings;

  const SiteReport& largest_site() const;
};

// Throws InputError when the workload cannot run on the machine of a site.
PlanReport run_plan(const Plan& plan, const RunOptions& options, const MachineSource& machines = machine_for);

// Full trainings a plan delivers and what one costs, capital written off; none when it does not say what one takes.
struct TrainingCount {
  Estimate trainings, usd;
};
std::optional<TrainingCount> trainings_of(const PlanReport& report);
Estimate usd_per_sample(const PlanReport& report);  // capital written off

// Sums the outcomes of sites (an organisation's, or the fleet's); peaks and completion by day are the largest.
Outcomes sum_outcomes(const std::vector<const Outcomes*>& parts);

}  // namespace farscale
