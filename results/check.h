// Acceptance: does a machine do what it should, and if not, which rank or host does not, and in what.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "results/compare.h"

namespace farscale {

struct CheckOptions {
  double threshold = 0.05;  // how much slower than the baseline, or than the other ranks, is accepted
  uint64_t seed = 1;
};

// One rank (or host) against the median of the others, over the cases every rank runs on its own (GEMM and memory):
// inside a collective all ranks take the time of the slowest, so it names nobody.
struct Standing {
  std::string who = {};  // "rank 3", "host gpu-17"
  std::string host = {};
  std::string family = {};
  RatioEstimate ratio = {};  // median over the cases of own time over the others' median, with the interval over cases
  size_t cases = 0;
  bool slow = false;
};

struct Finding {
  std::string what = {};  // "wrong", "failed", "skipped", "slower", "slow rank", "slow host", "missing", "incomplete"
  std::string where = {};
  std::string why = {};
};

struct Check {
  std::vector<Finding> findings = {};  // empty: accepted
  std::vector<Standing> standings = {};
  size_t cases = 0;
  size_t compared = 0;  // with the baseline
  std::vector<std::string> warnings = {};
};

// `baseline` may be null: then only the machine's own evenness and its cases' statuses count.
Check check(const Run& result, const Run* baseline, const CheckOptions& options);

}  // namespace farscale
