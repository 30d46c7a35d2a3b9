// farscale run as users run it, on the fake backend: exit codes, files, flags, JSON, and ends before the end.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "bench/tests/program.h"
#include "kernels/error.h"
#include "results/result_file.h"

namespace farscale {
namespace {

using nlohmann::json;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

constexpr const char* kSuite =
    "[sampling]\nbudget_s = 0.2\nleast_samples = 6\nmost_samples = 20\n"
    "[[gemm]]\ntypes = [\"fp32\", \"fp64\"]\nsquares = [64, 128]\n"
    "[[memory]]\nkinds = [\"copy\"]\nbytes = [4096]\n"
    "[[collective]]\nkinds = [\"all_reduce\"]\nbytes = [4096]\n";

class RunCommand : public testing::Test {
 protected:
  RunCommand() { place_.write("small.toml", kSuite); }

  // On the fake that behaves as told.
  static std::string fake(const std::string& behaviour) {
    return "FARSCALE_MODULE_PATH=" FARSCALE_BINARY_DIR "/bench/fake_modules FARSCALE_FAKE='" + behaviour + "' ";
  }
  Finished run(const std::string& arguments, const std::string& behaviour = "") const {
    return place_.run(fake(behaviour) + "$farscale run ./small.toml --backend host " + arguments);
  }

  Workplace place_;
};

TEST_F(RunCommand, WritesOneCompleteFileAndSaysWhatNext) {
  const Finished done = run("");
  EXPECT_EQ(done.code, 0) << done.err;
  const std::vector<std::string> files = place_.files();
  ASSERT_EQ(files.size(), 2u);
  EXPECT_THAT(files[0], testing::MatchesRegex("farscale-host-small-.*-20[0-9]*T[0-9]*Z\\.json"));
  EXPECT_THAT(done.out,
              AllOf(HasSubstr("Written to " + files[0]), HasSubstr("farscale fit " + files[0]), HasSubstr("GFLOP/s")));
  EXPECT_THAT(done.out, HasSubstr("skipped: one rank"));
  const farscale::Run result = read_result(place_.path(files[0]));
  EXPECT_TRUE(result.complete);
  EXPECT_EQ(result.records.size(), 6u);
  EXPECT_EQ(result.find("gemm/fp32/nn/64x64x64")->status, Status::kOk);
  EXPECT_EQ(result.find("collective/all_reduce/fp32/4096B/1ranks")->status, Status::kSkipped);
  EXPECT_GE(result.find("memory/copy/fp32/512")->samples_s.size(), 6u);
}

TEST_F(RunCommand, AWrongResultPublishesNoTimingAndFailsTheRun) {
  const Finished done = run("--out wrong.json", "wrong=fp64/nn/128");
  EXPECT_EQ(done.code, 1);
  EXPECT_THAT(done.out, AllOf(HasSubstr("wrong: entry (3, 5) is 7"), Not(HasSubstr("128x128x128  2"))));
  const farscale::Run result = read_result(place_.path("wrong.json"));
  const Record* record = result.find("gemm/fp64/nn/128x128x128");
  ASSERT_NE(record, nullptr);
  EXPECT_EQ(record->status, Status::kWrong);
  EXPECT_TRUE(record->samples_s.empty());
  EXPECT_EQ(result.find("gemm/fp64/nn/64x64x64")->status, Status::kOk) << "the others are measured";
}

TEST_F(RunCommand, FailedCallsAndBrokenClocksFailTheRun) {
  EXPECT_EQ(run("--out a.json", "throws=memory").code, 1);
  const Finished done = run("--out b.json --json", "no_time=fp32/nn/64");
  EXPECT_EQ(done.code, 1);
  const json document = json::parse(done.out);
  EXPECT_EQ(document["records"][0]["status"], "failed");
  EXPECT_EQ(document["result_file"], "b.json");
}

TEST_F(RunCommand, JsonIsOneDocument) {
  const json document = json::parse(run("--json --out x.json", "jitter=0.1").out);
  EXPECT_EQ(document["records"].size(), 6u);
  EXPECT_TRUE(document["complete"]);
  const json& gemm = document["records"][0];
  EXPECT_EQ(gemm["name"], "gemm/fp32/nn/64x64x64");
  EXPECT_GE(gemm["interval95_s"][1], gemm["median_s"]);
  EXPECT_EQ(gemm["samples_s"].size() >= 6, true);
  EXPECT_GT(gemm["counters"]["flops_per_s"], 0);
}

TEST_F(RunCommand, MistakesAreToldOnceWithExit2AndNothingIsWritten) {
  const auto expect = [&](const std::string& arguments, const std::string& part) {
    const Finished done = run(arguments);
    EXPECT_EQ(done.code, 2) << arguments << done.err;
    EXPECT_THAT(done.err, HasSubstr(part)) << arguments;
    EXPECT_EQ(done.out, "") << arguments;
  };
  expect("--benchmark_min_time=1", "--budget");
  expect("--benchmark_enable_random_interleaving=true", "not taken");
  expect("--benchmark_fliter=x", "--benchmark_filter");
  expect("--bugdet 3", "--budget");
  expect("--only gem", "'gemm'");
  expect("--only step", "no case");
  expect("--scale 0.5", "1 to 1e9");
  expect("--scale big", "'auto'");
  expect("--budget -3", "--budget");
  expect("--budget 0", "0.001 to 86400");
  expect("--budget nan", "0.001 to 86400");
  expect("--only gemm --layout zero=1", "--layout: only steps have it, and --only leaves them out");
  expect("--input", "suite 'small' has none");
  expect("--benchmark_filter='['", "regular expression");
  expect("--benchmark_filter=nothing", "matches none");
  expect("--json --benchmark_format=json", "choose one");
  EXPECT_EQ(place_.files(), std::vector<std::string>{"small.toml"});
  EXPECT_THAT(place_.run("$farscale run --backend hots").err, HasSubstr("did you mean 'host'"));
  const Finished unknown = place_.run("$farscale run quik");
  EXPECT_EQ(unknown.code, 2);
  EXPECT_THAT(unknown.err, HasSubstr("did you mean 'quick'"));
  place_.write("bad.toml", "[sampling]\nbudget = 3\n");
  const Finished bad = place_.run("$farscale run ./bad.toml");
  EXPECT_EQ(bad.code, 2);
  EXPECT_THAT(bad.err, AllOf(HasSubstr("bad.toml:2"), HasSubstr("budget_s")));
  EXPECT_EQ(place_.run("$farscale run ./absent.toml").code, 2);
}

TEST_F(RunCommand, NothingIsEverOverwritten) {
  place_.write("mine.json", "precious");
  const Finished done = run("--out mine.json");
  EXPECT_EQ(done.code, 2);
  EXPECT_THAT(done.err, HasSubstr("mine-2.json"));
  const Finished google = run("--out x.json --benchmark_out=mine.json");
  EXPECT_EQ(google.code, 2);
  std::ifstream file(place_.path("mine.json"));
  EXPECT_EQ(std::string((std::istreambuf_iterator<char>(file)), {}), "precious");
  EXPECT_EQ(run("--out absent_folder/x.json").code, 3);
}

TEST_F(RunCommand, CudaWithoutAGpuIsExit3) {
  const Finished done = place_.run("$farscale run quick --backend cuda --only gemm --list && $farscale devices --json");
  ASSERT_EQ(done.code, 0) << done.err;
  const json devices = json::parse(done.out.substr(done.out.find('{')));
  if (devices["backends"][0]["ready"]) GTEST_SKIP() << "a GPU is here";
  const Finished run = place_.run("$farscale run quick --backend cuda");
  EXPECT_EQ(run.code, 3);
  EXPECT_THAT(run.err, HasSubstr("cuda: "));
  EXPECT_EQ(place_.files(), std::vector<std::string>{"small.toml"});
}

TEST_F(RunCommand, ListAndFilter) {
  EXPECT_THAT(run("--list").out, HasSubstr("gemm/fp64/nn/128x128x128\nmemory/copy/fp32/512\n"));
  EXPECT_EQ(run("--benchmark_list_tests --benchmark_filter='64x64x64$'").out,
            "gemm/fp32/nn/64x64x64\ngemm/fp64/nn/64x64x64\n");
  EXPECT_EQ(json::parse(run("--list --json --only memory").out)["cases"][0]["family"], "memory");
  EXPECT_EQ(run("--out f.json --benchmark_filter=-gemm --only gemm,memory").code, 0);
  const farscale::Run result = read_result(place_.path("f.json"));
  EXPECT_EQ(result.records.size(), 1u);
}

TEST_F(RunCommand, GoogleBenchmarksFormatsAreWhole) {
  const Finished done =
      run("--out a.json --benchmark_format=json --benchmark_context=rack=7 --benchmark_out=own.json", "wrong=fp64");
  EXPECT_EQ(done.code, 1) << "the exit code is ours";
  const json document = json::parse(done.out);
  EXPECT_EQ(document["benchmarks"].size(), 6u);
  EXPECT_EQ(document["context"]["rack"], "7");
  std::ifstream own(place_.path("own.json"));
  EXPECT_EQ(json::parse(own)["benchmarks"][0]["name"], "gemm/fp32/nn/64x64x64");
  EXPECT_THAT(read_result(place_.path("a.json")).environment, testing::Contains(testing::Pair("context.rack", "7")));
  const Finished console = run("--out b.json --benchmark_format=console");
  EXPECT_THAT(console.out, AllOf(HasSubstr("gemm/fp32/nn/64x64x64"), Not(HasSubstr("DEBUG"))));
  EXPECT_THAT(console.err, Not(HasSubstr("DEBUG")));
}

TEST_F(RunCommand, RepetitionsAreSamples) {
  ASSERT_EQ(run("--out r.json --benchmark_repetitions=9 --only gemm").code, 0);
  const farscale::Run result = read_result(place_.path("r.json"));
  ASSERT_FALSE(result.records.empty());
  for (const Record& record : result.records) EXPECT_EQ(record.samples_s.size(), 9u) << record.name;
}

TEST_F(RunCommand, OnlyAllowedVariablesAreRecorded) {
  const Finished done =
      place_.run("MY_API_TOKEN=hunter2 NCCL_DEBUG=WARN OMPI_MCA_orte_precondition_transports=hunter2 " + fake("") +
                 "$farscale run ./small.toml --backend host --out e.json --only memory");
  ASSERT_EQ(done.code, 0) << done.err;
  std::ifstream file(place_.path("e.json"));
  const std::string text((std::istreambuf_iterator<char>(file)), {});
  EXPECT_THAT(text, AllOf(HasSubstr("env.NCCL_DEBUG"), Not(HasSubstr("hunter2")), Not(HasSubstr("MY_API_TOKEN"))));
  const farscale::Run result = read_result(place_.path("e.json"));
  for (const char* key : {"farscale", "compiler", "date_utc", "cpu", "kernel", "mpi", "launcher", "load_average_start",
                          "load_average_end", "backend.library"}) {
    EXPECT_TRUE(result.environment.contains(key)) << key;
  }
}

bool has_a_record(const std::string& path) {
  if (!std::filesystem::exists(path)) return false;
  return read_result(path).records.size() >= 2;
}

TEST_F(RunCommand, AKilledRunKeepsItsFinishedCases) {
  const pid_t process =
      place_.start(fake("sleep=0.05") + "exec $farscale run ./small.toml --backend host --out k.json", "k");
  ASSERT_TRUE(eventually(has_a_record, place_.path("k.json")));
  ::kill(process, SIGKILL);
  EXPECT_EQ(place_.wait(process, "k").code, 128 + SIGKILL);
  const farscale::Run result = read_result(place_.path("k.json"));
  EXPECT_FALSE(result.complete);
  EXPECT_GE(result.records.size(), 2u);
  EXPECT_LT(result.records.size(), 6u);
}

TEST_F(RunCommand, AStoppedRunSaysWhatItSaved) {
  for (int signal : {SIGTERM, SIGINT}) {
    const std::string out = std::to_string(signal) + ".json";
    const pid_t process =
        place_.start(fake("sleep=0.05") + "exec $farscale run ./small.toml --backend host --out " + out, "t");
    ASSERT_TRUE(eventually(has_a_record, place_.path(out)));
    ::kill(process, signal);
    const Finished done = place_.wait(process, "t");
    EXPECT_EQ(done.code, 1);
    EXPECT_THAT(done.err, AllOf(HasSubstr(signal == SIGTERM ? "stopped by SIGTERM" : "stopped by SIGINT"),
                                HasSubstr("of 6 cases are in " + out)));
    const farscale::Run result = read_result(place_.path(out));
    EXPECT_FALSE(result.complete);
    EXPECT_THAT(result.warnings, testing::Contains(HasSubstr("stopped by")));
  }
}

TEST_F(RunCommand, AFullDiskIsExit3AndTheEarlierFileStays) {
  // A limit on file size stands for the disk: the first cases fit, the last do not. 512-byte blocks in bash are 1 KiB.
  const Finished done = place_.run("trap '' XFSZ; ulimit -f 14; " + fake("jitter=0.3") +
                                   "$farscale run ./small.toml --backend host --out full.json");
  EXPECT_EQ(done.code, 3) << done.err;
  EXPECT_THAT(done.err, HasSubstr("full.json"));
  const farscale::Run result = read_result(place_.path("full.json"));
  EXPECT_FALSE(result.complete);
  EXPECT_GE(result.records.size(), 1u);
  EXPECT_EQ(place_.files(), (std::vector<std::string>{"full.json", "small.toml"})) << "no temporary file is left";
}

TEST_F(RunCommand, HelpHasAnExample) {
  const Finished help = place_.run("$farscale run --help");
  EXPECT_EQ(help.code, 0);
  EXPECT_THAT(help.out, AllOf(HasSubstr("farscale run quick"), HasSubstr("--budget")));
  const Finished devices = place_.run("$farscale devices");
  EXPECT_EQ(devices.code, 0);
  EXPECT_THAT(devices.out, AllOf(HasSubstr("backend cuda"), HasSubstr("backend host"), HasSubstr("MPI openmpi")));
}

}  // namespace
}  // namespace farscale
