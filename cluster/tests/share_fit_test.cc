// Shares of data sheets learned from whole steps: recovered from steps made with known ones, held to the shipped file,
// and as wrong as is said for GPUs that were left out.
#include "cluster/share_fit.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "cluster/machine.h"
#include "kernels/error.h"
#include "results/csv.h"

namespace farscale {
namespace {

std::vector<ScalingRow> shipped_rows() {
  return read_scaling_rows(read_csv(FARSCALE_SOURCE_DIR "/results/published/vision_scaling.csv"));
}

const SheetReport& shipped_report() {
  static const SheetReport report = predict_from_sheets(published_steps(shipped_rows()), SheetLeaveOut::kHardware, 200);
  return report;
}

// Steps as a machine with these shares would take them.
std::vector<PublishedStep> made_steps(double convolution, double launch_s) {
  std::vector<PublishedStep> steps;
  for (const char* hardware : {"a100-80gb", "h100-sxm", "v100"}) {
    auto data = std::make_shared<Machine::Data>(load_hardware(hardware).data());
    data->efficiency.tensor[KernelClass::kConvolution].value.p50 = convolution;
    data->efficiency.launch_s.value.p50 = launch_s;
    for (const int64_t samples : {4, 400}) {
      const std::string layout = "dp=8 mb=" + std::to_string(samples);
      const Prediction p =
          predict(load_workload("resnet50"), Machine(data), 8, {.layout = layout, .draws = 20, .ignore_memory = true});
      const Breakdown& b = p.breakdown_s;
      const double parts = b.compute + b.memory + b.exposed_comm + b.bubble + b.straggler + b.input;
      steps.push_back({hardware, "resnet50", 8, samples, parts, 1});
    }
  }
  return steps;
}

TEST(ShareFit, FollowsTheStepsThatItIsGiven) {
  const ShareFit slow = fit_shares(made_steps(0.45, 14e-6)), fast = fit_shares(made_steps(0.70, 3e-6));
  EXPECT_NEAR(std::log(fast.shares[0].p50 / slow.shares[0].p50), std::log(0.70 / 0.45), 0.3);
  EXPECT_GT(slow.shares[3].p50, 2.5 * fast.shares[3].p50);
}

TEST(ShareFit, NothingToLearnFromIsSaid) { EXPECT_THROW(fit_shares({}), InputError); }

TEST(PublishedSteps, AreThoseOfKnownGpusAndNetworks) {
  const std::vector<PublishedStep> steps = published_steps(shipped_rows());
  EXPECT_GT(steps.size(), 120u);
  for (const PublishedStep& step : steps) {
    EXPECT_GE(step.samples_per_gpu, 1);
    EXPECT_NO_THROW(load_hardware(step.hardware));
  }
  ScalingRow row{.graph = "resnet50", .hardware = "A100 SXM 40", .gpus = 8, .micro_batch = 2.5, .time_s = 1};
  EXPECT_TRUE(published_steps({row}).empty()) << "half samples";
  row.micro_batch = 2;
  ASSERT_EQ(published_steps({row, row}).size(), 1u);
  EXPECT_EQ(published_steps({row, row})[0].hardware, "a100-40gb");
  EXPECT_EQ(published_steps({row, row})[0].rows, 2u);
}

// The shipped shares are the learned ones, to the digits they are written with.
TEST(EfficiencyFile, HoldsWhatTheShippedTableTeaches) {
  const Machine machine = load_hardware("h100-sxm");
  const Efficiency& e = machine.data().efficiency;
  const Quantity* shipped[] = {&e.tensor.at(KernelClass::kConvolution), &e.tensor.at(KernelClass::kGroupedConvolution),
                               &e.memory, &e.launch_s};
  for (size_t k = 0; k < kLearnedShares.size(); ++k) {
    const Estimate& learned = shipped_report().learned.shares[k];
    EXPECT_NEAR(shipped[k]->value.p50 / learned.p50, 1, 0.02) << kLearnedShares[k];
    EXPECT_NEAR(shipped[k]->value.p05 / learned.p05, 1, 0.05) << kLearnedShares[k];
    EXPECT_NEAR(shipped[k]->value.p95 / learned.p95, 1, 0.05) << kLearnedShares[k];
  }
  EXPECT_NEAR(machine.data().model_log_sigma, shipped_report().learned.log_sigma, 0.006);
}

TEST(EfficiencyFile, GpusLeftOutLieInTheirRanges) {
  const std::vector<SheetStep>& steps = shipped_report().steps;
  std::vector<double> errors;
  for (const SheetStep& one : steps) errors.push_back(std::abs(one.error()));
  std::sort(errors.begin(), errors.end());
  EXPECT_LT(errors[errors.size() / 2], 0.12);
  const auto covered = std::count_if(steps.begin(), steps.end(), [](const SheetStep& one) { return one.covered(); });
  EXPECT_GE(double(covered), 0.85 * double(steps.size()));
  EXPECT_LE(double(covered), 0.97 * double(steps.size()));
}

TEST(SheetJson, SaysTheSame) {
  const auto document = nlohmann::json::parse(sheet_json(shipped_report(), SheetLeaveOut::kHardware));
  EXPECT_EQ(document["steps"].size(), shipped_report().steps.size());
  EXPECT_EQ(document["shares"]["memory"]["p50"], shipped_report().learned.shares[2].p50);
  EXPECT_NE(sheet_text(shipped_report(), SheetLeaveOut::kHardware).find("h100-sxm"), std::string::npos);
}

}  // namespace
}  // namespace farscale
