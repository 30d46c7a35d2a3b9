// Gauss-Newton normal equations in the shape of an arrow: a few parameters that all rows share, and one parameter of
// its own for every series. The own ones are eliminated (Schur complement), so a fit of hundreds of series costs what
// the shared ones do.
#pragma once

#include <Eigen/Dense>
#include <array>
#include <vector>

namespace farscale {

// Derivative of a residual by one parameter.
struct Slope {
  int parameter = 0;
  double value = 0;
};

// The derivatives of one residual: by shared parameters, and by its series' own.
struct Gradient {
  static constexpr size_t kMost = 20;
  std::array<Slope, kMost> shared{};
  size_t count = 0;
  int series = -1;  // -1: none
  double own = 0;
  void add(int parameter, double value) {
    if (parameter >= 0 && value != 0) shared[count++] = {parameter, value};
  }
};

class ArrowSystem {
 public:
  ArrowSystem(size_t shared, size_t series);
  void add(const Gradient& gradient, double residual, double weight);
  void solve();  // after the last add()
  size_t shared() const { return size_t(gradient_.size()); }
  double shared_step(size_t i) const { return shared_step_[Eigen::Index(i)]; }
  double own_step(size_t i) const { return own_step_[i]; }
  // Variance of a quantity with these derivatives, from the inverse of the normal matrix.
  double variance(const Gradient& gradient) const;

 private:
  struct Block {  // of one series
    double curvature = 0, gradient = 0;
    std::vector<Slope> coupling;
    void couple(int parameter, double value);
  };
  Eigen::MatrixXd matrix_;
  Eigen::VectorXd gradient_, shared_step_;
  std::vector<Block> blocks_;
  std::vector<double> own_step_;
  Eigen::LDLT<Eigen::MatrixXd> factor_;
};

}  // namespace farscale
