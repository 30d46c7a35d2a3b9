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
  std::vector<Step> power;    // GPUs that can be under power from a day on, at training load
  std::vector<Step> cooling;  // GPUs whose heat a hall takes away from a day on (added up); none: no limit
  double in_service = 0;      // at the start: racked in places of their own, beside the halls
  double rack_per_day = std::numeric_limits<double>::infinity();
  double burn_in_days = 0;
  double burn_in_at_once = std::numeric_limits<double>::infinity();
  double first_pass_yield = 1;
  double repair_days = 0;
  double repairs_per_day = std::numeric_limits<double>::infinity();
  double repairs_per_gpu_day = 0;  // node failures that need a repair, per GPU in service
  double infant_excess = 0;
  double infant_days = 30;
  double racked_power = 0, burn_in_power = 1, repair_power = 0;  // over that of a GPU at training load
  bool failures_come_from_outside =
      false;  // then SitePipeline::fail tells of them, and repairs of them are not its own
};

// What keeps GPUs that are ordered from being in service today: the stage nearest to service at which they wait.
enum class Bottleneck : unsigned char { kNone, kDelivery, kHall, kRacking, kBurnIn, kPower, kCooling, kRepair };

std::string_view name(Bottleneck bottleneck);  // "none", "delivery", "hall", "racking", "burn-in", …

// GPUs by state at the end of a day: delivered = stored + racked + burning_in + in_repair + dark + in_service.
struct SiteDay {
  double delivered = 0;
  double stored = 0;  // no place or no hands for them yet
  double racked = 0;  // wait for burn-in
  double burning_in = 0;
  double in_repair = 0;
  double dark = 0;  // accepted, no power for them
  double in_service = 0;
  double powered = 0;   // GPUs at training load that draw as much as all of them do
  double failures = 0;  // of GPUs, that need a repair: the expectation, not a draw
  Bottleneck bottleneck = Bottleneck::kNone;

  double installed() const { return racked + burning_in + in_repair + dark + in_service; }
  double idle() const { return delivered - in_service; }
};

// Things that come out a fixed time after they went in; a time of 2.3 days lets 70 % out after 2 days, 30 % after 3.
class DelayLine {
 public:
  DelayLine(double delay_days, int days);
  void push(int day, double amount);
  double pop(int day);
  double held() const { return held_; }

 private:
  int whole_;
  double part_;
  double held_ = 0;
  std::vector<double> slots_;
};

// A site day by day. Within a day: arrivals; failures; ends of repair and burn-in; racking; starts of burn-in. GPUs
// move through all stages of zero length on the day they arrive.
class SitePipeline {
 public:
  SitePipeline(const SiteDraw& site, int days);  // `site` must outlive it

  const SiteDay& step(int day);  // days 0, 1, 2, … in order

  // Transfers, before a day's step: takes GPUs that passed burn-in out of the site, as many as there are, and returns
  // how many; GPUs from elsewhere arrive.
  double give(double gpus);
  void receive(double gpus) { received_ += gpus; }

  // Failures of a day as somebody else played them: GPUs that went to repair, and came back. Before the next step.
  void fail(double to_repair, double repaired);

  double infant_excess() const;  // failure rate of the GPUs in service over the settled one, less 1
  const SiteDay& today() const { return now_; }

 private:
  void fail_as_expected();
  void start_repairs(int day);
  void finish_waits(int day);
  void finish_burn_in(int day);
  void rack(int day);
  void start_burn_in(int day);
  void light_up();
  double power_in_use() const;
  Bottleneck bottleneck() const;

  const SiteDraw& site_;
  DelayLine burn_in_, rework_, repair_;
  double waiting_repair_ = 0, waiting_rework_ = 0;  // for hands
  double outside_repair_ = 0;                       // in repair as told by fail()
  double infant_decay_;
  SiteDay now_;
  double accepted_ = 0;  // passed burn-in and not in repair
  double infants_ = 0;   // accepted GPUs weighted by their excess failure rate
  double ordered_ = 0;
  double received_ = 0, given_ = 0;
  double limit_ = 0;  // power or cooling, in GPUs at training load
  bool hall_binds_ = false, power_binds_ = false, cooling_is_less_ = false;
};

// `days` days into `out`.
void bring_up(const SiteDraw& site, int days, std::vector<SiteDay>& out);

// GPUs that have come by the end of a day.
double arrived_by(const std::vector<Arrival>& arrivals, int day);

// GPUs a step list allows at the end of a day: the sum of halls that are ready, the latest power step.
double places_at(const std::vector<Step>& halls, double day);
double power_at(const std::vector<Step>& power, double day);

}  // namespace farscale
