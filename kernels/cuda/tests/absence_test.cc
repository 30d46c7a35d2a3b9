// Machines that lack something: every absence is a reason that names what is missing, never an error or a crash.
#include "kernels/cuda/tests/modules.h"

namespace farscale::cuda_test {
namespace {

using ::testing::Test;

class Absence : public FakeTest {
 protected:
  std::string reason() {
    const auto backend = open_module_here("fake", *world_);
    EXPECT_FALSE(backend);
    return backend.reason();
  }
};

void expect_in(const std::string& text, std::initializer_list<const char*> parts) {
  for (const char* part : parts) EXPECT_NE(text.find(part), std::string::npos) << part << " in: " << text;
}

TEST_F(Absence, NoDriver) {
  fake_->set_devices(static_cast<int>(fake::Devices::kOldDriver));
  expect_in(reason(), {"cudaGetDeviceCount", "35", "cudaErrorInsufficientDriver", "no NVIDIA driver", "install"});
}

TEST_F(Absence, OnlyTheStub) {
  fake_->set_devices(static_cast<int>(fake::Devices::kStubDriver));
  expect_in(reason(), {"34", "stub", "LD_LIBRARY_PATH"});
}

TEST_F(Absence, DriverButNoGpu) {
  fake_->set_devices(static_cast<int>(fake::Devices::kNone));
  expect_in(reason(), {"100", "nvidia-smi", "CUDA_VISIBLE_DEVICES"});
}

TEST_F(Absence, NoCublas) {
  for (const char* soname : {"libcublasLt.so", "libcublasLt.so.12", "libcublasLt.so.13", "libcublasLt.so.14"}) {
    fake_->hide_library(soname);
  }
  const auto backend = open();
  const auto gemm = backend->prepare(GemmProblem{.m = 16, .n = 16, .k = 16}, {});
  ASSERT_FALSE(gemm);
  expect_in(gemm.reason(), {"libcublasLt.so", "does not open", "install cuBLAS"});
  EXPECT_TRUE(backend->prepare(MemoryProblem{.elements = 64}, {}));  // the others still run
  EXPECT_EQ(backend->device().warnings.size(), 1U);
}

TEST_F(Absence, NoNccl) {
  fake_->hide_library("libnccl.so.2");
  const auto backend = open();
  const auto reduce = backend->prepare(CollectiveProblem{.bytes = 64, .ranks = 1}, {});
  ASSERT_FALSE(reduce);
  expect_in(reduce.reason(), {"libnccl.so.2", "does not open", "install NCCL"});
}

TEST_F(Absence, NoNvml) {
  fake_->hide_library("libnvidia-ml.so.1");
  const auto backend = open();
  EXPECT_TRUE(backend->telemetry().empty());
  ASSERT_EQ(backend->device().warnings.size(), 1U);
  expect_in(backend->device().warnings.front(), {"clocks", "libnvidia-ml.so.1"});
}

TEST_F(Absence, OlderGpus) {
  fake_->set_capability(7, 0);
  const auto backend = open();
  for (const NumberType type : {NumberType::kTf32, NumberType::kBf16, NumberType::kFp8E4M3}) {
    const auto gemm = backend->prepare(GemmProblem{.m = 16, .n = 16, .k = 16, .type = type, .transpose_b = true}, {});
    ASSERT_FALSE(gemm);
    expect_in(gemm.reason(), {"compute capability"});
  }
  EXPECT_TRUE(backend->prepare(GemmProblem{.m = 16, .n = 16, .k = 16, .type = NumberType::kFp16}, {}));
}

TEST_F(Absence, BadDeadlineIsBadInput) {
  ::setenv("FARSCALE_DEADLINE_S", "soon", 1);
  EXPECT_THROW((void)open(), InputError);
  ::unsetenv("FARSCALE_DEADLINE_S");
}

TEST_F(Absence, TelemetryHasUnits) {
  const auto backend = open();
  const Telemetry now = backend->telemetry();
  EXPECT_DOUBLE_EQ(now.at("sm_clock_hz"), 1.5e9);
  EXPECT_DOUBLE_EQ(now.at("memory_clock_hz"), 2.6e9);
  EXPECT_DOUBLE_EQ(now.at("power_w"), 640);
  EXPECT_DOUBLE_EQ(now.at("power_limit_w"), 700);
  EXPECT_DOUBLE_EQ(now.at("temperature_c"), 55);
  EXPECT_DOUBLE_EQ(now.at("throttle_reasons"), 4);
  EXPECT_TRUE(now.contains("throttle_sw_power_cap"));
  EXPECT_FALSE(now.contains("throttle_hw_thermal"));
}

// The real module on a machine without a driver, which is where most tests run.
TEST(RealModule, OpensOrSaysWhatIsMissing) {
  const auto world = single_world();
  const auto backend = open_module_here("cuda", *world);
  if (backend) GTEST_SKIP() << "this machine has a GPU";
  const bool built = backend.reason().find("was not built") == std::string::npos;
  if (!built) GTEST_SKIP() << backend.reason();
  expect_in(backend.reason(), {"cudaGetDeviceCount says", "driver"});
}

}  // namespace
}  // namespace farscale::cuda_test
