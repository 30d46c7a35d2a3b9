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
// Throws InputError that shows the form, or names the range.
Need parse_need(const std::string& text);

// The plan's own sites, halls, power and dates, with deliveries and rentals so much larger that they keep the samples
// in time: draw by draw, over common random numbers.
struct NeedAnswer {
  Need need;
  double days = 0;            // from the plan's start to the date
  double largest_scale = 1;   // of the deliveries, that was looked at
  double feasible_share = 0;  // of the draws in which some scale up to it suffices
  Estimate scale;             // of deliveries and rentals; infinite where none suffices
  Estimate gpus;              // in service at the start, delivered and rented: with that scale
  double plan_gpus = 0;       // and in the plan as it is
  Estimate most_samples;      // kept by the date at the largest scale
  std::string binding;    // what keeps a larger fleet from keeping more; empty while the range of the scale is finite
  Estimate plan_samples;  // kept by the date as the plan is
  Estimate plan_day;      // when the plan as it is gets there, days after the start; its length when never
  double plan_share = 0;  // of the draws in which it does in time

  // A quick answer beside it: one synchronous job, in service from the plan's first day on; no halls, power, bring-up.
  struct OneJob {
    std::string site;           // whose machines, failures and spares are asked about
    double feasible_share = 0;  // of the draws in which some number of GPUs suffices
    Estimate gpus;              // infinite where none suffices
    double best_job_gpus = 0;   // beyond it a larger job delivers less
  } one_job;
};

struct BudgetAnswer {
  double usd = 0;
  std::string site;
  bool rented = false;       // then a GPU costs its rent to the end of the contract or of the plan
  Estimate gpus_of_vendor;   // all of it spent at the GPU's vendor
  Estimate gpus_of_cluster;  // all of it spent on clusters as the plan prices them
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

// The site that most GPUs go to.
size_t main_site(const Plan& plan);

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
