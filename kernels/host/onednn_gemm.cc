// bf16 and int8 GEMM on oneDNN's matmul primitive (versions 2 and 3).
#include <fmt/format.h>
#include <omp.h>

#include <dnnl.hpp>
#include <unordered_map>

#include "kernels/elements.h"
#include "kernels/host/gemm.h"

namespace farscale {
namespace {

using Descriptor = dnnl::memory::desc;
using Type = dnnl::memory::data_type;

struct Plan {
  Descriptor a, b, c;
  dnnl::matmul::primitive_desc primitive;
};

// Row-major, or column-major in place of a transpose; a leading batch dimension throughout.
Descriptor describe(int64_t batch, int64_t rows, int64_t columns, Type type, bool transposed) {
  const dnnl::memory::dims strides =
      transposed ? dnnl::memory::dims{rows * columns, 1, rows} : dnnl::memory::dims{rows * columns, columns, 1};
  return Descriptor({batch, rows, columns}, type, strides);
}

Plan make_plan(const GemmProblem& p, const dnnl::engine& engine) {
  const bool bytes = p.type == NumberType::kInt8;
  const Type in = bytes ? Type::s8 : Type::bf16, out = bytes ? Type::s32 : Type::bf16;
  Plan plan{describe(p.batch, p.m, p.k, in, p.transpose_a),
            describe(p.batch, p.k, p.n, in, p.transpose_b),
            describe(p.batch, p.m, p.n, out, false),
            {}};
#if DNNL_VERSION_MAJOR >= 3
  plan.primitive = dnnl::matmul::primitive_desc(engine, plan.a, plan.b, plan.c);
#else
  plan.primitive = dnnl::matmul::primitive_desc(dnnl::matmul::desc(plan.a, plan.b, plan.c), engine);
#endif
  return plan;
}

class OneDnnGemm final : public GemmOperation {
 public:
  OneDnnGemm(const GemmProblem& problem, const OperationSettings& settings, const HostContext& context,
             const dnnl::engine& engine, const Plan& plan)
      : GemmOperation(problem, settings, context, output_bytes(problem)),
        stream_(engine),
        matmul_(plan.primitive),
        implementation_(plan.primitive.impl_info_str()) {
    for (const GemmSet& set : sets_) {
      arguments_.push_back({{DNNL_ARG_SRC, dnnl::memory(plan.a, engine, set.a.data())},
                            {DNNL_ARG_WEIGHTS, dnnl::memory(plan.b, engine, set.b.data())},
                            {DNNL_ARG_DST, dnnl::memory(plan.c, engine, set.c.data())}});
    }
  }

  static double output_bytes(const GemmProblem& problem) { return problem.type == NumberType::kInt8 ? 4 : 2; }

  Facts details() const override {
    Facts facts = GemmOperation::details();
    facts["library"] = "oneDNN";
    facts["implementation"] = implementation_;
    facts["output"] = problem_.type == NumberType::kInt8 ? "int32" : "bf16";
    return facts;
  }

 protected:
  void multiply(const GemmSet& set) override {
    ::omp_set_num_threads(context_.threads);  // of the calling thread, which may be a queue's own
    try {
      matmul_.execute(stream_, arguments_[static_cast<size_t>(&set - sets_.data())]);
      stream_.wait();
    } catch (const dnnl::error& error) {
      throw CallError(fmt::format("dnnl::matmul::execute({}): {} (status {})", problem_.name(), error.what(),
                                  static_cast<int>(error.status)));
    }
  }

  // bf16 products are exact in fp32, where oneDNN sums them; int8 products and sums are exact.
  GemmRounding rounding() const override {
    if (problem_.type == NumberType::kInt8) return {.sum = 0, .output = 0};
    return {.sum = unit_roundoff(NumberType::kFp32), .output = unit_roundoff(NumberType::kBf16)};
  }
  Decode decode_output() const override {
    return problem_.type == NumberType::kInt8 ? decode_int32 : decoder(problem_.type);
  }

 private:
  dnnl::stream stream_;
  dnnl::matmul matmul_;
  std::string implementation_;
  std::vector<std::unordered_map<int, dnnl::memory>> arguments_;
};

}  // namespace

Maybe<std::unique_ptr<Operation>> make_onednn_gemm(const GemmProblem& problem, const OperationSettings& settings,
                                                   const HostContext& context) {
  using Result = Maybe<std::unique_ptr<Operation>>;
  const std::string too_big = does_not_fit(context, gemm_set_bytes(problem, OneDnnGemm::output_bytes(problem)));
  if (!too_big.empty()) return Result::absent(too_big);
  // int32 holds k products of at most 63 x 63.
  if (problem.type == NumberType::kInt8 && problem.k > (int64_t{1} << 31) / (int64_t{63} * 63) - 1) {
    return Result::absent("int8 sums of this k may leave int32");
  }
  try {
    ::omp_set_num_threads(context.threads);  // oneDNN plans for the threads it sees here
    const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
    const Plan plan = make_plan(problem, engine);
    const std::string implementation = plan.primitive.impl_info_str();
    if (implementation.starts_with("ref")) {
      return Result::absent(fmt::format("oneDNN has only reference loops for {} on this CPU", name(problem.type)));
    }
    return Result(std::make_unique<OneDnnGemm>(problem, settings, context, engine, plan));
  } catch (const dnnl::error& error) {
    if (error.status != dnnl_unimplemented) {
      throw CallError(fmt::format("dnnl::matmul({}): {} (status {})", problem.name(), error.what(),
                                  static_cast<int>(error.status)));
    }
    return Result::absent(fmt::format("oneDNN {} has no {} matmul for this CPU", onednn_version(), name(problem.type)));
  }
}

std::string onednn_version() {
  const dnnl_version_t* version = ::dnnl_version();
  return fmt::format("{}.{}.{}", version->major, version->minor, version->patch);
}

}  // namespace farscale
