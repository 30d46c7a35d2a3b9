// Convolutions through cuDNN: the fake one everywhere, the real one where there is a GPU; checked against plain sums.
#include "kernels/cuda/tests/modules.h"
#include "kernels/reference_convolution.h"

namespace farscale::cuda_test {
namespace {

std::vector<ConvolutionProblem> small_convolutions(ConvolutionPass pass) {
  const ConvolutionProblem plain{.pass = pass,
                                 .images = 2,
                                 .height = 9,
                                 .width = 8,
                                 .channels = 16,
                                 .filters = 32,
                                 .kernel = 3,
                                 .type = NumberType::kBf16};
  ConvolutionProblem strided = plain, grouped = plain, point = plain, wide = plain;
  strided.stride = 2;
  grouped.groups = 2, grouped.stride = 2;
  point.kernel = 1, point.type = NumberType::kFp16;
  wide.kernel = 7, wide.stride = 2, wide.type = NumberType::kFp32;
  return {plain, strided, grouped, point, wide};
}

class Convolutions : public ModuleTest {
 protected:
  void SetUp() override {
    ModuleTest::SetUp();
    if (!backend_) return;
    auto first = backend_->prepare(small_convolutions(ConvolutionPass::kForward)[0], {});
    if (!first) GTEST_SKIP() << first.reason();
  }
};

TEST_P(Convolutions, EveryPassIsWhatPlainSumsGive) {
  for (const ConvolutionPass pass : kConvolutionPasses) {
    for (const ConvolutionProblem& problem : small_convolutions(pass)) {
      auto operation = backend_->prepare(problem, {});
      ASSERT_TRUE(operation) << problem.name() << ": " << operation.reason();
      const Verdict verdict = (*operation)->verify();
      EXPECT_TRUE(verdict.correct) << problem.name() << ": " << verdict.detail;
      EXPECT_GT(verdict.worst_error, 0) << "rounded, so not exact";
      EXPECT_NE((*operation)->details().at("library").find("cuDNN"), std::string::npos);
      const auto queue = backend_->open_queue(QueueRole::kCompute);
      EXPECT_GT(backend_->time_s(**operation, *queue, 2), 0);
    }
  }
}

TEST_P(Convolutions, RunInTheArenaOfAStep) {
  std::vector<Problem> problems;
  for (const ConvolutionPass pass : kConvolutionPasses) {
    for (ConvolutionProblem problem : small_convolutions(pass)) {
      problem.type = NumberType::kBf16;
      problems.emplace_back(problem);
    }
  }
  problems.emplace_back(GemmProblem{.m = 128, .n = 64, .k = 96, .type = NumberType::kBf16});
  auto arena = backend_->make_arena(problems);
  ASSERT_TRUE(arena) << arena.reason();
  std::vector<std::unique_ptr<Operation>> operations;
  for (const Problem& problem : problems) {
    auto operation = backend_->prepare(problem, {.cold = false, .arena = arena->get()});
    ASSERT_TRUE(operation) << name(problem) << ": " << operation.reason();
    operations.push_back(std::move(*operation));
  }
  for (int round = 0; round < 2; ++round) {  // what one writes does not spoil what another reads
    for (size_t i = 0; i < operations.size(); ++i) {
      const Verdict verdict = operations[i]->verify();
      EXPECT_TRUE(verdict.correct) << name(problems[i]) << ": " << verdict.detail;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Modules, Convolutions, ::testing::Values("fake", "cuda"), module_name);

class FakeConvolutions : public FakeTest {};

TEST_F(FakeConvolutions, AWrongEntryIsFoundAndAMissingLibraryIsAReason) {
  for (const ConvolutionPass pass : kConvolutionPasses) {
    const auto backend = open();
    auto operation = backend->prepare(small_convolutions(pass)[1], {});
    if (!operation) GTEST_SKIP() << operation.reason();
    fake_->corrupt_convolutions(true);
    const Verdict verdict = (*operation)->verify();
    EXPECT_FALSE(verdict.correct);
    EXPECT_NE(verdict.detail.find("expected"), std::string::npos) << verdict.detail;
    fake_->corrupt_convolutions(false);
  }
  fake_->hide_library("libcudnn.so.9");
  const auto backend = open();
  auto operation = backend->prepare(small_convolutions(ConvolutionPass::kForward)[0], {});
  ASSERT_FALSE(operation);
  EXPECT_NE(operation.reason().find("libcudnn.so.9"), std::string::npos) << operation.reason();
}

// The fake guesses algorithm 1 first; which is faster is what set_candidate() says.
TEST_F(FakeConvolutions, TheFastestGuessWins) {
  for (const int fast : {0, 1}) {
    fake_->set_candidate(1 + fast, {.cost = 1});
    fake_->set_candidate(2 - fast, {.cost = 2});
    const auto backend = open();
    for (const ConvolutionPass pass : kConvolutionPasses) {
      auto operation = backend->prepare(small_convolutions(pass)[0], {});
      if (!operation) GTEST_SKIP() << operation.reason();
      EXPECT_EQ((*operation)->details().at("algorithm"), std::to_string(fast));
      EXPECT_EQ((*operation)->details().at("heuristic_place"), fast == 1 ? "1 of 2" : "2 of 2");
    }
  }
}

// The first guess fails to run: the second is taken.
TEST_F(FakeConvolutions, TheNextGuessIsTakenWhenOneFails) {
  const auto backend = open();
  if (auto probe = backend->prepare(small_convolutions(ConvolutionPass::kForward)[0], {}); !probe) {
    GTEST_SKIP() << probe.reason();
  }
  fake_->fail_named("cudnnConvolutionForward", 1);
  auto operation = backend->prepare(small_convolutions(ConvolutionPass::kForward)[0], {});
  ASSERT_TRUE(operation) << operation.reason();
  EXPECT_EQ((*operation)->details().at("algorithm"), "0");
  EXPECT_TRUE((*operation)->verify().correct);
}

// The reference against a case done by hand: one channel, 3x3 of ones on a 2x2 image of 1, 2, 3, 4 sums all four
// everywhere; the weight gradient of a corner tap sees one pixel.
TEST(ConvolutionReference, ByHand) {
  ConvolutionProblem problem{
      .images = 1, .height = 2, .width = 2, .channels = 1, .filters = 1, .kernel = 3, .type = NumberType::kFp64};
  const std::vector<double> image{1, 2, 3, 4}, ones(9, 1.0), sums(4, 10.0);
  const GemmRounding rounding{.sum = 0x1p-53};
  EXPECT_TRUE(check_convolution(problem, {image.data(), ones.data(), sums.data()}, rounding, 1).correct);
  problem.pass = ConvolutionPass::kDataGradient;
  const std::vector<double> whole(4, 10.0);
  EXPECT_TRUE(check_convolution(problem, {whole.data(), ones.data(), image.data()}, rounding, 1).correct);
  problem.pass = ConvolutionPass::kWeightGradient;
  // Tap (r, s) pairs image (y + r - 1, x + s - 1) with gradient (y, x), all gradients one: sums of what stays inside.
  const std::vector<double> gradient(4, 1.0), taps{1, 3, 2, 4, 10, 6, 3, 7, 4};
  EXPECT_TRUE(check_convolution(problem, {image.data(), taps.data(), gradient.data()}, rounding, 1).correct);
  std::vector<double> wrong = taps;
  wrong[5] = 6.001;
  EXPECT_FALSE(check_convolution(problem, {image.data(), wrong.data(), gradient.data()}, rounding, 1).correct);
}

}  // namespace
}  // namespace farscale::cuda_test
