// Slow, plain references and the error bounds a result is held against. No library, no vector code: this is what the
// fast kernels of every module are compared with before they are timed.
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

#include "kernels/backend.h"
#include "kernels/elements.h"
#include "kernels/problem.h"

namespace farscale {

// ---- GEMM ----

// A stored operand, row-major: rows x columns as the product uses it, columns x rows in memory when transposed.
struct MatrixView {
  const void* data = nullptr;
  Decode decode = nullptr;
  int64_t rows = 0;
  int64_t columns = 0;
  bool transposed = false;
  int64_t first = 0;  // element of `data` where the matrix starts: its place in a batch
};

// How a kernel rounds: products are summed with unit roundoff `sum`, the result is stored with unit roundoff `output`.
// random_walk: roundings go both ways without bias (round to nearest), so that the probabilistic bound holds; false for
// hardware that truncates.
struct GemmRounding {
  double sum = 0x1p-24;
  double output = 0;
  bool random_walk = true;
};

// Largest |error| of a dot product of length k over sum |a||b|, for any order of summation, fused or not:
// gamma_k = k u / (1 - k u) (Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., section 3.1), or, for
// unbiased roundings, exp(l sqrt(k) u + k u^2 / (1 - u)) - 1 with l = 10 (Higham and Mary, SIAM J. Sci. Comput. 41(5),
// 2019, theorem 3.1: it fails with probability below 2 k exp(-l^2 (1 - u)^2 / 2), 4e-22 k). The smaller of the two.
double dot_error_factor(const GemmRounding& rounding, int64_t k);

// The operands of every batch item: op(A) m x k, op(B) k x n, C m x n, batch items one after the other.
struct GemmOperands {
  const void* a = nullptr;
  const void* b = nullptr;
  const void* c = nullptr;
  Decode decode_inputs = nullptr;
  Decode decode_output = nullptr;
};

// Up to 256^3 products: every entry. Above: 64 random entries or more, and for every row and column a signed checksum,
// C x = A (B x) with random signs x (Freivalds, IFIP 1977): if each entry is within its bound, then by Hoeffding the
// sum over a row strays beyond 8 times the root of the sum of squared bounds with probability below 3e-14.
// Errors are in units of what is allowed there, |error| / (factor |a|.|b| + output roundoff |c|), so the bound is 1.
// With both roundoffs 0 the result must be exact (int8 products in int32).
Verdict check_gemm(const GemmProblem& problem, const GemmOperands& operands, const GemmRounding& rounding,
                   uint64_t seed);

// ---- Memory kernels ----

inline constexpr double kTriadScale = 3;  // z = x + 3 y

// One AdamW step with its bias corrections folded in (Loshchilov and Hutter, ICLR 2019, algorithm 2).
template <typename T>
struct AdamWStep {
  T beta1 = T(0.9);
  T rest1 = T(1) - T(0.9);  // 1 - beta1
  T beta2 = T(0.999);
  T rest2 = T(1) - T(0.999);         // 1 - beta2
  T inverse_root_bias2 = T(1.2576);  // 1 / sqrt(1 - beta2^t) at step t = 1000
  T epsilon = T(1e-8);
  T keep = T(1) - T(1e-3) * T(0.01);  // 1 - rate * decay
  T step = T(1e-3);                   // rate / (1 - beta1^t)
};

// The update, 14 floating-point operations an element (3 + 4 + 3 + 4; a division and a root count as one each).
template <typename T>
inline void adamw_update(T& p, T& m, T& v, T g, const AdamWStep<T>& s) {
  m = s.beta1 * m + s.rest1 * g;
  v = s.beta2 * v + s.rest2 * g * g;
  const T denominator = std::sqrt(v) * s.inverse_root_bias2 + s.epsilon;
  p = p * s.keep - s.step * m / denominator;
}

// The arrays of one memory kernel before and after one run. copy: x -> y. triad: x, y -> z. adamw: p, m, v, g.
struct MemoryArrays {
  std::vector<const void*> before;  // copy: x; triad: x y; adamw: p m v g
  std::vector<const void*> after;   // copy: y; triad: z; adamw: p m v
};

// Every element. copy: exact (bound 0). triad and adamw: errors in units of the unit roundoff times the sum of the
// absolute values of the terms; allowed is one unit for every operation on the way (triad 2, adamw m 3, v 4, p 14).
Verdict check_memory(const MemoryProblem& problem, const MemoryArrays& arrays);

// ---- Collectives ----

// What each rank sends so that the sum is exact in any order and in any type, and different when a rank is missing:
// small positive integers, at most 128 ranks adding to one element (bf16 counts exactly to 256).
class CollectivePattern {
 public:
  explicit CollectivePattern(const CollectiveProblem& problem);

  int64_t send_elements() const;                     // of one rank
  int64_t receive_elements() const;                  // of one rank
  double sent(int rank, int64_t element) const;      // element of the rank's send buffer
  double expected(int rank, int64_t element) const;  // element of the rank's receive buffer

  // Fills a send buffer, and compares a receive buffer element by element (exactly: bound 0).
  void write(int rank, void* send) const;
  Verdict check(int rank, const void* received) const;

 private:
  double summand(int rank, int64_t slot) const;
  double sum(int64_t element) const { return sums_[static_cast<size_t>(slot(element))]; }
  int64_t slot(int64_t element) const;

  CollectiveProblem problem_;
  int64_t part_ = 0;  // elements of the whole over the ranks
  int64_t whole_ = 0;
  std::vector<double> sums_;  // over the ranks, for each slot of the pattern
};

}  // namespace farscale
