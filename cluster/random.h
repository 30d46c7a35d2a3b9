// Normal and uniform numbers for the Monte Carlo: inverse and forward normal distribution, and a seeded generator whose
// sequence is the same on every machine.
#pragma once

#include <cstdint>

namespace farscale {

double normal_cdf(double z);
// Inverse of normal_cdf for p in (0, 1): P. J. Acklam's rational approximation with one Halley step (error below
// 1e-13).
double normal_quantile(double p);

// splitmix64 (S. Vigna, public domain algorithm; Steele, Lea, Flood, OOPSLA 2014).
class Rng {
 public:
  explicit Rng(uint64_t seed) : state_(seed) {}
  uint64_t next();
  double uniform();  // in (0, 1), never 0 or 1
  double normal() { return normal_quantile(uniform()); }

 private:
  uint64_t state_;
};

}  // namespace farscale
