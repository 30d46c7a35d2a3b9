// The autotuner: the fastest algorithm that is right wins, and the record says how it was chosen.
#include "kernels/cuda/tests/modules.h"

namespace farscale::cuda_test {
namespace {

class Tune : public FakeTest {
 protected:
  // Opens, prepares one GEMM, checks it and returns its facts.
  Facts tuned(bool expect_correct = true) {
    backend_ = open();
    auto operation = backend_->prepare(problem_, {});
    EXPECT_TRUE(operation) << operation.reason();
    EXPECT_EQ((*operation)->verify().correct, expect_correct);
    EXPECT_EQ((*operation)->verify().correct, expect_correct);  // again: nothing is only remembered
    return (*operation)->details();
  }
  void TearDown() override {
    backend_.reset();
    FakeTest::TearDown();
  }

  GemmProblem problem_{.m = 32, .n = 32, .k = 32};
  std::unique_ptr<Backend> backend_;
};

TEST_F(Tune, TheFastestWinsOverTheFirstGuess) {
  const Facts facts = tuned();
  EXPECT_EQ(facts.at("algorithm"), "2");
  EXPECT_EQ(facts.at("heuristic_place"), "2 of 4");
  EXPECT_EQ(facts.at("gain_over_heuristic"), "3.000");  // costs 3 and 1 in the fake
  EXPECT_EQ(facts.at("candidates_failed"), "0");
  EXPECT_EQ(facts.at("candidates_timed"), "4 of 4");
  EXPECT_EQ(facts.at("tile"), "128x128");
}

TEST_F(Tune, EveryTileOfTheHeaderHasAName) {
  for (const auto& [tile, name] :
       {std::pair{1, "8x8"}, {35, "256x32"}, {36, "8x128"}, {617, "704x48"}, {9999, "tile 9999"}}) {
    fake_->set_tile(tile);
    backend_ = nullptr;
    EXPECT_EQ(tuned().at("tile"), name);
  }
}

TEST_F(Tune, AFailingCandidateNeverWins) {
  fake_->set_candidate(2, {.cost = 0.001, .fails = true});
  const Facts facts = tuned();
  EXPECT_EQ(facts.at("algorithm"), "4");  // the next fastest
  EXPECT_EQ(facts.at("candidates_failed"), "1");
  EXPECT_NE(facts.at("first_failure").find("cublasLtMatmul"), std::string::npos);
  EXPECT_NE(facts.at("first_failure").find("CUBLAS_STATUS_EXECUTION_FAILED"), std::string::npos);
}

TEST_F(Tune, AWrongCandidateNeverWins) {
  fake_->set_candidate(2, {.cost = 0.001, .wrong = true});
  const Facts facts = tuned();
  EXPECT_EQ(facts.at("algorithm"), "4");
  EXPECT_EQ(facts.at("candidates_failed"), "1");
  EXPECT_NE(facts.at("first_failure").find("wrong"), std::string::npos);
}

TEST_F(Tune, WhenAllAreWrongTheVerdictSaysSo) {
  for (int id = 1; id <= 4; ++id) fake_->set_candidate(id, {.cost = double(id), .wrong = true});
  const Facts facts = tuned(false);
  EXPECT_EQ(facts.at("candidates_failed"), "4");
}

TEST_F(Tune, WhenAllFailTheCallIsNamed) {
  for (int id = 1; id <= 4; ++id) fake_->set_candidate(id, {.fails = true});
  backend_ = open();
  try {
    (void)backend_->prepare(problem_, {});
    FAIL() << "expected a CallError";
  } catch (const CallError& error) {
    EXPECT_NE(std::string(error.what()).find("cublasLtMatmul"), std::string::npos) << error.what();
    EXPECT_NE(std::string(error.what()).find("gemm/fp32/nn/32x32x32"), std::string::npos) << error.what();
  }
}

// The first shapes of a run load the code of every candidate they look at, which is no reason to look at fewer.
TEST_F(Tune, LoadingDoesNotCountAgainstTheLooks) {
  problem_ = {.m = 4, .n = 4, .k = 4};
  fake_->set_loading(12, 0.04);
  EXPECT_EQ(tuned().at("candidates_timed"), "12 of 12");
}

TEST_F(Tune, ShortProductsAreTimedWithoutTheHost) {
  problem_ = {.m = 4, .n = 4, .k = 4};  // they run by the thousand
  EXPECT_EQ(tuned().at("timed_as"), "eager");
  for (int id = 1; id <= 4; ++id) fake_->set_candidate(id, {.cost = 0.001 * (id == 3 ? 1 : 2)});
  backend_ = nullptr;
  const Facts facts = tuned();
  EXPECT_EQ(facts.at("timed_as"), "graph");
  EXPECT_EQ(facts.at("algorithm"), "3");
  EXPECT_EQ(facts.at("gain_over_heuristic"), "2.000");
}

TEST_F(Tune, AGraphThatFailsLeavesTheOtherTimes) {
  problem_ = {.m = 4, .n = 4, .k = 4};
  for (int id = 1; id <= 4; ++id) fake_->set_candidate(id, {.cost = 0.001 * id});
  for (const char* call : {"cudaStreamBeginCapture", "cudaStreamEndCapture", "cudaGraphInstantiate", "cudaGraphLaunch",
                           "cudaGraphDestroy", "cudaGraphExecDestroy"}) {
    fake_->fail_named(call, 1);
    backend_ = nullptr;
    EXPECT_EQ(tuned().at("algorithm"), "1") << call;
    EXPECT_STREQ(fake_->failed_call(), call);
  }
  backend_ = nullptr;
  EXPECT_STREQ(fake_->alive(), "");
}

TEST_F(Tune, ChoosesOnceAShape) {
  (void)tuned();
  const int64_t before = fake_->calls();
  auto again = backend_->prepare(problem_, {});
  const int64_t second = fake_->calls() - before;
  ASSERT_TRUE(again);
  EXPECT_EQ((*again)->details().at("algorithm"), "2");
  auto other = backend_->prepare(GemmProblem{.m = 32, .n = 32, .k = 48}, {});
  const int64_t fresh = fake_->calls() - before - second;
  EXPECT_LT(second, fresh / 2);
}

TEST_F(Tune, TimesAreTheStreamsClock) {
  (void)tuned();
  auto operation = backend_->prepare(problem_, {});
  const auto queue = backend_->open_queue(QueueRole::kCompute);
  const double one = backend_->time_s(**operation, *queue, 1);
  EXPECT_NEAR(one, 1e-3 + problem_.flops() / 1e10, 1e-6);  // the fake's cost of algorithm 2
  EXPECT_NEAR(backend_->time_s(**operation, *queue, 7), 7 * one, 1e-6);
}

}  // namespace
}  // namespace farscale::cuda_test
