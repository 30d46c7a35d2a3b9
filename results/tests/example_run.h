// A run with every status, every kind of problem and awkward numbers, for the tests of this room.
#pragma once

#include <gtest/gtest.h>

#include <limits>

#include "results/record.h"

namespace farscale {

inline Record gemm_record(const std::string& name, std::vector<double> samples_s) {
  const GemmProblem problem{.m = 64, .n = 32, .k = 16, .type = NumberType::kFp32, .transpose_b = true};
  Record record{.name = name, .family = "gemm", .problem = problem};
  record.settings = {{"cache", "cold"}, {"data", "normal"}};
  record.reason = "interval 0.8 % after 12 samples";
  record.verdict = {.checked = true, .correct = true, .worst_error = 1.0 / 3, .bound = 2, .detail = "all 2048 entries"};
  record.samples_s = std::move(samples_s);
  record.runs_per_sample = 7;
  record.rank_medians_s = {1e-3, 1.0000000000000002e-3};
  record.counters = {{"flops_per_s", 1e12 / 3}, {"repetitions", 3}};  // one name is Google Benchmark's own
  record.telemetry = {{"power_w", 699.5}};
  record.details = {{"core", "Haswell \"quoted\" \xc2\xb5"}};
  record.series_s = {{"compute_only", {0.1, 0.2}}, {"empty", {}}};
  return record;
}

inline Run example_run() {
  Run run;
  run.suite = "quick";
  run.backend = "host";
  run.device = "a CPU";
  run.ranks = 2;
  run.hosts = {"alpha", "beta"};
  run.environment = {{"blas", "OpenBLAS 0.3.21"}, {"blas_core", "Haswell"}};
  run.warnings = {"OpenBLAS picked Haswell"};
  run.records.push_back(gemm_record("gemm/fp32/nt/64x32x16", {1e-3, 0.1 + 0.2, 1.0 / 3, 4.9e-324, 1e300}));
  run.records.back().samples_s = {1e-3, 0.1 + 0.2, 1.0 / 3, 2.2250738585072014e-308, 123456.789};

  Record skipped{.name = "memory/copy/bf16/10", .family = "memory"};
  skipped.problem = MemoryProblem{.kind = MemoryKind::kCopy, .elements = 10, .type = NumberType::kBf16};
  skipped.status = Status::kSkipped;
  skipped.reason = "bf16 is not supported here";
  run.records.push_back(skipped);

  Record wrong{.name = "collective/all_reduce", .family = "collective"};
  wrong.problem = CollectiveProblem{.kind = CollectiveKind::kAllToAll, .bytes = 64, .ranks = 2, .in_place = true};
  wrong.status = Status::kWrong;
  wrong.reason = "entry 3";
  wrong.verdict = {.checked = true, .correct = false, .worst_error = 1e9, .bound = 1, .detail = "entry 3"};
  run.records.push_back(wrong);

  Record failed{.name = "step/hydranet", .family = "step"};
  failed.settings = {{"workload", "hydranet"}, {"scale", "0.125"}};
  failed.status = Status::kFailed;
  failed.reason = "MPI_Allreduce returned 15";
  run.records.push_back(failed);
  return run;
}

inline void expect_same(const Record& a, const Record& b) {
  EXPECT_EQ(a.name, b.name);
  EXPECT_EQ(a.family, b.family);
  EXPECT_EQ(a.problem, b.problem);
  EXPECT_EQ(a.settings, b.settings);
  EXPECT_EQ(a.status, b.status);
  EXPECT_EQ(a.reason, b.reason);
  EXPECT_EQ(a.verdict.checked, b.verdict.checked);
  EXPECT_EQ(a.verdict.correct, b.verdict.correct);
  EXPECT_EQ(a.verdict.worst_error, b.verdict.worst_error);
  EXPECT_EQ(a.verdict.bound, b.verdict.bound);
  EXPECT_EQ(a.verdict.detail, b.verdict.detail);
  EXPECT_EQ(a.samples_s, b.samples_s);
  EXPECT_EQ(a.runs_per_sample, b.runs_per_sample);
  EXPECT_EQ(a.rank_medians_s, b.rank_medians_s);
  EXPECT_EQ(a.counters, b.counters);
  EXPECT_EQ(a.telemetry, b.telemetry);
  EXPECT_EQ(a.details, b.details);
  EXPECT_EQ(a.series_s, b.series_s);
}

inline void expect_same(const Run& a, const Run& b) {
  EXPECT_EQ(a.schema, b.schema);
  EXPECT_EQ(a.suite, b.suite);
  EXPECT_EQ(a.backend, b.backend);
  EXPECT_EQ(a.device, b.device);
  EXPECT_EQ(a.ranks, b.ranks);
  EXPECT_EQ(a.hosts, b.hosts);
  EXPECT_EQ(a.environment, b.environment);
  EXPECT_EQ(a.warnings, b.warnings);
  EXPECT_EQ(a.complete, b.complete);
  ASSERT_EQ(a.records.size(), b.records.size());
  for (size_t i = 0; i < a.records.size(); ++i) expect_same(a.records[i], b.records[i]);
}

}  // namespace farscale
