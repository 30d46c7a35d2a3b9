#include "kernels/host/machine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "kernels/sysfs.h"

namespace farscale {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

namespace fs = std::filesystem;

// A folder that stands for "/", with the files a test writes.
class FakeRoot : public testing::Test {
 protected:
  void SetUp() override {
    root_ = fs::temp_directory_path() / ("farscale_machine_" + std::to_string(::getpid()));
    write("/proc/cpuinfo",
          "processor\t: 0\nmodel name\t: Fake 9000\nflags\t\t: fpu sse2 avx2 fma avx512f\n\nprocessor\t: 1\n");
    write("/proc/meminfo", "MemTotal:  2000 kB\nMemFree: 1 kB\nMemAvailable:  1000 kB\n");
    write("/proc/loadavg", "1.75 0.5 0.4 1/100 1234\n");
  }
  void TearDown() override { fs::remove_all(root_); }
  void write(const std::string& path, const std::string& text) const {
    fs::create_directories((root_ / path.substr(1)).parent_path());
    std::ofstream(root_ / path.substr(1)) << text;
  }
  HostMachine read() const { return read_machine(root_.string()); }
  fs::path root_;
};

TEST_F(FakeRoot, ReadsProcessorMemoryAndLoad) {
  const HostMachine machine = read();
  EXPECT_EQ(machine.cpu_model, "Fake 9000");
  EXPECT_TRUE(machine.cpu_flags.contains("avx512f"));
  EXPECT_EQ(machine.hardware_threads, 2);
  EXPECT_EQ(machine.memory_total_bytes, 2000 * 1024);
  EXPECT_EQ(machine.memory_available_bytes, 1000 * 1024);
  EXPECT_EQ(machine.load_average, 1.75);
  EXPECT_EQ(machine.cpu_quota, 0);
}

TEST_F(FakeRoot, AContainersLimitsCount) {
  write("/sys/fs/cgroup/cpu.max", "150000 100000\n");
  write("/sys/fs/cgroup/memory.max", "700000\n");
  write("/sys/fs/cgroup/memory.current", "200000\n");
  EXPECT_EQ(read().cpu_quota, 1.5);
  EXPECT_EQ(read().memory_available_bytes, 500000);
  write("/sys/fs/cgroup/cpu.max", "max 100000\n");
  write("/sys/fs/cgroup/memory.max", "max\n");
  EXPECT_EQ(read().cpu_quota, 0);
  EXPECT_EQ(read().memory_available_bytes, 1000 * 1024);
}

TEST(HostMachine, CpuLists) {
  EXPECT_THAT(parse_cpu_list("0-2,5,7-8"), ElementsAre(0, 1, 2, 5, 7, 8));
  EXPECT_THAT(parse_cpu_list("3"), ElementsAre(3));
  EXPECT_THAT(parse_cpu_list(""), IsEmpty());
}

TEST(HostMachine, ThreadsAreCoresSharedAmongTheRanksThatMayRunThere) {
  HostMachine machine;
  machine.cores = {0, 1, 2, 3, 4, 5, 6, 7};
  EXPECT_EQ(threads_for_rank(machine, {machine.cores}), 8);
  EXPECT_EQ(threads_for_rank(machine, {machine.cores, machine.cores}), 4);
  EXPECT_EQ(threads_for_rank(machine, {machine.cores, machine.cores, machine.cores}), 2);
  EXPECT_EQ(threads_for_rank(machine, std::vector(16, machine.cores)), 1);
  // Two sockets, two ranks bound to each: the ranks of the other socket take nothing here.
  EXPECT_EQ(threads_for_rank(machine, {machine.cores, machine.cores, {8, 9}, {8, 9}}), 4);
  machine.cpu_quota = 4;
  EXPECT_EQ(threads_for_rank(machine, {machine.cores, machine.cores}), 2);
}

TEST(HostMachine, PoorBlasCoresAreNamedWithTheirCure) {
  HostMachine wide;
  wide.cpu_flags = {"sse2", "avx2", "fma", "avx512f", "avx512bw", "avx512vl"};
  EXPECT_THAT(blas_core_warning("Haswell", wide), HasSubstr("OPENBLAS_CORETYPE=SkylakeX"));
  EXPECT_THAT(blas_core_warning("Zen", wide), HasSubstr("OPENBLAS_CORETYPE=SkylakeX"));
  EXPECT_EQ(blas_core_warning("SkylakeX", wide), "");
  EXPECT_EQ(blas_core_warning("Cooperlake", wide), "");
  HostMachine narrow;
  narrow.cpu_flags = {"sse2", "avx2", "fma"};
  EXPECT_EQ(blas_core_warning("Haswell", narrow), "");
  EXPECT_THAT(blas_core_warning("Prescott", narrow), HasSubstr("OPENBLAS_CORETYPE=Haswell"));
  EXPECT_EQ(blas_core_warning("ARMV8", HostMachine{}), "");
}

TEST(HostMachine, UnsteadinessIsWarnedOf) {
  HostMachine machine;
  machine.hardware_threads = 4;
  machine.load_average = 1.9;
  EXPECT_THAT(steadiness_warnings(machine), IsEmpty());
  machine.load_average = 2.1;
  EXPECT_THAT(steadiness_warnings(machine), ElementsAre(HasSubstr("load average 2.1 on 4")));
  machine.cpu_flags = {"hypervisor"};
  machine.governor = "powersave";
  EXPECT_EQ(steadiness_warnings(machine).size(), 3U);
}

}  // namespace
}  // namespace farscale
