// Choosing the algorithm of a GEMM by measuring: cuBLASLt's order is a guess (its heuristic times nothing).
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "kernels/cuda/gemm_plan.h"
#include "kernels/cuda/handles.h"

namespace farscale::cuda {

struct Candidate {
  cublasLtMatmulHeuristicResult_t heuristic{};
  int place = 0;                   // in cuBLASLt's order, from 0
  double time_s = 0;               // of one product
  double host_cost_s = 0;          // to enqueue one product
  bool graph = false;              // timed as a graph: enqueued one by one, its products would wait for the host
  std::string failure;             // why it cannot win: the failed call
  std::string graph_failure = {};  // why it was not timed as a graph after all
};

struct TuneTask {
  const GemmPlan* plan = nullptr;
  Workspace workspace;
  cudaStream_t stream = nullptr;
  std::function<GemmPointers()> next;  // operands of the next product, rotating
};

// Times the candidates in cuBLASLt's order, all of them unless they are long, then the fastest few again for longer.
// Fastest first; those that failed last, in their order.
std::vector<Candidate> time_candidates(const TuneTask& task, const std::vector<cublasLtMatmulHeuristicResult_t>& found);

}  // namespace farscale::cuda
