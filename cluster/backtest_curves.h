// Tables of collectives as curves of time over size, and the law that one family of curves follows.
//
//   T = alpha (1 + kappa X / (X + c alpha)) + X,  X = wire(n) S / B(m),  alpha = alpha_1 + h levels(m)
//   B(m) = min(B_in, eta B_cards boost(m))
//
// S bytes, n ranks in m domains; wire: nccl-tests' bus factor; levels: 2 log2 m for an all-reduce (double binary tree),
// n - 1 hops of a ring for gathers and scatters, which have no tree. boost: 1.9 at two domains and 1.27 at three, where
// a double binary tree loads a card with S and 1.5 S instead of 2 S. Small messages run the library's
// low-latency protocols and pay alpha, large ones its plain protocol, whose pipeline takes (1 + kappa) alpha to fill;
// the change lies where the flow takes c alpha.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "cluster/backtest_fabric.h"
#include "kernels/problem.h"
#include "results/csv.h"

namespace farscale {

struct CurvePoint {
  double bytes, time_s;
  std::string where;
  std::string doubt;  // what its source says against it; "" when nothing
};

struct Curve {
  std::string system, collective;
  CollectiveKind kind = CollectiveKind::kAllReduce;
  Fabric fabric;
  int64_t gpus = 0;
  bool background = false;         // shipped knowledge, not asked about
  std::vector<CurvePoint> points;  // ascending in bytes, one a size
  double domains() const { return std::ceil(double(gpus) / double(fabric.domain)); }
  bool one_domain() const { return gpus <= fabric.domain; }
};

// Throws InputError for missing columns and for numbers that cannot be; rows without a size or a time are left out,
// and collectives that no law describes, with a note.
std::vector<Curve> read_curves(const CsvTable& table, std::vector<std::string>* notes = nullptr);

// Time at `bytes` through known points: straight in log time over log size; beyond the ends by the last two points
// (time cannot fall with size, nor grow faster than size).
double through(const std::vector<CurvePoint>& known, double bytes);

// Parameters as logarithms, in this order.
struct LawValues {
  enum Name : uint8_t { kAlpha, kHop, kKappa, kChange, kInside, kShare, kCount };
  std::array<double, kCount> mean{}, sigma{};
};

// What is believed of a fabric's law before any of its curves: the data sheet, and shapes of other fabrics.
LawValues expected_law(const Fabric& fabric, CollectiveKind kind);

// A law fitted to curves (of one fabric, and one-domain curves of the same GPU), with its covariance.
class FittedLaw {
 public:
  FittedLaw(const LawValues& expected, const std::vector<const Curve*>& curves);
  double log_time(const Curve& of, double bytes) const;   // at another number of ranks
  double log_sigma(const Curve& of, double bytes) const;  // of log_time, from the parameters' covariance
  const std::array<double, LawValues::kCount>& values() const { return values_; }

 private:
  std::array<double, LawValues::kCount> values_{};
  std::array<std::array<double, LawValues::kCount>, LawValues::kCount> covariance_{};
};

}  // namespace farscale
