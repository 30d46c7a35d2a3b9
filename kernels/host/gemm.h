// GEMM on the host: fp32 and fp64 on OpenBLAS, bf16 and int8 on oneDNN where the build found it.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "kernels/host/buffer.h"
#include "kernels/host/context.h"
#include "kernels/host/queue.h"
#include "kernels/reference.h"

namespace farscale {

// Operands of all batch items, one after the other, row-major: op(A) m x k, op(B) k x n, C m x n.
struct GemmSet {
  Buffer a, b, c;
  Buffer bias;  // of the n columns; empty without an epilogue
};

// Everything but the multiplication itself.
class GemmOperation : public HostOperation {
 public:
  GemmOperation(const GemmProblem& problem, const OperationSettings& settings, const HostContext& context,
                double output_bytes_per_element);
  Verdict verify() override;
  void execute(const World* ranks) override;
  Facts details() const override;

 protected:
  virtual void multiply(const GemmSet& set) = 0;
  virtual GemmRounding rounding() const = 0;
  virtual Decode decode_output() const = 0;

  GemmProblem problem_;
  OperationSettings settings_;
  HostContext context_;
  std::vector<GemmSet> sets_;

 private:
  size_t next_ = 0;
  double set_bytes_ = 0;
};

// Bytes of one operand set, with `output` bytes for an element of C.
double gemm_set_bytes(const GemmProblem& problem, double output_bytes_per_element);

// The operation, or the reason why this machine has none for the problem's type or size.
Maybe<std::unique_ptr<Operation>> make_gemm(const GemmProblem& problem, const OperationSettings& settings,
                                            const HostContext& context);

// bf16 and int8 (products of int8 summed and stored in int32; counted and named as int8).
Maybe<std::unique_ptr<Operation>> make_onednn_gemm(const GemmProblem& problem, const OperationSettings& settings,
                                                   const HostContext& context);

std::string onednn_version();  // "2.6.3", or "" when not built in

}  // namespace farscale
