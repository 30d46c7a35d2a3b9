// One `farscale run` from cases to a finished log, driven by Google Benchmark. Prints nothing but Google Benchmark's
// reports; knows no command line.
#pragma once

#include <string>
#include <vector>

#include "bench/google_driver.h"
#include "bench/measure.h"
#include "bench/run_log.h"

namespace farscale {

// Keeps only what the filter on rank 0 lets through; the same list on every rank. Throws AgreedError.
std::vector<Case> filtered(std::vector<Case> cases, const GoogleFlags& flags, const Agreement& agreement);

struct SessionOptions {
  GoogleFlags flags;
  Display display = Display::kNothing;  // of this rank
  double total_s = 0;                   // budgets shrink to fit; 0: no limit
};

// Measures every case and adds its record to the log after each. When the log cannot be written on rank 0, all ranks
// stop and throw AgreedError. The log is finished at the end.
void run_session(const std::vector<Case>& cases, Lab& lab, RunLog& log, const SessionOptions& options);

// The budget of the next case so that `left` cases fit into what remains of total_s.
double fair_budget(double budget_s, double total_s, double spent_s, size_t left);

}  // namespace farscale
