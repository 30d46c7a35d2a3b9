// Bring-up: a discrete-event simulation of the pipeline that every GPU of a site runs through, for one draw of its
// figures. Whole nodes move in lots, in continuous time: deliveries, halls, power steps, crews' days, ends of burn-in
// and of repairs are events. Happening happens at one place on one day is one lot. Days report the state at their end.
#pragma once

#include <cstdint>
#include <limits>
#include <string_view>
#include <vector>

#include "cluster/plan_lots.h"

namespace farscale {

// Whole GPUs that arrive on day `first`, or evenly from day `first` to day `last`, both included (days after the
// plan's start; fractions are moments inside a day: 2.5 is noon of day 2).
struct Arrival {
  double first_day = 0;
  double last_day = 0;
  double gpus = 0;
  double ordered_day = 0;
  int together = 1;  // GPUs that come on the same day: those of a node
};

// `amount` from `day` on: places of a hall (added up), or power for GPUs. Of power steps the last one in the list whose
// day has come counts: one that comes later than those behind it has no effect any more.
struct Step {
  double day = 0;
  double amount = 0;
};

// One site, one draw. Everything in GPUs and days.
struct SiteDraw {
  int gpus_per_node = 1;  // move together; GPUs that make up no whole node yet wait in store for the rest of it
  std::vector<Arrival> arrivals;
  std::vector<Step> halls;
  std::vector<Step> power;    // GPUs that can be under power from a day on, at training load
  std::vector<Step> cooling;  // GPUs whose heat a hall takes away from a day on (added up); none: no limit
  double in_service = 0;      // at the start: in the halls, whose places, power and cooling they use
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
  bool failures_come_from_outside = false;  // then SitePipeline::fail tells of them; repairs of them are not its own
  // Which nodes fail burn-in, and how long each lot is in repair: exponential with mean repair_days, as usual for the
  // sum of many causes. 0: failures come evenly, every repair takes repair_days.
  uint64_t luck = 0;
};

// Happening keeps GPUs that are ordered from being in service today: the stage nearest to service at which they wait.
enum class Bottleneck : unsigned char { kNone, kDelivery, kHall, kRacking, kBurnIn, kPower, kCooling, kRepair };

std::string_view name(Bottleneck bottleneck);  // "none", "delivery", "hall", "racking", "burn-in", …

// GPUs by state at the end of a day: delivered is the sum of all states but the first.
struct SiteDay {
  double ordered = 0;     // and not delivered yet
  double delivered = 0;   // or in service at the start; with those moved here, less those handed over elsewhere
  double in_transit = 0;  // taken out and on the road to another site: this one's until they arrive
  double stored = 0;      // no place or no hands for them yet
  double racked = 0;      // wait for burn-in
  double burning_in = 0;
  double in_repair = 0;
  double dark = 0;  // accepted, no power or cooling for them
  double in_service = 0;
  double powered = 0;  // GPUs at training load that draw as much as all of them do
  Bottleneck bottleneck = Bottleneck::kNone;

  double installed() const { return racked + burning_in + in_repair + dark + in_service; }
  double idle() const { return delivered - in_service; }
  void add(const SiteDay& other);  // GPUs of another site
};

// A site day by day. When power or cooling falls, burn-in stops first, the newest lots first; they begin again when
// there is power for them. Then GPUs in service go dark. In repair and waiting for burn-in draw what is left.
class SitePipeline {
 public:
  explicit SitePipeline(const SiteDraw& site);  // `site` must outlive it

  const SiteDay& step(int day);  // days 0, 1, 2, … in order

  // Transfers, before a day's step, in whole nodes: takes GPUs that passed burn-in out of the site, as many as there
  // are, and returns how many; they are the site's until they are handed over; GPUs come from elsewhere.
  double take_out(double gpus);
  void hand_over(double gpus);
  void receive(double moment, double gpus);

  // Failures of a day as somebody else played them: GPUs that went to repair, and came back. Before the next step.
  void fail(double to_repair, double repaired);

  double infant_excess() const;  // failure rate of the GPUs in service over the settled one, less 1
  const SiteDay& today() const { return today_; }

 private:
  struct Limits {
    double power = 0, cooling = 0, places = 0;  // nodes
    size_t power_step = 0;
  };
  void plan_events();
  void handle(const BringUpEvent& event);
  void deliver(size_t arrival, double moment);
  void store(int64_t gpus);
  void fail_as_expected(double morning);
  void rack(double now);
  void admit(Lot lot, double now);
  void burn_in(const Lot& lot, double now);
  void start_burn_in(const Lot& left, double now);
  void finish_burn_in(const Lot& lot, double now);
  void begin_repairs(const Lot& come, double now);
  void take_on(Lot lot, double now);
  double turnaround();
  void obey_limit(double now);
  double ordered(double now) const;
  double limit() const;
  double room() const;
  double free_burn_in() const;
  int64_t lit() const;
  int64_t in_repair() const { return waiting_repair_ + waiting_rework_ + repairing_ + outside_repair_; }
  int64_t installed() const { return racked_ + burning_ + in_repair() + accepted_; }
  double gpus(int64_t nodes) const { return double(nodes * site_.gpus_per_node); }
  int64_t whole_nodes(double gpus) const;
  void close_day(int day);
  Bottleneck bottleneck() const;

  const SiteDraw& site_;
  BringUpQueue queue_;
  Crew rackers_, hands_;
  BurnInLuck burn_in_luck_;
  Rng repair_luck_;
  double infant_decay_;
  Limits limits_;
  std::vector<double> arrived_;  // of each arrival
  // Nodes by state; stored_ are GPUs, of nodes that are not whole too.
  int64_t stored_ = 0, racked_ = 0, burning_ = 0, accepted_ = 0, in_transit_ = 0;
  int64_t waiting_repair_ = 0, waiting_rework_ = 0;  // for hands
  int64_t repairing_ = 0;
  int64_t outside_repair_ = 0, outside_taken_ = 0;  // as told by fail(): in repair, taken on yesterday
  double undelivered_ = 0, delivered_ = 0;          // GPUs
  double infants_ = 0;                              // accepted nodes weighted by their excess failure rate
  double due_failures_ = 0;                         // part of a node
  SiteDay today_;
};

// `days` days into `out`.
void bring_up(const SiteDraw& site, int days, std::vector<SiteDay>& out);

// Whole GPUs that have come by the end of a day.
double arrived_by(const Arrival& arrival, int day);

// GPUs a step list allows at the end of a day: the sum of halls that are ready, the last power step that has come.
double places_at(const std::vector<Step>& halls, double day);
double power_at(const std::vector<Step>& power, double day);

}  // namespace farscale
