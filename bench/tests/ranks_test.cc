// farscale run under a real launcher with the real modules: ranks agree, files are read by Google Benchmark's
// compare.py, a lost rank is named. Skipped with the reason where a launcher or a module is missing.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "bench/tests/program.h"
#include "results/result_file.h"

namespace farscale {
namespace {

using testing::AllOf;
using testing::AnyOf;
using testing::HasSubstr;

constexpr const char* kSuite =
    "[sampling]\nbudget_s = 0.05\nleast_samples = 9\nmost_samples = 12\n[[start]]\nrepeats = 2\n"
    "[[gemm]]\ntypes = [\"fp32\", \"fp8_e5m2\"]\nsquares = [64]\n"
    "[[memory]]\nkinds = [\"copy\"]\nbytes = [1048576]\n"
    "[[collective]]\nkinds = [\"all_reduce\", \"all_to_all\"]\nbytes = [4096, 65536]\n"
    "[[step]]\nscale = 16384\nverify_s = 0.5\n";

struct Launcher {
  std::string name, program, module;
};

class Ranks : public testing::TestWithParam<Launcher> {
 protected:
  void SetUp() override {
    if (!has_program(GetParam().program)) GTEST_SKIP() << GetParam().program << " is not installed";
    for (const std::string& module : {GetParam().module, std::string("farscale-host.so")}) {
      if (!std::filesystem::exists(std::string(FARSCALE_BINARY_DIR "/") + module))
        GTEST_SKIP() << module << " was not built";
    }
    place_.write("small.toml", kSuite);
    if (GetParam().name != "mpich") return;
    const std::string refusal = place_.run(launch("--list")).err;  // Ubuntu 24.04's: kernels/mpi/tests/CMakeLists.txt
    if (refusal.find("finds itself alone") != std::string::npos) GTEST_SKIP() << refusal;
  }

  std::string launch(const std::string& arguments) const {
    return "OMP_NUM_THREADS=1 exec " FARSCALE_SOURCE_DIR "/scripts/launch -np 2 --mpi " + GetParam().name +
           " -- $farscale run ./small.toml --backend host " + arguments;
  }

  Workplace place_;
};

TEST_P(Ranks, AgreeOnEverythingAndWriteOneFile) {
  const Finished done = place_.run(launch("--out r.json"), 240);
  ASSERT_EQ(done.code, 0) << done.out << done.err;
  EXPECT_THAT(done.out, AllOf(HasSubstr("2 ranks"), HasSubstr("Written to r.json"), HasSubstr("all_reduce")));
  const farscale::Run result = read_result(place_.path("r.json"));
  EXPECT_TRUE(result.complete);
  EXPECT_EQ(result.ranks, 2);
  EXPECT_EQ(result.hosts.size(), 2u);
  for (const Record& record : result.records) {
    if (record.name.find("fp8") != std::string::npos) {
      EXPECT_EQ(record.status, Status::kSkipped);
      continue;
    }
    EXPECT_EQ(record.status, Status::kOk) << record.name << ": " << record.reason;
    EXPECT_EQ(record.rank_medians_s.size(), 2u) << record.name;
  }
  const Record* step = result.find("step/hydranet-regnety16gf/scale_16384/2ranks");
  ASSERT_NE(step, nullptr);
  EXPECT_NEAR(step->counters.at("step_gradient_bytes") * 16384 / 4.188e8, 1, 0.02) << "104.7 M parameters in fp32";
  for (const char* series : {"compute_only", "communication_only", "both", "exposed", "arrival_skew"}) {
    ASSERT_TRUE(step->series_s.contains(series)) << series;
    EXPECT_EQ(step->series_s.at(series).size(), step->samples_s.size()) << series;
  }
}

TEST_P(Ranks, ErrorsAreToldOnceWithTheirCode) {
  const Finished done = place_.run(launch("--only gem"), 60);
  EXPECT_EQ(done.code, 2);
  EXPECT_EQ(done.err.find("unknown family"), done.err.rfind("unknown family")) << done.err;
  place_.write("there.json", "{}");
  const Finished there = place_.run(launch("--out there.json"), 60);
  EXPECT_EQ(there.code, 2);
  EXPECT_THAT(there.err, HasSubstr("farscale: there.json: exists already"));
}

bool two_records(const std::string& path) {
  return std::filesystem::exists(path) && read_result(path).records.size() >= 2;
}

// The farscale processes of the launcher's session, in the order they were started.
std::vector<pid_t> ranks_of(pid_t launcher) {
  std::vector<pid_t> found;
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    const pid_t process = std::atoi(entry.path().filename().c_str());
    std::error_code ignored;
    const auto program = std::filesystem::read_symlink(entry.path() / "exe", ignored);
    // MPICH's launcher gives each rank a session of its own: the working folder tells whose it is.
    if (process > 0 && program == FARSCALE_BINARY_DIR "/farscale" &&
        std::filesystem::read_symlink(entry.path() / "cwd", ignored) ==
            std::filesystem::read_symlink("/proc/" + std::to_string(launcher) + "/cwd", ignored)) {
      found.push_back(process);
    }
  }
  std::sort(found.begin(), found.end());
  return found;
}

TEST_P(Ranks, ALostRankIsNamedAndFinishedCasesStay) {
  const pid_t launcher = place_.start(launch("--out lost.json --budget 5 --benchmark_repetitions=100000 "
                                             "--benchmark_filter='start|gemm/fp32'"),
                                      "lost");
  ASSERT_TRUE(eventually(two_records, place_.path("lost.json"), 60));
  const std::vector<pid_t> ranks = ranks_of(launcher);
  ASSERT_EQ(ranks.size(), 2u);
  const auto start = std::chrono::steady_clock::now();
  ::kill(ranks.back(), SIGKILL);
  const Finished done = place_.wait(launcher, "lost", 60);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(30));
  EXPECT_NE(done.code, 0);
  // Process numbers need not follow ranks, so the one killed may be rank 0; what is left names it either way.
  EXPECT_THAT(done.err, AllOf(HasSubstr("(pid " + std::to_string(ranks.back()) + " "), HasSubstr("died"),
                              testing::AnyOf(HasSubstr("cases are in lost.json"), HasSubstr("cases were finished"))))
      << done.out;
  const farscale::Run result = read_result(place_.path("lost.json"));
  EXPECT_FALSE(result.complete);
  EXPECT_GE(result.records.size(), 2u);
}

TEST_P(Ranks, GoogleBenchmarksComparePyReadsTwoRuns) {
  const std::string tool = "/usr/share/benchmark/compare.py";
  if (!std::filesystem::exists(tool)) GTEST_SKIP() << tool << " is missing: install libbenchmark-tools";
  if (std::system("/usr/bin/python3 -c 'import scipy' 2> /dev/null") != 0) GTEST_SKIP() << "python3-scipy is missing";
  for (const char* name : {"a.json", "b.json"}) {
    ASSERT_EQ(place_.run(launch(std::string("--only memory,collective --out ") + name), 120).code, 0);
  }
  const Finished done = place_.run("/usr/bin/python3 " + tool + " --no-color benchmarks a.json b.json");
  EXPECT_EQ(done.code, 0) << done.err;
  EXPECT_THAT(done.out, AllOf(HasSubstr("collective/all_reduce/fp32/4096B/2ranks"), HasSubstr("_pvalue"),
                              HasSubstr("U Test, Repetitions: ")));
}

// Four processes that meet by TCP, whose waits take no processor from the others' compute, and a network that sleeps:
// both together takes at least 15 % less than one after the other, and a slower network shows more.
TEST(Processes, CommunicationHidesBehindCompute) {
  for (const char* module : {"farscale-socket.so", "farscale-host.so"}) {
    if (!std::filesystem::exists(std::string(FARSCALE_BINARY_DIR "/") + module)) {
      GTEST_SKIP() << module << " was not built";
    }
  }
  const Workplace place;
  nlohmann::json seen;
  for (int tries = 0; tries < 5; ++tries) {
    const std::string ranks = fmt::format(
        "export OMP_NUM_THREADS=1 FARSCALE_WORLD=tcp WORLD_SIZE=4 MASTER_ADDR=127.0.0.1 MASTER_PORT={};"
        "for rank in 0 1 2 3; do RANK=$rank LOCAL_RANK=$rank " FARSCALE_BINARY_DIR "/overlap_ranks & done; wait",
        20000 + (::getpid() * 7 + tries) % 10000);
    const Finished done = place.run(ranks, 120);
    ASSERT_NE(done.out.find('{'), std::string::npos) << done.err;
    seen = nlohmann::json::parse(done.out);
    if (seen["saved"] > 0.15 && seen["slow_exposed_s"] > seen["exposed_s"]) break;
  }
  EXPECT_EQ(seen["ranks"], 4);
  EXPECT_GT(seen["saved"].get<double>(), 0.15) << seen;
  EXPECT_GT(seen["slow_exposed_s"].get<double>(), seen["exposed_s"].get<double>()) << seen;
}

INSTANTIATE_TEST_SUITE_P(Launchers, Ranks,
                         testing::Values(Launcher{"openmpi", "mpirun.openmpi", "farscale-mpi-openmpi.so"},
                                         Launcher{"mpich", "mpirun.mpich", "farscale-mpi-mpich.so"},
                                         Launcher{"none", "bash", "farscale-socket.so"}),
                         [](const auto& parameter) { return parameter.param.name; });

}  // namespace
}  // namespace farscale
