// What any CUDA backend must do, run on the fake module everywhere and on the real one where there is a GPU.
#include <cmath>

#include "kernels/cuda/tests/modules.h"
#include "kernels/reference.h"
#include "kernels/tests/memory_kernels.h"

namespace farscale::cuda_test {
namespace {

class CudaBackend : public ModuleTest {};

TEST_P(CudaBackend, ReportsItsDevice) {
  const DeviceReport report = backend_->device();
  EXPECT_EQ(report.backend, GetParam());
  EXPECT_FALSE(report.name.empty());
  EXPECT_GT(report.memory_bytes, 0);
  EXPECT_GT(report.cache_bytes, 0);
  for (const char* fact : {"cuda_runtime", "cuda_driver_api", "compute_capability", "multiprocessors"}) {
    EXPECT_TRUE(report.facts.contains(fact)) << fact;
  }
}

TEST_P(CudaBackend, MultipliesInEveryTypeAndLayout) {
  for (const NumberType type :
       {NumberType::kFp64, NumberType::kFp32, NumberType::kTf32, NumberType::kFp16, NumberType::kBf16}) {
    for (int layout = 0; layout < 4; ++layout) {
      const GemmProblem problem{
          .m = 48, .n = 32, .k = 80, .type = type, .transpose_a = layout / 2 == 1, .transpose_b = layout % 2 == 1};
      const auto operation = prepared(problem);
      ASSERT_NE(operation, nullptr);
      const Verdict verdict = operation->verify();
      EXPECT_TRUE(verdict.correct) << problem.name() << ": " << verdict.detail;
      EXPECT_LE(verdict.worst_error, verdict.bound);
    }
  }
}

TEST_P(CudaBackend, MultipliesBatchesAndOddShapes) {
  for (const GemmProblem& problem :
       {GemmProblem{.m = 40, .n = 24, .k = 56, .batch = 11, .type = NumberType::kBf16},
        GemmProblem{.m = 333, .n = 8, .k = 16, .type = NumberType::kFp32},
        GemmProblem{.m = 1, .n = 1, .k = 1, .type = NumberType::kFp64},
        GemmProblem{.m = 17, .n = 3, .k = 129, .batch = 2, .type = NumberType::kFp32, .transpose_a = true}}) {
    const auto operation = prepared(problem);
    ASSERT_NE(operation, nullptr);
    const Verdict verdict = operation->verify();
    EXPECT_TRUE(verdict.correct) << problem.name() << ": " << verdict.detail;
  }
}

TEST_P(CudaBackend, MultipliesFp8InItsOneLayoutOrSaysWhyNot) {
  const std::string capability = backend_->device().facts.at("compute_capability");
  if (std::stod(capability) < 8.9) GTEST_SKIP() << "compute capability " << capability << " has no fp8";
  for (const NumberType type : {NumberType::kFp8E4M3, NumberType::kFp8E5M2}) {
    for (const bool fast : {false, true}) {
      const GemmProblem problem{.m = 64,
                                .n = 48,
                                .k = 96,
                                .type = type,
                                .transpose_b = true,
                                .scaling = fast ? Scaling::kNone : Scaling::kTensor,
                                .fast_accumulation = fast};
      const auto operation = prepared(problem);
      ASSERT_NE(operation, nullptr);
      const Verdict verdict = operation->verify();
      EXPECT_TRUE(verdict.correct) << problem.name() << ": " << verdict.detail;
      EXPECT_EQ(operation->details().at("fast_accumulation"), fast ? "on" : "off");
      EXPECT_EQ(operation->details().at("scaling"), fast ? "none" : "one fp32 factor a tensor");
    }
  }
  if (std::stod(capability) < 10) {
    EXPECT_NE(reason(GemmProblem{.m = 64, .n = 64, .k = 64, .type = NumberType::kFp8E4M3}).find("layout nt"),
              std::string::npos);
  }
  EXPECT_NE(
      reason(GemmProblem{.m = 64, .n = 60, .k = 64, .type = NumberType::kFp8E4M3, .transpose_b = true}).find("16"),
      std::string::npos);
}

TEST_P(CudaBackend, RecordsTheChosenAlgorithm) {
  const auto operation = prepared(GemmProblem{.m = 64, .n = 64, .k = 64});
  const Facts facts = operation->details();
  for (const char* fact : {"algorithm", "tile", "split_k", "workspace", "heuristic_place", "candidates_failed",
                           "host_cost", "buffers_rotated", "library", "types"}) {
    EXPECT_TRUE(facts.contains(fact)) << fact;
  }
}

TEST_P(CudaBackend, RotatesBuffersOnlyWhenCold) {
  const GemmProblem problem{.m = 64, .n = 64, .k = 64};
  const double cache = backend_->device().cache_bytes;
  const auto cold = prepared(problem, {.cold = true});
  const auto hot = prepared(problem, {.cold = false});
  EXPECT_EQ(hot->details().at("buffers_rotated"), "1");
  EXPECT_GT(std::stod(cold->details().at("buffers_rotated")) * problem.bytes(), cache);
}

TEST_P(CudaBackend, MultipliesWithEpilogues) {
  for (const Epilogue epilogue : kEpilogues) {
    for (const NumberType type : {NumberType::kFp32, NumberType::kBf16}) {
      const auto operation = prepared(GemmProblem{.m = 48, .n = 40, .k = 64, .type = type, .epilogue = epilogue});
      ASSERT_NE(operation, nullptr);
      const Verdict verdict = operation->verify();
      EXPECT_TRUE(verdict.correct) << name(epilogue) << ": " << verdict.detail;
    }
  }
}

TEST_P(CudaBackend, MultipliesIntegersExactly) {
  const auto operation =
      prepared(GemmProblem{.m = 64, .n = 48, .k = 96, .type = NumberType::kInt8, .transpose_b = true});
  ASSERT_NE(operation, nullptr);
  const Verdict verdict = operation->verify();
  EXPECT_TRUE(verdict.correct) << verdict.detail;
  EXPECT_EQ(verdict.bound, 0);
  EXPECT_NE(reason(GemmProblem{.m = 64, .n = 64, .k = 64, .type = NumberType::kInt8}).find("layout nt"),
            std::string::npos);
}

TEST_P(CudaBackend, ChecksLargeProductsOnTheDevice) {
  for (const GemmProblem& problem :
       {GemmProblem{.m = 300, .n = 280, .k = 260, .type = NumberType::kBf16, .transpose_a = true},
        GemmProblem{.m = 3000, .n = 24, .k = 300, .type = NumberType::kFp32, .transpose_b = true},
        GemmProblem{.m = 200, .n = 180, .k = 170, .batch = 3, .type = NumberType::kFp64},
        GemmProblem{.m = 304, .n = 288, .k = 256, .type = NumberType::kInt8, .transpose_b = true},
        GemmProblem{.m = 300, .n = 280, .k = 260, .type = NumberType::kFp16, .epilogue = Epilogue::kBias},
        GemmProblem{.m = 300, .n = 280, .k = 260, .type = NumberType::kBf16, .epilogue = Epilogue::kBiasGelu}}) {
    const auto operation = prepared(problem);
    ASSERT_NE(operation, nullptr);
    const Verdict verdict = operation->verify();
    EXPECT_TRUE(verdict.correct) << problem.name() << ": " << verdict.detail;
    EXPECT_NE(verdict.detail.find("on the device"), std::string::npos) << verdict.detail;
    EXPECT_GT(verdict.worst_error, problem.type == NumberType::kInt8 ? -1 : 0) << "a check that saw nothing";
  }
}

TEST_P(CudaBackend, RechecksAProduct) {
  const auto operation = prepared(GemmProblem{.m = 64, .n = 64, .k = 64, .type = NumberType::kBf16});
  EXPECT_FALSE(operation->recheck()) << "nothing was verified yet";
  ASSERT_TRUE(operation->verify().correct);
  const auto queue = backend_->open_queue(QueueRole::kCompute);
  for (int i = 0; i < 3; ++i) {
    (void)backend_->time_s(*operation, *queue, 5);
    const auto verdict = operation->recheck();
    ASSERT_TRUE(verdict);
    EXPECT_TRUE(verdict->correct) << verdict->detail;
  }
}

TEST_P(CudaBackend, MovesMemory) {
  for (MemoryProblem problem : memory_kernels()) {
    const bool rows = problem.kind == MemoryKind::kBiasGelu || problem.kind == MemoryKind::kLayerNorm;
    for (const int64_t size : {1, 3, 4096, 70001}) {  // tails of every length, and tensors that start anywhere
      problem.elements = rows ? std::min<int64_t>(size, 33) * kMemoryRow : size;
      const auto operation = prepared(problem);
      ASSERT_NE(operation, nullptr);
      for (int i = 0; i < 2; ++i) {  // again: AdamW moves on from where it was
        const Verdict verdict = operation->verify();
        EXPECT_TRUE(verdict.correct) << problem.name() << ": " << verdict.detail;
      }
    }
  }
  EXPECT_NE(reason(MemoryProblem{.kind = MemoryKind::kAdamW, .elements = 8, .type = NumberType::kBf16}).find("bf16"),
            std::string::npos);
}

TEST_P(CudaBackend, ChecksPartsOfLongArrays) {
  for (const MemoryKind kind : {MemoryKind::kPack, MemoryKind::kTriad}) {
    const int64_t elements = (int64_t{1} << 24) + 77;
    const auto operation = prepared(MemoryProblem{.kind = kind, .elements = elements, .to = NumberType::kBf16});
    const Verdict verdict = operation->verify();
    EXPECT_TRUE(verdict.correct) << verdict.detail;
    EXPECT_EQ(verdict.detail.find("all "), std::string::npos) << verdict.detail;
  }
}

TEST_P(CudaBackend, RunsEveryCollectiveAlone) {
  for (const CollectiveKind kind : kCollectiveKinds) {
    for (const bool in_place : {false, true}) {
      const CollectiveProblem problem{
          .kind = kind, .bytes = 4096, .type = NumberType::kBf16, .ranks = 1, .in_place = in_place};
      if ((kind == CollectiveKind::kAllToAll || kind == CollectiveKind::kSendRecv) && in_place) {
        EXPECT_NE(reason(problem).find("in place"), std::string::npos);
        continue;
      }
      const auto operation = prepared(problem);
      ASSERT_NE(operation, nullptr);
      const Verdict verdict = operation->verify();
      EXPECT_TRUE(verdict.correct) << problem.name() << ": " << verdict.detail;
    }
  }
}

TEST_P(CudaBackend, TimesMoreRunsLonger) {
  const auto operation = prepared(MemoryProblem{.kind = MemoryKind::kCopy, .elements = 1 << 18});
  const auto queue = backend_->open_queue(QueueRole::kCompute);
  (void)backend_->time_s(*operation, *queue, 2);
  const double few = backend_->time_s(*operation, *queue, 10);
  const double many = backend_->time_s(*operation, *queue, 100);
  EXPECT_GT(few, 0);
  EXPECT_GT(many, 2 * few);  // ten times on the fake's exact clock; a GPU's clock may still be rising
}

TEST_P(CudaBackend, OrdersQueuesByEvents) {
  const auto compute = backend_->open_queue(QueueRole::kCompute);
  const auto communication = backend_->open_queue(QueueRole::kCommunication);
  const auto gemm = prepared(GemmProblem{.m = 64, .n = 64, .k = 64});
  const auto reduce = prepared(CollectiveProblem{.bytes = 4096, .ranks = 1});
  const auto event = backend_->make_event();
  for (int i = 0; i < 3; ++i) {  // events are recorded again and again
    gemm->run(*compute);
    compute->record(*event);
    communication->wait_for(*event);
    reduce->run(*communication);
    communication->record(*event);
    compute->wait_for(*event);
  }
  compute->synchronize();
  communication->synchronize();
}

TEST_P(CudaBackend, SaysWhatDoesNotFit) {
  const double memory = backend_->device().memory_bytes;
  const auto elements = static_cast<int64_t>(memory / 4);
  EXPECT_NE(reason(MemoryProblem{.kind = MemoryKind::kTriad, .elements = elements}).find("does not fit"),
            std::string::npos);
  const auto side = static_cast<int64_t>(std::sqrt(memory / 8));
  EXPECT_NE(reason(GemmProblem{.m = side, .n = side, .k = side}).find("does not fit"), std::string::npos);
  const auto bytes = static_cast<int64_t>(memory) / 1024 * 1024;
  EXPECT_NE(reason(CollectiveProblem{.bytes = bytes, .ranks = 1}).find("does not fit"), std::string::npos);
}

TEST_P(CudaBackend, SaysWhatIsNotSupported) {
  EXPECT_NE(reason(GemmProblem{.m = 8, .n = 8, .k = 8, .type = NumberType::kFp4}).find("fp4"), std::string::npos);
  const std::string capability = backend_->device().facts.at("compute_capability");
  if (std::stod(capability) < 10) {
    for (const NumberType type : {NumberType::kFp8E4M3, NumberType::kFp4}) {
      const GemmProblem blocks{
          .m = 64, .n = 64, .k = 64, .type = type, .transpose_b = true, .scaling = Scaling::kBlock};
      EXPECT_NE(reason(blocks).find("compute capability 10.0"), std::string::npos);
    }
  }
  EXPECT_NE(reason(CollectiveProblem{.bytes = 4096, .ranks = 8}).find("needs 8 ranks, this run has 1"),
            std::string::npos);
  EXPECT_THROW((void)backend_->prepare(GemmProblem{.m = -1}, {}), InputError);
}

INSTANTIATE_TEST_SUITE_P(Modules, CudaBackend, ::testing::Values("fake", "cuda"), module_name);

}  // namespace
}  // namespace farscale::cuda_test
