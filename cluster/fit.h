// Results to a cost model: efficiency curves from GEMM records, bandwidth from memory records, latency and bandwidth
// from collective records, overhead and interference from step records, spread of ranks from raw samples.
#pragma once

#include <string>
#include <vector>

#include "cluster/machine.h"
#include "results/record.h"

namespace farscale {

struct Residual {
  std::string record;
  std::string part;  // "gemm fp32", "memory", "all_reduce", "step"
  int ranks = 1;
  double measured_s = 0;
  double fitted_s = 0;
  double error() const { return fitted_s / measured_s - 1; }
};

struct FitReport {
  Machine::Data model;
  std::vector<Residual> residuals;
  std::vector<std::string> notes;  // what could not be fitted, and what was assumed instead
  std::vector<std::string> sources;
};

// Fits all runs together; they must come from one backend. Throws InputError when there is nothing to fit.
FitReport fit_model(const std::vector<Run>& runs);

// Why a model whose samples spread so far says little about stragglers; empty when they do not.
std::string busy_note(const RankSpread& ranks);

// The parts, each filling in the model, the residuals and the notes.
void fit_gemm(const std::vector<Run>& runs, FitReport& report);
void fit_memory(const std::vector<Run>& runs, FitReport& report);
void fit_collectives(const std::vector<Run>& runs, FitReport& report);
void fit_steps(const std::vector<Run>& runs, FitReport& report);
void fit_spread(const std::vector<Run>& runs, FitReport& report);

// The model as written by `farscale fit`: model.json with residuals, notes and sources.
std::string report_to_json(const FitReport& report);

}  // namespace farscale
