// Stands for onednn_gemm.cc where the build found no oneDNN.
#include <fmt/format.h>

#include "kernels/host/gemm.h"

namespace farscale {

Maybe<std::unique_ptr<Operation>> make_onednn_gemm(const GemmProblem& problem, const OperationSettings&,
                                                   const HostContext&) {
  return Maybe<std::unique_ptr<Operation>>::absent(
      fmt::format("{} GEMM needs oneDNN, which this build did not find (libdnnl-dev)", name(problem.type)));
}

std::string onednn_version() { return ""; }

}  // namespace farscale
