// Importing: nccl-tests' text and JSON, and CSV tables.
#include "results/import.h"

#include <gmock/gmock.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <fstream>

#include "kernels/error.h"
#include "results/commands.h"
#include "results/result_file.h"
#include "results/statistics.h"

namespace farscale {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::ThrowsMessage;

// Two ranks on two hosts; figures of a real 8-GPU run scaled to two ranks so that the bus bandwidth agrees.
constexpr const char* kText = R"(# nccl-tests version 2.17.1 nccl-headers=22809 nccl-library=22809
# Collective test starting: all_reduce_perf
# nThread 1 nGpus 1 minBytes 1048576 maxBytes 2097152 step: 2(factor) warmup iters: 1 iters: 20 agg iters: 1 validation: 1 graph: 0
#
# Using devices
#  Rank  0 Group  0 Pid 100 on      alpha device  0 [0000:19:00] NVIDIA H100 80GB HBM3
#  Rank  1 Group  0 Pid 101 on       beta device  0 [0000:19:00] NVIDIA H100 80GB HBM3
#
#                                                              out-of-place                       in-place
#       size         count      type   redop    root     time   algbw   busbw #wrong     time   algbw   busbw #wrong
#        (B)    (elements)                               (us)  (GB/s)  (GB/s)            (us)  (GB/s)  (GB/s)
     1048576        262144     float     sum      -1    50.00   20.97   20.97      0    40.00   26.21   26.21    N/A
     2097152        524288     float     sum      -1   100.00   20.97   20.97      3    80.00   26.21   26.21      0
           0             0     float     sum      -1     0.14    0.00    0.00      0     0.14    0.00    0.00      0
      524288        131072     int32     sum      -1    30.00   17.47   17.47      0    30.00   17.47   17.47      0
# Out of bounds values : 0 OK
# Avg bus bandwidth    : 23.59
#
)";

std::string edited(std::string text, const std::string& from, const std::string& to) {
  for (size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size()) {
    text.replace(at, from.size(), to);
  }
  return text;
}

TEST(ImportNcclTests, TextBecomesRecords) {
  const farscale::Run run = import_nccl_tests(kText, "a.txt", "");
  EXPECT_EQ(run.ranks, 2);
  EXPECT_THAT(run.hosts, ElementsAre("alpha", "beta"));
  EXPECT_EQ(run.device, "NVIDIA H100 80GB HBM3");
  EXPECT_TRUE(run.complete);
  ASSERT_EQ(run.records.size(), 4u);
  const Record& first = run.records[0];
  EXPECT_EQ(first.name, "collective/all_reduce/fp32/1048576B/2ranks");
  EXPECT_THAT(first.samples_s, ElementsAre(testing::DoubleEq(50e-6)));
  EXPECT_EQ(first.runs_per_sample, 20);
  EXPECT_DOUBLE_EQ(first.counters.at("bus_bytes_per_s"), 1048576 / 50e-6);  // 2(n-1)/n = 1 for two ranks
  EXPECT_TRUE(first.verdict.correct);
  EXPECT_EQ(run.records[1].name, "collective/all_reduce/fp32/1048576B/2ranks/in_place");
  EXPECT_FALSE(run.records[1].verdict.checked);
  EXPECT_EQ(run.records[2].status, Status::kWrong);
  EXPECT_THAT(run.records[2].reason, HasSubstr("3 wrong"));
  EXPECT_THAT(run.warnings, ElementsAre(HasSubstr("4 rows left out")));
}

TEST(ImportNcclTests, ItsResultCanBeWrittenAndRead) {
  const farscale::Run run = import_nccl_tests(kText, "a.txt", "");
  EXPECT_EQ(parse_result(result_json(run, {}), "b.json").records.size(), run.records.size());
}

TEST(ImportNcclTests, OlderTextNeedsTheCollective) {
  std::string text = edited(kText, "# Collective test starting: all_reduce_perf\n", "");
  EXPECT_THAT([&] { import_nccl_tests(text, "a.txt", ""); }, ThrowsMessage<InputError>(HasSubstr("--collective")));
  text = edited(text, "     sum      -1", "");  // redop and root left blank, as all_gather did
  const farscale::Run run = import_nccl_tests(text, "a.txt", "all_gather");
  EXPECT_EQ(run.records[0].name, "collective/all_gather/fp32/1048576B/2ranks");
  EXPECT_THAT(run.records[0].samples_s, ElementsAre(testing::DoubleEq(50e-6)));
  EXPECT_THAT(run.warnings, testing::Contains(HasSubstr("is the collective right?")));
  EXPECT_THAT([&] { import_nccl_tests(text, "a.txt", "allgather"); },
              ThrowsMessage<InputError>(HasSubstr("did you mean 'all_gather'?")));
}

TEST(ImportNcclTests, CyclesAreSamples) {
  std::string text = kText;
  const size_t row = text.find("     1048576"), end = text.find('\n', row) + 1;
  text.insert(end, edited(text.substr(row, end - row), "50.00", "60.00"));
  const farscale::Run run = import_nccl_tests(text, "a.txt", "");
  EXPECT_THAT(run.records[0].samples_s, ElementsAre(testing::DoubleEq(50e-6), testing::DoubleEq(60e-6)));
}

TEST(ImportNcclTests, CutOffAndForeignText) {
  const std::string text = kText;
  const auto fails = [](const std::string& input, const std::string& message) {
    EXPECT_THAT([&] { import_nccl_tests(input, "a.txt", ""); },
                ThrowsMessage<InputError>(AllOf(HasSubstr("a.txt"), HasSubstr(message))));
  };
  fails("hello", "no header row");
  fails(text.substr(0, text.find("     1048576")), "no rows");
  fails(text.substr(0, text.find("26.21")), "a.txt:12: expected 13 columns");
  fails(edited(text, "50.00", "5o.00"), "a.txt:12: expected a number, found '5o.00'");
  fails(edited(text, "#  Rank", "#"), "no '# Rank");
  fails(edited(text, "all_reduce_perf", "sendrecv_perf"), "unknown collective 'sendrecv'");
}

constexpr const char* kJson = R"({"version":3,"start_time":"x","args":["./build/alltoall_perf","-J","f"],
  "env":["TOKEN=secret"],"nccl_version":22809,
  "config":{"nthreads":1,"ngpus":2,"iterations":20,"devices":[
    {"rank":0,"hostname":"alpha","device_info":"NVIDIA H100"},{"rank":2,"hostname":"beta","device_info":"NVIDIA H100"}]},
  "results":[{"size":4096,"count":256,"type":"bfloat16","redop":"none","root":"    -1",
    "out_of_place":{"time":10.0,"alg_bw":0.41,"bus_bw":0.31,"nwrong":0.0},
    "out_of_place_per_iter":{"times_us":[9.0,11.0,10.0]},
    "in_place":{"time":20.0,"alg_bw":0.2,"bus_bw":0.15,"nwrong":null}}],
  "end_time":"y"})";

TEST(ImportNcclTests, JsonWithIterations) {
  const farscale::Run run = import_nccl_tests(kJson, "a.json", "");
  EXPECT_EQ(run.ranks, 4);  // two processes with two GPUs each
  ASSERT_EQ(run.records.size(), 2u);
  EXPECT_EQ(run.records[0].name, "collective/all_to_all/bf16/4096B/4ranks");
  EXPECT_DOUBLE_EQ(median(run.records[0].samples_s), 1e-5);
  EXPECT_EQ(run.records[0].samples_s.size(), 3u);
  EXPECT_THAT(run.records[1].samples_s, ElementsAre(testing::DoubleEq(2e-5)));
  EXPECT_TRUE(run.complete);
  EXPECT_THAT(result_json(run, {}), Not(HasSubstr("secret")));
  EXPECT_THAT([] { import_nccl_tests(edited(kJson, "\"size\"", "\"siez\""), "a.json", ""); },
              ThrowsMessage<InputError>(AllOf(HasSubstr("$.results[0]"), HasSubstr("is 'siez' meant to be it?"))));
}

CsvTable published(const std::string& name) {
  return read_csv(std::string(FARSCALE_SOURCE_DIR) + "/results/published/" + name);
}

TEST(ImportCsv, PublishedGemms) {
  const farscale::Run run = import_csv(published("gemm.csv"), "H100 SXM 80GB (Azure ND H100 v5)");
  EXPECT_EQ(run.device, "H100 SXM 80GB (Azure ND H100 v5)");
  ASSERT_GT(run.records.size(), 5u);
  for (const Record& record : run.records) {
    const double rate = std::get<GemmProblem>(*record.problem).flops() / record.samples_s[0];
    EXPECT_NEAR(rate / record.counters.at("flops_per_s"), 1, 1e-12);
    EXPECT_GT(rate, 50e12);
    EXPECT_LT(rate, 2000e12);
    EXPECT_NE(record.details.at("source"), "");
  }
  EXPECT_EQ(parse_result(result_json(run, {}), "x").records.size(), run.records.size());
}

TEST(ImportCsv, PublishedGemmsOfEveryMachineComeBack) {
  const CsvTable table = published("gemm.csv");
  size_t cases = 0;
  for (size_t row = 0; row < table.rows(); ++row) {
    if (row > 0 && table.text(row, "hardware") == table.text(row - 1, "hardware")) continue;
    const farscale::Run run = import_csv(table, table.text(row, "hardware"));
    if (run.records.empty()) continue;  // guessed types only
    EXPECT_EQ(parse_result(result_json(run, {}), "x").records.size(), run.records.size());
    cases += run.records.size();
  }
  EXPECT_GT(cases, 350u);
}

TEST(ImportCsv, PublishedCollectivesOfEveryMachineComeBack) {
  const CsvTable table = published("collectives.csv");
  size_t cases = 0;
  for (size_t row = 0; row < table.rows(); ++row) {
    if (row > 0 && table.text(row, "system") == table.text(row - 1, "system")) continue;
    const farscale::Run run = import_csv(table, table.text(row, "system"));
    EXPECT_EQ(parse_result(result_json(run, {}), "x").records.size(), run.records.size());
    cases += run.records.size();
  }
  EXPECT_GT(cases, 700u);
}

TEST(ImportCsv, SeveralMachinesNeedAChoice) {
  EXPECT_THAT([] { import_csv(published("gemm.csv"), ""); },
              ThrowsMessage<InputError>(AllOf(HasSubstr("--system"), HasSubstr("NVIDIA H100 SXM"))));
  EXPECT_THAT([] { import_csv(published("gemm.csv"), "NVIDIA H100 SMX"); },
              ThrowsMessage<InputError>(HasSubstr("did you mean 'NVIDIA H100 SXM'?")));
  EXPECT_THAT([] { import_csv(parse_csv("a,b\n1,2\n", "t.csv"), ""); },
              ThrowsMessage<InputError>(HasSubstr("columns of collectives.csv")));
  const std::string bad = "system,collective,gpus,bytes,time_us\nx,all_reduce,8,1024,fast\n";
  EXPECT_THAT([&] { import_csv(parse_csv(bad, "t.csv"), ""); },
              ThrowsMessage<InputError>(AllOf(HasSubstr("t.csv:2"), HasSubstr("time_us"))));
}

TEST(ImportCommand, WritesAFileOnce) {
  const std::string folder = testing::TempDir();
  const std::string in = folder + "farscale-import.txt", out = folder + "farscale-import.json";
  std::ofstream(in) << kText;
  std::filesystem::remove(out);
  const auto call = [&] {
    CLI::App app;
    ExitCode exit_code = ExitCode::kOk;
    add_import_command(app, exit_code);
    app.parse(std::vector<std::string>{out, "-o", in, "nccl-tests", "import"});
    return exit_code;
  };
  EXPECT_EQ(call(), ExitCode::kOk);
  EXPECT_EQ(read_result(out).records.size(), 4u);
  EXPECT_EQ(read_result(out).environment.at("imported_from"), "farscale-import.txt");
  EXPECT_THROW(call(), InputError);
  std::filesystem::remove(out);
  std::filesystem::remove(in);
}

}  // namespace
}  // namespace farscale
