// Which of Google Benchmark's flags `farscale run` takes, and why not the others: some make ranks diverge, some add
// calls, some would publish statistics that ours replace.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace farscale {

struct GoogleFlags {
  std::string filter;  // a regular expression on case names; "-" in front inverts it
  bool list_tests = false;
  std::string format;  // "console", "json" or "csv" on stdout instead of our tables; "": our tables
  std::string out;     // Google Benchmark's own file, besides our result file
  std::string out_format = "json";
  std::string color = "auto";
  bool counters_tabular = false;
  std::string time_unit = "us";
  int64_t repetitions = 0;  // exactly this many samples a case; 0: until the stopping rule
  std::vector<std::pair<std::string, std::string>> context;
};

// From what the command line left over; `own_flags` are ours, for suggestions. Throws InputError for a refused flag
// (naming what to use instead), an unknown one (with the nearest name) and a value that is not one.
GoogleFlags parse_google_flags(const std::vector<std::string>& arguments, const std::vector<std::string>& own_flags);

}  // namespace farscale
