// What a collective can be asked for beyond its problem: graphs, registered buffers, few SMs, shared GPUs; and what the
// record then says.
#include <atomic>

#include "kernels/cuda/tests/modules.h"

namespace farscale::cuda_test {
namespace {

class NcclTest : public FakeTest {
 protected:
  void SetUp() override {
    FakeTest::SetUp();
    if (fake_ != nullptr) fake_->set_devices(4);
  }
  void TearDown() override {
    ::unsetenv("FARSCALE_NCCL_RANKS_PER_ID");
    FakeTest::TearDown();
  }

  // Prepares, checks twice and times the problem on every rank; the facts of rank 0.
  Facts measured(const CollectiveProblem& problem, const OperationSettings& settings) {
    Facts facts;
    const auto thrown = run_ranks(problem.ranks, [&](World& world) {
      const auto backend = open(world);
      auto operation = backend->prepare(problem, settings);
      if (!operation) throw CallError("absent: " + operation.reason());
      for (int i = 0; i < 2; ++i) {
        const Verdict verdict = (*operation)->verify();
        EXPECT_TRUE(verdict.correct) << problem.name() << ": " << verdict.detail;
        const auto queue = backend->open_queue(QueueRole::kCommunication);
        EXPECT_GT(backend->time_s(**operation, *queue, 20), 0);
      }
      if (world.rank() == 0) facts = (*operation)->details();
    });
    for (const std::string& error : thrown) EXPECT_EQ(error, "");
    return facts;
  }
};

TEST_F(NcclTest, SaysWhatNcclChose) {
  const Facts facts = measured({.bytes = 1 << 16, .ranks = 2}, {});
  EXPECT_EQ(facts.at("algorithm"), "RING");  // as the fake tells the plugin
  EXPECT_EQ(facts.at("protocol"), "SIMPLE");
  EXPECT_EQ(facts.at("channels"), "24");
  EXPECT_EQ(facts.at("nccl_estimate"), "10.7 µs");  // the fake's 10 us and 1e11 bytes/s
  EXPECT_EQ(facts.at("buffers"), "ordinary");
  EXPECT_EQ(facts.at("launch"), "eager");
  EXPECT_EQ(measured({.kind = CollectiveKind::kSendRecv, .bytes = 4096, .ranks = 2}, {}).at("algorithm"),
            "point to point");
}

TEST_F(NcclTest, GraphsReplayEveryKind) {
  for (const CollectiveKind kind : kCollectiveKinds) {
    for (const bool in_place : {false, true}) {
      if (in_place && (kind == CollectiveKind::kAllToAll || kind == CollectiveKind::kSendRecv)) continue;
      const Facts facts = measured({.kind = kind, .bytes = 4800, .ranks = 3, .in_place = in_place}, {.graph = true});
      EXPECT_EQ(facts.at("launch"), "graph, recorded once") << name(kind);
    }
  }
}

// From 2.28 on NCCL answers with a window whether or not the GPUs can map each other's memory.
TEST_F(NcclTest, SaysThatAWindowWasAskedForAndNoMore) {
  const CollectiveProblem problem{.bytes = 4096, .ranks = 2};
  EXPECT_EQ(measured(problem, {.registered = true}).at("buffers"), "window asked for");
  fake_->set_nccl(23004, false);
  EXPECT_EQ(measured(problem, {.registered = true}).at("buffers"), "window asked for");
  fake_->set_nccl(22705, false);
  EXPECT_EQ(measured(problem, {.registered = true}).at("buffers"), "user buffer");
  EXPECT_EQ(measured(problem, {.graph = true, .registered = true}).at("buffers"), "user buffer");
}

TEST_F(NcclTest, TheFirstCallIsAResultOfEveryKindAndSize) {
  for (const CollectiveKind kind : kCollectiveKinds) {
    for (const bool graph : {false, true}) {
      const Facts facts = measured({.kind = kind, .bytes = 4096, .ranks = 2}, {.graph = graph});
      EXPECT_GT(std::stod(facts.at("first_call_s")), 0) << name(kind);
    }
  }
}

TEST_F(NcclTest, EveryCtaLimitHasItsCommunicator) {
  const auto thrown = run_ranks(2, [&](World& world) {
    const auto backend = open(world);
    const CollectiveProblem problem{.bytes = 4096, .ranks = 2};
    for (const int ctas : {0, 8, 2, 8}) {
      auto operation = backend->prepare(problem, {.most_ctas = ctas});
      ASSERT_TRUE(operation);
      EXPECT_TRUE((*operation)->verify().correct);
      const Facts facts = (*operation)->details();
      EXPECT_EQ(facts.at("channels"), ctas == 0 ? "24" : std::to_string(ctas));
      EXPECT_EQ(facts.contains("most_ctas"), ctas > 0);
    }
  });
  for (const std::string& error : thrown) EXPECT_EQ(error, "");
  EXPECT_EQ(fake_->communicators_finalised(), 2 * 3);
  EXPECT_EQ(fake_->communicators_aborted(), 0);
}

// 3 ranks, one id each from 4 x 1 ranks on: at 4 ranks the scalable call is used, at 3 it is not.
TEST_F(NcclTest, ManyRanksShareSeveralIds) {
  ::setenv("FARSCALE_NCCL_RANKS_PER_ID", "1", 1);
  fake_->fail_named("ncclCommInitRankScalable", 1000);
  const int64_t before = fake_->calls();
  (void)measured({.bytes = 4800, .ranks = 4}, {});
  EXPECT_GT(fake_->calls(), before);
  fake_->fail_named("ncclCommInitRankScalable", 1);
  const auto thrown = run_ranks(4, [&](World& world) {
    ::setenv("FARSCALE_DEADLINE_S", "0.05", 1);
    const auto backend = open(world);
    (void)backend->prepare(CollectiveProblem{.bytes = 4800, .ranks = 4}, {});
  });
  ::unsetenv("FARSCALE_DEADLINE_S");
  EXPECT_STREQ(fake_->failed_call(), "ncclCommInitRankScalable");
  for (const std::string& error : thrown) EXPECT_NE(error.find("ncclCommInitRankScalable"), std::string::npos) << error;
  ::setenv("FARSCALE_NCCL_RANKS_PER_ID", "none", 1);
  const auto refused =
      run_ranks(2, [&](World& world) { (void)open(world)->prepare(CollectiveProblem{.bytes = 4800, .ranks = 2}, {}); });
  EXPECT_NE(refused[0].find("FARSCALE_NCCL_RANKS_PER_ID"), std::string::npos) << refused[0];
}

TEST_F(NcclTest, SumsInPlaceStayFinite) {
  const CollectiveProblem problem{.bytes = 4096, .type = NumberType::kFp16, .ranks = 2, .in_place = true};
  EXPECT_NE(measured(problem, {}).at("data").find("zeros"), std::string::npos);
  EXPECT_EQ(measured({.bytes = 4096, .ranks = 2}, {}).at("data").find("zeros"), std::string::npos);
}

TEST_F(NcclTest, SharedGpusOnlyFromTheReleaseThatAllowsThem) {
  fake_->set_devices(1);
  const Facts facts = measured({.bytes = 4096, .ranks = 2}, {});
  EXPECT_NE(facts.at("correctness_only").find("no bandwidth"), std::string::npos);
  fake_->set_nccl(23002, true);
  const auto thrown = run_ranks(2, [&](World& world) {
    const auto backend = open(world);
    const auto operation = backend->prepare(CollectiveProblem{.bytes = 4096, .ranks = 2}, {});
    ASSERT_FALSE(operation);
    if (world.rank() == 1) {
      EXPECT_NE(operation.reason().find("2.30.3 can"), std::string::npos) << operation.reason();
    }
  });
  for (const std::string& error : thrown) EXPECT_EQ(error, "");
}

TEST_F(NcclTest, Fp8NeedsARecentNcclAndForSumsHopper) {
  const auto reason = [&](CollectiveKind kind) {
    std::string why;
    const auto thrown = run_ranks(2, [&](World& world) {
      const auto backend = open(world);
      const auto operation = backend->prepare(
          CollectiveProblem{.kind = kind, .bytes = 4096, .type = NumberType::kFp8E5M2, .ranks = 2}, {});
      if (world.rank() == 0) why = operation ? "" : operation.reason();
    });
    return why;
  };
  EXPECT_EQ(reason(CollectiveKind::kAllReduce), "");
  fake_->set_capability(8, 0);
  EXPECT_NE(reason(CollectiveKind::kAllReduce).find("9.0"), std::string::npos);
  EXPECT_EQ(reason(CollectiveKind::kAllGather), "");
  fake_->set_nccl(22304, true);
  EXPECT_NE(reason(CollectiveKind::kAllGather).find("2.24"), std::string::npos);
}

// A world other than the run's own: a communicator of its own, which ends in good order with the operation.
TEST_F(NcclTest, ADuplicatedWorldHasItsOwnCommunicator) {
  const auto thrown = run_ranks(2, [&](World& world) {
    const auto backend = open(world);
    const CollectiveProblem problem{.bytes = 4096, .ranks = 2};
    for (int i = 0; i < 3; ++i) {
      const auto beside = world.duplicate();
      auto operation = backend->prepare(problem, {.world = beside.get()});
      ASSERT_TRUE(operation);
      EXPECT_GE(std::stod((*operation)->details().at("communicator_setup_s")), 0);
      EXPECT_TRUE((*operation)->verify().correct);
    }
    world.barrier();
    EXPECT_EQ(fake_->communicators_finalised(), 6);
    world.barrier();
  });
  for (const std::string& error : thrown) EXPECT_EQ(error, "");
  EXPECT_EQ(fake_->communicators_aborted(), 0);
}

// What one GPU can prove of graphs, registered buffers, windows and limits of SMs, for every kind.
class OneRank : public ModuleTest {
 protected:
  void expect_right(const CollectiveProblem& problem, const OperationSettings& settings) {
    const auto operation = prepared(problem, settings);
    ASSERT_NE(operation, nullptr);
    const auto queue = backend_->open_queue(QueueRole::kCommunication);
    for (int i = 0; i < 2; ++i) {
      const Verdict verdict = operation->verify();
      EXPECT_TRUE(verdict.correct) << problem.name() << ": " << verdict.detail;
      EXPECT_GT(backend_->time_s(*operation, *queue, 5), 0);
    }
    const Facts facts = operation->details();
    EXPECT_EQ(facts.at("launch"), settings.graph ? "graph, recorded once" : "eager");
    EXPECT_EQ(facts.at("buffers") != "ordinary", settings.registered);
    EXPECT_EQ(facts.contains("most_ctas"), settings.most_ctas > 0);
    EXPECT_GT(std::stod(facts.at("first_call_s")), 0);
  }
};

TEST_P(OneRank, EveryKindRunsFromGraphsAndRegisteredBuffers) {
  for (const CollectiveKind kind : kCollectiveKinds) {
    const CollectiveProblem problem{.kind = kind, .bytes = 8192, .ranks = 1};
    for (const bool graph : {false, true}) {
      for (const bool registered : {false, true}) {
        expect_right(problem, {.graph = graph, .registered = registered});
      }
    }
  }
}

TEST_P(OneRank, RunsWithFewSmsAndInPlace) {
  for (const int ctas : {1, 4}) {
    expect_right({.bytes = 1 << 20, .type = NumberType::kBf16, .ranks = 1, .in_place = true}, {.most_ctas = ctas});
  }
  expect_right({.kind = CollectiveKind::kReduceScatter, .bytes = 4096, .ranks = 1, .in_place = true}, {.graph = true});
}

// Communicators end while others live, and graphs before the communicators they were recorded with.
TEST_P(OneRank, OperationsEndInAnyOrder) {
  auto first = prepared(CollectiveProblem{.bytes = 4096, .ranks = 1}, {.graph = true, .registered = true});
  auto second = prepared(CollectiveProblem{.bytes = 4096, .ranks = 1}, {.graph = true, .most_ctas = 2});
  EXPECT_TRUE(first->verify().correct);
  EXPECT_TRUE(second->verify().correct);
  first.reset();
  EXPECT_TRUE(second->verify().correct);
}

INSTANTIATE_TEST_SUITE_P(Modules, OneRank, ::testing::Values("fake", "cuda"), module_name);

}  // namespace
}  // namespace farscale::cuda_test
