// The five collectives as MPI calls.
#pragma once

#include <mpi.h>

#include "kernels/lifeline.h"
#include "kernels/problem.h"

namespace farscale {

// An MPI reduction that adds bf16 numbers in fp32 and rounds to nearest even. Lives between MPI_Init and MPI_Finalize.
class Bf16Sum {
 public:
  Bf16Sum();
  ~Bf16Sum();
  Bf16Sum(const Bf16Sum&) = delete;
  Bf16Sum& operator=(const Bf16Sum&) = delete;
  MPI_Op op() const { return op_; }

 private:
  MPI_Op op_ = MPI_OP_NULL;
};

struct CollectiveCall {
  MPI_Comm ranks = MPI_COMM_NULL;
  int rank = 0;
  MPI_Op bf16_sum = MPI_OP_NULL;
  CallSlot* slot = nullptr;
};

// As World::collective(). all_reduce and broadcast go in pieces of 2^30 elements; the others refuse (InputError) parts
// beyond 2^31 - 1 elements a rank, the most an MPI 3 call counts.
void run_collective(const CollectiveCall& call, const CollectiveProblem& problem, const void* send, void* receive);

}  // namespace farscale
