// States by day: kept column by column, read day by day.
#include "cluster/plan_by_day.h"

#include "cluster/plan_run.h"

namespace farscale {

DayRanges::DayRanges(int days, size_t columns) : days_(size_t(days)), columns_(columns) {
  gpus_.resize(columns_ * days_ * kDayStates.size());
}

void DayRanges::add(size_t column, int day, const SiteDay& site) {
  float* gpus = &gpus_[(column * days_ + size_t(day)) * kDayStates.size()];
  for (size_t s = 0; s < kDayStates.size(); ++s) gpus[s] += float(kDayStates[s].gpus(site));
}

std::vector<DayRange> DayRanges::ranges() const {
  std::vector<DayRange> ranges(days_);
  std::vector<double> columns(columns_);
  for (size_t d = 0; d < days_; ++d)
    for (size_t s = 0; s < kDayStates.size(); ++s) {
      for (size_t c = 0; c < columns_; ++c) columns[c] = double(gpus_[(c * days_ + d) * kDayStates.size() + s]);
      ranges[d][s] = estimate_of(columns);
    }
  return ranges;
}

}  // namespace farscale
