// Making a step ready: the layout, the batch that fits the device, what of it runs as convolutions, and on the host the
// scale at which it takes a fraction of a second.
#pragma once

#include <memory>
#include <string>

#include "bench/measure.h"
#include "bench/step_plan.h"
#include "bench/step_run.h"

namespace farscale {

// Everything one step case builds up; the plan's address stays fixed because the run borrows it.
struct StepAttempt {
  LoweredStep step;
  StepPlan plan;
  std::unique_ptr<StepRun> run;
  double scale = 1;
  NumberType type = NumberType::kFp32;  // of most of the step's FLOPs
};

// Prepares the case's step on all ranks together. False: the record says why, the same on all ranks. What was chosen is
// in the record's settings and details.
bool set_up_step(const Case& item, Lab& lab, StepAttempt& attempt, Record& record);

// Memory that a step at this batch needs on one rank: at full size what the network needs for training or what the
// operands take, whichever is more; of a scaled copy what its operands take.
double step_bytes(const LoweredStep& step, double scale, int ranks, bool arena);

}  // namespace farscale
