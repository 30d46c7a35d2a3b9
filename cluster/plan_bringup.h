// Bring-up: the pipeline every GPU of a site runs through, day by day, for one draw of its figures. GPUs are counted as
// real numbers: rates and shares of a day are exact, and none appears or vanishes.
#pragma once

#include <limits>
#include <string_view>
#include <vector>

namespace farscale {

// GPUs that arrive on day `first`, or evenly from day `first` to day `last`, both included (days after the plan's
// start; fractions are moments inside a day: 2.5 is noon of day 2).
struct Arrival {
  double first_day = 0;
  double last_day = 0;
  double gpus = 0;
};

// `amount` from `day` on: places of a hall (added up), or power for GPUs (the latest step counts).
struct Step {
  double day = 0;
  double amount = 0;
};

// One site, one draw. Everything in GPUs and days.
struct SiteDraw {
  std::vector<Arrival> arrivals;
  std::vector<Step> halls;
  std::vector<Step> power;  // GPUs that can be under power from a day on
  double in_service = 0;    // at the start: racked in places of their own, beside the halls
  double rack_per_day = std::numeric_limits<double>::infinity();
  double burn_in_days = 0;
  double burn_in_at_once = std::numeric_limits<double>::infinity();
  double first_pass_yield = 1;
  double repair_days = 0;
  double repairs_per_gpu_day = 0;  // node failures that need a repair, per GPU in service
  double infant_excess = 0;
  double infant_days = 30;
};

// What keeps GPUs that are ordered from being in service today: the stage nearest to service at which they wait.
enum class Bottleneck : unsigned char { kNone, kDelivery, kHall, kRacking, kBurnIn, kPower, kRepair };

std::string_view name(Bottleneck bottleneck);  // "none", "delivery", "hall", "racking", "burn-in", "power", "repair"

// GPUs by state at the end of a day: delivered = stored + racked + burning_in + in_repair + dark + in_service.
struct SiteDay {
  double delivered = 0;
  double stored = 0;  // no place or no hands for them yet
  double racked = 0;  // wait for burn-in
  double burning_in = 0;
  double in_repair = 0;
  double dark = 0;  // accepted, no power for them
  double in_service = 0;
  Bottleneck bottleneck = Bottleneck::kNone;

  double installed() const { return racked + burning_in + in_repair + dark + in_service; }
  double idle() const { return delivered - in_service; }
  double powered() const { return burning_in + in_service; }
};

// `days` days into `out`. Within a day: arrivals; ends of burn-in and repair; failures; racking; starts of burn-in.
// GPUs move through all stages of zero length on the day they arrive.
void bring_up(const SiteDraw& site, int days, std::vector<SiteDay>& out);

// GPUs a step list allows at the end of a day: the sum of halls that are ready, the latest power step.
double places_at(const std::vector<Step>& halls, double day);
double power_at(const std::vector<Step>& power, double day);

}  // namespace farscale
