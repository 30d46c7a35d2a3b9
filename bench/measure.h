// Measuring one case on all ranks: prepare, check against the reference, sample; the outcome is a record.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "bench/agreement.h"
#include "bench/case.h"
#include "bench/sampler.h"
#include "kernels/backend.h"
#include "kernels/world.h"
#include "results/record.h"
#include "workloads/workload.h"

namespace farscale {

void sleep_s(double seconds);

// What cases run on. Owned by the run; cases borrow it.
struct Lab {
  World& world;
  Backend& backend;
  std::string backend_name;  // "host", "cuda"
  Clock clock = steady_clock_s();
  std::function<void(double seconds)> pause = sleep_s;      // lets a device cool down
  const Workload* workload = nullptr;                       // for steps
  double world_start_s = 0;                                 // how long open_world() took on this rank
  double backend_start_s = 0;                               // and open_backend()
  std::map<NumberType, double> best_gemm_flops_per_s = {};  // seen so far in this run: a guess for scaling a step
};

// Every rank calls it together with the same case, and gets a record of the same status and samples.
Record measure(const Case& item, Lab& lab);

// The parts of measure() for each family; they throw only what broke the agreement between ranks.
void measure_problem(const Case& item, Lab& lab, Record& record);
void measure_start(const Case& item, Lab& lab, Record& record);
void measure_step(const Case& item, Lab& lab, Record& record);  // step.cc

// Ends a case on all ranks: `reason` is agreed.
void skip(Record& record, std::string reason);
void fail(Record& record, std::string reason);

// An operation that every rank could prepare; empty when some could not: the record then says skipped or failed.
std::unique_ptr<Operation> prepare_together(const Lab& lab, const Problem& problem, const OperationSettings& settings,
                                            Record& record);

// Runs verify() on every rank; false when any found a wrong result (status wrong) or failed (status failed).
bool verify_together(const Lab& lab, Operation& operation, Record& record);

// Samples, medians and stop reason into the record.
void keep_samples(const Lab& lab, const Samples& samples, Record& record);

// Adds a counter unless it is not a finite number, which JSON cannot hold; then a detail says so.
void set_counter(Record& record, const std::string& name, double value);

}  // namespace farscale
