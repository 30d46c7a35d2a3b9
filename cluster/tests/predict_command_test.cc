// `farscale predict` as a user calls it: what is refused rather than ignored.
#include <gmock/gmock.h>

#include <CLI/CLI.hpp>
#include <algorithm>

#include "cluster/commands.h"

namespace farscale {
namespace {

std::string predicted(std::vector<std::string> arguments) {
  CLI::App app("test");
  ExitCode exit_code = ExitCode::kOk;
  add_predict_command(app, exit_code);
  arguments.insert(arguments.begin(), "predict");
  std::reverse(arguments.begin(), arguments.end());  // CLI11 takes them last first
  testing::internal::CaptureStdout();
  try {
    app.parse(arguments);
  } catch (const std::exception& error) {
    testing::internal::GetCapturedStdout();
    return std::string("refused: ") + error.what();
  }
  return testing::internal::GetCapturedStdout();
}

std::string with(std::vector<std::string> more, const std::string& gpus = "8") {
  more.insert(more.begin(), {"--workload", "resnet50", "--hardware", "h100-sxm", "--layout", "mb=8", "--draws", "20",
                             "--gpus", gpus});
  return predicted(std::move(more));
}

TEST(PredictCommand, NumbersAreNumbers) {
  for (const char* option : {"--bucket-mib", "--eject", "--input-gb-per-s"}) {
    EXPECT_THAT(with({option, "nan"}), testing::HasSubstr("refused")) << option;
    EXPECT_THAT(with({option, "1"}), testing::Not(testing::HasSubstr("refused"))) << option;
  }
  EXPECT_THAT(with({"--seed=-1"}), testing::HasSubstr("from 0 to"));
  EXPECT_THAT(with({"--seed", "99999999999999999999"}), testing::HasSubstr("from 0 to"));
  EXPECT_NE(with({"--seed", "1"}), with({"--seed", "18446744073709551615"}));
}

TEST(PredictCommand, SizesGoOnByOneFactor) {
  EXPECT_THAT(with({}, "8,16,24,...,100"), testing::HasSubstr("8,16,24"));
  EXPECT_EQ(with({}, "8,16,...,64"), with({}, "8,16,32,64"));
  EXPECT_EQ(with({}, "8,16,32,...,128"), with({}, "8,16,32,64,128"));
}

TEST(PredictCommand, NothingIsIgnored) {
  EXPECT_THAT(with({"--network", "per_leaf=4"}), testing::HasSubstr("requires --collective"));
  EXPECT_THAT(with({"--bytes", "4"}), testing::HasSubstr("requires --collective"));
  for (const char* option : {"--hardware", "--workload", "--layout", "--batch", "--eject"}) {
    EXPECT_THAT(
        predicted({"--model", "m.json", "--gpus", "8", "--collective", "all_reduce", "--bytes", "4", option, "1"}),
        testing::HasSubstr("excludes"))
        << option;
  }
}

// Behind the rate stands the share of the peak, with its range too.
TEST(PredictCommand, MfuHasARange) {
  EXPECT_THAT(with({}), testing::ContainsRegex("/s\\) +[0-9.]+ % \\([0-9.]+ % … [0-9.]+ %\\) "));
}

TEST(PredictCommand, SlowRatesAreNoMetres) {
  const std::string slow = predicted({"--workload", "gpt3-175b", "--hardware", "v100", "--layout", "dp=1",
                                      "--ignore-memory", "--draws", "20", "--gpus", "1"});
  EXPECT_THAT(slow, testing::HasSubstr(" /s"));
  EXPECT_THAT(slow, testing::Not(testing::HasSubstr("m/s")));
  EXPECT_THAT(slow, testing::HasSubstr("scaling:"));
}

}  // namespace
}  // namespace farscale
