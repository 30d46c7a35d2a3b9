// What share of a data sheet training kernels attain, learned from whole steps that others published: the figures that
// cluster/efficiency.toml gives to hardware without records, and how wrong data sheets and these shares alone are for a
// GPU, or a network, that nothing was learned from.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "cluster/backtest_table.h"
#include "cluster/quantity.h"

namespace farscale {

// A published step on shipped hardware of a shipped network, data parallel: the median of the rows that are alike.
struct PublishedStep {
  std::string hardware, workload;
  int64_t gpus = 0, samples_per_gpu = 0;
  double time_s = 0;
  size_t rows = 1;
};

// The steps among the rows that can be predicted from data sheets: GPUs of the catalogue, networks with a layer graph,
// whole samples on every GPU.
std::vector<PublishedStep> published_steps(const std::vector<ScalingRow>& rows);

// Keys of the [efficiency] table of cluster/efficiency.toml that steps of vision networks say something about.
inline constexpr std::array<const char*, 4> kLearnedShares = {"convolution", "grouped_convolution", "memory",
                                                              "launch_s"};

struct ShareFit {
  std::array<Estimate, kLearnedShares.size()> shares;
  double log_sigma = 0;  // of whole steps around the model, on GPUs it has not learned from
};

// Learned by robust least squares on log time from a wide prior; ranges from leaving out one kind of GPU, and one
// network, at a time (delete-one-group jackknife, the wider of the two). Throws InputError when there are no steps.
ShareFit fit_shares(const std::vector<PublishedStep>& steps);

// A step predicted with shares learned without the steps of its own GPU (or of its own network).
struct SheetStep {
  PublishedStep step;
  Estimate predicted_s;
  double error() const { return predicted_s.p50 / step.time_s - 1; }
  bool covered() const { return predicted_s.p05 <= step.time_s && step.time_s <= predicted_s.p95; }
};

enum class SheetLeaveOut : uint8_t { kHardware, kWorkload };

struct SheetReport {
  ShareFit learned;  // from all steps
  std::vector<SheetStep> steps;
};

// `draws`: of the Monte Carlo range of each step.
SheetReport predict_from_sheets(const std::vector<PublishedStep>& steps, SheetLeaveOut leave_out, int draws = 400);

// For people and as one JSON document.
std::string sheet_text(const SheetReport& report, SheetLeaveOut leave_out);
std::string sheet_json(const SheetReport& report, SheetLeaveOut leave_out);

}  // namespace farscale
