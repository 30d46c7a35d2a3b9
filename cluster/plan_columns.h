// All sites of a plan in step with each other, one column (a draw of all figures, the first one nominal) at a time.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <vector>

#include "cluster/plan_moves.h"
#include "cluster/plan_site_days.h"

namespace farscale {

class PlanColumns {
 public:
  // Plan and options must outlive it. Throws InputError when the workload cannot run on the machine of a site.
  PlanColumns(const Plan& plan, const RunOptions& options, const MachineSource& machines);

  const std::vector<std::unique_ptr<SiteRun>>& sites() const { return sites_; }
  size_t count() const { return size_t(options_.draws) + 1; }

  using Parts = std::deque<SiteColumn>;
  // A column with deliveries and rentals `scale` times as large, RunOptions::largest_scale at most, day by day; `visit`
  // sees the sites after each day and ends the run by returning false. For any number of threads.
  Parts play(int column, double scale, const std::function<bool(int day, Parts&)>& visit) const;

  // Work for every column, over RunOptions::threads; what it writes belongs to its column alone, so that the answer
  // does not depend on how many there are. Tells RunOptions::progress.
  void each(const std::function<void(int column)>& work) const;

 private:
  const Plan& plan_;
  const RunOptions& options_;
  std::vector<std::unique_ptr<SiteRun>> sites_;
  std::vector<TransferDraws> transfers_;
};

}  // namespace farscale
