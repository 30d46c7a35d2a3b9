// Watching the other ranks: a thread that notices a rank of this host dying or stopping, a call that makes no progress,
// and SIGTERM from the launcher (which ends the other ranks when one dies), and says which rank it was. Knows no MPI.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace farscale {

// A process of the run. The start time (field 22 of /proc/<pid>/stat) tells it from a later process with its number.
struct Peer {
  int rank = 0;
  std::string host;
  int pid = 0;
  uint64_t start_time = 0;
};

// The call a thread of this rank is in, if any: written on every call, so two stores and no clock.
class CallSlot {
 public:
  void enter(const char* call, int64_t bytes) {
    call_.store(call, std::memory_order_relaxed);
    bytes_.store(bytes, std::memory_order_relaxed);
    sequence_.store(sequence_.load(std::memory_order_relaxed) + 1, std::memory_order_release);
  }
  void leave() { sequence_.store(sequence_.load(std::memory_order_relaxed) + 1, std::memory_order_release); }

  uint64_t sequence() const { return sequence_.load(std::memory_order_acquire); }  // odd: inside a call
  const char* call() const { return call_.load(std::memory_order_relaxed); }
  int64_t bytes() const { return bytes_.load(std::memory_order_relaxed); }

 private:
  std::atomic<uint64_t> sequence_{0};
  std::atomic<const char*> call_{""};
  std::atomic<int64_t> bytes_{0};
};

class InCall {
 public:
  InCall(CallSlot& slot, const char* call, int64_t bytes) : slot_(slot) { slot_.enter(call, bytes); }
  ~InCall() { slot_.leave(); }
  InCall(const InCall&) = delete;
  InCall& operator=(const InCall&) = delete;

 private:
  CallSlot& slot_;
};

// Process number, start time and state ('R', 'S', 'T' stopped, 'Z' zombie, …; 0: no such process).
struct ProcessState {
  char state = 0;
  uint64_t start_time = 0;
};
ProcessState process_state(int pid);

class Lifeline {
 public:
  Lifeline(int rank, std::vector<Peer> peers);  // every rank of the run; those of other hosts are only known by name
  ~Lifeline();
  Lifeline(const Lifeline&) = delete;
  Lifeline& operator=(const Lifeline&) = delete;

  std::shared_ptr<CallSlot> new_slot();

  // Starts watching; `lost` is called once, from the watching thread, which then watches no more. If the cause was
  // SIGTERM and `lost` returns, the process ends by SIGTERM. Throws EnvironmentError when the system refuses a pipe.
  void start(double deadline_s, std::function<void(const std::string&)> lost);

  void expect_exits() { exits_expected_ = true; }  // the run is over: a rank that ends is no loss any more
  void stop();

 private:
  struct Watched {
    Peer peer;
    int handle = -1;  // pidfd: readable when the process ends (Linux 5.3); -1: /proc is read instead
    bool gone = false;
    double stopped_s = 0;
  };
  struct WatchedCall {
    std::weak_ptr<CallSlot> slot;
    uint64_t sequence = 0;
    double same_s = 0;
  };

  void watch();
  bool wait_for_news(bool& terminated);  // false: stop
  void look_at_peers(double elapsed_s);
  std::string look_at_calls(double elapsed_s);
  std::string diagnosis(double elapsed_s, bool terminated);
  std::string roll_call() const;
  void report(const std::string& message, bool terminated);

  int rank_;
  std::vector<Peer> peers_;
  std::vector<Watched> watched_;
  std::mutex calls_mutex_;
  std::vector<WatchedCall> calls_;
  double deadline_s_ = 0;
  std::function<void(const std::string&)> lost_;
  std::atomic<bool> exits_expected_{false};
  int pipe_[2] = {-1, -1};
  std::thread thread_;
};

}  // namespace farscale
