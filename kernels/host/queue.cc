// Queues and events.
#include "kernels/host/queue.h"

#include <utility>

#include "kernels/error.h"

namespace farscale {
namespace {

HostEvent& host_event(Event& event) {
  auto* mine = dynamic_cast<HostEvent*>(&event);
  if (mine == nullptr) throw InputError("an event of another backend was given to a queue of the host");
  return *mine;
}

}  // namespace

void HostOperation::run(Queue& queue) {
  auto* mine = dynamic_cast<HostQueue*>(&queue);
  if (mine == nullptr) throw InputError("an operation of the host was given to a queue of another backend");
  mine->submit(*this);
}

uint64_t HostEvent::take_ticket() {
  const std::lock_guard lock(mutex_);
  return ++last_;
}

uint64_t HostEvent::last_ticket() const {
  const std::lock_guard lock(mutex_);
  return last_;
}

void HostEvent::reach(uint64_t ticket) {
  {
    const std::lock_guard lock(mutex_);
    reached_ = std::max(reached_, ticket);
  }
  reached_change_.notify_all();
}

void HostEvent::wait(uint64_t ticket) const {
  std::unique_lock lock(mutex_);
  reached_change_.wait(lock, [&] { return reached_ >= ticket; });
}

void ComputeQueue::record(Event& event) {
  HostEvent& mine = host_event(event);
  mine.reach(mine.take_ticket());
}

void ComputeQueue::wait_for(Event& event) {
  const HostEvent& mine = host_event(event);
  mine.wait(mine.last_ticket());
}

CommunicationQueue::CommunicationQueue(std::unique_ptr<World> ranks)
    : ranks_(std::move(ranks)), thread_([this] { work(); }) {}

CommunicationQueue::~CommunicationQueue() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  work_change_.notify_one();
  thread_.join();
}

void CommunicationQueue::submit(HostOperation& operation) { push({.kind = Kind::kRun, .operation = &operation}); }

void CommunicationQueue::record(Event& event) {
  HostEvent& mine = host_event(event);
  push({.kind = Kind::kRecord, .event = &mine, .ticket = mine.take_ticket()});
}

void CommunicationQueue::wait_for(Event& event) {
  HostEvent& mine = host_event(event);
  push({.kind = Kind::kWait, .event = &mine, .ticket = mine.last_ticket()});
}

void CommunicationQueue::synchronize() {
  std::unique_lock lock(mutex_);
  idle_change_.wait(lock, [&] { return tasks_.empty() && !busy_; });
  if (error_ != nullptr) std::rethrow_exception(std::exchange(error_, nullptr));
}

void CommunicationQueue::push(const Task& task) {
  {
    const std::lock_guard lock(mutex_);
    tasks_.push_back(task);
  }
  work_change_.notify_one();
}

void CommunicationQueue::work() {
  std::unique_lock lock(mutex_);
  while (true) {
    work_change_.wait(lock, [&] { return ending_ || !tasks_.empty(); });
    if (tasks_.empty()) return;
    const Task task = tasks_.front();
    tasks_.pop_front();
    busy_ = true;
    const bool skip = error_ != nullptr && task.kind == Kind::kRun;
    lock.unlock();
    std::exception_ptr error;
    try {
      if (!skip) perform(task);
    } catch (...) {
      error = std::current_exception();
    }
    lock.lock();
    if (error != nullptr && error_ == nullptr) error_ = error;
    busy_ = false;
    if (tasks_.empty()) idle_change_.notify_all();
  }
}

void CommunicationQueue::perform(const Task& task) {
  switch (task.kind) {
    case Kind::kRun:
      task.operation->execute(ranks_.get());
      break;
    case Kind::kRecord:
      task.event->reach(task.ticket);
      break;
    case Kind::kWait:
      task.event->wait(task.ticket);
      break;
  }
}

}  // namespace farscale
