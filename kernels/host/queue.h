// The queues of the host: the compute queue is the calling thread; the communication queue is a thread of its own with
// its own duplicate of the ranks, so that collectives progress while the caller computes. (MPI_Iallreduce alone does
// not: without calls into the library nothing moves.)
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>

#include "kernels/backend.h"

namespace farscale {

// An operation that can run on a thread that is not its caller's.
class HostOperation : public Operation {
 public:
  void run(Queue& queue) final;
  // One run, now. `ranks`: the queue's own ranks for a collective, or null for those of its settings.
  virtual void execute(const World* ranks) = 0;
};

// Counts its recordings: a ticket for each, and the last one reached.
class HostEvent final : public Event {
 public:
  uint64_t take_ticket();
  uint64_t last_ticket() const;
  void reach(uint64_t ticket);
  void wait(uint64_t ticket) const;  // returns at once for ticket 0: never recorded

 private:
  mutable std::mutex mutex_;
  mutable std::condition_variable reached_change_;
  uint64_t last_ = 0;
  uint64_t reached_ = 0;
};

class HostQueue : public Queue {
 public:
  virtual void submit(HostOperation& operation) = 0;
};

// Runs at once, on the caller's thread; errors are thrown where they happen.
class ComputeQueue final : public HostQueue {
 public:
  void submit(HostOperation& operation) override { operation.execute(nullptr); }
  void record(Event& event) override;
  void wait_for(Event& event) override;
  void synchronize() override {}
};

// A thread that takes its tasks in order. After an error it runs nothing more, but its events are still reached, so
// that nobody waits for ever; synchronize() rethrows the error and the queue works again.
class CommunicationQueue final : public HostQueue {
 public:
  explicit CommunicationQueue(std::unique_ptr<World> ranks);
  ~CommunicationQueue() override;
  CommunicationQueue(const CommunicationQueue&) = delete;
  CommunicationQueue& operator=(const CommunicationQueue&) = delete;

  void submit(HostOperation& operation) override;
  void record(Event& event) override;
  void wait_for(Event& event) override;
  void synchronize() override;

 private:
  enum class Kind : uint8_t { kRun, kRecord, kWait };
  struct Task {
    Kind kind = Kind::kRun;
    HostOperation* operation = nullptr;
    HostEvent* event = nullptr;
    uint64_t ticket = 0;
  };

  void push(const Task& task);
  void work();
  void perform(const Task& task);

  std::unique_ptr<World> ranks_;
  std::mutex mutex_;
  std::condition_variable work_change_;
  std::condition_variable idle_change_;
  std::deque<Task> tasks_;
  bool busy_ = false;
  bool ending_ = false;
  std::exception_ptr error_;
  std::thread thread_;  // last: it starts when everything else is there
};

}  // namespace farscale
