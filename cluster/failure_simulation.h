// Failures one by one: a fleet of synchronous jobs with every node failure, silent corruption, restart and repair as an
// event. What the closed form (goodput.h) says on average, this shows happening, and it adds what the form leaves out:
// spares that run out, repairs that queue for hands.
#pragma once

#include <cstdint>
#include <limits>
#include <vector>

#include "cluster/goodput.h"
#include "cluster/random.h"

namespace farscale {

struct FleetFigures {
  FailureDraw failures;
  double repair_share = 0;  // of failures: the node goes to repair, a spare takes its place; the others reboot
  double repair_days = 0;   // turnaround, once hands are free
  double repairs_per_day = std::numeric_limits<double>::infinity();  // nodes that hands can take on
};

// A fleet as a day finds it.
struct FleetShape {
  double nodes = 0;               // in service, hot spares included
  double excess = 0;              // failure rate over the settled one, less 1 (infant mortality)
  std::vector<double> job_nodes;  // of each job; 0: none in that place today
};

struct FleetDay {
  std::vector<double> kept;  // of each job: share of the day that is progress; below 0 when more was thrown away
  double failures = 0;
  double to_repair = 0, repaired = 0;  // nodes
  double waiting_days = 0;             // of all jobs: no spare was left
};

class FleetHistory {
 public:
  // The same seed gives the same history on every machine. `figures` must outlive the history.
  FleetHistory(const FleetFigures& figures, uint64_t seed);

  // The next day: a constant amount of work an event, whatever the number of nodes. A job that finds no spare waits for
  // a repair, or for the next morning, when its owner restarts it smaller.
  const FleetDay& play(const FleetShape& shape);

  double in_repair() const { return double(back_s_.size() - next_back_); }

 private:
  struct Chunk {
    double start_s, end_s, kept_s;  // a stretch of progress
  };
  struct Job {
    double nodes = 0;  // for which the next three hold
    double interval_s = 0, cycle_s = 0, restart_s = 0;
    double since_s = 0;         // start of the checkpoint cycle under way; later than now while the job restarts
    double kept_s = 0;          // today
    double missing_s = 0;       // share of an isolated job times the seconds it was missing, today
    std::vector<Chunk> recent;  // progress that a corruption found today could throw away
  };

  void start_day(const FleetShape& shape);
  void resize(Job& job, double nodes, double excess);
  void take_back(double now_s);
  void strike(double now_s, const FleetShape& shape);
  void fail(Job* job, double now_s);
  double send_to_repair(double now_s);
  void stop(Job& job, double now_s, double resumes_s);
  void corrupt(Job& job, double now_s);
  void bank(Job& job, double now_s) const;

  const FleetFigures& figures_;
  Rng random_;
  int64_t days_ = 0;
  double end_s_ = 0;  // of the day
  double spares_ = 0;
  double hands_free_s_ = 0;
  std::vector<double> back_s_;  // when nodes come back from repair, in order: the turnaround is constant
  size_t next_back_ = 0;
  std::vector<Job> jobs_;
  FleetDay day_;
};

// Nodes of spares and repairs together with which a failure finds a spare with probability `certainty`, when nodes in
// repair are Poisson distributed with mean rate x turnaround (Palm's theorem).
int64_t spares_needed(const FleetFigures& figures, double nodes, double certainty);

}  // namespace farscale
