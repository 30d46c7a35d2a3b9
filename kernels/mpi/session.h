// MPI between MPI_Init and MPI_Finalize: who the ranks are, their lifeline, and how they part.
#pragma once

#include <mpi.h>

#include <memory>
#include <string>
#include <vector>

#include "kernels/lifeline.h"
#include "kernels/mpi/collectives.h"

namespace farscale {

// A duplicate of a communicator: the same ranks, traffic of its own.
class Communicator {
 public:
  explicit Communicator(MPI_Comm like);
  ~Communicator();
  Communicator(const Communicator&) = delete;
  Communicator& operator=(const Communicator&) = delete;
  MPI_Comm get() const { return ranks_; }

 private:
  MPI_Comm ranks_ = MPI_COMM_NULL;
};

// What the world and its duplicates share; the last of them ends MPI.
class Session {
 public:
  explicit Session(int threads);  // the level MPI_Init_thread gave; every rank together
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  int rank() const { return rank_; }
  int size() const { return size_; }
  int local_rank() const { return local_rank_; }
  const std::string& library() const { return library_; }
  const std::vector<std::string>& hosts() const { return hosts_; }
  MPI_Op bf16_sum() const { return bf16_sum_->op(); }
  Lifeline& lifeline() const { return *lifeline_; }
  bool threads_allowed() const { return threads_ == MPI_THREAD_MULTIPLE; }

 private:
  void meet();
  bool say_farewell() const;

  int threads_;
  int rank_ = 0;
  int size_ = 1;
  int local_rank_ = 0;
  std::string library_;
  std::vector<std::string> hosts_;
  std::unique_ptr<Lifeline> lifeline_;
  std::unique_ptr<Bf16Sum> bf16_sum_;
  std::unique_ptr<Communicator> farewell_;  // only for the last barrier: nothing else can be mistaken for it
};

}  // namespace farscale
