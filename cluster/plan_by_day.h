// GPUs by state on every day of a plan, with their range over the draws.
#pragma once

#include <array>
#include <vector>

#include "cluster/plan_bringup.h"
#include "cluster/quantity.h"

namespace farscale {

struct DayState {
  const char* key;  // "in_service"
  double (*gpus)(const SiteDay& day);
};

inline constexpr std::array kDayStates = {DayState{"ordered", [](const SiteDay& day) { return day.ordered; }},
                                          DayState{"delivered", [](const SiteDay& day) { return day.delivered; }},
                                          DayState{"in_transit", [](const SiteDay& day) { return day.in_transit; }},
                                          DayState{"stored", [](const SiteDay& day) { return day.stored; }},
                                          DayState{"racked", [](const SiteDay& day) { return day.racked; }},
                                          DayState{"burning_in", [](const SiteDay& day) { return day.burning_in; }},
                                          DayState{"in_repair", [](const SiteDay& day) { return day.in_repair; }},
                                          DayState{"dark", [](const SiteDay& day) { return day.dark; }},
                                          DayState{"in_service", [](const SiteDay& day) { return day.in_service; }},
                                          DayState{"idle", [](const SiteDay& day) { return day.idle(); }}};

using DayRange = std::array<Estimate, kDayStates.size()>;  // of one day, in the order of kDayStates

// Draws whose days are kept: 5,000 of two years take 117 MB.
inline constexpr int kMostDrawsByDay = 5000;

// Collects the days of every column: sums over sites.
class DayRanges {
 public:
  DayRanges(int days, size_t columns);
  // For columns of different threads at once.
  void add(size_t column, int day, const SiteDay& site);
  // By day, over the draws; the nominal column's values alone when there are none.
  std::vector<DayRange> ranges() const;

 private:
  size_t days_, columns_;
  std::vector<float> gpus_;  // [column][day][state]
};

}  // namespace farscale
