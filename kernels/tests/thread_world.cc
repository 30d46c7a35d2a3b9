// Rendezvous of threads behind the World interface.
#include "kernels/tests/thread_world.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <map>
#include <mutex>
#include <thread>

namespace farscale {
namespace {

constexpr auto kDeadline = std::chrono::seconds(20);

// All ranks of one communicator put a text in and take all texts out.
class Meeting {
 public:
  explicit Meeting(int ranks) : ranks_(static_cast<size_t>(ranks)), call_(ranks_), text_(ranks_) {}

  std::vector<std::string> exchange(int rank, const std::string& call, const std::string& text) {
    std::unique_lock lock(mutex_);
    wait(
        lock, [&] { return !leaving_; }, call);
    call_[static_cast<size_t>(rank)] = call;
    text_[static_cast<size_t>(rank)] = text;
    if (++present_ == ranks_) {
      leaving_ = true;
      changed_.notify_all();
    }
    wait(
        lock, [&] { return leaving_; }, call);
    const std::vector<std::string> texts = text_;
    const bool same = std::all_of(call_.begin(), call_.end(), [&](const std::string& c) { return c == call; });
    if (--present_ == 0) {
      leaving_ = false;
      changed_.notify_all();
    }
    if (!same) throw CallError(fmt::format("ranks diverged: rank {} calls {}, another something else", rank, call));
    return texts;
  }

  // The communicator that the n-th duplicate() of every rank shares.
  std::shared_ptr<Meeting> child(size_t number) {
    const std::lock_guard lock(mutex_);
    auto& found = children_[number];
    if (!found) found = std::make_shared<Meeting>(static_cast<int>(ranks_));
    return found;
  }

 private:
  template <typename Condition>
  void wait(std::unique_lock<std::mutex>& lock, const Condition& condition, const std::string& call) {
    if (changed_.wait_for(lock, kDeadline, condition)) return;
    throw CallError(fmt::format("ranks diverged: nobody else came to {}", call));
  }

  const size_t ranks_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::string> call_;
  std::vector<std::string> text_;
  size_t present_ = 0;
  bool leaving_ = false;
  std::map<size_t, std::shared_ptr<Meeting>> children_;
};

class ThreadWorld final : public World {
 public:
  ThreadWorld(std::shared_ptr<Meeting> meeting, int rank, int size)
      : meeting_(std::move(meeting)), rank_(rank), size_(size) {}

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  int local_rank() const override { return rank_; }
  std::string library() const override { return "threads"; }
  std::vector<std::string> hosts() const override {
    return std::vector<std::string>(static_cast<size_t>(size_), "here");
  }
  void barrier() const override { meeting_->exchange(rank_, "barrier", ""); }
  std::string broadcast(const std::string& text, int root) const override {
    return meeting_->exchange(rank_, "broadcast", text)[static_cast<size_t>(root)];
  }
  std::vector<std::string> gather(const std::string& text) const override {
    return meeting_->exchange(rank_, "gather", text);
  }
  std::vector<double> reduce(std::vector<double> values, Reduction op) const override {
    const std::string call = fmt::format("reduce {} of {}", static_cast<int>(op), values.size());
    std::string bytes(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(double));
    const std::vector<std::string> all = meeting_->exchange(rank_, call, bytes);
    for (int other = 0; other < size_; ++other) {
      const auto* theirs = reinterpret_cast<const double*>(all[static_cast<size_t>(other)].data());
      for (size_t i = 0; i < values.size(); ++i) {
        if (other == 0) {
          values[i] = theirs[i];
        } else {
          values[i] = op == Reduction::kSum   ? values[i] + theirs[i]
                      : op == Reduction::kMin ? std::min(values[i], theirs[i])
                                              : std::max(values[i], theirs[i]);
        }
      }
    }
    return values;
  }
  // Moves nothing: only checks that all ranks are in the same collective.
  void collective(const CollectiveProblem& problem, const void*, void*) const override {
    meeting_->exchange(rank_, problem.name(), "");
  }
  std::unique_ptr<World> duplicate() const override {
    return std::make_unique<ThreadWorld>(meeting_->child(duplicates_++), rank_, size_);
  }
  void on_lost(double, std::function<void(const std::string&)>) override {}
  void abort(int) override {}

 private:
  std::shared_ptr<Meeting> meeting_;
  int rank_;
  int size_;
  mutable size_t duplicates_ = 0;
};

}  // namespace

std::vector<std::exception_ptr> thrown_by_ranks(int ranks, const std::function<void(World& world)>& body) {
  const auto meeting = std::make_shared<Meeting>(ranks);
  std::vector<std::exception_ptr> failures(static_cast<size_t>(ranks));
  std::vector<std::thread> threads;
  for (int rank = 0; rank < ranks; ++rank) {
    threads.emplace_back([&, rank] {
      ThreadWorld world(meeting, rank, ranks);
      try {
        body(world);
      } catch (...) {
        failures[static_cast<size_t>(rank)] = std::current_exception();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  return failures;
}

void run_ranks(int ranks, const std::function<void(World& world)>& body) {
  for (const std::exception_ptr& failure : thrown_by_ranks(ranks, body)) {
    if (failure) std::rethrow_exception(failure);
  }
}

}  // namespace farscale
