// Counting what was timed.
#include "bench/step_statistics.h"

#include <fmt/format.h>

#include <algorithm>

#include "kernels/format.h"
#include "results/statistics.h"

namespace farscale {
namespace {

bool has_products(KernelClass kind) {
  return kind == KernelClass::kConvolution || kind == KernelClass::kGroupedConvolution ||
         kind == KernelClass::kLinear || kind == KernelClass::kAttention;
}

double median_of_others(const std::vector<double>& values, size_t except) {
  std::vector<double> others;
  for (size_t i = 0; i < values.size(); ++i) {
    if (i != except) others.push_back(values[i]);
  }
  return median(others);
}

double median_or_zero(const std::vector<double>& values) { return values.empty() ? 0 : median(values); }

void keep_quantiles(const std::string& name, const std::vector<double>& times, Record& record) {
  set_counter(record, name + "p50_s", quantile(times, 0.50));
  set_counter(record, name + "p95_s", quantile(times, 0.95));
  set_counter(record, name + "p99_s", quantile(times, 0.99));
}

void keep_communication(const StepSeries& series, Record& record) {
  if (series.communication.empty()) return;
  set_counter(record, "communication_only_s", median(series.communication));
  set_counter(record, "exposed_s", median(series.exposed));
  set_counter(record, "exposed_share", median(series.exposed) / median(series.both));
}

void keep_classes(const std::vector<ClassSeries>& classes, Record& record) {
  double all = 0, alone = 0, beside = 0;
  for (const ClassSeries& one : classes) all += median(one.alone);
  for (const ClassSeries& one : classes) {
    const std::string kind(name(one.kind));
    set_counter(record, "share_" + kind, median(one.alone) / all);
    record.series_s["class/" + kind] = one.alone;
    if (one.beside.empty()) continue;
    set_counter(record, "slowdown_" + kind, median(one.beside) / median(one.alone));
    record.series_s["class_beside_traffic/" + kind] = one.beside;
    alone += median(one.alone), beside += median(one.beside);
  }
  // Of the kernels themselves: a backward pass may wait for gathers and blocking collectives too.
  if (alone > 0) set_counter(record, "compute_slowdown", beside / alone);
}

// Full-size samples, by FLOPs: a scaled copy's step is that share of one.
void keep_rates(const Lab& lab, const StepPlan& plan, const Peak& peak, double step_s, Record& record) {
  const double samples = double(plan.micro_batch) * lab.world.size();
  const double rate = samples / plan.scale / step_s;
  set_counter(record, "scaled_samples_per_s", samples / step_s);
  set_counter(record, "samples_per_s", rate);
  set_counter(record, "frames_per_s", rate * lab.workload->frames_per_sample());
  set_counter(record, "flops_per_s", plan.gemm_flops / step_s);  // of one rank
  set_counter(record, "stored_input_bytes_per_s", plan.stored_bytes / double(plan.micro_batch) * rate);
  set_counter(record, "input_bytes_per_s", plan.decoded_bytes * lab.world.size() / step_s);
  if (peak.flops_per_s <= 0) return;
  set_counter(record, "peak_flops_per_s", peak.flops_per_s);
  const double hfu = plan.gemm_flops / step_s / peak.flops_per_s;
  record.details["peak"] = fmt::format("{}: {}", format_si(peak.flops_per_s, "FLOP/s"), peak.source);
  constexpr double kNoise = 0.02;  // of the peak
  if (hfu > 1 + kNoise) {
    record.details["peak"] += "; the step's own products were faster, so this is no peak and there is no MFU";
    return;
  }
  set_counter(record, "hfu", hfu);
  set_counter(record, "mfu", hfu * plan.training_share);  // of what was run, whose FLOPs a scaled copy rounds
}

// The host's own work of a step, as far as it is not the compute itself.
void keep_graph(const StepSeries& series, Record& record) {
  if (series.graph.empty()) return;
  keep_quantiles("graph_", series.graph, record);
  const double eager = median(series.issue) / median(series.both);
  const double graph = median(series.graph_issue) / median(series.graph);
  set_counter(record, "issue_share", eager);
  set_counter(record, "graph_issue_share", graph);
  record.details["graph"] = fmt::format(
      "the whole step, both queues, launched as one: p50 {}, the host busy for {} of it (launched one by one {})",
      format_seconds(median(series.graph)), format_percent(graph), format_percent(eager));
  record.series_s["graph"] = series.graph;
}

ArrivalParts gather_parts(const Agreement& agreement, const StepSeries& series,
                          const std::vector<ClassSeries>& classes) {
  double compute = 0, memory = 0;
  for (const ClassSeries& one : classes) {
    if (one.kind == KernelClass::kOptimizer) continue;  // after the last gradient
    (has_products(one.kind) ? compute : memory) += median(one.own);
  }
  const double input = median_or_zero(series.input_wait);
  return {.arrival = agreement.each(median(series.arrival) + input),
          .earliest = agreement.each(median_interval95(series.arrival).low + input),
          .compute = agreement.each(compute),
          .memory = agreement.each(memory),
          .input = agreement.each(input)};
}

void keep_arrivals(const Agreement& agreement, const StepSeries& series, const std::vector<ClassSeries>& classes,
                   Record& record) {
  const ArrivalParts parts = gather_parts(agreement, series, classes);
  set_counter(record, "arrival_skew_s", median(series.skew));
  record.series_s["arrival_skew"] = series.skew;
  record.series_s["arrival_by_rank"] = parts.arrival;
  record.series_s["arrival_compute_by_rank"] = parts.compute;
  record.series_s["arrival_memory_by_rank"] = parts.memory;
  record.series_s["arrival_input_by_rank"] = parts.input;
  set_counter(record, "input_wait_s", *std::max_element(parts.input.begin(), parts.input.end()));
  if (parts.arrival.size() < 2) {
    const double wait_s = parts.input[0];
    record.details["late"] = wait_s > 0.01 * parts.arrival[0]
                                 ? fmt::format("input: {} a step waited for it", format_seconds(wait_s))
                                 : "nobody: one rank";
    return;
  }
  const Lateness late = find_late(parts);
  set_counter(record, "late_s", late.late_s);
  set_counter(record, "late_rank", late.rank);
  record.details["late"] = late.rank < 0 ? "nobody beyond the noise of its own samples"
                                         : fmt::format("rank {}, {} after the median of the others: {}", late.rank,
                                                       format_seconds(late.late_s), late.why);
}

}  // namespace

Lateness find_late(const ArrivalParts& parts) {
  const auto last = std::max_element(parts.arrival.begin(), parts.arrival.end());
  const auto rank = static_cast<size_t>(last - parts.arrival.begin());
  const double others = median_of_others(parts.arrival, rank);
  if (parts.earliest[rank] <= others) return {};
  Lateness late{.rank = static_cast<int>(rank), .late_s = *last - others, .why = ""};
  double most = 0;
  const std::pair<const char*, const std::vector<double>*> kParts[] = {
      {"compute", &parts.compute}, {"memory", &parts.memory}, {"input", &parts.input}};
  for (const auto& [name, values] : kParts) {
    const double excess = (*values)[rank] - median_of_others(*values, rank);
    if (excess > most || late.why.empty()) late.why = name;
    most = std::max(most, excess);
  }
  return late;
}

void keep_step(const Lab& lab, const StepPlan& plan, const Peak& peak, const StepSeries& series,
               const std::vector<ClassSeries>& classes, Record& record) {
  const Agreement agreement(lab.world);
  const double step_s = median(series.both);
  set_counter(record, "compute_only_s", median(series.compute));
  set_counter(record, "both_s", step_s);
  keep_quantiles("", series.both, record);
  keep_communication(series, record);
  keep_classes(classes, record);
  keep_rates(lab, plan, peak, step_s, record);
  keep_graph(series, record);
  keep_arrivals(agreement, series, classes, record);
  set_counter(record, "scale", plan.scale);
  set_counter(record, "step_flops", plan.gemm_flops);
  set_counter(record, "step_memory_bytes", plan.memory_bytes);
  set_counter(record, "step_gradient_bytes", plan.gradient_bytes);
  record.samples_s = series.both;
  record.rank_medians_s = agreement.each(median(series.own));
  record.series_s["compute_only"] = series.compute;
  record.series_s["both"] = series.both;
  if (series.communication.empty()) return;
  record.series_s["communication_only"] = series.communication;
  record.series_s["exposed"] = series.exposed;
}

}  // namespace farscale
