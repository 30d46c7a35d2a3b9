// Synthetic timings for the tests of this room: the same on every platform.
#pragma once

#include <cmath>
#include <cstdint>
#include <numbers>
#include <random>
#include <vector>

namespace farscale {

// Log-normal timings by Box and Muller from mt19937_64.
class Noise {
 public:
  explicit Noise(uint64_t seed) : random_(seed) {}

  double uniform() { return (double(random_() >> 11) + 0.5) / 9007199254740992.0; }
  double normal() {
    const double radius = std::sqrt(-2 * std::log(uniform()));
    return radius * std::cos(2 * std::numbers::pi * uniform());
  }
  double timing(double centre_s, double spread) { return centre_s * std::exp(spread * normal()); }
  std::vector<double> timings(int count, double centre_s, double spread) {
    std::vector<double> values;
    for (int i = 0; i < count; ++i) values.push_back(timing(centre_s, spread));
    return values;
  }

 private:
  std::mt19937_64 random_;
};

}  // namespace farscale
