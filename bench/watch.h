// Ending well: signals and lost ranks save what is finished, say what happened, and end the process.
#pragma once

#include <atomic>
#include <functional>
#include <string>
#include <thread>

#include "bench/run_log.h"
#include "kernels/error.h"
#include "kernels/world.h"

namespace farscale {

// Waits for SIGINT and SIGTERM on a thread of its own. Construct it before any other thread exists (MPI, BLAS): they
// inherit the blocked signals, so that only this thread sees them.
class SignalWatch {
 public:
  explicit SignalWatch(std::function<void(const std::string& signal)> caught);
  ~SignalWatch();
  SignalWatch(const SignalWatch&) = delete;
  SignalWatch& operator=(const SignalWatch&) = delete;

 private:
  std::atomic<bool> stop_ = false;
  std::thread thread_;
};

// What ends the process when it cannot go on; the first reason wins. Safe to call from any thread.
class EarlyEnd {
 public:
  // Until a log is set, an early end only says why.
  void set(World* world, RunLog* log);
  // The run has ended, well or not: a launcher that now sends signals changes nothing any more.
  void over(ExitCode code) { over_ = static_cast<int>(code); }
  void on_signal(const std::string& signal);
  void on_lost(const std::string& message);

 private:
  void end(const std::string& why, bool lost);

  std::atomic<bool> ending_ = false;
  std::atomic<int> over_ = -1;
  std::atomic<World*> world_ = nullptr;
  std::atomic<RunLog*> log_ = nullptr;
};

}  // namespace farscale
