// The step family: a workload's training step, scaled to the machine, in interleaved series: compute only,
// communication only, both together and, where the device has graphs, both as one graph.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "bench/measure.h"
#include "bench/step_setup.h"
#include "bench/step_statistics.h"
#include "results/statistics.h"

namespace farscale {
namespace {

constexpr int kClassRuns = 6;          // the least whose median has an interval of 95 %: all of them
constexpr int64_t kMostRounds = 1000;  // of traffic beside one class of kernels

// One round of the modes, its order rotated so that none is always first. False on an agreed failure.
bool add_round(StepRun& run, const std::vector<StepMode>& modes, StepSeries& series, Record& record) {
  std::array<StepTiming, 4> timing;
  for (size_t i = 0; i < modes.size(); ++i) {
    const StepMode mode = modes[(i + series.both.size()) % modes.size()];
    StepTiming& one = timing[static_cast<size_t>(mode)] = run.time(mode);
    if (!one.failure.empty()) {
      fail(record, one.failure);
      return false;
    }
  }
  const auto& [compute, communication, both, graph] = timing;
  series.compute.push_back(compute.total_s);
  series.both.push_back(both.total_s);
  series.own.push_back(both.own.total_s);
  series.skew.push_back(compute.skew_s);
  series.arrival.push_back(compute.own.backward_s);
  series.input_wait.push_back(both.own.input_wait_s);
  series.issue.push_back(both.own.issue_s);
  if (graph.total_s > 0) {
    series.graph.push_back(graph.total_s);
    series.graph_issue.push_back(graph.own.issue_s);
  }
  if (communication.total_s <= 0) return true;
  series.communication.push_back(communication.total_s);
  series.exposed.push_back(both.work_s - compute.total_s);
  return true;
}

bool take_rounds(const Case& item, Lab& lab, StepRun& run, const std::vector<StepMode>& modes, StepSeries& series,
                 Record& record) {
  const Agreement agreement(lab.world);
  StepSeries warm_up;
  if (!add_round(run, modes, warm_up, record)) return false;
  const double start_s = lab.clock();
  while (true) {
    if (!add_round(run, modes, series, record)) return false;
    record.reason = stop_reason(item.sampling, series.both, lab.clock() - start_s);
    if (agreement.decide(!record.reason.empty())) return true;
  }
}

// Rounds of traffic that last longer than this does, also when it is slowed down to half by them.
int64_t rounds_beside(double alone_s, double traffic_s) {
  if (traffic_s <= 0) return 0;
  return std::clamp<int64_t>(std::llround(std::ceil(2 * alone_s / traffic_s)), 1, kMostRounds);
}

// Each class of kernel run on its own: alone and, where there is traffic, with enough of it beside to last until the
// class is done.
bool take_classes(StepRun& run, std::vector<ClassSeries>& classes, Record& record) {
  std::string failure;
  double traffic_s = 0;  // of one round at its fastest: rather too many rounds than too few
  for (int i = 0; i < kClassRuns && failure.empty(); ++i) {
    const StepTiming traffic = run.time_traffic();
    traffic_s = i == 0 ? traffic.total_s : std::min(traffic_s, traffic.total_s);
    failure = traffic.failure;
  }
  for (KernelClass kind : run.classes()) {
    ClassSeries& series = classes.emplace_back();
    series.kind = kind;
    for (int i = 0; i < kClassRuns && failure.empty(); ++i) {
      const StepTiming alone = run.time_class(kind);
      series.alone.push_back(alone.total_s);
      series.own.push_back(alone.own.total_s);
      failure = alone.failure;
      const int64_t rounds = rounds_beside(alone.total_s, traffic_s);
      if (rounds == 0 || !failure.empty()) continue;
      const StepTiming beside = run.time_class(kind, rounds);
      series.beside.push_back(beside.total_s);
      failure = beside.failure;
    }
  }
  if (!failure.empty()) fail(record, failure);
  return failure.empty();
}

// The best rate of a square GEMM that takes some milliseconds, the largest of all ranks.
Peak probe_peak(const Lab& lab, NumberType type) {
  const Agreement agreement(lab.world);
  Peak peak;
  double best = 0;
  for (int64_t size = 1024; size <= 16384; size *= 2) {
    const GemmProblem problem{.m = size, .n = size, .k = size, .type = type};
    double time_s = 0;
    try {
      const auto operation = lab.backend.prepare(problem, {.cold = false});
      const auto queue = lab.backend.open_queue(QueueRole::kCompute);
      for (int i = 0; operation && i < 5; ++i) {
        const double once_s = lab.backend.time_s(**operation, *queue, 1);
        time_s = i == 0 ? once_s : std::min(time_s, once_s);
      }
    } catch (const std::exception&) {
      time_s = 0;  // no peak, no MFU: the step itself goes on
    }
    best = agreement.slowest(time_s > 0 ? problem.flops() / time_s : 0);  // the largest of these
    if (best > peak.flops_per_s) peak = {.flops_per_s = best, .source = "probe " + problem.name()};
    if (best == 0 || agreement.slowest(time_s) > 5e-3) break;
  }
  return peak;
}

Peak peak_for(const Case& item, const Lab& lab, NumberType type) {
  if (item.step->peak_flops_per_s > 0) {
    return {.flops_per_s = item.step->peak_flops_per_s, .source = "named in the suite"};
  }
  const auto seen = lab.best_gemm_flops_per_s.find(type);
  if (seen == lab.best_gemm_flops_per_s.end()) return probe_peak(lab, type);
  return {.flops_per_s = seen->second, .source = fmt::format("best {} GEMM of this run", name(type))};
}

}  // namespace

void measure_step(const Case& item, Lab& lab, Record& record) {
  StepAttempt attempt;
  if (!set_up_step(item, lab, attempt, record)) return;
  StepRun& run = *attempt.run;
  if (!run.verify(item.step->verify_s, record)) return;
  std::vector<StepMode> modes = {StepMode::kComputeOnly, StepMode::kBoth};
  if (run.communicates()) modes.push_back(StepMode::kCommunicationOnly);
  const std::string no_graph = run.record_graph();
  if (no_graph.empty()) modes.push_back(StepMode::kGraph);
  if (!no_graph.empty()) record.details["graph"] = no_graph;
  Peak peak = peak_for(item, lab, attempt.type);
  StepSeries series;
  std::vector<ClassSeries> classes;
  if (!take_rounds(item, lab, run, modes, series, record)) return;
  if (!take_classes(run, classes, record)) return;
  // A machine with other work to do may have been slow while it was probed.
  if (const Peak again = peak_for(item, lab, attempt.type); again.flops_per_s > peak.flops_per_s) peak = again;
  keep_step(lab, attempt.plan, peak, series, classes, record);
  for (const auto& [key, value] : lab.backend.telemetry()) {
    if (std::isfinite(value)) record.telemetry[key] = value;
  }
}

}  // namespace farscale
