// Non-negative least squares by trying every set of active columns (there are few), inside Huber reweighting.
#include "cluster/least_squares.h"

#include <Eigen/Dense>
#include <algorithm>
#include <cmath>
#include <numeric>

namespace farscale {
namespace {

using Eigen::MatrixXd;
using Eigen::VectorXd;

constexpr double kHuber = 1.345;  // 95 % efficiency at the normal (Huber 1981)

struct Solution {
  std::vector<int> active;
  VectorXd coefficients;  // of all columns
  double cost = INFINITY;
};

// Least squares on one set of columns, scaled to unit length for conditioning; rejected when a coefficient is negative.
Solution solve_subset(const MatrixXd& design, const VectorXd& target, const std::vector<int>& active) {
  MatrixXd part(design.rows(), Eigen::Index(active.size()));
  VectorXd scale(Eigen::Index(active.size()));
  for (size_t i = 0; i < active.size(); ++i) {
    const auto column = design.col(active[i]);
    scale[Eigen::Index(i)] = std::max(column.norm(), 1e-300);
    part.col(Eigen::Index(i)) = column / scale[Eigen::Index(i)];
  }
  const Eigen::ColPivHouseholderQR<MatrixXd> qr(part);
  if (qr.rank() < part.cols()) return {};
  const VectorXd found = qr.solve(target);
  if ((found.array() < 0).any()) return {};
  Solution solution{active, VectorXd::Zero(design.cols()), (part * found - target).squaredNorm()};
  for (size_t i = 0; i < active.size(); ++i) {
    solution.coefficients[active[i]] = found[Eigen::Index(i)] / scale[Eigen::Index(i)];
  }
  return solution;
}

// The least cost over all subsets: the non-negative least-squares solution is the best feasible one.
Solution solve_not_negative(const MatrixXd& design, const VectorXd& target) {
  Solution best;
  const auto columns = unsigned(design.cols());
  for (unsigned mask = 1; mask < (1u << columns); ++mask) {
    std::vector<int> active;
    for (unsigned i = 0; i < columns; ++i) {
      if ((mask >> i & 1u) != 0 && design.col(int(i)).norm() > 0) active.push_back(int(i));
    }
    if (active.empty() || Eigen::Index(active.size()) > design.rows()) continue;
    const Solution solution = solve_subset(design, target, active);
    if (solution.cost < best.cost * (1 - 1e-9)) best = solution;
  }
  return best;
}

double robust_sigma(const VectorXd& residuals, Eigen::Index parameters) {
  std::vector<double> sizes(residuals.data(), residuals.data() + residuals.size());
  for (double& size : sizes) size = std::abs(size);
  std::nth_element(sizes.begin(), sizes.begin() + ptrdiff_t(sizes.size() / 2), sizes.end());
  const double freedom = std::max(1.0, double(residuals.size() - parameters));
  return 1.4826 * sizes[sizes.size() / 2] * std::sqrt(double(residuals.size()) / freedom);
}

std::vector<std::vector<double>> covariance_of(const MatrixXd& design, const Solution& solution, double sigma) {
  const auto columns = size_t(design.cols());
  std::vector<std::vector<double>> covariance(columns, std::vector<double>(columns, 0));
  MatrixXd part(design.rows(), Eigen::Index(solution.active.size()));
  for (size_t i = 0; i < solution.active.size(); ++i) part.col(Eigen::Index(i)) = design.col(solution.active[i]);
  // Scale columns to unit length before inverting, and back.
  const VectorXd norms = part.colwise().norm();
  const MatrixXd unit = part * norms.cwiseInverse().asDiagonal();
  const MatrixXd inverse = (unit.transpose() * unit).completeOrthogonalDecomposition().pseudoInverse();
  for (size_t i = 0; i < solution.active.size(); ++i) {
    for (size_t j = 0; j < solution.active.size(); ++j) {
      covariance[size_t(solution.active[i])][size_t(solution.active[j])] =
          sigma * sigma * inverse(Eigen::Index(i), Eigen::Index(j)) / (norms[Eigen::Index(i)] * norms[Eigen::Index(j)]);
    }
  }
  return covariance;
}

}  // namespace

double LinearFit::at(const std::vector<double>& row) const {
  return std::inner_product(row.begin(), row.end(), coefficients.begin(), 0.0);
}

double LinearFit::standard_error(const std::vector<double>& row) const {
  double variance = 0;
  for (size_t i = 0; i < row.size(); ++i) {
    for (size_t j = 0; j < row.size(); ++j) variance += row[i] * row[j] * covariance[i][j];
  }
  return std::sqrt(std::max(0.0, variance));
}

// Gauss-Newton on log(prediction / time): rows and targets relative to the prediction of the pass before. The first
// passes weigh by 1 / |residual| (least absolute), so that an outlier cannot choose where the robust fit starts.
LinearFit fit_relative(const std::vector<std::vector<double>>& rows, const std::vector<double>& times,
                       const std::vector<double>& weights) {
  LinearFit fit;
  if (rows.empty()) return fit;
  const auto observations = Eigen::Index(rows.size());
  const auto columns = Eigen::Index(rows[0].size());
  MatrixXd terms(observations, columns);
  VectorXd seen(observations), own = VectorXd::Ones(observations);
  for (Eigen::Index i = 0; i < observations; ++i) {
    seen[i] = times[size_t(i)];
    if (!weights.empty()) own[i] = std::sqrt(weights[size_t(i)]);
    for (Eigen::Index j = 0; j < columns; ++j) terms(i, j) = rows[size_t(i)][size_t(j)];
  }
  VectorXd predicted = seen, weight = own;
  Solution solution;
  MatrixXd design;
  for (int pass = 0; pass < 40; ++pass) {
    const VectorXd target = VectorXd::Ones(observations) + (seen.array() / predicted.array()).log().matrix();
    design = weight.cwiseQuotient(predicted).asDiagonal() * terms;
    const Solution next = solve_not_negative(design, weight.cwiseProduct(target));
    if (next.active.empty()) break;
    solution = next;
    // Half steps in the logarithm keep far starts from overshooting.
    const VectorXd found = (terms * solution.coefficients).cwiseMax(1e-30);
    predicted = pass < 20 ? VectorXd((0.5 * (found.array().log() + predicted.array().log())).exp()) : found;
    const VectorXd residuals = (found.array() / seen.array()).log();
    fit.log_sigma = robust_sigma(residuals, Eigen::Index(solution.active.size()));
    for (Eigen::Index i = 0; i < observations; ++i) {
      const double size = std::abs(residuals[i]) / std::max(fit.log_sigma, 1e-6);
      const double robust = pass < 20 ? 1 / std::max(size, 0.05) : size > kHuber ? kHuber / size : 1;
      weight[i] = own[i] * std::sqrt(robust);
    }
  }
  fit.coefficients.assign(size_t(columns), 0);
  fit.covariance.assign(size_t(columns), std::vector<double>(size_t(columns), 0));
  if (solution.active.empty()) return fit;
  for (Eigen::Index j = 0; j < columns; ++j) fit.coefficients[size_t(j)] = solution.coefficients[j];
  fit.covariance = covariance_of(design, solution, fit.log_sigma);
  return fit;
}

}  // namespace farscale
