// Signals and lost ranks.
#include "bench/watch.h"

#include <fmt/format.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>

#include "kernels/error.h"

namespace farscale {
namespace {

// Wakes the watching thread to end it; nobody else sends this one.
int wake_up() { return SIGRTMIN; }

sigset_t watched_signals() {
  sigset_t signals;
  ::sigemptyset(&signals);
  ::sigaddset(&signals, SIGINT);
  ::sigaddset(&signals, SIGTERM);
  ::sigaddset(&signals, wake_up());
  return signals;
}

}  // namespace

SignalWatch::SignalWatch(std::function<void(const std::string&)> caught) {
  const sigset_t signals = watched_signals();
  ::pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  thread_ = std::thread([this, signals, caught = std::move(caught)] {
    while (!stop_) {
      const int signal = ::sigwaitinfo(&signals, nullptr);
      if (signal == SIGINT || signal == SIGTERM) caught(signal == SIGINT ? "SIGINT" : "SIGTERM");
    }
  });
}

SignalWatch::~SignalWatch() {
  stop_ = true;
  ::pthread_kill(thread_.native_handle(), wake_up());
  thread_.join();
  const sigset_t signals = watched_signals();
  ::pthread_sigmask(SIG_UNBLOCK, &signals, nullptr);
}

void EarlyEnd::set(World* world, RunLog* log) {
  log_ = log;
  world_ = world;
}

void EarlyEnd::on_signal(const std::string& signal) {
  const World* world = world_;
  // A launcher that lost a rank sends SIGTERM to the others: let the world say first which rank it was.
  if (world != nullptr && world->size() > 1) std::this_thread::sleep_for(std::chrono::milliseconds(400));
  end(fmt::format("stopped by {}", signal), false);
}

void EarlyEnd::on_lost(const std::string& message) { end(message, true); }

void EarlyEnd::end(const std::string& why, bool lost) {
  if (over_ >= 0) ::_exit(over_);
  if (ending_.exchange(true)) {
    // Somebody else is ending the process: wait for it.
    std::this_thread::sleep_for(std::chrono::seconds(10));
    return;
  }
  World* world = world_;
  RunLog* log = log_;
  const std::string where = log != nullptr ? log->cut_short(why) : "no case was finished";
  // Rank 0 speaks for all; when a rank is lost also rank 1, in case it was rank 0.
  const int rank = world != nullptr ? world->rank() : 0;
  if (rank == 0 || (lost && rank == 1)) {
    std::fprintf(stderr, "\nfarscale: %s%s: %s\n", rank == 0 ? "" : "rank 1: ", why.c_str(), where.c_str());
    std::fflush(stderr);
  }
  if (lost && world != nullptr && world->size() > 1) {
    // Launchers drop output that is under way when they abort.
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    // The library may be stuck in the very call that failed: give it three seconds to end the others.
    std::thread([world] { world->abort(static_cast<int>(ExitCode::kFailedCase)); }).detach();
    std::this_thread::sleep_for(std::chrono::seconds(3));
  }
  ::_exit(static_cast<int>(ExitCode::kFailedCase));
}

}  // namespace farscale
