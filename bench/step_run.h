// A planned step made ready on this rank, and runs of it: compute only, communication only, both together.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "bench/measure.h"
#include "bench/step_plan.h"

namespace farscale {

enum class StepMode { kComputeOnly, kCommunicationOnly, kBoth };

struct StepTiming {
  double total_s = 0;     // slowest rank, from the common start to all work done
  double backward_s = 0;  // slowest rank, until its forward and backward compute was done
  double skew_s = 0;      // slowest minus fastest backward_s: who is late before anything waits for it
  double own_s = 0;       // this rank's total
  std::string failure;    // agreed
};

class StepRun {
 public:
  // Prepares every problem on every rank; on failure ok() is false and the record says why.
  StepRun(Lab& lab, const StepPlan& plan, Record& record);
  bool ok() const { return ok_; }

  // Checks problems against their references, largest share of the step first, until budget_s is used up. False when
  // one is wrong. The record's verdict says how much was checked.
  bool verify(double budget_s, Record& record);

  // One step on all ranks together, from a barrier.
  StepTiming time(StepMode mode);

  // Only the launches of one class, in order: their share of the compute.
  StepTiming time_class(KernelClass kind);

  std::vector<KernelClass> classes() const;  // those in the step

 private:
  struct OwnTiming {
    double total_s = 0;
    double backward_s = 0;
  };
  template <typename Work>
  StepTiming timed(const Work& work);
  OwnTiming run(StepMode mode);
  void release(StepMode mode, size_t issued, size_t& bucket);
  void block(StepMode mode, size_t issued, size_t& blocking);
  OperationSettings settings_for(size_t problem) const;
  bool verify_one(size_t problem, Record& record, RecordVerdict& worst);
  std::vector<double> work_per_problem() const;

  Lab& lab_;
  const StepPlan& plan_;
  Agreement agreement_;
  // Communicators before the operations that use them: destroyed after them.
  std::unique_ptr<World> gradient_world_;
  std::vector<std::unique_ptr<Operation>> operations_;  // as plan.problems
  std::unique_ptr<Queue> compute_;
  std::unique_ptr<Queue> communication_;
  std::vector<std::unique_ptr<Event>> gradients_ready_;  // as plan.buckets
  std::unique_ptr<Event> reduced_;
  bool ok_ = false;
};

}  // namespace farscale
