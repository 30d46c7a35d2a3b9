// One NCCL communicator over the ranks of a world: non-blocking, with a deadline on its making and on every operation,
// its asynchronous errors polled, and aborted unless it was finalised.
#pragma once

#include <memory>
#include <source_location>
#include <string>
#include <vector>

#include "kernels/cuda/nccl_library.h"
#include "kernels/world.h"

namespace farscale::cuda {

// How long the other ranks may stay silent before a rank gives up, in seconds.
struct Deadlines {
  double setup_s = 120;     // making or finalising a communicator: minutes are normal on thousands of ranks
  double operation_s = 30;  // one wait for enqueued collectives
};

// What a communicator is made with.
struct CommunicatorSettings {
  Deadlines deadlines;
  int most_ctas = 0;  // SMs its kernels may take (ncclConfig_t maxCTAs); 0: NCCL's choice
  // Above four times as many ranks, each so many share a unique id, so that not all connect to one
  // (ncclCommInitRankScalable).
  int ranks_per_id = 128;
};

// Pauses between two looks at something another rank or the GPU must do: spins for 20 ms, then sleeps 50 us a look.
class Patience {
 public:
  explicit Patience(double deadline_s);
  bool wait();  // false once the deadline has passed
  double waited_s() const;

 private:
  double start_s_;
  double deadline_s_;
};

class Communicator {
 public:
  // Collective over the world: unique ids go to all through the world. Throws CallError on every rank when one has no
  // id, and on this rank when NCCL fails or the others do not come within the deadline.
  Communicator(std::shared_ptr<const Nccl> nccl, const World& world, const CommunicatorSettings& settings);
  ~Communicator();
  Communicator(const Communicator&) = delete;
  Communicator& operator=(const Communicator&) = delete;

  const NcclCalls& calls() const { return nccl_->calls(); }
  ncclComm_t get() const { return handle_; }
  int rank() const { return rank_; }
  int size() const { return size_; }
  double setup_s() const { return setup_s_; }
  const Deadlines& deadlines() const { return settings_.deadlines; }
  int most_ctas() const { return settings_.most_ctas; }
  const Nccl& nccl() const { return *nccl_; }
  std::string library() const { return nccl_->version(); }

  // After an NCCL call that may answer "in progress": throws on an error, waits until the call is accepted.
  void accept(ncclResult_t status, const char* call, std::source_location where = std::source_location::current());
  // Throws when NCCL reported an error since: aborts first, so that no kernel of this rank spins for ever.
  void poll(const char* during);
  // Aborts and throws "rank 3 of 8: <during>: <what>".
  [[noreturn]] void fail(const std::string& during, const std::string& what);

  void finalize();  // collective; throws on an error or when the deadline passes, and aborts then
  void abort() noexcept;

 private:
  std::string last_error() const;
  void make(std::vector<ncclUniqueId>& ids);

  std::shared_ptr<const Nccl> nccl_;
  CommunicatorSettings settings_;
  int rank_;
  int size_;
  double setup_s_ = 0;
  ncclComm_t handle_ = nullptr;
};

}  // namespace farscale::cuda

// An NCCL call on a communicator: FARSCALE_ACCEPT(*communicator, calls.ncclAllReduce(...)).
#define FARSCALE_ACCEPT(communicator, call) (communicator).accept((call), #call)
