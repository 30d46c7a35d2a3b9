// Fitting the parts of one machine; each part says what it could not do.
#include "cluster/fit.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "cluster/gemm_model.h"
#include "kernels/error.h"
#include "kernels/format.h"
#include "results/statistics.h"

namespace farscale {
namespace {

// A range around a value from a relative spread on a log scale.
Quantity measured(double value, double log_sigma, std::string source) {
  const double factor = std::exp(1.645 * log_sigma);
  return {{value / factor, value, value * factor}, Evidence::kMeasured, fmt::format("measured: {}", source)};
}

struct Observation {
  const Record* record;
  int ranks;
  double time_s;
};

std::vector<Observation> observations(const std::vector<Run>& runs, const std::string& family) {
  std::vector<Observation> all;
  for (const Run& run : runs) {
    for (const Record* record : usable(run)) {
      if (record->family != family || record->samples_s.empty()) continue;
      const double time_s = median(record->samples_s);
      if (time_s > 0) all.push_back({record, run.ranks, time_s});
    }
  }
  return all;
}

// On a host, ranks share cores: compute is fitted to the records of the largest rank count, which scaling resembles.
std::vector<Observation> of_most_ranks(std::vector<Observation> all, FitReport& report) {
  int most = 0;
  for (const Observation& one : all) most = std::max(most, one.ranks);
  const size_t before = all.size();
  std::erase_if(all, [&](const Observation& one) { return one.ranks != most; });
  if (all.size() < before && !all.empty()) {
    report.notes.push_back(
        fmt::format("{} records of {} on fewer ranks than {} were left out: ranks share the host's cores",
                    before - all.size(), all.front().record->family, most));
  }
  return all;
}

std::string described(const std::vector<Run>& runs, size_t records, std::string_view what) {
  return fmt::format("{} {} records of {} on {}", records, what,
                     runs.front().path.empty() ? "a run" : runs.front().path, runs.front().device);
}

// What a machine without power or memory capacity in its records gets: nothing invented; 0 is unknown, not none.
Quantity unknown(const std::string& what) {
  return {{0, 0, 0}, Evidence::kAssumed, fmt::format("assumption: {} was not measured", what)};
}

// Links until collectives tell them: ranks of a host from slow Ethernet to shared memory, GPUs from half of PCIe 4 to
// NVLink 4. Communication must cost something, and the range must say that nobody knows how much.
Quantity assumed_link(const std::string& kind) {
  const Estimate rate = kind == "gpu" ? Estimate{5e9, 50e9, 450e9} : Estimate{1e9, 5e9, 25e9};
  return {rate, Evidence::kAssumed, "assumption: no collective records on several ranks"};
}

// Whether the records tell what a FLOP costs. Records of one size, or of small ones alone, do not: all of their time
// goes to launch or bytes, and the rate left over is far above any that was seen.
bool tells_rate(const GemmFit& fit, double best_flops_per_s) {
  constexpr double kMostAboveBest = 10;
  return fit.s_per_flop * best_flops_per_s * kMostAboveBest > 1;
}

// Then the best rate seen is all that is known: FLOPs at that rate, what is left over is launch.
void settle_rate(GemmFit& fit, double best_flops_per_s) {
  constexpr double kUnknownSplit = 0.3;  // log spread away from the records: assumption
  fit.s_per_flop = 1 / best_flops_per_s, fit.s_per_byte = 0, fit.multiprocessors = 1;
  std::vector<double> rest, misses;
  for (const GemmPoint& one : fit.points) rest.push_back(one.time_s - one.gemm.flops() * fit.s_per_flop);
  constexpr double kRounding = 1e-12;
  fit.launch_s = median(rest) > kRounding ? median(rest) : 0;
  for (const GemmPoint& one : fit.points) misses.push_back(std::abs(std::log(gemm_trend(fit, one.gemm) / one.time_s)));
  fit.log_sigma = std::max({kUnknownSplit, fit.log_sigma, quantile(misses, 0.9) / 1.645});
}

}  // namespace

void fit_gemm(const std::vector<Run>& runs, FitReport& report) {
  std::map<NumberType, std::vector<Observation>> by_type;
  for (const Observation& one : of_most_ranks(observations(runs, "gemm"), report)) {
    if (one.record->problem && std::holds_alternative<GemmProblem>(*one.record->problem)) {
      by_type[std::get<GemmProblem>(*one.record->problem).type].push_back(one);
    }
  }
  Machine::Data& model = report.model;
  double widest = 0;
  for (const auto& [type, all] : by_type) {
    std::vector<GemmPoint> points;
    double best = 0;
    for (const Observation& one : all) {
      const auto& gemm = std::get<GemmProblem>(*one.record->problem);
      points.push_back({gemm, one.time_s});
      best = std::max(best, gemm.flops() / one.time_s);
    }
    GemmFit fit = fit_gemms(points, model.multiprocessors);
    const bool told = tells_rate(fit, best);
    if (!told) {
      settle_rate(fit, best);
      report.notes.push_back(
          fmt::format("{} GEMMs: launch and rate cannot be told apart from these sizes: the best rate seen is taken; "
                      "measure small and large ones",
                      name(type)));
    }
    for (size_t i = 0; i < all.size(); ++i) {
      report.residuals.push_back({all[i].record->name, fmt::format("gemm {}", name(type)), all[i].ranks, all[i].time_s,
                                  gemm_trend(fit, points[i].gemm)});
    }
    model.gemm_fits[type] = fit;
    model.flops_per_s[type] = measured(best, 0.02, described(runs, all.size(), "GEMM") + ", best rate seen");
    widest = std::max(widest, fit.log_sigma);
    model.evidence.push_back(
        {fmt::format("{} GEMMs: {} and {} a launch, within {}", name(type), format_si(1 / fit.s_per_flop, "FLOP/s"),
                     format_seconds(fit.launch_s), format_percent(fit.log_sigma)),
         told ? Evidence::kMeasured : Evidence::kAssumed, described(runs, all.size(), "GEMM")});
  }
  if (by_type.empty()) {
    report.notes.push_back("no GEMM records: compute cannot be predicted from this model");
    return;
  }
  for (const KernelClass kind :
       {KernelClass::kLinear, KernelClass::kConvolution, KernelClass::kGroupedConvolution, KernelClass::kAttention}) {
    model.efficiency.tensor[kind] =
        kind == KernelClass::kLinear
            ? measured(1, 0.02, "GEMM records; shapes away from them are widened by their distance")
            : measured(1, std::max(0.2, widest), "GEMM records of the same shapes: other kernels, a wider range");
  }
}

void fit_memory(const std::vector<Run>& runs, FitReport& report) {
  const std::vector<Observation> all = of_most_ranks(observations(runs, "memory"), report);
  std::vector<double> rates;
  double largest = 0;
  for (const Observation& one : all) {
    if (one.record->problem && std::holds_alternative<MemoryProblem>(*one.record->problem)) {
      largest = std::max(largest, std::get<MemoryProblem>(*one.record->problem).bytes());
    }
  }
  std::vector<std::pair<const Observation*, double>> kept;
  for (const Observation& one : all) {
    if (!one.record->problem || !std::holds_alternative<MemoryProblem>(*one.record->problem)) continue;
    const double bytes = std::get<MemoryProblem>(*one.record->problem).bytes();
    if (bytes < largest / 8) continue;  // small arrays live in caches and say nothing about memory
    rates.push_back(bytes / one.time_s);
    kept.emplace_back(&one, bytes);
  }
  Machine::Data& model = report.model;
  if (rates.empty()) {
    model.memory_bytes_per_s = {{5e9, 20e9, 100e9}, Evidence::kAssumed, "assumption: no memory records"};
    report.notes.push_back("no memory records: bandwidth is an assumption");
    return;
  }
  const double rate = median(rates);
  double spread = 0.03;
  for (const double one : rates) spread = std::max(spread, std::abs(std::log(one / rate)) / 1.645);
  model.memory_bytes_per_s = measured(rate, spread, described(runs, rates.size(), "memory"));
  for (const auto& [one, bytes] : kept) {
    report.residuals.push_back({one->record->name, "memory", one->ranks, one->time_s, bytes / rate});
  }
  model.efficiency.memory = {{1, 1, 1}, Evidence::kMeasured, "measured: included in the bandwidth"};
  model.efficiency.gather = {{0.2, 0.5, 0.9}, Evidence::kAssumed, "assumption: gathers were not measured"};
}

void fit_steps(const std::vector<Run>& runs, FitReport& report) {
  Machine::Data& model = report.model;
  std::vector<double> overheads, slowdowns;
  const auto counter = [](const Record& record, const char* key) {
    const auto found = record.counters.find(key);
    return found == record.counters.end() ? 0.0 : found->second;
  };
  for (const Observation& one : of_most_ranks(observations(runs, "step"), report)) {
    const double flops = counter(*one.record, "step_flops");
    const double bytes = counter(*one.record, "step_memory_bytes");
    const double compute_s = counter(*one.record, "compute_only_s");
    if (flops <= 0 || compute_s <= 0 || model.gemm_fits.empty()) continue;
    const auto type = one.record->settings.find("type");
    auto fit = model.gemm_fits.begin();
    for (auto it = model.gemm_fits.begin(); it != model.gemm_fits.end(); ++it) {
      if (type != one.record->settings.end() && type->second == name(it->first)) fit = it;
    }
    const double modelled = flops * fit->second.s_per_flop + bytes / model.memory_bytes_per_s.value.p50;
    overheads.push_back(compute_s / modelled);
    report.residuals.push_back({one.record->name, "step, compute only", one.ranks, compute_s, modelled});
    const double slowdown = counter(*one.record, "compute_slowdown");
    if (one.ranks > 1 && slowdown > 0) slowdowns.push_back(std::max(0.0, slowdown - 1));
  }
  if (overheads.empty()) {
    model.efficiency.overhead = {{1, 1.1, 1.4}, Evidence::kAssumed, "assumption: no step records"};
    report.notes.push_back("no step records: what a step costs beyond its kernels is an assumption");
  } else {
    const double overhead = std::max(1.0, median(overheads));
    model.efficiency.overhead = measured(overhead, 0.05, described(runs, overheads.size(), "step"));
  }
  if (!slowdowns.empty()) {
    const double slowdown = median(slowdowns);
    model.collectives.interference = measured(slowdown, 0.3, described(runs, slowdowns.size(), "step"));
  } else {
    model.collectives.interference = {
        {0.02, 0.2, 1.0}, Evidence::kAssumed, "assumption: no step on several ranks was measured"};
  }
}

FitReport fit_model(const std::vector<Run>& runs) {
  if (runs.empty()) throw InputError("nothing to fit: name at least one result file");
  FitReport report;
  Machine::Data& model = report.model;
  read_shared(model);
  model.kind = runs.front().backend == "cuda" ? "gpu" : "host";
  for (const Run& run : runs) {
    report.sources.push_back(run.path);
    if (run.backend != runs.front().backend) {
      throw InputError(fmt::format("{}: backend {}, but {} is of {}: one model is of one kind of machine", run.path,
                                   run.backend, runs.front().path, runs.front().backend));
    }
    if (run.device != runs.front().device) {
      report.notes.push_back(fmt::format("{} is of '{}', not '{}': fitted together all the same", run.path, run.device,
                                         runs.front().device));
    }
    for (const std::string& warning : run.warnings) report.notes.push_back(fmt::format("{}: {}", run.path, warning));
    if (!run.complete) report.notes.push_back(fmt::format("{} is of a run that did not end", run.path));
  }
  const auto cores = runs.front().environment.find("multiprocessors");
  if (cores != runs.front().environment.end()) model.multiprocessors = std::max(1, std::atoi(cores->second.c_str()));
  model.name = fmt::format("{} model", model.kind);
  model.title = runs.front().device;
  std::map<std::string, int> per_host;
  for (const std::string& host : runs.back().hosts) ++per_host[host];
  for (const auto& [host, ranks] : per_host) model.gpus_per_node = std::max(model.gpus_per_node, ranks);
  model.scale_up_domain = std::max(1, model.gpus_per_node);
  model.memory_bytes = unknown("memory capacity");
  report.notes.push_back("memory capacity was not measured: no layout is refused for what it needs");
  model.cache_bytes = unknown("cache");
  model.limit_w = model.gpu_w = model.node_w = unknown("power");
  model.scale_up_bytes_per_s = model.nic_bytes_per_s = assumed_link(model.kind);
  fit_gemm(runs, report);
  fit_memory(runs, report);
  fit_collectives(runs, report);
  fit_steps(runs, report);
  fit_spread(runs, report);
  if (report.residuals.empty()) {
    throw InputError(
        fmt::format("{}: no usable gemm, memory, collective or step records: nothing to fit", runs.front().path));
  }
  // Collectives alone answer `predict --collective`.
  if (model.flops_per_s.empty() && model.collective_fits.empty()) {
    throw InputError(
        fmt::format("{}: no usable GEMM records: run `farscale run quick --only gemm,memory,collective,step` first",
                    runs.front().path));
  }
  if (!model.flops_per_s.empty() && !model.flops_per_s.contains(NumberType::kBf16)) {
    model.training_type = model.flops_per_s.begin()->first;
  }
  return report;
}

}  // namespace farscale
