// The GEMM reference: every entry of a small product, entries and signed checksums of a large one.
#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <string>
#include <type_traits>

#include "kernels/reference.h"

namespace farscale {
namespace {

constexpr double kWholeProducts = 256.0 * 256 * 256;
constexpr int64_t kEntries = 64;
constexpr double kHoeffding = 8;  // 2 exp(-8^2 / 2) = 2.5e-14 a row

// The worst place seen so far, in units of what was allowed there.
struct Worst {
  double ratio = 0;
  std::string_view what = "C";
  int64_t batch = 0, row = -1, column = -1;
  double got = 0, expected = 0, allowed = 0;

  void note(const Worst& seen) {
    const double error = std::abs(seen.got - seen.expected);
    double units = error == 0 ? 0 : (seen.allowed > 0 ? error / seen.allowed : error);
    if (!(units <= std::numeric_limits<double>::max())) units = std::numeric_limits<double>::max();  // NaN, infinity
    if (units <= ratio) return;
    *this = seen;
    ratio = units;
  }

  std::string str() const {
    return fmt::format("{}[{},{}]{} is {:.9g}, expected {:.9g} within {:.3g}", what, row, column,
                       batch > 0 ? fmt::format(" of batch item {}", batch) : "", got, expected, allowed);
  }
};

template <typename Element>
void for_each_stored_row(const MatrixView& matrix, Element&& use) {
  const int64_t rows = matrix.transposed ? matrix.columns : matrix.rows;
  const int64_t columns = matrix.transposed ? matrix.rows : matrix.columns;
  std::vector<double> row(static_cast<size_t>(columns));
  for (int64_t i = 0; i < rows; ++i) {
    matrix.decode(matrix.data, matrix.first + i * columns, columns, row.data());
    use(i, row);
  }
}

// matrix * vector, or (squares) the matrix of squared elements * vector; streams over memory in storage order.
template <typename Sum>
std::vector<Sum> times(const MatrixView& matrix, const std::vector<Sum>& vector, bool squares = false) {
  std::vector<Sum> out(static_cast<size_t>(matrix.rows), Sum(0));
  for_each_stored_row(matrix, [&](int64_t i, const std::vector<double>& row) {
    Sum dot = 0;
    for (size_t j = 0; j < row.size(); ++j) {
      const Sum value = squares ? Sum(row[j]) * Sum(row[j]) : Sum(row[j]);
      if (matrix.transposed) {
        out[j] += value * vector[i];
      } else {
        dot += value * vector[j];
      }
    }
    if (!matrix.transposed) out[i] = dot;
  });
  return out;
}

MatrixView flipped(MatrixView matrix) {
  std::swap(matrix.rows, matrix.columns);
  matrix.transposed = !matrix.transposed;
  return matrix;
}

double element(const MatrixView& matrix, int64_t i, int64_t j) {
  double value = 0;
  matrix.decode(matrix.data, matrix.first + (matrix.transposed ? j * matrix.rows + i : i * matrix.columns + j), 1,
                &value);
  return value;
}

std::vector<double> row_norms(const MatrixView& matrix) {
  std::vector<double> sums = times<double>(matrix, std::vector<double>(static_cast<size_t>(matrix.columns), 1.0), true);
  for (double& sum : sums) sum = std::sqrt(sum);
  return sums;
}

double norm(const MatrixView& matrix) {
  double squares = 0;
  for (double row : row_norms(matrix)) squares += row * row;
  return std::sqrt(squares);
}

// One batch item, with the factors of its error bound.
struct Item {
  MatrixView a, b, c;
  int64_t batch = 0;
  double dot_factor = 0;
  double output_factor = 0;  // u / (1 - u): relative to the stored value
  uint64_t seed = 0;
};

Item flipped(const Item& item) {  // C^T = B^T A^T
  Item other = item;
  other.a = flipped(item.b);
  other.b = flipped(item.a);
  other.c = flipped(item.c);
  return other;
}

template <typename Sum>
void check_rows(const Item& item, bool columns, Worst& worst) {
  std::vector<Sum> signs(static_cast<size_t>(item.c.columns));
  for (size_t j = 0; j < signs.size(); ++j) signs[j] = (mixed(item.seed, j) >> 63) != 0 ? Sum(1) : Sum(-1);
  const std::vector<Sum> expected = times<Sum>(item.a, times<Sum>(item.b, signs));
  const std::vector<Sum> got = times<Sum>(item.c, signs);
  const std::vector<double> a_norms = row_norms(item.a), c_norms = row_norms(item.c);
  const double b_norm = norm(item.b);
  for (size_t i = 0; i < got.size(); ++i) {
    const double spread = item.dot_factor * a_norms[i] * b_norm + item.output_factor * c_norms[i];
    worst.note({.what = columns ? "checksum of column C" : "checksum of row C",
                .batch = item.batch,
                .row = columns ? -1 : static_cast<int64_t>(i),
                .column = columns ? static_cast<int64_t>(i) : -1,
                .got = static_cast<double>(got[i] - expected[i]),
                .expected = 0,
                .allowed = kHoeffding * spread});
  }
}

template <typename Sum>
void check_entry(const Item& item, int64_t i, int64_t j, Worst& worst) {
  Sum sum = 0;
  double magnitude = 0;
  for (int64_t p = 0; p < item.a.columns; ++p) {
    const double a = element(item.a, i, p), b = element(item.b, p, j);
    sum += Sum(a) * Sum(b);
    magnitude += std::abs(a * b);
  }
  const double got = element(item.c, i, j);
  worst.note({.batch = item.batch,
              .row = i,
              .column = j,
              .got = got,
              .expected = static_cast<double>(sum),
              .allowed = item.dot_factor * magnitude + item.output_factor * std::abs(got)});
}

template <typename Sum>
void check_entries(const Item& item, int64_t entries, Worst& worst) {
  check_entry<Sum>(item, 0, 0, worst);
  check_entry<Sum>(item, item.c.rows - 1, item.c.columns - 1, worst);
  for (int64_t e = 2; e < entries; ++e) {
    const uint64_t bits = mixed(item.seed ^ 0x5EED, static_cast<uint64_t>(e));
    check_entry<Sum>(item, static_cast<int64_t>((bits >> 32) % static_cast<uint64_t>(item.c.rows)),
                     static_cast<int64_t>((bits & 0xFFFFFFFFU) % static_cast<uint64_t>(item.c.columns)), worst);
  }
}

std::vector<double> dense(const MatrixView& matrix) {
  std::vector<double> out(static_cast<size_t>(matrix.rows * matrix.columns));
  for_each_stored_row(matrix, [&](int64_t s, const std::vector<double>& row) {
    for (size_t t = 0; t < row.size(); ++t) {
      out[matrix.transposed ? t * static_cast<size_t>(matrix.columns) + s : static_cast<size_t>(s) * row.size() + t] =
          row[t];
    }
  });
  return out;
}

template <typename Sum>
void check_all(const Item& item, Worst& worst) {
  const std::vector<double> a = dense(item.a), b = dense(item.b), c = dense(item.c);
  const auto n = static_cast<size_t>(item.c.columns), k = static_cast<size_t>(item.a.columns);
  std::vector<Sum> sums(n);
  std::vector<double> magnitudes(n);
  for (size_t i = 0; i < static_cast<size_t>(item.c.rows); ++i) {
    std::fill(sums.begin(), sums.end(), Sum(0));
    std::fill(magnitudes.begin(), magnitudes.end(), 0.0);
    for (size_t p = 0; p < k; ++p) {
      for (size_t j = 0; j < n; ++j) {
        sums[j] += Sum(a[i * k + p]) * Sum(b[p * n + j]);
        magnitudes[j] += std::abs(a[i * k + p] * b[p * n + j]);
      }
    }
    for (size_t j = 0; j < n; ++j) {
      const double got = c[i * n + j];
      worst.note({.batch = item.batch,
                  .row = static_cast<int64_t>(i),
                  .column = static_cast<int64_t>(j),
                  .got = got,
                  .expected = static_cast<double>(sums[j]),
                  .allowed = item.dot_factor * magnitudes[j] + item.output_factor * std::abs(got)});
    }
  }
}

Item make_item(const GemmProblem& p, const GemmOperands& operands, const GemmRounding& rounding, int64_t batch) {
  return {.a = {operands.a, operands.decode_inputs, p.m, p.k, p.transpose_a, batch * p.m * p.k},
          .b = {operands.b, operands.decode_inputs, p.k, p.n, p.transpose_b, batch * p.k * p.n},
          .c = {operands.c, operands.decode_output, p.m, p.n, false, batch * p.m * p.n},
          .batch = batch,
          .dot_factor = dot_error_factor(rounding, p.k),
          .output_factor = rounding.output / (1 - rounding.output)};
}

template <typename Sum>
Verdict check(const GemmProblem& problem, const GemmOperands& operands, const GemmRounding& rounding, uint64_t seed) {
  const bool whole = problem.flops() / 2 <= kWholeProducts;
  const int64_t entries = std::max<int64_t>(3, (kEntries + problem.batch - 1) / problem.batch + 2);
  Worst worst;
  for (int64_t batch = 0; batch < problem.batch; ++batch) {
    Item item = make_item(problem, operands, rounding, batch);
    item.seed = mixed(seed, static_cast<uint64_t>(batch));
    if (whole) {
      check_all<Sum>(item, worst);
    } else {
      check_entries<Sum>(item, entries, worst);
      check_rows<Sum>(item, false, worst);
      check_rows<Sum>(flipped(item), true, worst);
    }
  }
  Verdict verdict;
  verdict.bound = rounding.sum == 0 && rounding.output == 0 ? 0 : 1;
  verdict.worst_error = worst.ratio;
  verdict.correct = worst.ratio <= verdict.bound;
  const std::string seen =
      whole
          ? fmt::format("all {} entries against a reference in higher precision", problem.m * problem.n * problem.batch)
          : fmt::format("{} entries and the signed checksums of {} rows and {} columns against fp64",
                        entries * problem.batch, problem.m * problem.batch, problem.n * problem.batch);
  verdict.detail = verdict.correct ? seen : fmt::format("{} ({})", worst.str(), seen);
  return verdict;
}

}  // namespace

double dot_error_factor(const GemmRounding& rounding, int64_t k) {
  const double u = rounding.sum, n = static_cast<double>(k);
  if (u == 0) return 0;
  const double certain = n * u < 0.5 ? n * u / (1 - n * u) : std::numeric_limits<double>::max();
  const double likely = std::expm1(10 * std::sqrt(n) * u + n * u * u / (1 - u));
  return rounding.random_walk ? std::min(certain, likely) : std::min(certain, 1.0);
}

Verdict check_gemm(const GemmProblem& problem, const GemmOperands& operands, const GemmRounding& rounding,
                   uint64_t seed) {
  // The reference needs digits to spare: for fp64 it sums in long double (64 bits of mantissa on x86, 113 on Arm).
  if (problem.type == NumberType::kFp64) return check<long double>(problem, operands, rounding, seed);
  return check<double>(problem, operands, rounding, seed);
}

}  // namespace farscale
