// Plans as a picture: one SVG with the fleet, training delivered, power and cost over time.
#pragma once

#include <string>
#include <vector>

#include "cluster/plan_run.h"

namespace farscale {

// One plan: the fleet by state, and bands from the 5th to the 95th percentile. Several: a line with its band each.
std::string plot_svg(const std::vector<PlanReport>& reports);

}  // namespace farscale
