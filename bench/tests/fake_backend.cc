// The fake's clock arithmetic.
#include "bench/tests/fake_backend.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <sstream>
#include <thread>

namespace farscale {
namespace {

bool asked_for(const std::string& part, const std::string& name) {
  return !part.empty() && name.find(part) != std::string::npos;
}

struct FakeEvent final : Event {
  double time_s = 0;
};

class FakeQueue final : public Queue {
 public:
  FakeQueue(std::shared_ptr<FakeState> state, QueueRole role) : state_(std::move(state)), role_(role) {}
  void record(Event& event) override { static_cast<FakeEvent&>(event).time_s = time(); }
  void wait_for(Event& event) override { time() = std::max(time(), static_cast<FakeEvent&>(event).time_s); }
  void synchronize() override { state_->now_s = std::max(state_->now_s, time()); }

  void spend(double seconds) {
    if (!state_->replaying) state_->now_s += state_->behaviour.issue_s;
    const bool compute = role_ == QueueRole::kCompute;
    if (compute && state_->communication_s > state_->now_s) seconds *= state_->behaviour.slowdown;
    // Work handed to the communication queue cannot start before it was handed over.
    if (!compute) time() = std::max(time(), state_->now_s);
    time() += seconds;
  }

 private:
  double& time() {
    return role_ == QueueRole::kCompute ? state_->now_s
           : role_ == QueueRole::kInput ? state_->input_s
                                        : state_->communication_s;
  }
  std::shared_ptr<FakeState> state_;
  QueueRole role_;
};

class FakeOperation final : public Operation {
 public:
  FakeOperation(std::shared_ptr<FakeState> state, Problem problem, const World* world)
      : state_(std::move(state)), problem_(problem), name_(name(problem_)), world_(world) {
    ++state_->alive;
    ++state_->prepared;
  }
  ~FakeOperation() override { --state_->alive; }

  Verdict verify() override {
    ++state_->verified;
    meet();
    if (!asked_for(state_->behaviour.wrong, name_)) return {true, 0.5, 1, "compared with nothing"};
    return {false, 7, 1, "entry (3, 5) is 7, expected 1"};
  }

  void run(Queue& queue) override {
    ++state_->runs;
    state_->order.push_back(name_);
    if (asked_for(state_->behaviour.throws_running, name_) && ++failing_runs_ >= state_->behaviour.throws_at) {
      throw CallError("fake_run: device on fire (code 7) at fake_backend.cc");
    }
    meet();
    double seconds = fake_seconds(state_->behaviour, problem_);
    state_->sequence = state_->sequence * 6364136223846793005ULL + 1442695040888963407ULL;
    const double unit = double(state_->sequence >> 33) / double(1ULL << 31);  // [0, 1)
    seconds *= 1 + state_->behaviour.jitter * (2 * unit - 1);
    static_cast<FakeQueue&>(queue).spend(seconds);
  }

  Facts details() const override { return state_->behaviour.details; }
  const std::string& name_text() const { return name_; }

 private:
  void meet() const {
    const auto* collective = std::get_if<CollectiveProblem>(&problem_);
    if (collective != nullptr && world_ != nullptr) world_->collective(*collective, nullptr, nullptr);
  }

  std::shared_ptr<FakeState> state_;
  Problem problem_;
  std::string name_;
  const World* world_;
  int failing_runs_ = 0;
};

class FakeInput final : public Operation {
 public:
  explicit FakeInput(double seconds) : seconds_(seconds) {}
  Verdict verify() override { return {true, 0, 0, "every byte compared"}; }
  void run(Queue& queue) override { static_cast<FakeQueue&>(queue).spend(seconds_); }

 private:
  double seconds_;
};

// Keeps what was to be enqueued and does it again at each launch.
class FakeRecording final : public Recording {
 public:
  FakeRecording(std::shared_ptr<FakeState> state, std::function<void()> enqueue)
      : state_(std::move(state)), enqueue_(std::move(enqueue)) {}
  void launch(Queue&) override {
    state_->now_s += state_->behaviour.issue_s;
    state_->replaying = true;
    enqueue_();
    state_->replaying = false;
  }

 private:
  std::shared_ptr<FakeState> state_;
  std::function<void()> enqueue_;
};

class FakeArena final : public Arena {
 public:
  double bytes() const override { return 0; }
};

class FakeBackend final : public Backend {
 public:
  explicit FakeBackend(std::shared_ptr<FakeState> state) : state_(std::move(state)) {}

  DeviceReport device() const override {
    return {.backend = "fake",
            .name = "a fake",
            .memory_bytes = state_->behaviour.memory_bytes,
            .cache_bytes = 1e6,
            .facts = {{"library", "none"}},
            .warnings = {}};
  }
  Maybe<std::unique_ptr<Operation>> prepare(const Problem& problem, const OperationSettings& settings) override {
    const std::string text = name(problem);
    if (asked_for(state_->behaviour.throws_preparing, text)) throw CallError("fake_alloc: out of memory (code 2)");
    if (std::holds_alternative<ConvolutionProblem>(problem) && !state_->behaviour.convolutions) {
      return Maybe<std::unique_ptr<Operation>>::absent("the fake has no convolutions");
    }
    if (asked_for(state_->behaviour.absent, text)) {
      return Maybe<std::unique_ptr<Operation>>::absent("not supported by the fake");
    }
    return std::unique_ptr<Operation>(std::make_unique<FakeOperation>(state_, problem, settings.world));
  }
  std::unique_ptr<Queue> open_queue(QueueRole role) override { return std::make_unique<FakeQueue>(state_, role); }
  std::unique_ptr<Event> make_event() override { return std::make_unique<FakeEvent>(); }
  double time_s(Operation& operation, Queue& queue, int64_t runs) override {
    if (state_->behaviour.real_sleep_s > 0) {
      std::this_thread::sleep_for(std::chrono::duration<double>(state_->behaviour.real_sleep_s));
    }
    const double start_s = state_->now_s;
    for (int64_t i = 0; i < runs; ++i) operation.run(queue);
    const bool broken = asked_for(state_->behaviour.no_time, static_cast<FakeOperation&>(operation).name_text());
    return broken ? std::numeric_limits<double>::quiet_NaN() : state_->now_s - start_s;
  }
  Telemetry telemetry() override { return state_->behaviour.telemetry; }
  Maybe<std::unique_ptr<Operation>> prepare_input(int64_t bytes) override {
    return std::unique_ptr<Operation>(std::make_unique<FakeInput>(double(bytes) / state_->behaviour.input_bytes_per_s));
  }
  Maybe<std::unique_ptr<Arena>> make_arena(const std::vector<Problem>&) override {
    return std::unique_ptr<Arena>(std::make_unique<FakeArena>());
  }
  Maybe<std::unique_ptr<Recording>> record_graph(Queue&, const std::function<void()>& enqueue) override {
    if (!state_->behaviour.graphs) return Maybe<std::unique_ptr<Recording>>::absent("the fake has no graphs");
    return std::unique_ptr<Recording>(std::make_unique<FakeRecording>(state_, enqueue));
  }

 private:
  std::shared_ptr<FakeState> state_;
};

}  // namespace

double fake_seconds(const FakeBehaviour& behaviour, const Problem& problem) {
  if (const auto* gemm = std::get_if<GemmProblem>(&problem)) return gemm->flops() / behaviour.flops_per_s;
  if (const auto* convolution = std::get_if<ConvolutionProblem>(&problem)) {
    return convolution->flops() / behaviour.flops_per_s / 2;
  }
  if (const auto* memory = std::get_if<MemoryProblem>(&problem)) return memory->bytes() / behaviour.bytes_per_s;
  return behaviour.latency_s + double(std::get<CollectiveProblem>(problem).bytes) / behaviour.bus_bytes_per_s;
}

std::unique_ptr<Backend> fake_backend(std::shared_ptr<FakeState> state) {
  return std::make_unique<FakeBackend>(std::move(state));
}

Clock fake_clock(std::shared_ptr<FakeState> state) {
  return [state = std::move(state)] { return state->now_s; };
}

FakeBehaviour parse_behaviour(const std::string& text) {
  FakeBehaviour behaviour;
  std::istringstream items(text);
  for (std::string item; std::getline(items, item, ';');) {
    const size_t equals = item.find('=');
    if (equals == std::string::npos) continue;
    const std::string key = item.substr(0, equals), value = item.substr(equals + 1);
    if (key == "wrong") behaviour.wrong = value;
    if (key == "absent") behaviour.absent = value;
    if (key == "throws") behaviour.throws_running = value;
    if (key == "no_time") behaviour.no_time = value;
    if (key == "jitter") behaviour.jitter = std::stod(value);
    if (key == "memory") behaviour.memory_bytes = std::stod(value);
    if (key == "sleep") behaviour.real_sleep_s = std::stod(value);
  }
  return behaviour;
}

}  // namespace farscale
