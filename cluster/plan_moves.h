// Transfers: GPUs that are taken out at one site, are on the road, and arrive at another. They are taken out in the
// morning, in whole nodes; what is not there yet follows when it is.
#pragma once

#include <deque>
#include <vector>

#include "cluster/plan_site_days.h"

namespace farscale {

// A transfer's figures in all columns, days after the plan's start.
struct TransferDraws {
  size_t from, to;
  std::vector<double> day, gpus, transit_days;
};

std::vector<TransferDraws> transfer_draws(const Plan& plan, const RunOptions& options);

// Transfers of one column: GPUs that are still to be taken out, and those on the road.
class Moves {
 public:
  Moves(const std::vector<TransferDraws>& transfers, size_t column);
  void apply(int day, std::deque<SiteColumn>& sites);  // before the day's steps

 private:
  struct OnTheRoad {
    size_t from, to;
    double arrives, gpus;
  };
  const std::vector<TransferDraws>& transfers_;
  size_t column_;
  std::vector<double> left_;
  std::vector<OnTheRoad> road_;
};

}  // namespace farscale
