// The step family: a workload's training step, scaled to the machine, in four interleaved series.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <memory>

#include "bench/measure.h"
#include "bench/step_plan.h"
#include "bench/step_run.h"
#include "kernels/format.h"
#include "results/statistics.h"

namespace farscale {
namespace {

constexpr double kShortestStep = 0.1;  // seconds; the scale is chosen so that a step on the host is in between
constexpr double kLongestStep = 0.5;

// Everything one step case builds up; the plan's address stays fixed because the run borrows it.
struct Attempt {
  LoweredStep step;
  StepPlan plan;
  std::unique_ptr<StepRun> run;
  double scale = 1;
};

LoweredStep lower_for(const Case& item, const Lab& lab) {
  LoweringOptions options;
  options.layout.dp = lab.world.size();
  options.layout.micro_batch = item.step->micro_batch;
  options.fused = item.step->fused;
  options.bucket_rule = item.step->bucket_rule;
  return lower(*lab.workload, options);
}

// A power of four, so that two runs on one machine choose the same: the nearest at which this run's best GEMM rate,
// half of it reached, gives a step of about 0.2 s.
double first_guess(const LoweredStep& step, const Lab& lab) {
  double best = 0;
  for (const auto& [type, flops_per_s] : lab.best_gemm_flops_per_s) {
    if (type == NumberType::kFp32 || type == NumberType::kBf16) best = std::max(best, flops_per_s);
  }
  const double rate = best > 0 ? best / 2 : 30e9;
  const double factor = step.executed_flops / (rate * std::sqrt(kShortestStep * kLongestStep));
  return std::max(1.0, std::pow(4.0, std::round(std::log2(std::max(factor, 1.0)) / 2)));
}

// The type of most of the step's FLOPs.
std::string main_type(const StepPlan& plan) {
  std::map<NumberType, double> flops;
  for (const Launch& launch : plan.launches) {
    const auto* gemm = std::get_if<GemmProblem>(&plan.problems[launch.problem]);
    if (gemm != nullptr) flops[gemm->type] += gemm->flops() * double(launch.count);
  }
  const auto most =
      std::max_element(flops.begin(), flops.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
  return most == flops.end() ? "none" : std::string(name(most->first));
}

// Plans and prepares at attempt.scale; falls back to fp32 where the backend lacks the workload's type.
bool prepare_step(const Case& item, Lab& lab, Attempt& attempt, Record& record) {
  StepPlanOptions options{.scale = attempt.scale,
                          .ranks = lab.world.size(),
                          .force_type = !item.step->type.empty(),
                          .type = NumberType::kFp32};
  if (options.force_type) options.type = parse_number_type(item.step->type);
  attempt.plan = plan_step(attempt.step, options);
  attempt.run = std::make_unique<StepRun>(lab, attempt.plan, record);
  record.settings["type"] = main_type(attempt.plan);
  if (attempt.run->ok() || options.force_type || record.status != Status::kSkipped) return attempt.run->ok();
  const std::string missing = record.reason;
  record.status = Status::kOk;
  record.reason.clear();
  options.force_type = true;
  attempt.run.reset();
  attempt.plan = plan_step(attempt.step, options);
  attempt.run = std::make_unique<StepRun>(lab, attempt.plan, record);
  record.settings["type"] = main_type(attempt.plan);
  record.details["type"] = fmt::format("fp32 instead of the workload's: {}", missing);
  return attempt.run->ok();
}

// Prepares at the asked scale, or on the host at the scale at which a step takes 0.1 to 0.5 s.
bool choose_scale(const Case& item, Lab& lab, Attempt& attempt, Record& record) {
  const Agreement agreement(lab.world);
  const bool automatic = item.step->scale == 0 && lab.backend_name == "host";
  attempt.scale = item.step->scale > 0 ? item.step->scale
                  : automatic          ? agreement.number(first_guess(attempt.step, lab))
                                       : 1;
  for (int tries = 0; tries < 4; ++tries) {
    attempt.run.reset();
    if (!prepare_step(item, lab, attempt, record)) return false;
    StepTiming timing = attempt.run->time(StepMode::kComputeOnly);  // first calls
    if (timing.failure.empty()) timing = attempt.run->time(StepMode::kComputeOnly);
    if (!timing.failure.empty()) {
      fail(record, timing.failure);
      return false;
    }
    const double change = !automatic                       ? 1
                          : timing.total_s > kLongestStep  ? 4
                          : timing.total_s < kShortestStep ? 0.25
                                                           : 1;
    const double next = agreement.number(std::max(1.0, attempt.scale * change));
    if (next == attempt.scale || tries == 3) break;
    attempt.scale = next;
  }
  return true;
}

struct Series {
  std::vector<double> compute, communication, both, exposed, skew, slowdown, own;
};

// One round of the three modes, its order rotated so that none is always first. False on an agreed failure.
bool add_round(StepRun& run, bool communicates, Series& series, Record& record) {
  constexpr std::array kModes = {StepMode::kComputeOnly, StepMode::kCommunicationOnly, StepMode::kBoth};
  std::array<StepTiming, 3> timing;
  for (size_t i = 0; i < kModes.size(); ++i) {
    const size_t mode = (i + series.both.size()) % kModes.size();
    if (!communicates && kModes[mode] == StepMode::kCommunicationOnly) continue;
    timing[mode] = run.time(kModes[mode]);
    if (!timing[mode].failure.empty()) {
      fail(record, timing[mode].failure);
      return false;
    }
  }
  series.compute.push_back(timing[0].total_s);
  series.both.push_back(timing[2].total_s);
  series.own.push_back(timing[2].own_s);
  series.skew.push_back(timing[0].skew_s);
  if (!communicates) return true;
  series.communication.push_back(timing[1].total_s);
  series.exposed.push_back(timing[2].total_s - timing[0].total_s);
  if (timing[0].backward_s > 0) series.slowdown.push_back(timing[2].backward_s / timing[0].backward_s);
  return true;
}

bool take_rounds(const Case& item, Lab& lab, StepRun& run, bool communicates, Series& series, Record& record) {
  const Agreement agreement(lab.world);
  Series warm_up;
  if (!add_round(run, communicates, warm_up, record)) return false;
  const double start_s = lab.clock();
  while (true) {
    if (!add_round(run, communicates, series, record)) return false;
    record.reason = stop_reason(item.sampling, series.both, lab.clock() - start_s);
    if (agreement.decide(!record.reason.empty())) return true;
  }
}

// Each class of kernel run alone, three times: shares of the compute.
bool take_classes(StepRun& run, Record& record) {
  double all = 0;
  std::map<std::string, double> medians;
  for (KernelClass kind : run.classes()) {
    std::vector<double> times;
    for (int i = 0; i < 3; ++i) {
      const StepTiming timing = run.time_class(kind);
      if (!timing.failure.empty()) {
        fail(record, timing.failure);
        return false;
      }
      times.push_back(timing.total_s);
    }
    record.series_s[fmt::format("class/{}", name(kind))] = times;
    all += medians[std::string(name(kind))] = median(times);
  }
  for (const auto& [kind, time_s] : medians) set_counter(record, "share_" + kind, time_s / all);
  return true;
}

void count(const Lab& lab, const StepPlan& plan, const Series& series, Record& record) {
  const double step_s = median(series.both);
  const double samples = double(plan.micro_batch) * lab.world.size();
  set_counter(record, "compute_only_s", median(series.compute));
  set_counter(record, "both_s", step_s);
  set_counter(record, "scaled_samples_per_s", samples / step_s);
  set_counter(record, "samples_per_s", samples / plan.scale / step_s);  // full-size samples, by FLOPs
  set_counter(record, "flops_per_s", plan.gemm_flops / step_s);         // of one rank
  set_counter(record, "scale", plan.scale);
  set_counter(record, "step_flops", plan.gemm_flops);
  set_counter(record, "step_memory_bytes", plan.memory_bytes);
  set_counter(record, "step_gradient_bytes", plan.gradient_bytes);
  set_counter(record, "arrival_skew_s", median(series.skew));
  if (series.communication.empty()) return;
  set_counter(record, "communication_only_s", median(series.communication));
  set_counter(record, "exposed_s", median(series.exposed));
  set_counter(record, "exposed_share", median(series.exposed) / step_s);
  if (!series.slowdown.empty()) set_counter(record, "compute_slowdown", median(series.slowdown));
}

void keep_series(const Lab& lab, Series series, Record& record) {
  record.samples_s = series.both;
  record.rank_medians_s = Agreement(lab.world).each(median(series.own));
  record.series_s["compute_only"] = std::move(series.compute);
  record.series_s["both"] = std::move(series.both);
  record.series_s["arrival_skew"] = std::move(series.skew);
  if (series.communication.empty()) return;
  record.series_s["communication_only"] = std::move(series.communication);
  record.series_s["exposed"] = std::move(series.exposed);
}

void describe(const Case& item, const Lab& lab, const Attempt& attempt, Record& record) {
  const StepPlan& plan = attempt.plan;
  const std::string scale = fmt::format("{:g}", attempt.scale);
  const bool automatic = item.step->scale == 0;
  if (const size_t at = record.name.find("scale_auto"); at != std::string::npos) {
    record.name.replace(at, 10, "scale_" + scale);
  }
  record.settings["scale"] = scale;
  record.settings["copy"] =
      attempt.scale > 1 ? fmt::format("scaled down: FLOPs, bytes and gradients over {}", scale) : "full size";
  record.settings["micro_batch"] = std::to_string(plan.micro_batch);
  record.settings["bucket_rule"] = item.step->bucket_rule;
  record.settings["provenance"] = lab.workload->provenance();
  record.details["kernels"] = "gemm-proxy: convolutions run as GEMMs of the same FLOPs";
  record.details["launches"] = std::to_string(plan.launches.size());
  record.details["buckets"] = std::to_string(plan.buckets.size());
  if (lab.world.size() == 1) record.details["communication"] = "none: one rank";
  if (automatic)
    record.details["scale"] = fmt::format("chosen for this machine: --scale {} repeats it elsewhere", scale);
  for (size_t i = 0; i < plan.notes.size(); ++i) record.details[fmt::format("note_{}", i + 1)] = plan.notes[i];
}

}  // namespace

void measure_step(const Case& item, Lab& lab, Record& record) {
  Attempt attempt;
  std::string refused;
  try {
    attempt.step = lower_for(item, lab);
  } catch (const std::exception& error) {
    refused = error.what();
  }
  refused = Agreement(lab.world).reason(refused);
  if (!refused.empty()) return fail(record, refused);
  if (!choose_scale(item, lab, attempt, record)) return;
  describe(item, lab, attempt, record);
  if (!attempt.run->verify(item.step->verify_s, record)) return;
  const bool communicates = !attempt.plan.buckets.empty() || !attempt.plan.blocking.empty();
  Series series;
  if (!take_rounds(item, lab, *attempt.run, communicates, series, record)) return;
  if (!take_classes(*attempt.run, record)) return;
  count(lab, attempt.plan, series, record);
  keep_series(lab, std::move(series), record);
}

}  // namespace farscale
