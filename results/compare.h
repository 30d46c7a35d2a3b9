// Whether two runs differ: what is different around them, and for every case the ratio of its times with a range and a
// verdict that a whole table of noise seldom earns.
#pragma once

#include <string>
#include <vector>

#include "results/record.h"
#include "results/statistics.h"

namespace farscale {

struct CompareOptions {
  double threshold = 0.02;      // a slow-down up to this is no regression
  std::string metric = "time";  // "time", or the name of a series: "exposed", "compute_only", …
  int draws = 10000;
  uint64_t seed = 1;
};

enum class Change {
  kSame,      // the interval lies within the threshold on both sides
  kFaster,    // it lies below 1 / (1 + threshold), and is believed among all cases compared
  kSlower,    // it lies above 1 + threshold, likewise: a regression
  kUnclear,   // neither: more samples or more launches would tell
  kBroken,    // ok in the baseline, wrong or failed in the other: a regression
  kMended,    // the reverse
  kNotTimed,  // no timings on one side or both: skipped, or wrong on both
};
std::string_view name(Change change);  // "same", "faster", "SLOWER", "unclear", "BROKEN", "mended", "not timed"

struct CaseComparison {
  std::string name = {};
  std::string family = {};
  Change change = Change::kNotTimed;
  std::string note = {};     // why it is unclear or not timed; "two modes in the baseline"
  RatioEstimate ratio = {};  // of times: other over baseline; above 1 is slower
  double baseline_s = 0;     // median of the launches' medians; 0 when not timed
  double other_s = 0;
  double baseline_rate = 0;  // 0 when there is none
  double other_rate = 0;
  std::string rate_unit = {};  // "FLOP/s", "B/s", "B/s bus"
  size_t baseline_samples = 0;
  size_t other_samples = 0;
};

struct Difference {
  std::string what = {};
  std::string baseline = {};
  std::string other = {};
};

struct FamilyRatio {
  std::string family = {};
  size_t cases = 0;
  RatioEstimate ratio = {};  // geometric mean of the cases' ratios, its interval from theirs taken as independent
};

struct Comparison {
  std::vector<Difference> differences = {};
  std::vector<std::string> warnings = {};
  std::vector<CaseComparison> cases = {};
  std::vector<std::string> only_in_baseline = {};
  std::vector<std::string> only_in_other = {};
  std::vector<FamilyRatio> families = {};

  std::vector<std::string> regressions() const;  // names of the cases that are slower or broken
};

// Each side is one run, or several launches of the same suite. Cases are matched by problem and settings, or by name
// where there is no problem. Throws InputError when no case is on both sides, or no case has the metric.
Comparison compare(const std::vector<Run>& baseline, const std::vector<Run>& other, const CompareOptions& options);

// The parts of it that do not look at timings.
std::vector<Difference> differences_of(const std::vector<Run>& baseline, const std::vector<Run>& other);
std::vector<std::string> warnings_about(const std::vector<Run>& baseline, const std::vector<Run>& other);

// With fewer launches than this on a side, launches cannot be resampled to any purpose.
inline constexpr size_t kEnoughLaunches = 3;

}  // namespace farscale
