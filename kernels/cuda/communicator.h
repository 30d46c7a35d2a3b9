// One NCCL communicator over the ranks of a world, with a deadline on its making and on every call and operation, its
// asynchronous errors polled, and aborted unless it was finalised.
//
// It is two of NCCL's. A non-blocking one is made first, so that the making can be given up. But every group of calls
// on such a one starts a thread (NCCL 2.28, src/group.cc, ncclGroupEndInternal), tens of microseconds that no training
// framework pays; so the work is done on a blocking one split off it. The two share their resources (splitShare), and
// with them the flag that ncclCommAbort sets: aborting the first, from another thread, ends a call that hangs in the
// second without freeing what that call still uses (src/init.cc, ncclCommInitChildComm and setCommAbortFlags).
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <source_location>
#include <string>
#include <vector>

#include "kernels/cuda/call_watch.h"
#include "kernels/cuda/nccl_library.h"
#include "kernels/world.h"

namespace farscale::cuda {

// How long the other ranks may stay silent before a rank gives up, in seconds.
struct Deadlines {
  double setup_s = 120;     // making a communicator, and any one call: minutes are normal on thousands of ranks
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

  // Makes an NCCL call that may wait for other ranks: throws when it fails, or when it did not return in time.
  template <typename Call>
  void run(const Call& call, const char* text, std::source_location where = std::source_location::current()) {
    require_alive(text);
    watch_->enter();
    const ncclResult_t status = call();
    watch_->leave();
    if (status != ncclSuccess || watch_->expired()) refuse(status, text, where);
  }
  // Throws when NCCL reported an error since: aborts first, so that no kernel of this rank spins for ever.
  void poll(const char* during);
  // Aborts and throws "rank 3 of 8: <during>: <what>".
  [[noreturn]] void fail(const std::string& during, const std::string& what);

  void finalize();  // collective; throws on an error or when the deadline passes, and aborts then
  void abort() noexcept;

 private:
  std::string last_error() const;
  void require_alive(const char* during) const;
  [[noreturn]] void refuse(ncclResult_t status, const char* call, const std::source_location& where);
  void make(std::vector<ncclUniqueId>& ids);
  void split();
  void accept(ncclResult_t status, const char* call, std::source_location where = std::source_location::current());
  void abort_first() noexcept;

  std::shared_ptr<const Nccl> nccl_;
  CommunicatorSettings settings_;
  int rank_;
  int size_;
  double setup_s_ = 0;
  std::atomic<ncclComm_t> first_ = nullptr;  // non-blocking; the watch may abort it
  ncclComm_t handle_ = nullptr;              // blocking: what is worked with
  std::optional<CallWatch> watch_;
};

}  // namespace farscale::cuda

// An NCCL call on a communicator: FARSCALE_NCCL(*communicator, calls.ncclAllReduce(...)).
#define FARSCALE_NCCL(communicator, call) (communicator).run([&] { return (call); }, #call)
