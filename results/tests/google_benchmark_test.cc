// What Google Benchmark's own tools see in a result file.
#include <gmock/gmock.h>

#include <array>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "kernels/error.h"
#include "results/result_file.h"
#include "results/tests/example_run.h"

namespace farscale {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

json document(const farscale::Run& run) { return json::parse(result_json(run, machine_context())); }

TEST(GoogleBenchmarkFile, ContextHasItsKeys) {
  const json context = document(example_run())["context"];
  for (const char* key : {"date", "host_name", "executable", "num_cpus", "mhz_per_cpu", "cpu_scaling_enabled", "caches",
                          "load_avg", "library_build_type", "farscale"}) {
    EXPECT_TRUE(context.contains(key)) << key;
  }
  EXPECT_GE(context["num_cpus"], 1);
  EXPECT_THAT(context["date"], testing::ResultOf([](const std::string& d) { return d.size(); }, 25u));  // …T…+00:00
}

TEST(GoogleBenchmarkFile, OneRowARepetitionAndTheMedian) {
  Record record = gemm_record("gemm/x", {2e-3, 1e-3, 4e-3});
  farscale::Run run;
  run.records = {record};
  const json rows = document(run)["benchmarks"];
  ASSERT_EQ(rows.size(), 4u);
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(rows[i]["name"], "gemm/x");
    EXPECT_EQ(rows[i]["run_type"], "iteration");
    EXPECT_EQ(rows[i]["repetition_index"], i);
    EXPECT_EQ(rows[i]["repetitions"], 3);
    EXPECT_EQ(rows[i]["iterations"], 7);
    EXPECT_EQ(rows[i]["time_unit"], "ns");
    EXPECT_DOUBLE_EQ(rows[i]["real_time"].get<double>(), record.samples_s[i] * 1e9);
    // A rate belongs to its own sample: work over time is the same in every row.
    EXPECT_DOUBLE_EQ(rows[i]["flops_per_s"].get<double>() * record.samples_s[i], 1e12 / 3 * 2e-3);
    EXPECT_EQ(rows[i].contains("farscale"), i == 0);
  }
  EXPECT_EQ(rows[3]["name"], "gemm/x_median");
  EXPECT_EQ(rows[3]["run_type"], "aggregate");
  EXPECT_EQ(rows[3]["aggregate_name"], "median");
  EXPECT_DOUBLE_EQ(rows[3]["real_time"].get<double>(), 2e6);
}

// A counter named as one of Google Benchmark's keys must not replace it.
TEST(GoogleBenchmarkFile, CountersKeepOffForeignKeys) {
  farscale::Run run;
  run.records = {gemm_record("gemm/x", {1e-3, 2e-3})};
  EXPECT_EQ(document(run)["benchmarks"][2]["repetitions"], 2);
  EXPECT_EQ(parse_result(result_json(run, {}), "x").records[0].counters.at("repetitions"), 3);
}

// example_run() holds samples hundreds of powers of ten apart: no rate of theirs may overflow into a null.
TEST(GoogleBenchmarkFile, NothingBecomesNull) {
  const json written = document(example_run());
  for (const json& row : written["benchmarks"]) {
    for (const auto& [key, value] : row.items()) EXPECT_FALSE(value.is_null()) << key;
  }
}

TEST(GoogleBenchmarkFile, CasesWithoutTimingsAreErrors) {
  const json rows = document(example_run())["benchmarks"];
  int errors = 0;
  for (const json& row : rows) {
    if (!row.value("error_occurred", false)) continue;
    ++errors;
    EXPECT_EQ(row["real_time"], 0);
    EXPECT_TRUE(row.contains("cpu_time"));
  }
  EXPECT_EQ(errors, 3);
  EXPECT_EQ(rows[6]["error_message"], "skipped: bf16 is not supported here");
}

// What `command` prints, both streams, and its exit status.
std::pair<std::string, int> output_of(const std::string& command) {
  std::string text;
  FILE* pipe = ::popen((command + " 2>&1").c_str(), "r");
  std::array<char, 4096> part{};
  while (std::fgets(part.data(), part.size(), pipe) != nullptr) text += part.data();
  return {text, ::pclose(pipe)};
}

TEST(GoogleBenchmarkFile, ComparePyReadsTwo) {
  const std::string tool = "/usr/share/benchmark/compare.py";
  if (!fs::exists(tool)) GTEST_SKIP() << "libbenchmark-tools is not installed";
  if (output_of("/usr/bin/python3 -c 'import scipy, numpy'").second != 0) GTEST_SKIP() << "python3-scipy is missing";
  std::string folder = (fs::temp_directory_path() / "farscale-compare-XXXXXX").string();
  ASSERT_NE(::mkdtemp(folder.data()), nullptr);
  farscale::Run before, after;
  before.records = {gemm_record("gemm/x", std::vector<double>(10, 2e-3))};
  after.records = {gemm_record("gemm/x", std::vector<double>(10, 3e-3))};
  ResultWriter(folder + "/a.json").write(before);
  ResultWriter(folder + "/b.json").write(after);
  const auto [text, status] =
      output_of("/usr/bin/python3 " + tool + " --no-color benchmarks " + folder + "/a.json " + folder + "/b.json");
  fs::remove_all(folder);
  EXPECT_EQ(status, 0) << text;
  EXPECT_THAT(text, testing::HasSubstr("gemm/x"));
  EXPECT_THAT(text, testing::HasSubstr("+0.5000"));        // the repetitions
  EXPECT_THAT(text, testing::HasSubstr("gemm/x_pvalue"));  // the U test over them
  EXPECT_THAT(text, testing::ContainsRegex("gemm/x_median *\\+0\\.5000"));
}

}  // namespace
}  // namespace farscale
