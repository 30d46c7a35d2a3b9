// Fits recover what made synthetic records; models survive the file.
#include "cluster/fit.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "cluster/collective_model.h"
#include "cluster/model_file.h"
#include "cluster/random.h"
#include "kernels/error.h"

namespace farscale {
namespace {

constexpr double kRate = 50e9, kLaunch = 4e-6, kBandwidth = 12e9, kBase = 1e-5, kHop = 2e-6, kLink = 5e9;

std::vector<double> samples(double time_s, Rng& rng) {
  std::vector<double> all;
  for (int i = 0; i < 15; ++i) all.push_back(time_s * std::exp(0.02 * rng.normal()));
  return all;
}

Record record_of(const Problem& problem, const std::string& family, double time_s, Rng& rng) {
  Record record;
  record.name = name(problem);
  record.family = family;
  record.problem = problem;
  record.verdict = {.checked = true, .correct = true, .detail = ""};
  record.samples_s = samples(time_s, rng);
  return record;
}

Run synthetic(int ranks) {
  Rng rng{uint64_t(ranks)};
  Run run;
  run.backend = "host";
  run.device = "synthetic";
  run.ranks = ranks;
  run.complete = true;
  run.path = fmt::format("{}.json", ranks);
  for (int i = 0; i < ranks; ++i) run.hosts.push_back("a");
  for (const int64_t size : {64, 256, 512, 1024, 2048}) {
    const GemmProblem gemm{.m = size, .n = size, .k = size};
    run.records.push_back(record_of(gemm, "gemm", kLaunch + gemm.flops() / kRate, rng));
  }
  for (const int64_t elements : {1 << 12, 1 << 22, 1 << 24}) {
    const MemoryProblem copy{.kind = MemoryKind::kCopy, .elements = elements};
    run.records.push_back(record_of(copy, "memory", copy.bytes() / kBandwidth, rng));
  }
  for (int64_t bytes = 4096; ranks > 1 && bytes < (64 << 20); bytes *= 4) {
    const CollectiveProblem problem{.bytes = bytes, .ranks = ranks};
    const double time_s = kBase + kHop * 2 * (ranks - 1) + bus_factor(problem.kind, ranks) * double(bytes) / kLink;
    run.records.push_back(record_of(problem, "collective", time_s, rng));
  }
  return run;
}

TEST(Fit, RecoversRatesLatencyAndBandwidth) {
  const FitReport report = fit_model({synthetic(2), synthetic(4), synthetic(8)});
  const GemmFit& gemm = report.model.gemm_fits.at(NumberType::kFp32);
  EXPECT_NEAR(gemm.s_per_flop * kRate, 1, 0.03);
  EXPECT_NEAR(report.model.memory_bytes_per_s.value.p50 / kBandwidth, 1, 0.03);
  const CollectiveFit& fit = report.model.collective_fits.at(CollectiveKind::kAllReduce);
  EXPECT_TRUE(fit.ring);
  EXPECT_EQ(fit.most_ranks, 8);
  EXPECT_EQ(report.model.fitted_ranks, 8);
  // Twice the ranks that were fitted, within a few percent at any size.
  for (const double bytes : {4096.0, 1e6, 3e7}) {
    const double truth = kBase + kHop * 30 + 2 * 15.0 / 16 * bytes / kLink;
    EXPECT_NEAR(fitted_time(fit, CollectiveKind::kAllReduce, 16, bytes) / truth, 1, 0.08) << bytes;
  }
  for (const Residual& one : report.residuals) EXPECT_LT(std::abs(one.error()), 0.2) << one.record;
}

TEST(Fit, TheTiersHaveRatesOfTheirOwn) {
  farscale::Run across = synthetic(8);
  for (size_t i = 0; i < across.hosts.size(); i += 2) across.hosts[i].push_back('2');
  for (Record& record : across.records) {
    for (double& one : record.samples_s) one *= record.family == "collective" ? 3 : 1;
  }
  const FitReport report = fit_model({synthetic(4), synthetic(8), across});
  const Quantity &inside = report.model.scale_up_bytes_per_s, &outside = report.model.nic_bytes_per_s;
  EXPECT_NEAR(inside.value.p50 / kLink, 1, 0.1);
  EXPECT_NEAR(outside.value.p50 * 3 / kLink, 1, 0.1);
  EXPECT_LT(inside.value.p05, inside.value.p50);
  EXPECT_THAT(outside.source, testing::HasSubstr("across hosts"));
}

TEST(Fit, HostModelSaysSo) {
  const FitReport report = fit_model({synthetic(2)});
  EXPECT_EQ(report.model.kind, "host");
  EXPECT_THAT(report.notes, testing::Contains(testing::HasSubstr("2 ranks only")));
}

TEST(Fit, ModelSurvivesTheFile) {
  const FitReport report = fit_model({synthetic(2), synthetic(4)});
  const std::string text = report_to_json(report);
  const auto back = model_from_json(text, "m.json");
  EXPECT_EQ(back->kind, "host");
  EXPECT_EQ(back->fitted_ranks, 4);
  EXPECT_EQ(back->gemm_fits.at(NumberType::kFp32).s_per_flop, report.model.gemm_fits.at(NumberType::kFp32).s_per_flop);
  EXPECT_EQ(back->collective_fits.at(CollectiveKind::kAllReduce).s_per_byte,
            report.model.collective_fits.at(CollectiveKind::kAllReduce).s_per_byte);
  EXPECT_EQ(model_to_json(*back), model_to_json(*model_from_json(model_to_json(*back), "again.json")));
}

std::string complaint(const std::string& text) {
  try {
    model_from_json(text, "m.json");
  } catch (const InputError& error) {
    return error.what();
  }
  return "";
}

TEST(Fit, BrokenModelsAreNamed) {
  const std::string text = report_to_json(fit_model({synthetic(2)}));
  EXPECT_THAT(complaint(text.substr(0, text.size() / 2)),
              testing::AllOf(testing::HasSubstr("m.json"), testing::HasSubstr("truncated")));
  EXPECT_THAT(complaint("{}"), testing::HasSubstr("/schema"));
  EXPECT_THAT(complaint("{\"schema\": 99}"), testing::HasSubstr("schema 1"));
  EXPECT_THAT(complaint("[1"), testing::HasSubstr("truncated"));
}

TEST(Fit, NothingToFitIsAnInputError) {
  farscale::Run empty = synthetic(1);
  empty.records.clear();
  EXPECT_THROW(fit_model({empty}), InputError);
  EXPECT_THROW(fit_model({}), InputError);
  farscale::Run other = synthetic(2);
  other.backend = "cuda";
  EXPECT_THROW(fit_model({synthetic(2), other}), InputError);
}

TEST(Fit, HostModelPredictsItsRanks) {
  const FitReport report = fit_model({synthetic(2), synthetic(4)});
  const Machine machine(std::make_shared<Machine::Data>(report.model));
  const Prediction two = predict(load_workload("resnet50"), machine, 2, {.draws = 100});
  const Prediction sixteen = predict(load_workload("resnet50"), machine, 16, {.draws = 100});
  EXPECT_GT(sixteen.breakdown_s.exposed_comm, two.breakdown_s.exposed_comm);
  EXPECT_EQ(two.extrapolated_from_gpus, 4);
}

// Fits the runs, writes the model, reads it back: what `predict --model` sees.
Machine::Data through_the_file(const FitReport& report) { return *model_from_json(report_to_json(report), "m.json"); }

double step_s(const Machine::Data& model, int64_t gpus) {
  const Machine machine(std::make_shared<Machine::Data>(model));
  return predict(load_workload("resnet50"), machine, gpus, {.draws = 100}).step_time_s.p50;
}

TEST(Fit, OneRankAssumesLinksAndPredictsThemAll) {
  const FitReport report = fit_model({synthetic(1)});
  EXPECT_THAT(report.notes, testing::Contains(testing::HasSubstr("links assumed")));
  Machine::Data model = through_the_file(report);
  EXPECT_EQ(model.nic_bytes_per_s.evidence, Evidence::kAssumed);
  EXPECT_GT(model.nic_bytes_per_s.value.p95, 10 * model.nic_bytes_per_s.value.p05);
  for (const int64_t gpus : {1, 2, 4}) EXPECT_TRUE(std::isfinite(step_s(model, gpus))) << gpus;
  const double slow = step_s(model, 4);
  for (Quantity* link : {&model.nic_bytes_per_s, &model.scale_up_bytes_per_s}) {
    link->value = {link->value.p05 * 10, link->value.p50 * 10, link->value.p95 * 10};
  }
  EXPECT_LT(step_s(model, 4), slow);
  model.nic_bytes_per_s.value = model.scale_up_bytes_per_s.value = {0, 0, 0};
  EXPECT_THROW(step_s(model, 4), InputError);
}

TEST(Fit, OneSizeOfGemmsIsNoRate) {
  farscale::Run run = synthetic(1);
  std::erase_if(run.records, [](const Record& one) { return one.family == "gemm"; });
  Rng rng{5};
  const GemmProblem gemm{.m = 96, .n = 96, .k = 96};
  run.records.push_back(record_of(gemm, "gemm", 13e-6, rng));
  const FitReport report = fit_model({run});
  const GemmFit& fit = report.model.gemm_fits.at(NumberType::kFp32);
  EXPECT_NEAR(fit.s_per_flop * gemm.flops() / 13e-6, 1, 0.03);
  EXPECT_NEAR(fit.launch_s, 0, 1e-9);
  EXPECT_EQ(report.model.evidence.front().evidence, Evidence::kAssumed);
  EXPECT_THAT(report.notes, testing::Contains(testing::HasSubstr("cannot be told apart")));
  EXPECT_EQ(fit_model({synthetic(1)}).model.evidence.front().evidence, Evidence::kMeasured);
}

// Samples around a time with every tenth far off.
std::vector<double> disturbed(double time_s, double sigma, double far, Rng& rng) {
  std::vector<double> all;
  for (int i = 0; i < 100; ++i) all.push_back(time_s * (std::exp(sigma * rng.normal()) + (i % 10 == 0 ? far : 0)));
  return all;
}

TEST(Fit, ShortCasesAndTailsDoNotSwallowTheSpread) {
  farscale::Run run = synthetic(1);
  run.warnings = {"load average 4.4 on 2 hardware threads"};
  Rng rng{7};
  const GemmProblem shorter{.m = 16, .n = 16, .k = 16}, longest{.m = 4096, .n = 4096, .k = 4096};
  for (int i = 0; i < 9; ++i) {
    run.records.push_back(record_of(shorter, "gemm", 1e-6, rng));
    run.records.back().samples_s = disturbed(1e-6, 1.0, 30, rng);
  }
  run.records.push_back(record_of(longest, "gemm", 2 * std::pow(4096.0, 3) / kRate, rng));
  const FitReport quiet = fit_model({run});
  EXPECT_LT(quiet.model.ranks.transient.value.p50, 0.05);
  EXPECT_THAT(quiet.notes, testing::Contains(testing::HasSubstr("load average 4.4")));
  EXPECT_TRUE(busy_note(quiet.model.ranks).empty());

  for (Record& one : run.records) one.samples_s = disturbed(one.samples_s.front(), 0.3, 0, rng);
  const FitReport busy = fit_model({run});
  EXPECT_NEAR(busy.model.ranks.transient.value.p50, 0.3, 0.1);
  EXPECT_THAT(busy.notes, testing::Contains(testing::HasSubstr("not idle")));
}

TEST(Fit, StepsSayHowStepsSpread) {
  farscale::Run run = synthetic(1);
  Rng rng{9};
  Record step{.name = "step/x", .family = "step"};
  step.verdict = {.checked = true, .correct = true, .detail = ""};
  step.samples_s = disturbed(1e-3, 0.1, 0, rng);
  run.records.push_back(step);
  EXPECT_NEAR(fit_model({run}).model.ranks.transient.value.p50, 0.1, 0.03);
}

TEST(Fit, CollectivesAloneAnswerCollectivesAlone) {
  farscale::Run run = synthetic(4);
  std::erase_if(run.records, [](const Record& one) { return one.family != "collective"; });
  const Machine::Data model = through_the_file(fit_model({run}));
  EXPECT_TRUE(model.collective_fits.contains(CollectiveKind::kAllReduce));
  EXPECT_THROW(step_s(model, 2), InputError);
}

}  // namespace
}  // namespace farscale
