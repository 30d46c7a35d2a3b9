// The arrow's Schur complement.
#include "cluster/scaling_solver.h"

#include <algorithm>

namespace farscale {

using Eigen::Index;

void ArrowSystem::Block::couple(int parameter, double value) {
  const auto found =
      std::find_if(coupling.begin(), coupling.end(), [&](const Slope& one) { return one.parameter == parameter; });
  if (found != coupling.end()) {
    found->value += value;
  } else {
    coupling.push_back({parameter, value});
  }
}

ArrowSystem::ArrowSystem(size_t shared, size_t series)
    : matrix_(Eigen::MatrixXd::Identity(Index(shared), Index(shared)) * 1e-9),
      gradient_(Eigen::VectorXd::Zero(Index(shared))),
      blocks_(series),
      own_step_(series, 0) {}

void ArrowSystem::add(const Gradient& gradient, double residual, double weight) {
  for (size_t i = 0; i < gradient.count; ++i) {
    const Slope& left = gradient.shared[i];
    gradient_[left.parameter] -= weight * left.value * residual;
    for (size_t j = 0; j < gradient.count; ++j) {
      matrix_(left.parameter, gradient.shared[j].parameter) += weight * left.value * gradient.shared[j].value;
    }
  }
  if (gradient.series < 0) return;
  Block& block = blocks_[size_t(gradient.series)];
  block.curvature += weight * gradient.own * gradient.own;
  block.gradient -= weight * gradient.own * residual;
  for (size_t i = 0; i < gradient.count; ++i) {
    block.couple(gradient.shared[i].parameter, weight * gradient.own * gradient.shared[i].value);
  }
}

void ArrowSystem::solve() {
  for (const Block& block : blocks_) {
    if (block.curvature <= 0) continue;
    for (const Slope& left : block.coupling) {
      gradient_[left.parameter] -= left.value * block.gradient / block.curvature;
      for (const Slope& right : block.coupling) {
        matrix_(left.parameter, right.parameter) -= left.value * right.value / block.curvature;
      }
    }
  }
  factor_.compute(matrix_);
  shared_step_ = factor_.solve(gradient_);
  for (size_t i = 0; i < blocks_.size(); ++i) {
    const Block& block = blocks_[i];
    if (block.curvature <= 0) continue;
    double rest = block.gradient;
    for (const Slope& one : block.coupling) rest -= one.value * shared_step_[one.parameter];
    own_step_[i] = rest / block.curvature;
  }
}

double ArrowSystem::variance(const Gradient& gradient) const {
  Eigen::VectorXd slopes = Eigen::VectorXd::Zero(gradient_.size());
  for (size_t i = 0; i < gradient.count; ++i) slopes[gradient.shared[i].parameter] += gradient.shared[i].value;
  double own = 0;
  if (gradient.series >= 0 && blocks_[size_t(gradient.series)].curvature > 0) {
    const Block& block = blocks_[size_t(gradient.series)];
    own = gradient.own * gradient.own / block.curvature;
    for (const Slope& one : block.coupling) slopes[one.parameter] -= one.value * gradient.own / block.curvature;
  }
  return own + slopes.dot(factor_.solve(slopes));
}

}  // namespace farscale
