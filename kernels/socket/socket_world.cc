// The world of ranks without MPI: started by torchrun, Slurm or a shell, they meet over TCP. farscale-socket.so.
#include <fmt/format.h>

#include <atomic>
#include <cstdlib>
#include <cstring>

#include "kernels/socket/star.h"
#include "kernels/world.h"

namespace farscale {
namespace {

constexpr double kPatience_s = 120;  // for all ranks to come; a scheduler may start them minutes apart

class SocketWorld final : public World {
 public:
  SocketWorld(std::shared_ptr<Meeting> meeting, const std::string& name)
      : meeting_(std::move(meeting)), name_(name), star_(*meeting_, meeting_->open_channel(name)) {}

  int rank() const override { return meeting_->rank(); }
  int size() const override { return meeting_->size(); }
  int local_rank() const override { return meeting_->local_rank(); }
  std::string library() const override { return "TCP through rank 0, no MPI"; }
  std::vector<std::string> hosts() const override { return meeting_->hosts(); }

  void barrier() const override {
    (void)star_.collect("barrier", "");
    (void)star_.deliver("barrier", "");
  }
  std::string broadcast(const std::string& text, int root) const override {
    const std::string all = star_.deliver("broadcast", star_.bring("broadcast", text, root));
    return rank() == root ? text : all;
  }
  std::vector<std::string> gather(const std::string& text) const override;
  std::vector<double> reduce(std::vector<double> values, Reduction op) const override;

  void collective(const CollectiveProblem& problem, const void* send, void* receive) const override {
    if (problem.ranks != size()) {
      throw InputError(fmt::format("{}: this world has {} ranks", problem.name(), size()));
    }
    run_collective(star_, problem, send, receive);
  }

  std::unique_ptr<World> duplicate() const override {
    return std::make_unique<SocketWorld>(meeting_, fmt::format("{}.{}", name_, duplicates_++));
  }

  void on_lost(double deadline_s, std::function<void(const std::string&)> lost) override {
    meeting_->on_lost(deadline_s, std::move(lost));
  }

  void abort(int exit_code) override { meeting_->end_all(exit_code); }

 private:
  std::shared_ptr<Meeting> meeting_;
  std::string name_;
  Star star_;
  mutable std::atomic<int> duplicates_{0};  // counted alike on every rank, as all duplicate together
};

// Packed for the way back as size, bytes, size, bytes, …
std::vector<std::string> SocketWorld::gather(const std::string& text) const {
  std::string packed;
  for (const std::string& one : star_.collect("gather", text)) {
    const uint64_t bytes = one.size();
    packed.append(reinterpret_cast<const char*>(&bytes), sizeof bytes);
    packed.append(one);
  }
  packed = star_.deliver("gather", packed);
  std::vector<std::string> all;
  for (size_t at = 0; at < packed.size();) {
    uint64_t bytes = 0;
    std::memcpy(&bytes, packed.data() + at, sizeof bytes);
    all.push_back(packed.substr(at + sizeof bytes, bytes));
    at += sizeof bytes + bytes;
  }
  return all;
}

double combined(double a, double b, Reduction op) {
  if (op == Reduction::kSum) return a + b;
  return op == Reduction::kMin ? std::min(a, b) : std::max(a, b);
}

std::vector<double> SocketWorld::reduce(std::vector<double> values, Reduction op) const {
  const size_t bytes = values.size() * sizeof(double);
  const auto text = [&] { return std::string(reinterpret_cast<const char*>(values.data()), bytes); };
  const std::vector<std::string> all = star_.collect("reduce", text());
  for (size_t other = 1; other < all.size(); ++other) {
    if (all[other].size() != bytes) {
      throw CallError(fmt::format("reduce of {} bytes on rank 0, of {} on rank {}", bytes, all[other].size(), other));
    }
    for (size_t i = 0; i < values.size(); ++i) {
      double value = 0;
      std::memcpy(&value, all[other].data() + i * sizeof value, sizeof value);
      values[i] = combined(values[i], value, op);
    }
  }
  const std::string result = star_.deliver("reduce", rank() == 0 ? text() : "");
  if (bytes > 0) std::memcpy(values.data(), result.data(), bytes);
  return values;
}

// FARSCALE_DEADLINE_S is how long a wait for others may last; meeting gets four times that, as making a communicator.
double patience_s() {
  const char* text = std::getenv("FARSCALE_DEADLINE_S");
  const double seconds = text == nullptr ? 0 : std::atof(text);
  return seconds > 0 ? 4 * seconds : kPatience_s;
}

Maybe<std::unique_ptr<World>> open() {
  const Rendezvous where = find_rendezvous([](const char* name) -> const char* { return std::getenv(name); });
  auto meeting = std::make_shared<Meeting>(where, patience_s());
  return std::unique_ptr<World>(std::make_unique<SocketWorld>(std::move(meeting), "world"));
}

}  // namespace
}  // namespace farscale

extern "C" const farscale::WorldModule* farscale_world() {
  static constexpr farscale::WorldModule kModule{
      .version = farscale::WorldModule::kVersion, .name = "socket", .open = farscale::open};
  return &kModule;
}
