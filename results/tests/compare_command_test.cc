// The compare command from its arguments to its exit code, and the inputs it takes.
#include <gmock/gmock.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "kernels/error.h"
#include "results/commands.h"
#include "results/google_benchmark.h"
#include "results/percent.h"
#include "results/result_file.h"
#include "results/tests/example_run.h"

namespace farscale {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::ThrowsMessage;

class CompareCommand : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "farscale-command-XXXXXX").string();
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    folder_ = pattern + "/";
  }
  void TearDown() override { fs::remove_all(folder_); }

  std::string write(const std::string& name, double time_s) {
    farscale::Run run = example_run();
    run.complete = true;
    run.records[0].samples_s.assign(12, time_s);
    const std::string path = folder_ + name;
    ResultWriter(path).write(run);
    return path;
  }
  ExitCode call(std::vector<std::string> arguments) {
    CLI::App app;
    ExitCode exit_code = ExitCode::kOk;
    add_compare_command(app, exit_code);
    std::reverse(arguments.begin(), arguments.end());
    arguments.push_back("compare");
    testing::internal::CaptureStdout();
    testing::internal::CaptureStderr();
    app.parse(arguments);
    out_ = testing::internal::GetCapturedStdout();
    err_ = testing::internal::GetCapturedStderr();
    return exit_code;
  }
  std::string folder_, out_, err_;
};

TEST_F(CompareCommand, ExitCodeSaysRegression) {
  const std::string a = write("a.json", 1e-3), b = write("b.json", 1.05e-3);
  EXPECT_EQ(call({a, a}), ExitCode::kOk);
  EXPECT_THAT(out_, HasSubstr("No regression beyond 2.0 %"));
  EXPECT_EQ(call({a, b}), ExitCode::kFailedCase);
  EXPECT_THAT(out_, HasSubstr("SLOWER"));
  EXPECT_THAT(out_, HasSubstr("1.050"));
  EXPECT_EQ(call({a, b, "--threshold", "6%"}), ExitCode::kOk);
  EXPECT_EQ(call({b, a}), ExitCode::kOk);
}

TEST_F(CompareCommand, JsonIsOneDocument) {
  const std::string a = write("a.json", 1e-3), b = write("b.json", 2e-3);
  EXPECT_EQ(call({a, b, "--json"}), ExitCode::kFailedCase);
  const nlohmann::json json = nlohmann::json::parse(out_);
  EXPECT_EQ(json["regressions"], nlohmann::json::array({"gemm/fp32/nt/64x32x16"}));
  EXPECT_EQ(json["cases"][0]["time_ratio"]["ratio"], 2);
  EXPECT_EQ(json["cases"][0]["rate_unit"], "FLOP/s");
  EXPECT_EQ(json["cases"].size(), 4u);
  EXPECT_EQ(json["threshold"], 0.02);
  EXPECT_THAT(err_, HasSubstr("fewer than 3 launches"));
}

TEST_F(CompareCommand, FoldersAreLaunches) {
  fs::create_directory(folder_ + "before");
  fs::create_directory(folder_ + "after");
  fs::create_directory(folder_ + "empty");
  for (int i = 0; i < 3; ++i) {
    write("before/" + std::to_string(i) + ".json", 1e-3);
    write("after/" + std::to_string(i) + ".json", 1.1e-3);
  }
  EXPECT_EQ(call({folder_ + "before", folder_ + "after"}), ExitCode::kFailedCase);
  EXPECT_EQ(err_, "");
  EXPECT_THAT([&] { read_launches(folder_ + "empty"); }, ThrowsMessage<InputError>(HasSubstr("without result files")));
}

TEST_F(CompareCommand, BadArguments) {
  const std::string a = write("a.json", 1e-3);
  const auto run = [&](std::vector<std::string> arguments) {
    try {
      call(std::move(arguments));
    } catch (...) {
      testing::internal::GetCapturedStdout();
      testing::internal::GetCapturedStderr();
      throw;
    }
  };
  EXPECT_THROW(run({a, folder_ + "none.json"}), InputError);
  EXPECT_THROW(run({a, a, "--threshold", "lots"}), InputError);
  EXPECT_THROW(run({a, a, "--metric", "tim"}), InputError);
  EXPECT_THROW(run({a}), CLI::ParseError);
}

TEST(Percent, BothSpellings) {
  const Range range{.least = 0, .most = 1};
  EXPECT_DOUBLE_EQ(parse_percent("--t", "2%", range), 0.02);
  EXPECT_DOUBLE_EQ(parse_percent("--t", "2.5 %", range), 0.025);
  EXPECT_DOUBLE_EQ(parse_percent("--t", "0.02", range), 0.02);
  for (const char* text : {"", "%", "2 percent", "-1%", "200%", "nan", "inf", "2%%"}) {
    EXPECT_THROW(parse_percent("--t", text, range), InputError) << text;
  }
}

constexpr const char* kForeign = R"({"context": {"date": "2024-01-01T00:00:00+00:00", "host_name": "h",
  "executable": "./bench", "library_build_type": "release"}, "benchmarks": [
  {"name": "BM_a/8", "run_name": "BM_a/8", "run_type": "iteration", "repetition_index": 0, "iterations": 5,
   "real_time": 2.0, "cpu_time": 1.0, "time_unit": "us", "items_per_second": 3.5},
  {"name": "BM_a/8", "run_name": "BM_a/8", "run_type": "iteration", "repetition_index": 1, "iterations": 5,
   "real_time": 4.0, "cpu_time": 1.0, "time_unit": "us", "items_per_second": 3.5},
  {"name": "BM_a/8_mean", "run_name": "BM_a/8", "run_type": "aggregate", "aggregate_name": "mean", "iterations": 2,
   "real_time": 3.0, "cpu_time": 1.0, "time_unit": "us"},
  {"name": "BM_b", "run_name": "BM_b", "run_type": "iteration", "error_occurred": true, "error_message": "no",
   "iterations": 0, "real_time": 0, "cpu_time": 0, "time_unit": "ns"}]})";

TEST(GoogleBenchmarkInput, RepetitionsAreSamples) {
  const farscale::Run run = parse_google_benchmark(kForeign, "gb.json");
  ASSERT_EQ(run.records.size(), 2u);
  EXPECT_EQ(run.records[0].name, "BM_a/8");
  EXPECT_THAT(run.records[0].samples_s, testing::ElementsAre(testing::DoubleEq(2e-6), testing::DoubleEq(4e-6)));
  EXPECT_EQ(run.records[0].runs_per_sample, 5);
  EXPECT_EQ(run.records[0].counters.at("items_per_second"), 3.5);
  EXPECT_EQ(run.records[1].status, Status::kFailed);
  EXPECT_EQ(run.records[1].reason, "no");
  EXPECT_EQ(run.environment.at("executable"), "./bench");
}

TEST(GoogleBenchmarkInput, OnlyAggregatesAndBadUnits) {
  std::string text = kForeign;
  const auto replace_all = [&](const std::string& from, const std::string& to) {
    for (size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size()) {
      text.replace(at, from.size(), to);
    }
  };
  replace_all("\"iteration\"", "\"aggregate\"");
  replace_all("\"mean\"", "\"median\"");
  const farscale::Run run = parse_google_benchmark(text, "gb.json");
  EXPECT_THAT(run.records[0].samples_s, testing::ElementsAre(testing::DoubleEq(3e-6)));
  replace_all("\"us\"", "\"uss\"");
  EXPECT_THAT([&] { parse_google_benchmark(text, "gb.json"); },
              ThrowsMessage<InputError>(HasSubstr("$.benchmarks[2].time_unit: unknown time unit 'uss'")));
}

}  // namespace
}  // namespace farscale
