// How wide a 90 % range must be: as many sigmas as held 90 % of the rows of everything else.
#pragma once

#include <string>
#include <vector>

namespace farscale {

// How far off a prediction of a row was, in units of its own sigma.
struct Surprise {
  std::string series;
  double size = 0;  // |log(predicted / measured)| / log_sigma
};

// Sigmas that hold 90 % of the rows outside `series`. Few rows count less than what is expected of a Student-t of about
// 8 degrees of freedom (rows have heavy tails).
double reach_of(const std::vector<Surprise>& all, const std::string& series);

}  // namespace farscale
