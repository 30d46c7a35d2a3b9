// What all GEMMs share, and the OpenBLAS ones.
#include "kernels/host/gemm.h"

#include <cblas.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <new>

#include "kernels/elements.h"

namespace farscale {
namespace {

class OpenBlasGemm final : public GemmOperation {
 public:
  OpenBlasGemm(const GemmProblem& problem, const OperationSettings& settings, const HostContext& context)
      : GemmOperation(problem, settings, context, bytes_per_element(problem.type)) {
    ::openblas_set_num_threads(context.threads);
  }

  Facts details() const override {
    Facts facts = GemmOperation::details();
    facts["library"] = "OpenBLAS";
    facts["blas_core"] = ::openblas_get_corename();
    if (problem_.epilogue != Epilogue::kNone) facts["epilogue"] = "a pass of its own over C";
    return facts;
  }

 protected:
  void multiply(const GemmSet& set) override {
    if (problem_.type == NumberType::kFp64) {
      each<double>(set, cblas_dgemm);
      finish<double>(set);
    } else {
      each<float>(set, cblas_sgemm);
      finish<float>(set);
    }
  }

  GemmRounding rounding() const override { return {.sum = unit_roundoff(problem_.type)}; }
  Decode decode_output() const override { return decoder(problem_.type); }

 private:
  // OpenBLAS fuses nothing: bias and activation are a pass over C.
  template <typename T>
  void finish(const GemmSet& set) const {
    if (problem_.epilogue == Epilogue::kNone) return;
    const int64_t rows = problem_.m * problem_.batch, columns = problem_.n;
    const T* const bias = set.bias.as<T>();
#pragma omp parallel for num_threads(context_.threads) schedule(static)
    for (int64_t i = 0; i < rows; ++i) {
      T* const row = set.c.as<T>() + i * columns;
      for (int64_t j = 0; j < columns; ++j) row[j] = activated(row[j] + bias[j]);
    }
  }

  template <typename T>
  T activated(T value) const {
    if (problem_.epilogue == Epilogue::kBiasRelu) return std::max(value, T(0));
    if (problem_.epilogue == Epilogue::kBiasGelu) return static_cast<T>(gelu(double(value)));
    return value;
  }

  template <typename T, typename Gemm>
  void each(const GemmSet& set, Gemm gemm) {
    const auto m = static_cast<blasint>(problem_.m), n = static_cast<blasint>(problem_.n),
               k = static_cast<blasint>(problem_.k);
    const auto a_op = problem_.transpose_a ? CblasTrans : CblasNoTrans;
    const auto b_op = problem_.transpose_b ? CblasTrans : CblasNoTrans;
    const blasint a_stride = problem_.transpose_a ? m : k, b_stride = problem_.transpose_b ? k : n;
    for (int64_t i = 0; i < problem_.batch; ++i) {
      gemm(CblasRowMajor, a_op, b_op, m, n, k, T(1), set.a.as<T>() + i * problem_.m * problem_.k, a_stride,
           set.b.as<T>() + i * problem_.k * problem_.n, b_stride, T(0), set.c.as<T>() + i * problem_.m * problem_.n, n);
    }
  }
};

}  // namespace

double gemm_set_bytes(const GemmProblem& problem, double output_bytes_per_element) {
  const double inputs = double(problem.m) * double(problem.k) + double(problem.k) * double(problem.n);
  const double outputs = double(problem.m) * double(problem.n);
  return double(problem.batch) * (inputs * bytes_per_element(problem.type) + outputs * output_bytes_per_element);
}

GemmOperation::GemmOperation(const GemmProblem& problem, const OperationSettings& settings, const HostContext& context,
                             double output_bytes_per_element)
    : problem_(problem),
      settings_(settings),
      context_(context),
      set_bytes_(gemm_set_bytes(problem, output_bytes_per_element)) {
  const int64_t a = problem.m * problem.k * problem.batch, b = problem.k * problem.n * problem.batch;
  const int64_t c = problem.m * problem.n * problem.batch;
  const auto input = static_cast<int64_t>(bytes_per_element(problem.type));
  const int64_t sets = operand_sets(context, settings, set_bytes_);
  for (int64_t s = 0; s < sets; ++s) {
    GemmSet& set = sets_.emplace_back(
        GemmSet{Buffer(a * input), Buffer(b * input), Buffer(c * static_cast<int64_t>(output_bytes_per_element)), {}});
    if (problem.epilogue != Epilogue::kNone) {
      set.bias = Buffer(problem.n * input);
      fill(problem.type, set.bias.data(), {.first = 0, .count = problem.n}, settings.data, mixed(settings.seed, 3));
    }
    if (s == 0) {
      fill_parallel(context, settings, problem.type, set.a.data(), a, 1);
      fill_parallel(context, settings, problem.type, set.b.data(), b, 2);
    } else {  // the same numbers elsewhere: only the addresses must be cold
      std::memcpy(set.a.data(), sets_[0].a.data(), static_cast<size_t>(set.a.bytes()));
      std::memcpy(set.b.data(), sets_[0].b.data(), static_cast<size_t>(set.b.bytes()));
    }
  }
}

void GemmOperation::execute(const World*) {
  multiply(sets_[next_]);
  if (++next_ == sets_.size()) next_ = 0;
}

Verdict GemmOperation::verify() {
  const GemmSet& set = sets_[0];
  std::memset(set.c.data(), 0xFF, static_cast<size_t>(set.c.bytes()));  // NaN: an entry not written shows
  multiply(set);
  if (context_.tamper) context_.tamper(set.c.data(), set.c.bytes());
  GemmOperands operands{.a = set.a.data(),
                        .b = set.b.data(),
                        .c = set.c.data(),
                        .decode_inputs = decoder(problem_.type),
                        .decode_output = decode_output()};
  if (problem_.epilogue != Epilogue::kNone) {
    operands.bias.resize(static_cast<size_t>(problem_.n));
    decoder(problem_.type)(set.bias.data(), 0, problem_.n, operands.bias.data());
  }
  return check_gemm(problem_, operands, rounding(), settings_.seed);
}

Facts GemmOperation::details() const {
  return operation_facts(context_, static_cast<int64_t>(sets_.size()), set_bytes_);
}

Maybe<std::unique_ptr<Operation>> make_gemm(const GemmProblem& problem, const OperationSettings& settings,
                                            const HostContext& context) {
  using Result = Maybe<std::unique_ptr<Operation>>;
  if (problem.type == NumberType::kBf16 || problem.type == NumberType::kInt8) {
    if (problem.epilogue != Epilogue::kNone) return Result::absent("epilogues on the host are fp32 and fp64 only");
    return make_onednn_gemm(problem, settings, context);
  }
  if (problem.type != NumberType::kFp32 && problem.type != NumberType::kFp64) {
    return Result::absent(
        fmt::format("{} has no GEMM on the host (fp64, fp32, bf16 and int8 have)", name(problem.type)));
  }
  const std::string too_big = does_not_fit(context, gemm_set_bytes(problem, bytes_per_element(problem.type)));
  if (!too_big.empty()) return Result::absent(too_big);
  return Result(std::make_unique<OpenBlasGemm>(problem, settings, context));
}

}  // namespace farscale
