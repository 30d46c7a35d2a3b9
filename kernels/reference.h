// Slow, plain references and the error bounds a result is held against. No library, no vector code: this is what the
// fast kernels of every module are compared with before they are timed.
#pragma once

#include <cmath>
#include <cstdint>
#include <string>
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

// The operands of every batch item: op(A) m x k, op(B) k x n, C m x n, batch items one after the other. The product is
// multiplied by `scale`, then the epilogue of the problem is applied.
struct GemmOperands {
  const void* a = nullptr;
  const void* b = nullptr;
  const void* c = nullptr;
  Decode decode_inputs = nullptr;
  Decode decode_output = nullptr;
  Decode decode_b = nullptr;  // where B's elements are not A's
  double scale = 1;
  std::vector<double> bias = {};  // of the n columns, for an epilogue that has one
};

// Products up to 256^3 are checked entry by entry.
bool gemm_is_small(const GemmProblem& problem);

// Every entry of a small product. Of a large one: random entries (64 or more), and for every row and column a signed
// checksum, C x = A (B x) with random signs x (Freivalds, IFIP 1977): if each entry is within its bound, then by
// Hoeffding the sum over a row strays beyond 8 times the root of the sum of squared bounds with probability below
// 3e-14. Where an activation makes C no longer linear, an entry in every row and column instead (up to 65,536). Errors
// are in units of what is allowed there, |error| / (factor |a|.|b| + output roundoff |c|), so the bound is 1. With both
// roundoffs 0 the result must be exact (int8 products in int32).
Verdict check_gemm(const GemmProblem& problem, const GemmOperands& operands, const GemmRounding& rounding,
                   uint64_t seed);

struct GemmPlace {
  int64_t batch = 0;
  int64_t row = 0;
  int64_t column = 0;
};

// An entry in higher precision, without bias and activation, and what C holds there.
struct SeenEntry {
  double sum = 0;        // scale * sum of a b
  double magnitude = 0;  // scale * sum of |a b|
  double got = 0;
};

// Of every row i of one batch item: how far C x is from scale * A (B x), and the 2-norms of the rows of A (scaled) and
// C; `b_norm` is B's Frobenius norm. With `columns` the same of the transposed product, C' = B' A'.
struct GemmChecksums {
  std::vector<double> strays;
  std::vector<double> a_norms;
  std::vector<double> c_norms;
  double b_norm = 0;
};

// The sign of element `index` in the vector x of a checksum.
inline bool checksum_sign(uint64_t seed, uint64_t index) { return (mixed(seed, index) >> 63) != 0; }

// What a check needs to see of a large product. A device answers with kernels of its own, so that nothing large moves.
class GemmSight {
 public:
  virtual ~GemmSight() = default;
  virtual std::vector<SeenEntry> entries(const std::vector<GemmPlace>& places) = 0;
  virtual GemmChecksums checksums(int64_t batch, bool columns, uint64_t seed) = 0;
};

// The check of a large product, however it is looked at.
Verdict check_large_gemm(const GemmProblem& problem, const GemmRounding& rounding, uint64_t seed,
                         const std::vector<double>& bias, GemmSight& sight);

// gelu(x) = x (1 + erf(x / sqrt 2)) / 2 (Hendrycks and Gimpel, arXiv 1606.08415), and the form with tanh that cuBLASLt
// and others fuse. A product's epilogue may be either.
double gelu(double x);
double gelu_tanh(double x);

// ---- Memory kernels ----

inline constexpr double kTriadScale = 3;        // z = x + 3 y
inline constexpr double kBucketFactor = 0.125;  // pack and unpack: the mean over eight ranks; exact in every type
inline constexpr double kNormEpsilon = 1e-5;    // layer_norm

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

// One array of a memory kernel.
struct MemoryArray {
  NumberType type = NumberType::kFp32;
  int64_t elements = 0;
  bool read = false;
  bool written = false;
  bool ones = false;  // filled with ones and not with the inputs asked for: v of adamw is a mean of squares
};

// In the order in which kernels take them. copy, convert, pack, unpack: x y. triad: x y z. adamw, adamw_multi: p m v g.
// bias_gelu: x b y. layer_norm: x g b y; b and g are one row.
std::vector<MemoryArray> memory_arrays(const MemoryProblem& problem);

// "" or the reason why no module has this kernel in these types. copy: all. triad: fp64 fp32 fp16 bf16. adamw: fp64
// fp32. bias_gelu and layer_norm: fp32 fp16 bf16. pack, unpack, convert: fp32 fp16 bf16 fp8, one side fp32 or bf16.
std::string no_memory_kernel(const MemoryProblem& problem);

// Elements that lie next to each other in every array: all of them, or those of one tensor of adamw_multi, pack and
// unpack. Tensors have the unequal and partly odd sizes of a network's parameters; each starts at a multiple of 64
// elements of its array, and without gaps in a bucket.
struct MemoryRun {
  int64_t before = 0;  // first element, in the arrays that are read
  int64_t after = 0;   // and in those that are written
  int64_t count = 0;
  int64_t place = 0;  // the number its first element has in messages
};
std::vector<MemoryRun> memory_runs(const MemoryProblem& problem);

// The arrays that are read, before one run of the kernel, and those that are written, after it.
struct MemoryData {
  std::vector<const void*> before;
  std::vector<const void*> after;
};

// Every element of the runs, each a multiple of a row long where the kernel works on rows. copy, convert, pack and
// unpack: exact (bound 0), rounded to nearest even and saturated. The others: |error| over what is allowed, one unit
// roundoff of the sum of the absolute values of the terms for every operation on the way (triad 2, adamw m 3, v 4, p
// 14, bias_gelu 16, layer_norm 64 of its sums over a row), and the rounding to the type it is stored in.
Verdict check_memory(const MemoryProblem& problem, const MemoryData& data, const std::vector<MemoryRun>& runs);

// ---- Collectives ----

// What each rank sends so that the sum is exact in any order and in any type, and different when a rank is missing:
// small positive integers, and so few ranks adding to one element that the type counts exactly to the sum: 128 ranks
// (bf16 counts to 256), 8 in fp8_e4m3 (16) and 4 in fp8_e5m2 (8).
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
