// From a case to a prepared step.
#include "bench/step_setup.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "kernels/format.h"

namespace farscale {
namespace {

constexpr double kShortestStep = 0.1;  // seconds; the scale is chosen so that a step on the host is in between
constexpr double kLongestStep = 0.5;

LoweringOptions options_for(const Case& item, const Lab& lab, int64_t micro_batch) {
  LoweringOptions options;
  options.layout = parse_layout(item.step->layout, lab.world.size());
  if (micro_batch > 0) options.layout.micro_batch = micro_batch;
  options.fused = item.step->fused;
  options.bucket_rule = item.step->bucket_rule;
  return options;
}

bool has_arena(const Lab& lab) { return bool(lab.backend.make_arena({})); }

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

NumberType main_type(const StepPlan& plan) {
  std::map<NumberType, double> flops;
  for (const Launch& launch : plan.launches) {
    const Problem& problem = plan.problems[launch.problem];
    if (const auto* gemm = std::get_if<GemmProblem>(&problem))
      flops[gemm->type] += gemm->flops() * double(launch.count);
    if (const auto* convolution = std::get_if<ConvolutionProblem>(&problem)) {
      flops[convolution->type] += convolution->flops() * double(launch.count);
    }
  }
  const auto most =
      std::max_element(flops.begin(), flops.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
  return most == flops.end() ? NumberType::kFp32 : most->first;
}

// Asks the backend for each distinct convolution once, all ranks together, and keeps what it answers.
class Convolutions {
 public:
  explicit Convolutions(Lab& lab) : lab_(lab) {}

  bool has(const ConvolutionProblem& problem) {
    const auto known = known_.find(problem.name());
    if (known != known_.end()) return known->second;
    std::string missing;
    try {
      const auto operation = lab_.backend.prepare(problem, {.cold = false});
      if (!operation) missing = operation.reason();
    } catch (const std::exception& error) {
      missing = error.what();
    }
    missing = Agreement(lab_.world).reason(missing);
    if (!missing.empty()) reason_ = missing;
    return known_[problem.name()] = missing.empty();
  }
  const std::string& reason() const { return reason_; }

 private:
  Lab& lab_;
  std::map<std::string, bool> known_;
  std::string reason_;
};

std::string kernels_text(const StepPlan& plan, const std::string& reason) {
  const double proxies = plan.convolution_proxies, real = plan.convolution_flops;
  if (proxies + real == 0) return "no convolutions";
  const std::string why = plan.scale > 1 ? "scaled copy" : reason;
  std::string proxy =
      fmt::format("gemm-proxy: convolutions run as GEMMs of the same FLOPs{}", why.empty() ? "" : " (" + why + ")");
  if (real == 0) return proxy;
  const std::string share = format_percent(real / (real + proxies));
  return proxies == 0 ? "implicit GEMM: convolutions run as convolutions"
                      : fmt::format("implicit GEMM for {} of the convolutions' FLOPs; the rest {}", share, proxy);
}

// Plans and prepares at attempt.scale; falls back to fp32 where the backend lacks the workload's type.
bool prepare_step(const Case& item, Lab& lab, StepAttempt& attempt, Record& record) {
  Convolutions convolutions(lab);
  StepPlanOptions options{
      .scale = attempt.scale,
      .ranks = lab.world.size(),
      .force_type = !item.step->type.empty(),
      .type = NumberType::kFp32,
      .has_convolution = [&](const ConvolutionProblem& problem) { return convolutions.has(problem); }};
  if (options.force_type) options.type = parse_number_type(item.step->type);
  const auto attempt_it = [&] {
    attempt.run.reset();
    attempt.plan = plan_step(attempt.step, options);
    attempt.run = std::make_unique<StepRun>(
        lab, attempt.plan, StepRun::Options{.input = item.step->input, .graph = item.step->graph}, record);
    attempt.type = main_type(attempt.plan);
    record.settings["type"] = name(attempt.type);
    record.details["kernels"] = kernels_text(attempt.plan, convolutions.reason());
    return attempt.run->ok();
  };
  if (attempt_it() || options.force_type || record.status != Status::kSkipped) return attempt.run->ok();
  const std::string missing = record.reason;
  record.status = Status::kOk;
  record.reason.clear();
  options.force_type = true;
  if (!attempt_it()) return false;
  record.details["type"] = fmt::format("fp32 instead of the workload's: {}", missing);
  return true;
}

// The largest micro-batch up to the wanted one whose step fits; says so where it is a smaller one.
bool choose_batch(const Case& item, Lab& lab, StepAttempt& attempt, Record& record) {
  const double room = Agreement(lab.world).fastest(lab.backend.device().memory_bytes);
  const bool arena = has_arena(lab);
  const auto needed = [&](int64_t batch) {
    attempt.step = lower(*lab.workload, options_for(item, lab, batch));
    return step_bytes(attempt.step, attempt.scale, lab.world.size(), arena);
  };
  const int64_t wanted = lower(*lab.workload, options_for(item, lab, item.step->micro_batch)).micro_batch;
  const double bytes = needed(wanted);
  if (bytes <= room) return true;
  int64_t fits = 0;
  for (int64_t low = 1, high = wanted - 1; low <= high;) {
    const int64_t middle = (low + high) / 2;
    (needed(middle) <= room ? fits = middle, low = middle + 1 : high = middle - 1);
  }
  if (fits == 0) {
    skip(record, fmt::format("does not fit: {} needed for a micro-batch of one, {} free", format_si(needed(1), "B"),
                             format_si(room, "B")));
    record.counters["bytes_needed"] = needed(1);
    return false;
  }
  record.counters["bytes_needed"] = needed(fits);
  record.details["micro_batch"] = fmt::format("{}, the largest that fits: {} would need {} of {}", fits, wanted,
                                              format_si(bytes, "B"), format_si(room, "B"));
  return true;
}

// Prepares at the asked scale, or on the host at the scale at which a step takes 0.1 to 0.5 s.
bool choose_scale(const Case& item, Lab& lab, StepAttempt& attempt, Record& record) {
  const Agreement agreement(lab.world);
  const bool automatic = item.step->scale == 0 && lab.backend_name == "host";
  attempt.step = lower(*lab.workload, options_for(item, lab, item.step->micro_batch));
  attempt.scale = item.step->scale > 0 ? item.step->scale
                  : automatic          ? agreement.number(first_guess(attempt.step, lab))
                                       : 1;
  for (int tries = 0; tries < 4; ++tries) {
    attempt.run.reset();
    if (!choose_batch(item, lab, attempt, record) || !prepare_step(item, lab, attempt, record)) return false;
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

void describe(const Case& item, const Lab& lab, const StepAttempt& attempt, Record& record) {
  const StepPlan& plan = attempt.plan;
  const std::string scale = fmt::format("{:g}", attempt.scale);
  if (const size_t at = record.name.find("scale_auto"); at != std::string::npos) {
    record.name.replace(at, 10, "scale_" + scale);
  }
  record.settings["scale"] = scale;
  record.settings["copy"] =
      attempt.scale > 1 ? fmt::format("scaled down: FLOPs, bytes and gradients over {}", scale) : "full size";
  record.settings["micro_batch"] = std::to_string(plan.micro_batch);
  record.settings["bucket_rule"] = item.step->bucket_rule;
  record.settings["layout"] = options_for(item, lab, plan.micro_batch).layout.str();
  record.settings["input"] = item.step->input ? "copied beside the step" : "none";
  record.settings["provenance"] = lab.workload->provenance();
  record.details["launches"] = std::to_string(plan.launches.size());
  record.details["buckets"] = std::to_string(plan.buckets.size());
  if (lab.world.size() == 1) record.details["communication"] = "none: one rank";
  if (item.step->scale == 0 && lab.backend_name == "host") {
    record.details["scale"] = fmt::format("chosen for this machine: --scale {} repeats it elsewhere", scale);
  }
  for (size_t i = 0; i < plan.notes.size(); ++i) record.details[fmt::format("note_{}", i + 1)] = plan.notes[i];
}

}  // namespace

double step_bytes(const LoweredStep& step, double scale, int ranks, bool arena) {
  const double operands = operand_bytes(plan_step(step, {.scale = scale, .ranks = ranks}), arena);
  return scale > 1 ? operands : std::max(operands, step.memory_bytes);
}

bool set_up_step(const Case& item, Lab& lab, StepAttempt& attempt, Record& record) {
  if (!choose_scale(item, lab, attempt, record)) return false;
  describe(item, lab, attempt, record);
  return true;
}

}  // namespace farscale
