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
constexpr int64_t kMostEntries = 65536;
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

// One batch item, with what its operands are multiplied by.
struct Item {
  MatrixView a, b, c;
  double scale = 1;
};

Item flipped(const Item& item) {  // C' = B' A'
  return {.a = flipped(item.b), .b = flipped(item.a), .c = flipped(item.c), .scale = item.scale};
}

Item make_item(const GemmProblem& p, const GemmOperands& o, int64_t batch) {
  const Decode decode_b = o.decode_b != nullptr ? o.decode_b : o.decode_inputs;
  return {.a = {o.a, o.decode_inputs, p.m, p.k, p.transpose_a, batch * p.m * p.k},
          .b = {o.b, decode_b, p.k, p.n, p.transpose_b, batch * p.k * p.n},
          .c = {o.c, o.decode_output, p.m, p.n, false, batch * p.m * p.n},
          .scale = o.scale};
}

// Looks at a product in host memory. The reference needs digits to spare: for fp64 it sums in long double (64 bits of
// mantissa on x86, 113 on Arm).
template <typename Sum>
class HostSight final : public GemmSight {
 public:
  HostSight(const GemmProblem& problem, const GemmOperands& operands) : problem_(problem), operands_(operands) {}

  std::vector<SeenEntry> entries(const std::vector<GemmPlace>& places) override {
    std::vector<SeenEntry> seen;
    for (const GemmPlace& place : places) seen.push_back(entry(place));
    return seen;
  }

  GemmChecksums checksums(int64_t batch, bool columns, uint64_t seed) override {
    Item item = make_item(problem_, operands_, batch);
    if (columns) item = flipped(item);
    std::vector<Sum> signs(static_cast<size_t>(item.c.columns));
    for (size_t j = 0; j < signs.size(); ++j) signs[j] = checksum_sign(seed, j) ? Sum(1) : Sum(-1);
    const std::vector<Sum> expected = times<Sum>(item.a, times<Sum>(item.b, signs));
    const std::vector<Sum> got = times<Sum>(item.c, signs);
    GemmChecksums sums{
        .strays = {}, .a_norms = row_norms(item.a), .c_norms = row_norms(item.c), .b_norm = norm(item.b)};
    for (double& value : sums.a_norms) value *= item.scale;
    for (size_t i = 0; i < got.size(); ++i) {
      sums.strays.push_back(static_cast<double>(got[i] - Sum(item.scale) * expected[i]));
    }
    return sums;
  }

 private:
  SeenEntry entry(const GemmPlace& place) const {
    const Item item = make_item(problem_, operands_, place.batch);
    Sum sum = 0;
    double magnitude = 0;
    for (int64_t p = 0; p < problem_.k; ++p) {
      const double a = element(item.a, place.row, p), b = element(item.b, p, place.column);
      sum += Sum(a) * Sum(b);
      magnitude += std::abs(a * b);
    }
    return {static_cast<double>(Sum(item.scale) * sum), item.scale * magnitude,
            element(item.c, place.row, place.column)};
  }

  const GemmProblem& problem_;
  const GemmOperands& operands_;
};

// The factors of the bound, the bias and what is done to the sums.
struct Bound {
  Epilogue epilogue = Epilogue::kNone;
  const std::vector<double>& bias;
  double dot_factor = 0;
  double output_factor = 0;  // u / (1 - u): relative to the stored value

  Bound(const GemmProblem& problem, const GemmRounding& rounding, const std::vector<double>& bias_of_columns)
      : epilogue(problem.epilogue),
        bias(bias_of_columns),
        dot_factor(dot_error_factor(rounding, problem.k + (problem.epilogue == Epilogue::kNone ? 0 : 1))),
        output_factor(rounding.output / (1 - rounding.output)) {}

  bool linear() const { return epilogue == Epilogue::kNone || epilogue == Epilogue::kBias; }
  double bias_at(int64_t column) const { return bias.empty() ? 0 : bias[static_cast<size_t>(column)]; }

  // What the entry should be, and how far off it may be.
  Worst judge(const GemmPlace& place, const SeenEntry& seen) const {
    const double added = bias_at(place.column), value = seen.sum + added;
    Worst entry{.batch = place.batch,
                .row = place.row,
                .column = place.column,
                .got = seen.got,
                .expected = value,
                .allowed = dot_factor * (seen.magnitude + std::abs(added))};
    if (epilogue == Epilogue::kBiasRelu) entry.expected = std::max(value, 0.0);
    if (epilogue == Epilogue::kBiasGelu) {
      // gelu' is at most 1.13; either form is right; the hardware's tanh is good to 2^-11 (PTX ISA, tanh.approx.f32).
      entry.expected = gelu(value);
      entry.allowed = 1.13 * entry.allowed + std::abs(gelu_tanh(value) - entry.expected) + 0x1p-11 * std::abs(value);
    }
    entry.allowed += output_factor * std::abs(seen.got);
    return entry;
  }
};

// The sums of the biases that a row's or column's checksum holds, and their share of its spread.
void check_sums(const Bound& bound, const GemmProblem& p, bool columns, const GemmChecksums& sums, int64_t batch,
                uint64_t seed, Worst& worst) {
  double signed_bias = 0, bias_squares = 0, signs = 0;
  for (int64_t j = 0; j < p.n && !bound.bias.empty(); ++j) {
    signed_bias += checksum_sign(seed, static_cast<uint64_t>(j)) ? bound.bias_at(j) : -bound.bias_at(j);
    bias_squares += bound.bias_at(j) * bound.bias_at(j);
  }
  for (int64_t i = 0; i < p.m && columns && !bound.bias.empty(); ++i) {
    signs += checksum_sign(seed, static_cast<uint64_t>(i)) ? 1 : -1;
  }
  for (size_t i = 0; i < sums.strays.size(); ++i) {
    const auto at = static_cast<int64_t>(i);
    const double bias = columns ? bound.bias_at(at) * signs : signed_bias;
    const double bias_norm = columns ? std::abs(bound.bias_at(at)) * std::sqrt(double(p.m)) : std::sqrt(bias_squares);
    const double spread =
        bound.dot_factor * (sums.a_norms[i] * sums.b_norm + bias_norm) + bound.output_factor * sums.c_norms[i];
    worst.note({.what = columns ? "checksum of column C" : "checksum of row C",
                .batch = batch,
                .row = columns ? -1 : at,
                .column = columns ? at : -1,
                .got = sums.strays[i] - bias,
                .expected = 0,
                .allowed = kHoeffding * spread});
  }
}

// Random places, the first and last entry among them.
std::vector<GemmPlace> random_places(const GemmProblem& p, uint64_t seed) {
  const int64_t each = std::max<int64_t>(3, (kEntries + p.batch - 1) / p.batch + 2);
  std::vector<GemmPlace> places;
  for (int64_t batch = 0; batch < p.batch; ++batch) {
    places.push_back({.batch = batch, .row = 0, .column = 0});
    places.push_back({.batch = batch, .row = p.m - 1, .column = p.n - 1});
    for (int64_t e = 2; e < each; ++e) {
      const uint64_t bits = mixed(seed ^ 0x5EED, static_cast<uint64_t>(batch * each + e));
      places.push_back({.batch = batch,
                        .row = static_cast<int64_t>((bits >> 32) % static_cast<uint64_t>(p.m)),
                        .column = static_cast<int64_t>((bits & 0xFFFFFFFFU) % static_cast<uint64_t>(p.n))});
    }
  }
  return places;
}

// A diagonal through every batch item that meets every row and every column, as far as kMostEntries reach.
std::vector<GemmPlace> covering_places(const GemmProblem& p, uint64_t seed) {
  const int64_t longest = std::max(p.m, p.n);
  const int64_t count = std::min(longest, std::max<int64_t>(1, kMostEntries / p.batch));
  std::vector<GemmPlace> places;
  for (int64_t batch = 0; batch < p.batch; ++batch) {
    const auto shift = static_cast<int64_t>(mixed(seed, static_cast<uint64_t>(batch)) % static_cast<uint64_t>(p.n));
    for (int64_t e = 0; e < count; ++e) {
      const int64_t at = e * longest / count;
      places.push_back({.batch = batch, .row = at % p.m, .column = (at + shift) % p.n});
    }
  }
  return places;
}

Verdict verdict_of(const Worst& worst, const GemmRounding& rounding, const std::string& seen) {
  Verdict verdict;
  verdict.bound = rounding.sum == 0 && rounding.output == 0 ? 0 : 1;
  verdict.worst_error = worst.ratio;
  verdict.correct = worst.ratio <= verdict.bound;
  verdict.detail = verdict.correct ? seen : fmt::format("{} ({})", worst.str(), seen);
  return verdict;
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
void check_all(const Item& item, int64_t batch, const Bound& bound, Worst& worst) {
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
      worst.note(
          bound.judge({.batch = batch, .row = static_cast<int64_t>(i), .column = static_cast<int64_t>(j)},
                      {static_cast<double>(Sum(item.scale) * sums[j]), item.scale * magnitudes[j], c[i * n + j]}));
    }
  }
}

template <typename Sum>
Verdict check(const GemmProblem& problem, const GemmOperands& operands, const GemmRounding& rounding, uint64_t seed) {
  if (!gemm_is_small(problem)) {
    HostSight<Sum> sight(problem, operands);
    return check_large_gemm(problem, rounding, seed, operands.bias, sight);
  }
  const Bound bound(problem, rounding, operands.bias);
  Worst worst;
  for (int64_t batch = 0; batch < problem.batch; ++batch) {
    check_all<Sum>(make_item(problem, operands, batch), batch, bound, worst);
  }
  return verdict_of(
      worst, rounding,
      fmt::format("all {} entries against a reference in higher precision", problem.m * problem.n * problem.batch));
}

}  // namespace

double dot_error_factor(const GemmRounding& rounding, int64_t k) {
  const double u = rounding.sum, n = static_cast<double>(k);
  if (u == 0) return 0;
  const double certain = n * u < 0.5 ? n * u / (1 - n * u) : std::numeric_limits<double>::max();
  const double likely = std::expm1(10 * std::sqrt(n) * u + n * u * u / (1 - u));
  return rounding.random_walk ? std::min(certain, likely) : std::min(certain, 1.0);
}

bool gemm_is_small(const GemmProblem& problem) { return problem.flops() / 2 <= kWholeProducts; }

Verdict check_gemm(const GemmProblem& problem, const GemmOperands& operands, const GemmRounding& rounding,
                   uint64_t seed) {
  if (problem.type == NumberType::kFp64) return check<long double>(problem, operands, rounding, seed);
  return check<double>(problem, operands, rounding, seed);
}

Verdict check_large_gemm(const GemmProblem& problem, const GemmRounding& rounding, uint64_t seed,
                         const std::vector<double>& bias, GemmSight& sight) {
  const Bound bound(problem, rounding, bias);
  Worst worst;
  const std::vector<GemmPlace> places = bound.linear() ? random_places(problem, seed) : covering_places(problem, seed);
  const std::vector<SeenEntry> entries = sight.entries(places);
  for (size_t i = 0; i < places.size(); ++i) worst.note(bound.judge(places[i], entries[i]));
  if (!bound.linear()) {
    return verdict_of(worst, rounding, fmt::format("{} entries over all rows and columns against fp64", places.size()));
  }
  for (int64_t batch = 0; batch < problem.batch; ++batch) {
    const uint64_t item_seed = mixed(seed, static_cast<uint64_t>(batch));
    for (const bool columns : {false, true}) {
      check_sums(bound, problem, columns, sight.checksums(batch, columns, item_seed), batch, item_seed, worst);
    }
  }
  return verdict_of(worst, rounding,
                    fmt::format("{} entries and the signed checksums of {} rows and {} columns against fp64",
                                places.size(), problem.m * problem.batch, problem.n * problem.batch));
}

}  // namespace farscale
