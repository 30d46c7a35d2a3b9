// Ends calls that hang. The caller counts in and out of each call, which costs two stores; a thread beside it looks now
// and then whether the same call is still under way, and stops it when it has been for too long.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>

namespace farscale::cuda {

class CallWatch {
 public:
  // `stop` is called once, from the thread, when one call took longer than `deadline_s`; it must make that call return.
  CallWatch(double deadline_s, std::function<void()> stop);
  ~CallWatch();
  CallWatch(const CallWatch&) = delete;
  CallWatch& operator=(const CallWatch&) = delete;

  // From one thread only.
  void enter() noexcept { count(); }
  void leave() noexcept { count(); }
  bool expired() const noexcept { return expired_.load(std::memory_order_acquire); }

 private:
  void count() noexcept { steps_.store(steps_.load(std::memory_order_relaxed) + 1, std::memory_order_release); }
  void look();

  double deadline_s_;
  std::function<void()> stop_;
  std::atomic<uint64_t> steps_ = 0;  // odd while a call is under way
  std::atomic<bool> expired_ = false;
  std::mutex mutex_;
  std::condition_variable woken_;
  bool done_ = false;
  std::thread thread_;
};

}  // namespace farscale::cuda
