// A plan: a fleet over time, as a plan file describes it. Sites with power and halls, deliveries, the pipeline every
// GPU runs through (ordered -> delivered -> stored -> racked and cabled -> burned in -> in service), what trains, what
// fails, what it costs. Every figure is a Quantity with its range and its evidence.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "cluster/goodput.h"
#include "cluster/quantity.h"

namespace farscale {

using Day = std::chrono::sys_days;

inline constexpr double kMostPlanGpus = 1e8;  // no larger machine can be predicted
inline constexpr int kMostPlanDays = 3660;    // ten years

// A date with its range: days since 1970-01-01. { date = 2024-10-01, early_days = 10, late_days = 60, source = "…" }
struct PlanDate {
  Quantity days;
};

struct PowerStep {
  PlanDate from;
  Quantity megawatts;  // what the site may draw from then on, cooling and losses included
};

struct Hall {
  std::string name;
  Quantity gpus;                       // places
  PlanDate ready;                      // from this day on racks can be set up
  std::optional<Quantity> cooling_mw;  // heat it takes away: nodes and fabric, without losses; no limit when not given
};

// How the GPUs of a site reach each other; what is not given is the catalogue's.
struct SiteNetwork {
  std::optional<Quantity> pod_gpus;          // that reach each other without crossing the spine
  std::optional<Quantity> oversubscription;  // what a job that spans pods loses of its network rate: 7 for 1:7
};

// How a site brings up GPUs. Rates and counts are in GPUs.
struct Pipeline {
  Quantity rack_per_day;      // racked and cabled
  Quantity burn_in_days;      // from power on to accepted
  Quantity burn_in_at_once;   // places for burn-in; infinite when not given
  Quantity first_pass_yield;  // share that passes burn-in; the rest is repaired and burned in again
  Quantity repair_days;       // turnaround, once hands are free
  Quantity repairs_per_day;   // that hands can take on; infinite when not given
  Quantity repair_share;      // of node failures: those that need a repair, not a reboot
  Quantity infant_excess;     // failure rate of new nodes over the settled rate, minus 1
  Quantity infant_days;       // time in which the excess falls to 1/e
};

struct Site {
  std::string name;
  std::string organisation;
  std::string hardware;   // one kind of machine a site; two kinds are two sites
  bool rented = false;    // nothing is delivered, racked or powered by us
  Quantity pue;           // facility power over IT power
  Quantity fabric_share;  // network, storage and service nodes' power over that of the GPU nodes
  SiteNetwork network;
  std::vector<PowerStep> power;
  std::vector<Hall> halls;
  Pipeline pipeline;
  std::optional<Quantity> in_service;   // GPUs that train at the plan's start
  std::optional<Quantity> usd_per_gpu;  // paid for each of them; that of the hardware's first delivery when not given
  std::string where;                    // "plans/x.toml:12"
};

// GPUs bought: all on `first`, or evenly from `first` to `last`.
struct Delivery {
  std::string name;
  size_t site = 0;
  Quantity gpus;                       // with a budget: what it buys at the medians
  std::optional<Quantity> budget_usd;  // spent at the GPU's vendor; then gpus = budget_usd / usd_per_gpu
  std::optional<size_t> less;          // then gpus are the total of both: this one brings what that one leaves of it
  std::optional<PlanDate> ordered;     // with a lead time: `first` is then their sum, by the medians
  std::optional<Quantity> lead_days;   // from the order to the first delivery
  PlanDate first;
  std::optional<PlanDate> last;
  std::optional<Quantity> per_day;  // instead of `last`: GPUs a day from `first` on
  Quantity usd_per_gpu;             // paid to the GPU's vendor
};

// GPUs of a delivery by the medians.
double median_gpus(const std::vector<Delivery>& deliveries, const Delivery& delivery);

// GPUs in service at one site that are taken out, moved and brought up at another, whoever owns it.
struct Transfer {
  std::string name;
  size_t from = 0, to = 0;
  Quantity gpus;
  PlanDate date;          // when the first is taken out; what is not there yet follows when it is
  Quantity transit_days;  // until they stand at the other site's door
};

// GPUs rented, in service from the first day.
struct Rental {
  size_t site = 0;
  Quantity gpus;
  PlanDate from;
  std::optional<PlanDate> until;
  Quantity usd_per_gpu_hour;
};

struct Training {
  std::string workload;
  std::string layout = "auto";
  int64_t jobs = 0;      // equal jobs the fleet of a site is split into; 0: as few as leave none beyond its best size
  Quantity spare_share;  // of the GPUs in service: hot spares that do not train
  std::optional<Quantity> samples_per_training;
  std::optional<Quantity> critical_batch;  // samples a step at which half of them are of no use (McCandlish 2018)
  std::string layout_where, jobs_where;    // "plans/x.toml:12"
};

// A job with an end, on one site: before anything else the fleet trains, in the order of priority.
struct Job {
  std::string name;
  std::string workload;  // the plan's own when not given
  size_t site = 0;
  int64_t priority = 0;                        // higher first, then the order of the file
  std::optional<Quantity> samples, gpu_hours;  // its budget: one of the two
  std::optional<Quantity> most_gpus;           // its best size when not given
};

// Power of a GPU with its share of the node, over that at training load. What is stored or dark is off.
struct StatePower {
  Quantity racked, burn_in, repair, spare;
};

// What a cluster costs beside its GPUs. Together with PlanPrices::vendor_share one of the two says it all.
struct ClusterParts {
  Quantity node_usd_per_gpu, network_usd_per_gpu;
  Quantity building_usd_per_mw;  // of facility power at training load
};

struct PlanPrices {
  Quantity vendor_share;  // of a cluster's cost that goes to the GPU's vendor; the rest is building, power, cooling
  std::optional<ClusterParts> parts;  // instead of the share
  Quantity usd_per_kwh;
  Quantity lifetime_years;  // capital is written off evenly over this
};

struct Plan {
  std::string name;
  std::string title;
  std::string path;
  Day start, end;  // first and last day
  std::vector<Site> sites;
  std::vector<Delivery> deliveries;
  std::vector<Rental> rentals;
  std::vector<Transfer> transfers;
  Training training;
  std::vector<Job> jobs;  // by priority
  StatePower state_power;
  FailureModel failures;
  PlanPrices prices;
  std::vector<std::string> notes;
  std::vector<EvidenceLine> evidence;  // one line a figure, in file order

  int days() const { return int((end - start).count()) + 1; }
};

// A shipped plan's name ("xai-300k-b200") or the path of a TOML file. Throws InputError with file, line, what was
// expected and the nearest valid name.
Plan load_plan(const std::string& name_or_path);
// The same from text; `name` stands for the file in messages.
Plan parse_plan(const std::string& text, const std::string& name);
std::vector<std::string> shipped_plans();

std::string iso_date(Day day);  // "2024-06-30"

}  // namespace farscale
