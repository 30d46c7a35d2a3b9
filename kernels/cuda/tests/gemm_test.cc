// Products on the fake: block formats, errors planted in large ones, and a GPU that starts to give wrong results.
#include <map>
#include <set>

#include "kernels/cuda/block_scale.h"
#include "kernels/cuda/tests/modules.h"

namespace farscale::cuda_test {
namespace {

TEST(BlockScale, EveryFactorHasAPlaceOfItsOwn) {
  using cuda::BlockScale;
  using cuda::ScaledShape;
  constexpr int64_t kRows = 256, kBlocks = 12;
  for (const BlockScale scale : {BlockScale::kUe8m0, BlockScale::kUe4m3, BlockScale::kVector128}) {
    const ScaledShape shape{scale, kRows, kBlocks * cuda::block_elements(scale)};
    std::set<int64_t> places;
    for (int64_t row = 0; row < kRows; ++row) {
      for (int64_t column = 0; column < shape.k; ++column) places.insert(shape.place(row, column));
    }
    EXPECT_EQ(places.size(), static_cast<size_t>(kRows * kBlocks));
    EXPECT_EQ(*places.rbegin(), shape.factors() - 1);
  }
  EXPECT_EQ((ScaledShape{BlockScale::kUe8m0, 1, 32}).bytes(), 512) << "a whole tile";
  EXPECT_EQ(cuda::tiled_place(1, 0, 4), 16);
  EXPECT_EQ(cuda::tiled_place(32, 0, 4), 4);
  EXPECT_EQ(cuda::tiled_place(0, 1, 4), 1);
  EXPECT_EQ(cuda::tiled_place(0, 4, 8), 512);
  EXPECT_EQ(cuda::tiled_place(128, 0, 8), 1024);
}

// cuBLAS documentation, "128-element 1D and 128x128 2D Block Scaling for FP8": vectors lie along the rows, squares
// along k in columns that start at multiples of four.
TEST(BlockScale, HoppersFactorsLieAsDocumented) {
  using cuda::BlockScale;
  using cuda::ScaledShape;
  constexpr ScaledShape kVectors{BlockScale::kVector128, 300, 640};
  EXPECT_EQ(kVectors.place(7, 127), 7);
  EXPECT_EQ(kVectors.place(7, 128), 300 + 7);
  EXPECT_EQ(kVectors.bytes(), 300 * 5 * 4);
  constexpr ScaledShape kSquares{BlockScale::kSquare128, 300, 640};
  EXPECT_EQ(kSquares.place(127, 639), 4);
  EXPECT_EQ(kSquares.place(128, 0), 8) << "five squares along k take the room of eight";
  EXPECT_EQ(kSquares.bytes(), 3 * 8 * 4);
  constexpr ScaledShape kRows{BlockScale::kRow, 300, 640};
  EXPECT_EQ(kRows.place(299, 639), 299);
  EXPECT_EQ(kRows.bytes(), 300 * 4);
}

TEST(BlockScale, BytesMeanAHalfOneAndTwo) {
  for (const cuda::BlockScale scale : {cuda::BlockScale::kUe8m0, cuda::BlockScale::kUe4m3}) {
    for (const uint64_t random : {0U, 1U, 2U}) {
      EXPECT_EQ(cuda::scale_value(scale, cuda::scale_byte(scale, random)), random == 0 ? 0.5 : double(random));
    }
  }
  EXPECT_EQ(cuda::scale_value(cuda::BlockScale::kUe4m3, 0x3C), 1.5);
}

class Gemm : public FakeTest {
 protected:
  std::unique_ptr<Operation> ready(const Problem& problem, const OperationSettings& settings = {}) {
    if (!backend_) backend_ = open();
    auto operation = backend_->prepare(problem, settings);
    if (!operation) throw EnvironmentError(operation.reason());
    return std::move(*operation);
  }
  void TearDown() override {
    backend_.reset();
    FakeTest::TearDown();
  }
  std::unique_ptr<Backend> backend_;
};

TEST_F(Gemm, BlockFormatsOnBlackwell) {
  fake_->set_capability(10, 0);
  for (int id = 2; id <= 4; ++id) fake_->set_candidate(id, {.fails = true});
  for (const NumberType type : {NumberType::kFp8E4M3, NumberType::kFp8E5M2, NumberType::kFp4}) {
    for (const int64_t size : {160, 288}) {  // small: compared on the host; large: on the device
      const GemmProblem problem{
          .m = size, .n = size + 16, .k = size, .type = type, .transpose_b = true, .scaling = Scaling::kBlock};
      const auto operation = ready(problem);
      const Verdict verdict = operation->verify();
      EXPECT_TRUE(verdict.correct) << problem.name() << ": " << verdict.detail;
      EXPECT_NE(operation->details().at("scaling").find(type == NumberType::kFp4 ? "ue4m3" : "ue8m0"),
                std::string::npos);
      if (size > 256) continue;  // one entry off by one is less than the roundings of a whole row in fp8
      fake_->corrupt_products(1);
      EXPECT_FALSE(operation->verify().correct) << problem.name();
    }
  }
  const auto other = backend_->prepare(
      GemmProblem{.m = 64, .n = 64, .k = 64, .type = NumberType::kFp4, .scaling = Scaling::kBlock}, {});
  ASSERT_FALSE(other);
  EXPECT_NE(other.reason().find("layout nt"), std::string::npos);
}

// Factors of 128 elements for A and of 128 x 128 for B, as DeepSeek-V3 trains (arXiv 2412.19437, section 3.3.2), and of
// whole rows.
TEST_F(Gemm, Fp32BlockScalesOnHopper) {
  for (int id = 2; id <= 4; ++id) fake_->set_candidate(id, {.fails = true});
  for (const Scaling scaling : {Scaling::kBlock128, Scaling::kRow}) {
    for (const NumberType type : {NumberType::kFp8E4M3, NumberType::kFp8E5M2}) {
      for (const int64_t size : {144, 288}) {
        const GemmProblem problem{
            .m = size, .n = size + 16, .k = size, .type = type, .transpose_b = true, .scaling = scaling};
        const auto operation = ready(problem);
        const Verdict verdict = operation->verify();
        EXPECT_TRUE(verdict.correct) << problem.name() << ": " << verdict.detail;
        EXPECT_NE(operation->details().at("scaling").find(scaling == Scaling::kRow ? "every row" : "128 x 128"),
                  std::string::npos);
        EXPECT_NE(problem.name().find(scaling == Scaling::kRow ? "/row_scaled" : "/block128_scaled"),
                  std::string::npos);
        if (size > 256) continue;
        fake_->corrupt_products(1);
        EXPECT_FALSE(operation->verify().correct) << problem.name();
      }
    }
  }
  fake_->set_capability(10, 0);
  backend_ = open();
  const auto newer = backend_->prepare(
      GemmProblem{
          .m = 64, .n = 64, .k = 64, .type = NumberType::kFp8E4M3, .transpose_b = true, .scaling = Scaling::kBlock128},
      {});
  ASSERT_FALSE(newer);
  EXPECT_EQ(newer.reason(), "block128 scaling needs compute capability 9.0, this GPU has 10.0");
}

TEST_F(Gemm, AnErrorInALargeProductIsFoundWithItsPlace) {
  for (int id = 2; id <= 4; ++id) fake_->set_candidate(id, {.fails = true});
  for (const GemmProblem& problem :
       {GemmProblem{.m = 300, .n = 280, .k = 260, .type = NumberType::kFp32},
        GemmProblem{.m = 300, .n = 280, .k = 260, .type = NumberType::kFp64, .epilogue = Epilogue::kBias},
        GemmProblem{.m = 150, .n = 130, .k = 300, .batch = 3, .type = NumberType::kFp32, .transpose_a = true}}) {
    const auto operation = ready(problem);
    ASSERT_TRUE(operation->verify().correct);  // that of the choice
    fake_->corrupt_products(1);
    const Verdict verdict = operation->verify();
    EXPECT_FALSE(verdict.correct) << problem.name();
    // The fake spoils the middle one of C's entries, at the beginning of a row.
    const std::string row = "checksum of row C[" + std::to_string(problem.m / 2) + ",-1]";
    EXPECT_TRUE(verdict.detail.starts_with(row) || verdict.detail.starts_with("checksum of column C[-1,0]"))
        << verdict.detail;
  }
}

TEST_F(Gemm, ChangedResultsAreNoticedBetweenSamples) {
  const auto operation = ready(GemmProblem{.m = 64, .n = 48, .k = 32});
  ASSERT_TRUE(operation->verify().correct);
  const auto queue = backend_->open_queue(QueueRole::kCompute);
  (void)backend_->time_s(*operation, *queue, 4);
  EXPECT_TRUE(operation->recheck()->correct);
  fake_->corrupt_products(3);
  (void)backend_->time_s(*operation, *queue, 3);
  const Verdict verdict = *operation->recheck();
  EXPECT_FALSE(verdict.correct);
  EXPECT_NE(verdict.detail.find("C[32,0] was "), std::string::npos) << verdict.detail;
  (void)backend_->time_s(*operation, *queue, 3);
  EXPECT_TRUE(operation->recheck()->correct) << "it was one product";
}

TEST_F(Gemm, AnAlgorithmThatIsNotReproducibleIsNotHeldAgainstItself) {
  const auto operation = ready(GemmProblem{.m = 64, .n = 48, .k = 32});
  (void)operation->verify();   // that of the choice
  fake_->corrupt_products(2);  // the first product is compared with fp64, the second is to have the same bits
  ASSERT_TRUE(operation->verify().correct);
  EXPECT_FALSE(operation->recheck());
  EXPECT_EQ(operation->details().at("rechecked"), "no");
}

// An H200 has 60 MB of L2: rotating one element through twice that much would be half a million sets.
TEST_F(Gemm, TinyCasesRotateThroughFewSetsFilledByFewCalls) {
  fake_->set_cache(60'000'000);
  backend_ = open();
  std::map<std::string, std::string> rotated;
  for (const Problem& problem : {Problem(MemoryProblem{.kind = MemoryKind::kCopy, .elements = 1}),
                                 Problem(MemoryProblem{.kind = MemoryKind::kAdamW, .elements = 70001}),
                                 Problem(GemmProblem{.m = 1, .n = 1, .k = 1, .type = NumberType::kFp64})}) {
    ready(problem);  // opens what is needed, and chooses an algorithm
    const int64_t before = fake_->calls();
    const auto operation = ready(problem);
    EXPECT_LT(fake_->calls() - before, 90) << name(problem);
    EXPECT_TRUE(operation->verify().correct) << name(problem);
    const auto queue = backend_->open_queue(QueueRole::kCompute);
    (void)backend_->time_s(*operation, *queue, 5000);  // through all sets, and again
    rotated[name(problem)] = operation->details().at("buffers_rotated");
  }
  EXPECT_EQ(rotated.at(name(Problem(MemoryProblem{.kind = MemoryKind::kCopy, .elements = 1}))),
            "4096, which the cache can hold: not cold");
  EXPECT_EQ(rotated.at(name(Problem(MemoryProblem{.kind = MemoryKind::kAdamW, .elements = 70001}))), "108");
}

// Whatever the number of sets, all hold what the first one does.
TEST_F(Gemm, EverySetGivesTheSameProduct) {
  fake_->set_cache(7 * 3 * 4 * 64 * 64);
  const auto operation = ready(GemmProblem{.m = 64, .n = 64, .k = 64});
  ASSERT_TRUE(operation->verify().correct);
  const auto queue = backend_->open_queue(QueueRole::kCompute);
  for (int run = 0; run < 20; ++run) {
    (void)backend_->time_s(*operation, *queue, 1);
    EXPECT_TRUE(operation->recheck()->correct) << run;
  }
  EXPECT_GT(std::stoi(operation->details().at("buffers_rotated")), 8);
}

// Drivers come and go: what one function told is left out or told by its successor, and the rest stays.
TEST_F(Gemm, AMissingFunctionOfNvmlHidesOnlyWhatItTells) {
  const auto told = [&](std::initializer_list<const char*> hidden) {
    fake_->reset();
    for (const char* name : hidden) fake_->hide_symbol(name);
    const auto backend = open();
    EXPECT_TRUE(backend->device().warnings.empty());
    return backend->telemetry();
  };
  const Telemetry all = told({});
  EXPECT_EQ(told({"nvmlDeviceGetTemperature", "nvmlDeviceGetCurrentClocksThrottleReasons"}), all);
  EXPECT_EQ(told({"nvmlDeviceGetTemperatureV", "nvmlDeviceGetCurrentClocksEventReasons"}), all);
  const Telemetry less = told({"nvmlDeviceGetPowerUsage", "nvmlDeviceGetFieldValues", "nvmlSystemGetDriverVersion"});
  EXPECT_FALSE(less.contains("power_w"));
  EXPECT_EQ(less.size() + 1, all.size());
  EXPECT_EQ(less.at("sm_clock_hz"), all.at("sm_clock_hz"));
  fake_->reset();
  fake_->hide_symbol("nvmlInit_v2");
  EXPECT_TRUE(open()->telemetry().empty());
}

TEST_F(Gemm, TelemetryIsThatOfTheSample) {
  const auto operation = ready(GemmProblem{.m = 32, .n = 32, .k = 32});
  const auto queue = backend_->open_queue(QueueRole::kCompute);
  fake_->set_clock(1980, 0);
  EXPECT_EQ(backend_->telemetry().at("sm_clock_hz"), 1.98e9);
  (void)backend_->time_s(*operation, *queue, 1);
  fake_->set_clock(210, 1);  // idle again
  const Telemetry during = backend_->telemetry();
  EXPECT_EQ(during.at("sm_clock_hz"), 1.98e9);
  EXPECT_EQ(during.at("power_w"), 640) << "at this moment";
  EXPECT_FALSE(during.contains("throttle_sw_power_cap"));
  EXPECT_EQ(backend_->telemetry().at("sm_clock_hz"), 2.1e8) << "told once";
  fake_->set_clock(1200, 0x24);
  const Telemetry held = backend_->telemetry();
  EXPECT_EQ(held.at("throttle_sw_power_cap"), 1);
  EXPECT_EQ(held.at("throttle_sw_thermal"), 1);
  fake_->fail_named("nvmlDeviceGetFieldValues", 1);
  EXPECT_EQ(backend_->telemetry().at("power_w"), 650) << "the mean of the last second";
}

}  // namespace
}  // namespace farscale::cuda_test
