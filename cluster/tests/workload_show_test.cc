// `farscale workload show` as a user calls it: the JSON document's keys and values, and what wrong input says.
#include <gmock/gmock.h>

#include <CLI/CLI.hpp>
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

TEST(WorkloadShow, TimeSharesAddUpToOne) {
  const nlohmann::json shown = show_json({"resnet50", "--hardware", "h100-sxm"});
  double share = 0;
  for (const auto& row : shown.at("classes")) share += row.at("time_share").get<double>();
  EXPECT_NEAR(share, 1, 1e-9);
}

TEST(WorkloadShow, WrongInputIsRefused) {
  EXPECT_THROW(show({"resnet5O"}), InputError);
  EXPECT_THROW(show({"resnet50", "--layout", "dp=8 xp=2"}), InputError);
  EXPECT_THROW(show({"resnet50", "--fusion", "half"}), CLI::ParseError);
  EXPECT_THROW(show({"resnet50", "--batch", "0"}), CLI::ParseError);
  EXPECT_THROW(show({"resnet50", "--hardware", "h1000"}), InputError);
}

TEST(WorkloadShow, TextSaysTheSame) {
  const std::string text = show({"hydranet-regnety16gf"});
  EXPECT_THAT(text, testing::HasSubstr("104,695,156"));
  EXPECT_THAT(text, testing::HasSubstr("(proxy)"));
  EXPECT_THAT(text, testing::HasSubstr("16: 1.3, 26.4, 27.1, 26.4, 51.9, 34.6, 29.0"));
}

}  // namespace
}  // namespace farscale
