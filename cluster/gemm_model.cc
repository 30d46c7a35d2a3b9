// Quantisation, the fit over all shapes and the correction near measured ones.
#include "cluster/gemm_model.h"

#include <algorithm>
#include <cmath>

#include "cluster/least_squares.h"
#include "kernels/error.h"
#include "results/statistics.h"

namespace farscale {
namespace {

// Output tiles of dense kernels and what a multiprocessor attains in them against the largest tile: smaller tiles load
// more bytes for each FLOP from shared memory (arithmetic intensity m n / (m + n)).
struct Tile {
  int m, n;
  double share;
};
constexpr Tile kTiles[] = {{256, 128, 1.00}, {128, 256, 1.00}, {128, 128, 0.95}, {128, 64, 0.82},
                           {64, 128, 0.82},  {64, 64, 0.68},   {256, 32, 0.60},  {32, 256, 0.60},
                           {64, 32, 0.45},   {32, 64, 0.45},   {32, 32, 0.30}};
constexpr double kPrologue = 96;  // k-steps' worth of filling and draining a tile's pipeline
constexpr double kSplits[] = {1, 2, 4, 8, 16, 32, 64};

// Reach of a record, in doublings: beyond it a record says little about a shape. The residuals of neighbouring records
// of published GEMM tables are alike over about this far.
constexpr double kReach = 1.5;
constexpr double kOwn = 1;                 // weight of the fit over all shapes, as of a record one doubling away
constexpr double kNoise = 0.01;            // of a record's own time
constexpr double kSigmaPerDoubling = 0.1;  // beyond the fitted FLOPs: assumption

double ceil_div(double a, double b) { return std::ceil(a / b); }

double work_of(const GemmProblem& gemm, int multiprocessors) {
  return multiprocessors > 1 ? quantised_flops(gemm, multiprocessors) : gemm.flops();
}

double doublings_outside(double value, double least, double most) {
  return std::max({0.0, std::log2(value / most), std::log2(least / value)});
}

}  // namespace

double quantised_flops(const GemmProblem& gemm, int multiprocessors) {
  const double k = double(gemm.k);
  double best = INFINITY;
  for (const Tile& tile : kTiles) {
    const double tiles = ceil_div(double(gemm.m), tile.m) * ceil_div(double(gemm.n), tile.n) * double(gemm.batch);
    for (const double split : kSplits) {
      if (split > 1 && k / split < 128) break;
      // Tiles over multiprocessors in whole waves; half of the last wave's idle time is won back by unequal tiles
      // (stream-K, two resident blocks).
      const double waves = tiles * split / multiprocessors;
      const double whole = waves < 1 ? 1 : 0.5 * (waves + std::ceil(waves));
      const double steps = k / split + kPrologue + (split > 1 ? 32 * std::log2(split) : 0);
      best = std::min(best, whole * multiprocessors * 2.0 * tile.m * tile.n * steps / tile.share);
      if (waves > 4) break;  // splitting cannot help a full machine
    }
  }
  return std::max(best, gemm.flops());
}

double shape_distance(const GemmProblem& a, const GemmProblem& b) {
  const auto doublings = [](int64_t x, int64_t y) { return std::log2(double(x) / double(y)); };
  const double m = doublings(a.m, b.m), n = doublings(a.n, b.n), k = doublings(a.k, b.k);
  const double batch = doublings(a.batch, b.batch);
  const int turned = (a.transpose_a != b.transpose_a) + (a.transpose_b != b.transpose_b);
  return std::sqrt(m * m + n * n + k * k + batch * batch + 0.25 * turned);
}

namespace {

constexpr size_t kNone = size_t(-1);

// The estimate without record `skipped`.
GemmEstimate estimate_without(const GemmFit& fit, const GemmProblem& gemm, size_t skipped) {
  GemmEstimate estimate{.launch_s = fit.launch_s,
                        .flops_s = fit.s_per_flop * work_of(gemm, fit.multiprocessors),
                        .bytes_s = fit.s_per_byte * gemm.bytes()};
  double weights = kOwn, correction = 0, nearest = INFINITY;
  for (size_t i = 0; i < fit.points.size(); ++i) {
    if (i == skipped) continue;
    const double distance = shape_distance(fit.points[i].gemm, gemm);
    const double weight = 1 / (distance * distance + kNoise);
    correction += weight * std::log(fit.points[i].time_s / gemm_trend(fit, fit.points[i].gemm));
    weights += weight;
    nearest = std::min(nearest, distance);
  }
  const double factor = std::exp(correction / weights);
  estimate.launch_s *= factor, estimate.flops_s *= factor, estimate.bytes_s *= factor;
  estimate.distance = std::isfinite(nearest) ? nearest : 0;
  // Near a record the fit's spread says nothing; far from all, all of it does, and more outside the fitted FLOPs.
  const double unlike = 1 - std::exp(-2 * nearest * nearest / (kReach * kReach));
  const double outside = doublings_outside(gemm.flops(), fit.least_flops, fit.most_flops);
  estimate.log_sigma = std::hypot(kNoise, fit.log_sigma * std::sqrt(unlike), kSigmaPerDoubling * outside);
  return estimate;
}

// Widens the spread until nine of ten records lie in the range that the others give them.
void calibrate(GemmFit& fit) {
  constexpr double kNineTenths = 1.645;  // a normal number stays within so many deviations nine times in ten
  std::vector<double> misses;
  for (size_t i = 0; i < fit.points.size(); ++i) {
    const GemmEstimate others = estimate_without(fit, fit.points[i].gemm, i);
    misses.push_back(std::abs(std::log(others.total() / fit.points[i].time_s)) / others.log_sigma);
  }
  fit.log_sigma *= std::max(1.0, quantile(misses, 0.9) / kNineTenths);
}

// The records as rows of launch, work and bytes, fitted.
GemmFit fit_counting(const std::vector<GemmPoint>& records, int multiprocessors) {
  GemmFit fit{.least_flops = INFINITY,
              .records = int(records.size()),
              .points = records,
              .multiprocessors = std::max(1, multiprocessors)};
  std::vector<std::vector<double>> rows;
  std::vector<double> times;
  for (const GemmPoint& one : records) {
    rows.push_back({1, work_of(one.gemm, fit.multiprocessors), one.gemm.bytes()});
    times.push_back(one.time_s);
    fit.least_flops = std::min(fit.least_flops, one.gemm.flops());
    fit.most_flops = std::max(fit.most_flops, one.gemm.flops());
  }
  const LinearFit linear = fit_relative(rows, times);
  fit.launch_s = linear.coefficients[0];
  fit.s_per_flop = linear.coefficients[1];
  fit.s_per_byte = linear.coefficients[2];
  fit.log_sigma = std::max(kNoise, linear.log_sigma);
  calibrate(fit);
  return fit;
}

}  // namespace

// A library whose kernels are not those of the tile table is fitted better without it.
GemmFit fit_gemms(const std::vector<GemmPoint>& records, int multiprocessors) {
  if (records.empty()) throw InputError("no GEMM records to fit");
  GemmFit plain = fit_counting(records, 1);
  if (multiprocessors <= 1) return plain;
  GemmFit quantised = fit_counting(records, multiprocessors);
  return quantised.log_sigma <= plain.log_sigma ? quantised : plain;
}

double gemm_trend(const GemmFit& fit, const GemmProblem& gemm) {
  return fit.launch_s + fit.s_per_flop * work_of(gemm, fit.multiprocessors) + fit.s_per_byte * gemm.bytes();
}

GemmEstimate gemm_estimate(const GemmFit& fit, const GemmProblem& gemm) { return estimate_without(fit, gemm, kNone); }

}  // namespace farscale
