// Lots of whole nodes on their way through a site's bring-up: the events they wait for, crews that handle them at a
// rate, the luck of burn-in. Moments are days after the plan's start; 2.5 is noon of day 2.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "cluster/random.h"

namespace farscale {

// A day's work is done in the last instant of that day, not in the first of the next.
inline constexpr double kInstant = 1e-6;

double midnight_at_hand(double moment);  // the one before it, or the one that a last instant belongs to
double end_of_day(double moment);        // the last instant before the next midnight

// Nodes that follow each other evenly after `from`, the last one at `until`.
struct Lot {
  int64_t nodes = 0;
  double from = 0, until = 0;

  Lot later(double days) const { return {nodes, from + days, until + days}; }
  Lot some(int64_t among) const;    // so many of them, spread evenly among the others
  Lot take(int64_t first);          // splits the first nodes off
  Lot take_until(double midnight);  // splits those off whose moment comes before it
};

enum class Happening : unsigned char {
  kDelivery,  // of BringUpEvent::index
  kArrival,   // GPUs from another site
  kHall,
  kCooling,
  kPower,
  kRacked,
  kBurnedIn,
  kTakenOn,   // hands begin with a repair
  kRepaired,  // a node that had been in service
  kReworked   // a node that had failed burn-in
};

struct BringUpEvent {
  double moment = 0;
  int64_t turn = 0;  // what was planned first happens first
  Happening what = Happening::kDelivery;
  size_t index = 0;  // of a delivery, hall or power step
  Lot lot = {};
};

// What will happen, in order of time.
class BringUpQueue {
 public:
  void plan(double moment, Happening what, size_t index, const Lot& lot = {});
  // Nodes of a lot as their moments come: the lot is split at midnight, so that each day gets its own.
  void plan_lot(double now, Happening what, const Lot& lot);
  // The next event before a moment; a lot in it has come, what is left of it waits on.
  std::optional<BringUpEvent> next(double before);
  // Takes the nodes out of lots that wait whose turn would come last.
  void call_back(Happening what, int64_t nodes);

 private:
  std::vector<BringUpEvent> heap_;
  int64_t turns_ = 0;
};

// Hands that handle nodes one after the other at a rate; what they do in one day is one lot.
class Crew {
 public:
  struct Work {
    Lot lot;          // as the nodes are done
    double over = 0;  // when the crew looks for more
  };
  // Begins with nodes that wait, the last of which have come as `come` says: with as many as a day leaves time for.
  // Nothing while the crew is at work, or when none wait.
  std::optional<Work> begin(const Lot& come, int64_t waiting, double nodes_per_day);
  void end() { at_work_ = false; }

 private:
  bool at_work_ = false;
  double free_since_ = 0;
  double begun_ = 0;  // part of a node that is done already
};

// Which burn-ins of a site fail. The k-th one does or does not, however nodes are grouped into lots: plans that share
// a seed share their luck. Without a seed failures come evenly, rounded to whole nodes.
class BurnInLuck {
 public:
  BurnInLuck(double fail_share, uint64_t seed);
  int64_t failures(int64_t nodes);  // of the next so many

 private:
  int64_t gap();
  double share_, log_pass_;
  bool even_;
  Rng random_;
  int64_t seen_ = 0, next_ = 0;
};

}  // namespace farscale
