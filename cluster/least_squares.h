// Weighted least squares on relative errors with coefficients that cannot be negative: times are sums of terms that
// each cost something. Robust (Huber weights), with the covariance of what was fitted.
#pragma once

#include <vector>

namespace farscale {

struct LinearFit {
  std::vector<double> coefficients;             // as the columns; 0 where the data wanted less than nothing
  std::vector<std::vector<double>> covariance;  // of the coefficients, zero rows and columns for those at 0
  double log_sigma = 0;                         // robust spread of relative residuals
  double at(const std::vector<double>& row) const;
  double standard_error(const std::vector<double>& row) const;  // of at(row), from the covariance
};

// rows[i] are the terms of observation i, times[i] > 0 what was seen; weights (optional) multiply each squared relative
// error. Columns that are zero everywhere get coefficient 0. At most 10 columns.
LinearFit fit_relative(const std::vector<std::vector<double>>& rows, const std::vector<double>& times,
                       const std::vector<double>& weights = {});

}  // namespace farscale
