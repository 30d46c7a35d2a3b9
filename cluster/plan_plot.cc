// Plans as a picture.
#include "cluster/plan_plot.h"

namespace farscale {

std::string plot_svg(const std::vector<PlanReport>&) { return "<svg/>"; }

}  // namespace farscale
