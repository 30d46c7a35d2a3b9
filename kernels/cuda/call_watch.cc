// The thread that looks.
#include "kernels/cuda/call_watch.h"

#include <algorithm>
#include <chrono>
#include <utility>

namespace farscale::cuda {

CallWatch::CallWatch(double deadline_s, std::function<void()> stop)
    : deadline_s_(deadline_s), stop_(std::move(stop)), thread_([this] { look(); }) {}

CallWatch::~CallWatch() {
  {
    const std::lock_guard lock(mutex_);
    done_ = true;
  }
  woken_.notify_one();
  thread_.join();
}

void CallWatch::look() {
  using Clock = std::chrono::steady_clock;
  const std::chrono::duration<double> deadline(deadline_s_);
  const std::chrono::duration<double> pause(std::clamp(deadline_s_ / 20, 1e-3, 1.0));
  std::unique_lock lock(mutex_);
  uint64_t seen = 0;
  Clock::time_point since = Clock::now();
  while (!woken_.wait_for(lock, pause, [this] { return done_; })) {
    const uint64_t now = steps_.load(std::memory_order_acquire);
    if (now % 2 == 0 || now != seen) {
      seen = now;
      since = Clock::now();
    } else if (Clock::now() - since > deadline) {
      expired_.store(true, std::memory_order_release);
      stop_();
      return;
    }
  }
}

}  // namespace farscale::cuda
