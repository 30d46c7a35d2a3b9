// What one plan has more than another, over common random numbers: in all, by organisation, by site.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "cluster/plan_run.h"

namespace farscale {

// Totals that plans are compared by.
inline constexpr std::array kCompared = {Total::kSamples,       Total::kServiceGpuDays, Total::kIdleGpuDays,
                                         Total::kStoredGpuDays, Total::kPeakStored,     Total::kEnergyMwh,
                                         Total::kCostUsd,       Total::kWrittenOffUsd};

// More in the other plan than in the base, draw by draw.
struct TotalDifference {
  Estimate more;
  double share_more = 0;  // of the draws
};

struct PartDifference {
  std::string name;
  std::array<TotalDifference, kCompared.size()> totals;
};

// Parts of one plan alone have nothing to be held against: they are named.
struct PartDifferences {
  std::vector<PartDifference> both;
  std::vector<std::string> only_base, only_other;
};

struct PlanDifference {
  std::string base, other;
  PartDifference whole;
  PartDifferences organisations, sites;
};

// Both of the same seed and number of draws.
PlanDifference difference_of(const PlanReport& base, const PlanReport& other);

}  // namespace farscale
