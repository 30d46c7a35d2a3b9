// Google Benchmark, fenced in: it filters and lists the cases, calls each registered one exactly once in order with one
// iteration and manual time, and reports to the console, to JSON or CSV. It decides nothing that ranks could disagree
// on.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "bench/google_flags.h"

namespace farscale {

// What Google Benchmark is told about a case that was measured elsewhere.
struct RunOutcome {
  bool ok = true;
  std::string reason;  // when not ok
  double time_s = 0;   // median
  int64_t runs = 1;    // all runs of all samples, shown as iterations
  std::map<std::string, double> counters;
};

// Where Google Benchmark reports to on this rank.
enum class Display { kNothing, kProgressOnStderr, kFormatOnStdout };

// The names that Google Benchmark's filter lets through, in order. Throws InputError when the filter is no regular
// expression or matches none. Called by rank 0; the others are told.
std::vector<std::string> matching_names(const std::vector<std::string>& names, const GoogleFlags& flags);

// Registers `names` and has Google Benchmark call `body` with each index, in order. Ranks other than 0 pass kNothing
// and no file is written there.
void drive(const std::vector<std::string>& names, const GoogleFlags& flags, Display display,
           const std::function<RunOutcome(size_t index)>& body);

}  // namespace farscale
