// A planned step made ready on this rank, and runs of it: compute only, communication only, both together, as one
// graph.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "bench/measure.h"
#include "bench/step_plan.h"

namespace farscale {

// kGraph: both, recorded once and launched as one.
enum class StepMode { kComputeOnly, kCommunicationOnly, kBoth, kGraph };

// Seconds from the common start.
struct OwnStep {
  double total_s = 0;       // until all work is done
  double backward_s = 0;    // until the last gradient is there: forward and backward compute; 0 of a graph
  double issue_s = 0;       // the host was busy handing work over, waiting left out
  double input_wait_s = 0;  // after the step's own work was done, until its successor's input had arrived
};

struct StepTiming {
  double total_s = 0;     // slowest rank
  double work_s = 0;      // slowest rank, without the wait for input
  double backward_s = 0;  // slowest rank
  double skew_s = 0;      // slowest minus fastest backward_s: who is late before anything waits for it
  OwnStep own;            // this rank's
  std::string failure;    // agreed
};

class StepRun {
 public:
  struct Options {
    bool input = false;  // copy a step's input to the device beside every step of both
    bool graph = true;   // record the step, where the backend has graphs
  };
  // Prepares every problem on every rank; on failure ok() is false and the record says why.
  StepRun(Lab& lab, const StepPlan& plan, Options options, Record& record);
  bool ok() const { return ok_; }

  // Checks problems against their references, largest share of the step first, until budget_s is used up. False when
  // one is wrong. The record's verdict says how much was checked.
  bool verify(double budget_s, Record& record);

  // Records the step as a graph; the reason where there is none, the same on all ranks. Run the step once before.
  std::string record_graph();

  // One step on all ranks together, from a barrier.
  StepTiming time(StepMode mode);

  // One round of what the communication queue carries, on its own; 0 s where that is nothing.
  StepTiming time_traffic();

  // Only the launches of one class, in order, and `rounds` rounds of that traffic beside them: total_s is until the
  // class is done.
  StepTiming time_class(KernelClass kind, int64_t rounds = 0);

  std::vector<KernelClass> classes() const;  // those in the step
  bool communicates() const { return !plan_.buckets.empty() || !plan_.blocking.empty() || !plan_.gathers.empty(); }

 private:
  struct Cursor {  // what was handed over so far
    size_t bucket = 0, asked = 0, awaited = 0, blocking = 0;
  };
  template <typename Work>
  StepTiming timed(const Work& work);
  bool prepare(Record& record);
  OwnStep run(StepMode mode);
  void enqueue(StepMode mode, double start_s, OwnStep* timing);
  void release(size_t at, Cursor& cursor);
  void block(size_t at, Cursor& cursor);
  void launch(const Launch& launch);
  void one_round();
  OperationSettings settings_for(size_t problem) const;
  bool verify_one(size_t problem, Record& record, RecordVerdict& worst);
  std::vector<double> work_per_problem() const;

  Lab& lab_;
  const StepPlan& plan_;
  Options options_;
  Agreement agreement_;
  // Communicators and arena before the operations that use them: destroyed after them.
  std::unique_ptr<World> own_world_;  // of the communication queue
  std::unique_ptr<Arena> arena_;
  std::vector<std::unique_ptr<Operation>> operations_;  // as plan.problems
  std::unique_ptr<Operation> input_copy_;               // of one frame
  int64_t input_copies_ = 0;
  std::unique_ptr<Queue> compute_;
  std::unique_ptr<Queue> communication_;
  std::unique_ptr<Queue> input_;
  std::vector<std::unique_ptr<Event>> gradients_ready_;  // as plan.buckets
  std::vector<std::unique_ptr<Event>> gathered_;         // as plan.gathers
  std::unique_ptr<Event> reduced_, begun_;
  std::unique_ptr<Recording> graph_;
  bool ok_ = false;
};

}  // namespace farscale
