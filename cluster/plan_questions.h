// Questions to a plan: how many GPUs a training by a date needs, or that no number suffices; what a budget buys; what a
// delay costs.
#pragma once

#include <optional>
#include <string>

#include "cluster/plan_run.h"
#include "cluster/plan_sensitivity.h"

namespace farscale {

// WORKLOAD:NUMBER samples by DATE.
inline constexpr const char* kNeedExample = "hydranet-regnety16gf:1.4e12 samples by 2025-06-30";
struct Need {
  std::string workload;
  double samples = 0;
  Day by;
};
// Throws InputError that shows the form.
Need parse_need(const std::string& text);

// One training is one synchronous job: jobs of their own do not add up to one network.
struct NeedAnswer {
  Need need;
  std::string site;           // whose machines, failures and spares are asked about
  double days = 0;            // from the plan's start to the date
  double feasible_share = 0;  // of the draws in which some number of GPUs suffices
  Estimate gpus;              // in service from the plan's start; infinite where no number suffices
  double best_job_gpus = 0;   // beyond it a larger job delivers less
  Estimate most_samples;      // what a job of the best size keeps by the date
  std::string verdict;
  double plan_share = 0;  // of the draws in which the plan's own fleet, as one job, gets there in time
  Estimate plan_day;      // when it gets there, days after the start; the plan's length when never
};

struct BudgetAnswer {
  double usd = 0;
  std::string site;
  Estimate gpus_of_vendor;   // all of it spent at the GPU's vendor
  Estimate gpus_of_cluster;  // all of it spent on clusters: the vendor gets its share
  Estimate kept_per_s;       // samples/s of the latter in service, split where one job would be too large
};

// Halls and power that come later than the plan says, GPUs on time: draw by draw the difference to the plan.
struct DelayAnswer {
  int days = 0;
  bool moves_anything = false;  // there is a hall or power after the plan's start
  Estimate samples_lost, idle_gpu_days, idle_usd, days_later;
};

// What was asked of one plan.
struct PlanAnswers {
  std::optional<NeedAnswer> need;
  std::optional<BudgetAnswer> budget;
  std::optional<DelayAnswer> delay;
  std::optional<SensitivityAnswer> sensitivity;
};

NeedAnswer answer_need(const Plan& plan, const Need& need, const RunOptions& options,
                       const MachineSource& machines = machine_for);
BudgetAnswer answer_budget(const Plan& plan, double usd, const RunOptions& options,
                           const MachineSource& machines = machine_for);
// Needs the plan's report.
DelayAnswer answer_delay(const PlanReport& report, int days, const MachineSource& machines = machine_for);

std::string need_text(const NeedAnswer& answer, const Plan& plan);
std::string budget_text(const BudgetAnswer& answer);
std::string delay_text(const DelayAnswer& answer, const Plan& plan);

}  // namespace farscale
