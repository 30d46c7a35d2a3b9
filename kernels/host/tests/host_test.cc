// The host backend through its table, and its operations with results spoilt on purpose.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <thread>

#include "kernels/elements.h"
#include "kernels/format.h"
#include "kernels/host/host_backend.h"
#include "kernels/host/queue.h"
#include "kernels/module.h"
#include "kernels/reference.h"
#include "kernels/tests/memory_kernels.h"

namespace farscale {
namespace {

using testing::HasSubstr;

class Host : public testing::Test {
 protected:
  std::unique_ptr<World> world_ = single_world();
  HostBackend backend_{*world_};
  OperationSettings warm_{.cold = false};

  std::unique_ptr<Operation> ready(const Problem& problem, const OperationSettings& settings) {
    auto operation = backend_.prepare(problem, settings);
    if (!operation) throw EnvironmentError(operation.reason());
    return std::move(*operation);
  }
  // Flips an exponent bit (of integers: a high bit) of up to eight elements in the middle of the result.
  void spoil(int64_t element_bytes) {
    backend_.context().tamper = [element_bytes](void* result, int64_t bytes) {
      const int64_t elements = bytes / element_bytes, count = std::min<int64_t>(8, elements);
      for (int64_t i = (elements - count) / 2; i < (elements + count) / 2; ++i) {
        auto* at = static_cast<unsigned char*>(result) + (i + 1) * element_bytes - 1;
        *at = static_cast<unsigned char>(*at ^ 0x40U);
      }
    };
  }
};

struct Shape {
  int64_t m, n, k, batch;
};

TEST_F(Host, GemmIsRightInEveryTypeLayoutAndBatch) {
  int checked = 0;
  for (const NumberType type : {NumberType::kFp32, NumberType::kFp64, NumberType::kBf16, NumberType::kInt8}) {
    for (const Shape s : {Shape{1, 1, 1, 1}, Shape{33, 17, 65, 1}, Shape{8, 64, 16, 5}, Shape{300, 270, 260, 1}}) {
      for (const int layout : {0, 1, 2, 3}) {
        const GemmProblem problem{.m = s.m,
                                  .n = s.n,
                                  .k = s.k,
                                  .batch = s.batch,
                                  .type = type,
                                  .transpose_a = (layout & 1) != 0,
                                  .transpose_b = (layout & 2) != 0};
        auto operation = backend_.prepare(problem, warm_);
        if (!operation) {  // a CPU or a build without this type says why
          EXPECT_THAT(operation.reason(), HasSubstr("oneDNN")) << problem.name();
          continue;
        }
        const Verdict verdict = (*operation)->verify();
        EXPECT_TRUE(verdict.correct) << problem.name() << ": " << verdict.detail;
        EXPECT_EQ(verdict.bound, type == NumberType::kInt8 ? 0 : 1);
        ++checked;
      }
    }
  }
  EXPECT_GE(checked, 32);  // fp32 and fp64 are always there
}

TEST_F(Host, AWrongGemmIsCaught) {
  for (const NumberType type : {NumberType::kFp32, NumberType::kFp64, NumberType::kBf16, NumberType::kInt8}) {
    for (const int64_t size : {64, 300}) {
      spoil(type == NumberType::kInt8 ? 4 : static_cast<int64_t>(bytes_per_element(type)));
      auto operation = backend_.prepare(GemmProblem{.m = size, .n = size, .k = size, .type = type}, warm_);
      if (!operation) continue;
      const Verdict verdict = (*operation)->verify();
      EXPECT_FALSE(verdict.correct) << name(type) << " " << size;
      EXPECT_GT(verdict.worst_error, verdict.bound);
    }
  }
}

TEST_F(Host, AResultNotWrittenIsCaught) {
  backend_.context().tamper = [](void* result, int64_t bytes) { std::memset(result, 0, static_cast<size_t>(bytes)); };
  EXPECT_FALSE(ready(GemmProblem{.m = 300, .n = 300, .k = 300}, warm_)->verify().correct);
}

TEST_F(Host, TypesAndSizesItDoesNotHaveAreAbsentWithAReason) {
  for (const NumberType type : {NumberType::kTf32, NumberType::kFp16, NumberType::kFp8E4M3, NumberType::kFp4}) {
    const auto none = backend_.prepare(GemmProblem{.m = 8, .n = 8, .k = 8, .type = type}, warm_);
    ASSERT_FALSE(none);
    EXPECT_THAT(none.reason(), HasSubstr(std::string(name(type))));
  }
  const auto large = backend_.prepare(GemmProblem{.m = 1 << 24, .n = 1 << 20, .k = 64}, warm_);
  ASSERT_FALSE(large);
  EXPECT_THAT(large.reason(), HasSubstr("memory"));
  EXPECT_FALSE(
      backend_.prepare(MemoryProblem{.kind = MemoryKind::kAdamW, .elements = 8, .type = NumberType::kBf16}, warm_));
  EXPECT_FALSE(backend_.prepare(MemoryProblem{.elements = int64_t{1} << 40}, warm_));
  EXPECT_FALSE(backend_.prepare(CollectiveProblem{.bytes = 64, .ranks = 2}, warm_));
  EXPECT_FALSE(backend_.prepare(CollectiveProblem{.bytes = 64, .type = NumberType::kFp16}, warm_));
  EXPECT_THROW(backend_.prepare(GemmProblem{.m = 0, .n = 8, .k = 8}, warm_), InputError);
}

TEST_F(Host, MemoryKernelsAreRightAndWrongOnesCaught) {
  EXPECT_GT(memory_kernels().size(), 50U);
  for (MemoryProblem problem : memory_kernels()) {
    const bool rows = problem.kind == MemoryKind::kBiasGelu || problem.kind == MemoryKind::kLayerNorm;
    const NumberType last = memory_arrays(problem).back().written ? memory_arrays(problem).back().type : problem.type;
    for (const int64_t size : {1, 2, 1001, 30'000}) {
      problem.elements = rows ? std::min<int64_t>(size, 20) * kMemoryRow : size;
      backend_.context().tamper = nullptr;
      const auto operation = ready(problem, warm_);
      const auto queue = backend_.open_queue(QueueRole::kCompute);
      for (int i = 0; i < 2; ++i) {  // again after it has run: adamw moves its inputs
        const Verdict verdict = operation->verify();
        EXPECT_TRUE(verdict.correct) << problem.name() << ": " << verdict.detail;
        operation->run(*queue);
      }
      backend_.context().tamper = [&](void* result, int64_t) {  // the first element: others may be gaps
        static_cast<unsigned char*>(result)[static_cast<size_t>(bytes_per_element(last)) - 1] ^= 0x40U;
      };
      EXPECT_FALSE(ready(problem, warm_)->verify().correct) << problem.name();
    }
  }
}

TEST_F(Host, EpiloguesAreRightAndWrongOnesCaught) {
  for (const Epilogue epilogue : kEpilogues) {
    for (const NumberType type : {NumberType::kFp32, NumberType::kFp64}) {
      for (const int64_t size : {40, 300}) {
        const GemmProblem problem{.m = size, .n = size + 3, .k = size, .batch = 2, .type = type, .epilogue = epilogue};
        backend_.context().tamper = nullptr;
        const Verdict verdict = ready(problem, warm_)->verify();
        EXPECT_TRUE(verdict.correct) << problem.name() << ": " << verdict.detail;
        backend_.context().tamper = [&](void* result, int64_t bytes) {  // a row: single entries of a large product
          const auto row = static_cast<size_t>(bytes / (2 * size));     // that is not linear may be missed
          for (size_t i = 1; i <= row; ++i) {
            if (i % static_cast<size_t>(bytes_per_element(type)) == 0) {
              static_cast<unsigned char*>(result)[7 * row + i - 1] ^= 0x40U;
            }
          }
        };
        EXPECT_FALSE(ready(problem, warm_)->verify().correct) << problem.name();
      }
    }
  }
  // A bias that is left out is found, row by row.
  backend_.context().tamper = [](void* c, int64_t bytes) {
    for (int64_t i = 0; i < bytes / 4; ++i) static_cast<float*>(c)[i] -= 1;
  };
  EXPECT_FALSE(ready(GemmProblem{.m = 300, .n = 300, .k = 300, .epilogue = Epilogue::kBias}, warm_)->verify().correct);
  const auto none = backend_.prepare(
      GemmProblem{.m = 8, .n = 8, .k = 8, .type = NumberType::kBf16, .epilogue = Epilogue::kBias}, warm_);
  ASSERT_FALSE(none);
  EXPECT_THAT(none.reason(), HasSubstr("fp32 and fp64"));
}

TEST_F(Host, TriadAndAdamWRoundSoTheCheckSeesSomething) {
  const auto adamw = ready(MemoryProblem{.kind = MemoryKind::kAdamW, .elements = 10'000}, warm_);
  const Verdict verdict = adamw->verify();
  EXPECT_GT(verdict.worst_error, 0);
  EXPECT_LT(verdict.worst_error, 1);
}

TEST_F(Host, ColdOperandsOutgrowTheCacheWithinTheMemoryAllowed) {
  backend_.context().cache_bytes = 1e6;
  backend_.context().rotation_bytes = 1e9;
  const GemmProblem problem{.m = 100, .n = 100, .k = 100};  // 120 kB a set
  const double bytes = std::stod(ready(problem, {})->details()["operand_bytes"]);
  EXPECT_GT(bytes, 2e6);
  EXPECT_LT(bytes, 3e6);
  EXPECT_EQ(ready(problem, warm_)->details()["operand_sets"], "1");
  backend_.context().rotation_bytes = 5e5;
  EXPECT_LE(std::stod(ready(problem, {})->details()["operand_bytes"]), 5e5);
}

TEST_F(Host, CollectivesOfOneRank) {
  for (const CollectiveKind kind : kCollectiveKinds) {
    for (const NumberType type : {NumberType::kFp64, NumberType::kFp32, NumberType::kBf16, NumberType::kInt8}) {
      for (const bool in_place : {false, true}) {
        const CollectiveProblem problem{.kind = kind, .bytes = 8000, .type = type, .in_place = in_place};
        backend_.context().tamper = nullptr;
        const Verdict verdict = ready(problem, warm_)->verify();
        EXPECT_TRUE(verdict.correct) << problem.name() << ": " << verdict.detail;
        spoil(static_cast<int64_t>(bytes_per_element(type)));
        EXPECT_FALSE(ready(problem, warm_)->verify().correct) << problem.name();
      }
    }
  }
}

TEST_F(Host, InputsFollowSeedAndData) {
  OperationSettings zeros = warm_;
  zeros.data = InputData::kZeros;
  bool all_zero = true;
  backend_.context().tamper = [&](void* result, int64_t bytes) {
    const auto* c = static_cast<const float*>(result);
    for (int64_t i = 0; i < bytes / 4; ++i) all_zero = all_zero && c[i] == 0;
  };
  EXPECT_TRUE(ready(GemmProblem{.m = 20, .n = 20, .k = 20}, zeros)->verify().correct);
  EXPECT_TRUE(all_zero);
  EXPECT_TRUE(ready(GemmProblem{.m = 20, .n = 20, .k = 20}, warm_)->verify().correct);
  EXPECT_FALSE(all_zero);
}

TEST_F(Host, DeviceSaysWhatItIs) {
  const DeviceReport report = backend_.device();
  EXPECT_EQ(report.backend, "host");
  EXPECT_GT(report.memory_bytes, 1e8);
  EXPECT_THAT(report.facts.at("blas"), HasSubstr("OpenBLAS 0."));
  EXPECT_FALSE(report.facts.at("blas_core").empty());
  EXPECT_GE(std::stoi(report.facts.at("threads")), 1);
}

TEST_F(Host, TimesGrowWithTheRuns) {
  const auto operation = ready(GemmProblem{.m = 128, .n = 128, .k = 128}, warm_);
  const auto queue = backend_.open_queue(QueueRole::kCompute);
  double few = INFINITY, many = INFINITY;  // the least of some: another process may have had the core
  for (int i = 0; i < 9; ++i) {
    few = std::min(few, backend_.time_s(*operation, *queue, 1));
    many = std::min(many, backend_.time_s(*operation, *queue, 200));
  }
  EXPECT_GT(many, few);
}

// ---- Queues ----

// Notes when it ran; may wait for a signal or throw.
class Probe final : public HostOperation {
 public:
  explicit Probe(std::vector<int>& order, int number) : order_(order), number_(number) {}
  Verdict verify() override { return {.correct = true, .detail = ""}; }
  void execute(const World* ranks) override {
    while (hold) std::this_thread::yield();
    if (fail) throw CallError("probe failed");
    had_ranks = ranks != nullptr;
    thread = std::this_thread::get_id();
    order_.push_back(number_);
  }
  std::atomic<bool> hold = false;
  bool fail = false;
  bool had_ranks = false;
  std::thread::id thread;

 private:
  std::vector<int>& order_;
  int number_;
};

TEST_F(Host, ComputeRunsHereAndCommunicationOnAThreadWithItsOwnRanks) {
  std::vector<int> order;
  Probe probe(order, 1);
  const auto compute = backend_.open_queue(QueueRole::kCompute);
  const auto communication = backend_.open_queue(QueueRole::kCommunication);
  probe.run(*compute);
  EXPECT_EQ(probe.thread, std::this_thread::get_id());
  EXPECT_FALSE(probe.had_ranks);
  probe.run(*communication);
  communication->synchronize();
  EXPECT_NE(probe.thread, std::this_thread::get_id());
  EXPECT_TRUE(probe.had_ranks);
  EXPECT_EQ(order.size(), 2U);
}

TEST_F(Host, CommunicationKeepsItsOrderAndDoesNotHoldTheCaller) {
  std::vector<int> order;
  Probe first(order, 1), second(order, 2), third(order, 3);
  const auto queue = backend_.open_queue(QueueRole::kCommunication);
  first.hold = true;
  first.run(*queue);
  second.run(*queue);
  third.run(*queue);
  first.hold = false;  // would never be reached if run() waited
  queue->synchronize();
  EXPECT_EQ(order, (std::vector<int>{1, 2, 3}));
}

TEST_F(Host, AnEventHoldsTheOtherQueueBack) {
  std::vector<int> order;
  Probe slow(order, 1), after(order, 2);
  const auto compute = backend_.open_queue(QueueRole::kCompute);
  const auto communication = backend_.open_queue(QueueRole::kCommunication);
  const auto event = backend_.make_event();
  for (int round = 0; round < 50; ++round) {  // the event is used again and again
    order.clear();
    slow.hold = true;
    slow.run(*communication);
    communication->record(*event);
    std::thread release([&] {
      std::this_thread::sleep_for(std::chrono::microseconds(200));
      slow.hold = false;
    });
    compute->wait_for(*event);
    after.run(*compute);
    release.join();
    ASSERT_EQ(order, (std::vector<int>{1, 2}));
  }
}

TEST_F(Host, CommunicationWaitsForTheEventsLastRecord) {
  std::vector<int> order;
  Probe computed(order, 1), sent(order, 2);
  const auto compute = backend_.open_queue(QueueRole::kCompute);
  const auto communication = backend_.open_queue(QueueRole::kCommunication);
  const auto event = backend_.make_event();
  communication->wait_for(*event);  // never recorded: waits for nothing
  communication->synchronize();
  computed.run(*compute);
  compute->record(*event);
  communication->wait_for(*event);
  sent.run(*communication);
  communication->synchronize();
  EXPECT_EQ(order, (std::vector<int>{1, 2}));
}

TEST_F(Host, SynchronizeRethrowsOnceAndEventsAreStillReached) {
  std::vector<int> order;
  Probe bad(order, 1), later(order, 2);
  bad.fail = true;
  const auto compute = backend_.open_queue(QueueRole::kCompute);
  const auto queue = backend_.open_queue(QueueRole::kCommunication);
  const auto event = backend_.make_event();
  bad.run(*queue);
  later.run(*queue);
  queue->record(*event);
  compute->wait_for(*event);  // does not hang
  EXPECT_THROW(queue->synchronize(), CallError);
  EXPECT_TRUE(order.empty());  // nothing ran after the failure
  later.run(*queue);
  EXPECT_NO_THROW(queue->synchronize());
  EXPECT_EQ(order, (std::vector<int>{2}));
  EXPECT_THROW(bad.run(*compute), CallError);
}

TEST_F(Host, TheModuleOpensByName) {
  ::setenv("FARSCALE_MODULE_PATH", FARSCALE_BINARY_DIR, 1);
  const auto backend = open_backend("host", *world_);
  ASSERT_TRUE(backend) << backend.reason();
  const auto operation = (*backend)->prepare(GemmProblem{.m = 50, .n = 40, .k = 30}, {});
  ASSERT_TRUE(operation);
  EXPECT_TRUE((*operation)->verify().correct);
}

}  // namespace
}  // namespace farscale
