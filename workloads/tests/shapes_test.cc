// GEMM shapes of the shipped networks, with their counts.
#include <gtest/gtest.h>

#include "workloads/show.h"
#include "workloads/tests/text.h"

namespace farscale {
namespace {

class Shapes {
 public:
  Shapes(const std::string& name, const std::string& layout)
      : table_(gemm_table(lowered(load_workload(name), layout))) {}

  int64_t count(Pass pass, int64_t m, int64_t n, int64_t k, int64_t batch = 1) const {
    int64_t launches = 0;
    for (const GemmRow& row : table_) {
      const GemmProblem& g = row.gemm;
      if (row.pass == pass && g.m == m && g.n == n && g.k == k && g.batch == batch) launches += row.count;
    }
    return launches;
  }
  int64_t forward(int64_t m, int64_t n, int64_t k, int64_t batch = 1) const {
    return count(Pass::kForward, m, n, k, batch);
  }

 private:
  std::vector<GemmRow> table_;
};

TEST(Shapes, Hydranet) {
  const Shapes s("hydranet-regnety16gf", "dp=8");
  EXPECT_EQ(s.forward(2457600, 32, 27), 1);
  EXPECT_EQ(s.count(Pass::kDataGradient, 2457600, 27, 32), 0);  // nothing below the first layer wants a gradient
  EXPECT_EQ(s.count(Pass::kWeightGradient, 32, 27, 2457600), 1);
  EXPECT_EQ(s.forward(2457600, 224, 32), 1);
  EXPECT_EQ(s.forward(614400, 224, 224), 3);
  EXPECT_EQ(s.forward(153600, 448, 448), 7);
  EXPECT_EQ(s.forward(38400, 1232, 1232), 21);
  EXPECT_EQ(s.forward(38400, 3024, 1232), 1);
  EXPECT_EQ(s.forward(9600, 3024, 3024), 1);
  EXPECT_EQ(s.forward(614400, 112, 1008, 2), 2);
  EXPECT_EQ(s.forward(153600, 112, 1008, 4), 4);
  EXPECT_EQ(s.forward(38400, 112, 1008, 11), 11);
  EXPECT_EQ(s.forward(9600, 112, 1008, 27), 1);
  EXPECT_EQ(s.forward(10000, 9600, 32, 8), 4);
  EXPECT_EQ(s.forward(10000, 32, 9600, 8), 4);
  EXPECT_EQ(s.forward(9600, 512, 256), 4);
  EXPECT_EQ(s.forward(10000, 1024, 256), 4);
  EXPECT_EQ(s.forward(10000, 512, 4608), 8);
  EXPECT_EQ(s.forward(10000, 256, 4608), 8);
  EXPECT_EQ(s.forward(40000, 128, 1152), 2);
  EXPECT_EQ(s.forward(40000, 304, 128), 1);
}

TEST(Shapes, StridedDataGradientRunsInPhases) {
  const Shapes s("hydranet-regnety16gf", "dp=8");
  // The stride-2 3x3 at the head of the first stage: 1 + 2 + 2 + 4 taps of 112 channels.
  EXPECT_EQ(s.count(Pass::kDataGradient, 614400, 112, 112, 2), 1);
  EXPECT_EQ(s.count(Pass::kDataGradient, 614400, 112, 224, 2), 2);
  EXPECT_EQ(s.count(Pass::kDataGradient, 614400, 112, 448, 2), 1);
  EXPECT_EQ(s.count(Pass::kDataGradient, 614400, 112, 1008, 2), 1);  // the other block's stride is 1
  EXPECT_EQ(s.count(Pass::kWeightGradient, 112, 1008, 614400, 2), 2);
}

TEST(Shapes, ResNet) {
  const Shapes s("resnet50", "dp=8");
  EXPECT_EQ(s.forward(50176, 256, 2304), 6);
  EXPECT_EQ(s.forward(200704, 128, 1152), 4);
  EXPECT_EQ(s.forward(802816, 64, 576), 3);
  EXPECT_EQ(s.forward(12544, 512, 4608), 3);
  EXPECT_EQ(s.forward(50176, 1024, 256), 6);
}

TEST(Shapes, Bevformer) {
  const Shapes s("bevformer-base", "dp=8");
  EXPECT_EQ(s.forward(34800, 256, 2304), 23 * 4 + 4);  // deformable 3x3, and the pyramid's output of the same shape
  EXPECT_EQ(s.forward(34800, 27, 2304), 23 * 4);
  EXPECT_EQ(s.forward(139200, 256, 2304), 4);
  EXPECT_EQ(s.forward(184950, 256, 256), 6 * 4);
  EXPECT_EQ(s.forward(60000, 512, 256), 6 * 4);
  EXPECT_EQ(s.forward(80000, 256, 256), 6 * 4);
  EXPECT_EQ(s.forward(40000, 128, 512), 6 * 4);
  EXPECT_EQ(s.forward(40000, 512, 256), 6 * 4);
}

TEST(Shapes, EndToEnd) {
  const Shapes small("e2e-video-transformer-1b", "dp=8");
  EXPECT_EQ(small.forward(38400, 3072, 1024), 24);
  EXPECT_EQ(small.forward(38400, 1024, 4096), 24);
  EXPECT_EQ(small.forward(1200, 1200, 64, 512), 24);
  EXPECT_EQ(small.forward(9600, 4096, 4096), 1);
  EXPECT_EQ(small.forward(9664, 4608, 1536), 24);
  EXPECT_EQ(small.forward(9664, 8192, 1536), 24);
  EXPECT_EQ(small.forward(9664, 9664, 128, 12), 24);
  const Shapes big("e2e-video-transformer-10b", "dp=8");
  EXPECT_EQ(big.forward(38400, 3456, 1152), 27);
  EXPECT_EQ(big.forward(9840, 6144, 4096), 36);
  EXPECT_EQ(big.forward(9840, 24576, 4096), 36);
  EXPECT_EQ(big.forward(9840, 4096, 12288), 36);
  EXPECT_EQ(big.forward(9840, 9840, 128, 32), 36);
}

TEST(Shapes, LanguageModels) {
  const Shapes gaia("gaia1-world-model", "dp=8");
  EXPECT_EQ(gaia.forward(31720, 12288, 4096), 32);
  EXPECT_EQ(gaia.forward(15860, 15860, 128, 64), 32);
  EXPECT_EQ(gaia.forward(29952, 8192, 4096), 1);
  const Shapes gpt("gpt3-175b", "dp=1");
  EXPECT_EQ(gpt.forward(2048, 36864, 12288), 96);
  EXPECT_EQ(gpt.forward(2048, 12288, 49152), 96);
  const Shapes llama("llama3-405b", "dp=1 tp=8");
  EXPECT_EQ(llama.forward(8192, 18432 / 8, 16384), 126);  // columns divide N
  EXPECT_EQ(llama.forward(8192, 106496 / 8, 16384), 126);
  EXPECT_EQ(llama.forward(8192, 16384, 53248 / 8), 126);  // rows divide K
}

}  // namespace
}  // namespace farscale
