// `farscale workload show` as a user calls it: the JSON document's keys and values, and what wrong input says.
#include <gmock/gmock.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>

#include "cluster/commands.h"

namespace farscale {
namespace {

std::string show(std::vector<std::string> arguments) {
  CLI::App app("test");
  ExitCode exit_code = ExitCode::kOk;
  add_workload_command(app, exit_code);
  arguments.insert(arguments.begin(), {"workload", "show"});
  std::reverse(arguments.begin(), arguments.end());  // CLI11 takes them last first
  testing::internal::CaptureStdout();
  try {
    app.parse(arguments);
  } catch (...) {
    testing::internal::GetCapturedStdout();
    throw;
  }
  return testing::internal::GetCapturedStdout();
}

nlohmann::json show_json(std::vector<std::string> arguments) {
  arguments.push_back("--json");
  return nlohmann::json::parse(show(std::move(arguments)));
}

TEST(WorkloadShow, JsonHasTheContractsKeys) {
  const nlohmann::json shown = show_json({"hydranet-regnety16gf"});
  EXPECT_EQ(shown.at("name"), "hydranet-regnety16gf");
  EXPECT_EQ(shown.at("provenance"), "proxy");
  EXPECT_EQ(shown.at("parameters"), 104'695'156);
  EXPECT_NEAR(shown.at("forward_flops_per_sample").get<double>() / 7.78e12, 1, 0.001);
  EXPECT_NEAR(shown.at("training_flops_per_sample").get<double>() / 23.33e12, 1, 0.001);
  EXPECT_EQ(shown.at("gradient_bytes"), 418'780'624);
  EXPECT_EQ(shown.at("buckets_bytes").size(), 16U);
  double flops = 0;
  for (const auto& gemm : shown.at("gemms")) {
    const double one = 2.0 * gemm.at("m").get<double>() * gemm.at("n").get<double>() * gemm.at("k").get<double>() *
                       gemm.at("batch").get<double>();
    const double causal = gemm.at("flops").get<double>() / (one * gemm.at("count").get<double>());
    EXPECT_TRUE(causal == 1 || causal == 0.5) << gemm;
    flops += gemm.at("flops").get<double>();
  }
  EXPECT_NEAR(flops / shown.at("executed_flops").get<double>(), 1, 1e-9);
}

TEST(WorkloadShow, OptionsReachTheLowering) {
  EXPECT_EQ(show_json({"resnet50", "--batch", "7"}).at("micro_batch"), 7);
  EXPECT_EQ(show_json({"gpt3-175b", "--layout", "dp=2 tp=8"}).at("layout"), "dp=2 tp=8 pp=1");
  EXPECT_EQ(show_json({"resnet50", "--buckets", "single"}).at("buckets_bytes").size(), 1U);
  const auto bytes = [](const nlohmann::json& shown) {
    double sum = 0;
    for (const auto& row : shown.at("classes")) sum += row.at("bytes").get<double>();
    return sum;
  };
  EXPECT_GT(bytes(show_json({"resnet50", "--fusion", "eager"})), bytes(show_json({"resnet50"})));
}

// Predicted times have a range and say what they rest on; the classes' shares add up to the whole.
TEST(WorkloadShow, TimesHaveRangesAndEvidence) {
  const nlohmann::json shown = show_json({"resnet50", "--hardware", "h100-sxm"});
  double share = 0;
  for (const auto& row : shown.at("classes")) {
    const auto& range = row.at("time_share");
    EXPECT_LE(range.at("p05"), range.at("p50"));
    EXPECT_LE(range.at("p50"), range.at("p95"));
    share += range.at("p50").get<double>();
  }
  EXPECT_NEAR(share, 1, 0.02);  // medians of shares
  const auto& compute = shown.at("compute_s");
  EXPECT_LT(1.05 * compute.at("p05").get<double>(), compute.at("p50").get<double>());
  EXPECT_LT(1.05 * compute.at("p50").get<double>(), compute.at("p95").get<double>());
  EXPECT_GE(shown.at("evidence").size(), 6U);
  for (const auto& line : shown.at("evidence")) EXPECT_FALSE(line.at("source").get<std::string>().empty());
  const std::string text = show({"resnet50", "--hardware", "h100-sxm"});
  EXPECT_THAT(text, testing::HasSubstr("5 % to 95 % of the draws"));
  EXPECT_THAT(text, testing::HasSubstr("  D  bf16 dense rate"));
}

// Collectives are counted by micro-batch and by step; those of the optimizer run once a step.
TEST(WorkloadShow, CountsByMicroBatchAndByStep) {
  const std::vector<std::string> arguments = {"llama3-8b", "--layout", "dp=8 tp=8 zero=1 accum=4"};
  bool once = false, often = false;
  const nlohmann::json shown = show_json(arguments);
  for (const auto& row : shown.at("collectives")) {
    const bool optimizer = row.at("pass") == "optimizer";
    EXPECT_EQ(row.at("times_per_step"), optimizer ? 1 : 4) << row;
    (optimizer ? once : often) = true;
  }
  EXPECT_TRUE(once && often);
  const std::string text = show(arguments);
  EXPECT_THAT(text, testing::HasSubstr("a micro-batch  a step  bytes a step"));
  EXPECT_THAT(text, testing::ContainsRegex("sequence parallel rows +all_gather +tp +8 +forward +65 +260"));
  EXPECT_THAT(text, testing::ContainsRegex("updated weights +all_gather +dp +8 +optimizer +- +1"));
  EXPECT_THAT(text, testing::HasSubstr("reduced after the last micro-batch"));
}

TEST(WorkloadShow, WrongInputIsRefused) {
  EXPECT_THROW(show({"resnet5O"}), InputError);
  EXPECT_THROW(show({"resnet50", "--layout", "dp=8 xp=2"}), InputError);
  EXPECT_THROW(show({"resnet50", "--fusion", "half"}), CLI::ParseError);
  EXPECT_THROW(show({"resnet50", "--batch", "0"}), CLI::ParseError);
  EXPECT_THROW(show({"resnet50", "--hardware", "h1000"}), InputError);
}

TEST(WorkloadShow, FrozenNetworksHaveNoBuckets) {
  const std::string path = testing::TempDir() + "/frozen.toml";
  std::ofstream(path) << "name = \"frozen\"\nprovenance = \"proxy\"\nsources = [\"test\"]\n[inputs]\nheight = 8\n"
                         "width = 8\n[[layer]]\nid = \"a\"\nop = \"conv\"\nout = 8\nfrozen = true\n";
  const std::string text = show({path});
  std::remove(path.c_str());
  EXPECT_THAT(text, testing::HasSubstr("no gradient buckets: nothing here is trained"));
}

TEST(WorkloadShow, TextSaysTheSame) {
  const std::string text = show({"hydranet-regnety16gf"});
  EXPECT_THAT(text, testing::HasSubstr("104,695,156"));
  EXPECT_THAT(text, testing::HasSubstr("(proxy)"));
  EXPECT_THAT(text, testing::HasSubstr("16: 1.3, 26.4, 27.1, 26.4, 51.9, 34.6, 29.0"));
}

}  // namespace
}  // namespace farscale
