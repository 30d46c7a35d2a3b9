// Several ranks, as threads over the fake NCCL: results, deadlines, asynchronous errors and aborts.
#include <atomic>

#include "kernels/cuda/tests/modules.h"

namespace farscale::cuda_test {
namespace {

bool exchanges(CollectiveKind kind) { return kind == CollectiveKind::kAllToAll || kind == CollectiveKind::kSendRecv; }

class Ranks : public FakeTest {
 protected:
  void SetUp() override {
    FakeTest::SetUp();
    if (fake_ != nullptr) fake_->set_devices(8);
  }
  void TearDown() override {
    ::unsetenv("FARSCALE_DEADLINE_S");
    FakeTest::TearDown();
  }
  static std::unique_ptr<Operation> prepared(Backend& backend, const Problem& problem) {
    auto operation = backend.prepare(problem, {});
    if (!operation) throw CallError("absent: " + operation.reason());
    return std::move(*operation);
  }
};

TEST_F(Ranks, EveryCollectiveIsExact) {
  for (const int ranks : {2, 3, 8}) {
    const auto thrown = run_ranks(ranks, [&](World& world) {
      const auto backend = open(world);
      for (const CollectiveKind kind : kCollectiveKinds) {
        for (const NumberType type : {NumberType::kFp32, NumberType::kFp64, NumberType::kFp16, NumberType::kBf16,
                                      NumberType::kInt8, NumberType::kFp8E4M3, NumberType::kFp8E5M2}) {
          for (const bool in_place : {false, true}) {
            if (exchanges(kind) && in_place) continue;
            const CollectiveProblem problem{
                .kind = kind, .bytes = 8 * ranks * 77, .type = type, .ranks = ranks, .in_place = in_place};
            const auto operation = prepared(*backend, problem);
            const Verdict verdict = operation->verify();
            EXPECT_TRUE(verdict.correct) << problem.name() << ": " << verdict.detail;
          }
        }
      }
    });
    for (const std::string& error : thrown) EXPECT_EQ(error, "");
    EXPECT_EQ(fake_->communicators_aborted(), 0);
  }
  EXPECT_EQ(fake_->communicators_finalised(), 2 + 3 + 8);
}

TEST_F(Ranks, ACorruptResultIsSeen) {
  fake_->corrupt_collectives(true);
  const auto thrown = run_ranks(2, [&](World& world) {
    const auto backend = open(world);
    for (const CollectiveKind kind : kCollectiveKinds) {
      const auto operation = prepared(*backend, CollectiveProblem{.kind = kind, .bytes = 1024, .ranks = 2});
      const Verdict verdict = operation->verify();
      if (!exchanges(kind)) {  // the fake corrupts what one call delivers
        EXPECT_EQ(verdict.correct, world.rank() != 0) << name(kind) << ": " << verdict.detail;
      }
    }
  });
  for (const std::string& error : thrown) EXPECT_EQ(error, "");
}

TEST_F(Ranks, ComputeAndCommunicationOverlap) {
  const auto thrown = run_ranks(2, [&](World& world) {
    const auto backend = open(world);
    const auto compute = backend->open_queue(QueueRole::kCompute);
    const auto communication = backend->open_queue(QueueRole::kCommunication);
    const auto gemm = prepared(*backend, GemmProblem{.m = 32, .n = 32, .k = 32});
    const auto reduce = prepared(*backend, CollectiveProblem{.bytes = 4096, .ranks = 2});
    const auto ready = backend->make_event();
    const auto reduced = backend->make_event();
    for (int bucket = 0; bucket < 3; ++bucket) {
      gemm->run(*compute);
      compute->record(*ready);
      communication->wait_for(*ready);
      reduce->run(*communication);
    }
    communication->record(*reduced);
    compute->wait_for(*reduced);
    compute->synchronize();
    communication->synchronize();
  });
  for (const std::string& error : thrown) EXPECT_EQ(error, "");
}

// The connections stand: the kernel waits on the GPU.
TEST_F(Ranks, ARankThatStaysAwayEndsTheWait) {
  ::setenv("FARSCALE_DEADLINE_S", "0.2", 1);
  const auto thrown = run_ranks(2, [&](World& world) {
    const auto backend = open(world);
    const auto operation = prepared(*backend, CollectiveProblem{.bytes = 4096, .ranks = 2});
    EXPECT_TRUE(operation->verify().correct);
    const auto queue = backend->open_queue(QueueRole::kCommunication);
    world.barrier();
    if (world.rank() == 0) (void)backend->time_s(*operation, *queue, 1);
  });
  EXPECT_NE(thrown[0].find("rank 0 of 2"), std::string::npos) << thrown[0];
  EXPECT_NE(thrown[0].find("no progress"), std::string::npos) << thrown[0];
  EXPECT_GE(fake_->communicators_aborted(), 1);
}

// The first call sets up connections and hangs in NCCL, on this thread: another one must end it.
TEST_F(Ranks, ARankThatStaysAwayEndsACallThatHangs) {
  ::setenv("FARSCALE_DEADLINE_S", "0.05", 1);
  const auto thrown = run_ranks(2, [&](World& world) {
    const auto backend = open(world);
    const auto operation = prepared(*backend, CollectiveProblem{.bytes = 4096, .ranks = 2});
    const auto queue = backend->open_queue(QueueRole::kCommunication);
    if (world.rank() == 1) return world.barrier();
    EXPECT_THROW((void)backend->time_s(*operation, *queue, 1), CallError);
    EXPECT_EQ(fake_->communicators_aborted(), 1);
    try {
      operation->run(*queue);
      ADD_FAILURE() << "it was aborted";
    } catch (const CallError& error) {
      EXPECT_NE(std::string(error.what()).find("was aborted before"), std::string::npos) << error.what();
    }
    world.barrier();
    throw CallError("seen");
  });
  EXPECT_EQ(thrown[0], "seen");
}

TEST_F(Ranks, ACallThatHangsIsNamedWithItsRank) {
  ::setenv("FARSCALE_DEADLINE_S", "0.05", 1);
  const auto thrown = run_ranks(2, [&](World& world) {
    const auto backend = open(world);
    const auto operation =
        prepared(*backend, CollectiveProblem{.kind = CollectiveKind::kAllToAll, .bytes = 4096, .ranks = 2});
    if (world.rank() == 0) (void)operation->verify();
  });
  EXPECT_NE(thrown[0].find("rank 0 of 2: calls.ncclGroupEnd()"), std::string::npos) << thrown[0];
  EXPECT_NE(thrown[0].find("did not come within"), std::string::npos) << thrown[0];
}

// NCCL starts a thread for every group of calls on a non-blocking communicator: none may be worked with.
TEST_F(Ranks, NoCallPaysForAThread) {
  const auto thrown = run_ranks(2, [&](World& world) {
    const auto backend = open(world);
    const auto queue = backend->open_queue(QueueRole::kCommunication);
    for (const CollectiveKind kind : kCollectiveKinds) {
      const auto operation = prepared(*backend, CollectiveProblem{.kind = kind, .bytes = 4096, .ranks = 2});
      EXPECT_TRUE(operation->verify().correct);
      const double one_s = backend->time_s(*operation, *queue, 10) / 10;
      EXPECT_LT(one_s, 12e-6) << name(kind) << ": the fake's 10 us and 1e11 bytes/s";
    }
  });
  for (const std::string& error : thrown) EXPECT_EQ(error, "");
  EXPECT_EQ(fake_->group_threads(), 0);
}

TEST_F(Ranks, ASplitThatFailsEndsTheMaking) {
  ::setenv("FARSCALE_DEADLINE_S", "0.05", 1);
  fake_->fail_named("ncclCommSplit", 1);
  const auto thrown = run_ranks(2, [&](World& world) {
    const auto backend = open(world);
    (void)prepared(*backend, CollectiveProblem{.bytes = 4096, .ranks = 2});
  });
  int named = 0;
  for (const std::string& error : thrown) {
    EXPECT_NE(error.find("ncclComm"), std::string::npos) << "the other is in its split, or still in what comes before";
    named +=
        error.find("ncclCommSplit(first_, 0, rank_, &handle_, &config) failed: 2 ncclSystemError") != std::string::npos;
  }
  EXPECT_EQ(named, 1);
  EXPECT_EQ(fake_->communicators_aborted(), 2);
}

TEST_F(Ranks, ARankThatNeverJoinsEndsTheMaking) {
  ::setenv("FARSCALE_DEADLINE_S", "0.05", 1);
  fake_->fail_named("ncclCommInitRankConfig", 1);
  const auto thrown = run_ranks(2, [&](World& world) {
    const auto backend = open(world);
    (void)prepared(*backend, CollectiveProblem{.bytes = 4096, .ranks = 2});
  });
  int named = 0;
  int waited = 0;
  for (const std::string& error : thrown) {
    if (error.find("ncclSystemError") != std::string::npos) ++named;
    if (error.find("did not come within") != std::string::npos) ++waited;
    EXPECT_NE(error.find("ncclCommInitRankConfig"), std::string::npos) << error;
  }
  EXPECT_EQ(named, 1);
  EXPECT_EQ(waited, 1);
  EXPECT_EQ(fake_->communicators_aborted(), 1);
}

TEST_F(Ranks, AnIdThatIsNotMadeFailsEveryRank) {
  fake_->fail_named("ncclGetUniqueId", 1);
  const auto thrown = run_ranks(3, [&](World& world) {
    const auto backend = open(world);
    (void)prepared(*backend, CollectiveProblem{.bytes = 4800, .ranks = 3});
  });
  for (const std::string& error : thrown) {
    EXPECT_NE(error.find("rank 0 of 3"), std::string::npos) << error;
    EXPECT_NE(error.find("ncclGetUniqueId"), std::string::npos) << error;
  }
}

TEST_F(Ranks, AnAsynchronousErrorAborts) {
  std::atomic<int> ready = 0;
  const auto thrown = run_ranks(2, [&](World& world) {
    const auto backend = open(world);
    const auto operation = prepared(*backend, CollectiveProblem{.bytes = 4096, .ranks = 2});
    const auto queue = backend->open_queue(QueueRole::kCommunication);
    world.barrier();
    if (ready.fetch_add(1) == 1) fake_->set_async_error(6);  // ncclRemoteError
    world.barrier();
    operation->run(*queue);
    queue->synchronize();
  });
  for (size_t rank = 0; rank < 2; ++rank) {
    EXPECT_NE(thrown[rank].find("rank " + std::to_string(rank) + " of 2"), std::string::npos) << thrown[rank];
    EXPECT_NE(thrown[rank].find("ncclRemoteError"), std::string::npos) << thrown[rank];
    EXPECT_NE(thrown[rank].find("said by the fake NCCL"), std::string::npos) << thrown[rank];
  }
  EXPECT_EQ(fake_->communicators_aborted(), 2);
  EXPECT_EQ(fake_->communicators_finalised(), 0);
}

TEST_F(Ranks, MoreRanksThanGpusIsSaidOnEveryRank) {
  fake_->set_devices(1);
  fake_->set_nccl(22809, true);
  const auto thrown = run_ranks(2, [&](World& world) {
    const auto backend = open(world);
    auto operation = backend->prepare(CollectiveProblem{.bytes = 4096, .ranks = 2}, {});
    ASSERT_FALSE(operation);
    const char* expected = world.rank() == 1 ? "no GPU of its own" : "another rank";
    EXPECT_NE(operation.reason().find(expected), std::string::npos) << operation.reason();
    EXPECT_EQ(backend->device().warnings.size(), world.rank() == 1 ? 1U : 0U);
  });
  for (const std::string& error : thrown) EXPECT_EQ(error, "");
}

}  // namespace
}  // namespace farscale::cuda_test
