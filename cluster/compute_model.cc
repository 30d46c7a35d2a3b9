// Tile and wave quantisation, the memory-bound side and launches.
#include "cluster/compute_model.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace farscale {
namespace {

// Output tiles of dense kernels and what a multiprocessor attains in them against the largest tile: smaller tiles load
// more bytes for each FLOP from shared memory (arithmetic intensity m n / (m + n)).
struct Tile {
  int m, n;
  double share;
};
constexpr Tile kTiles[] = {{256, 128, 1.00}, {128, 256, 1.00}, {128, 128, 0.95}, {128, 64, 0.82},
                           {64, 128, 0.82},  {64, 64, 0.68},   {256, 32, 0.60},  {32, 256, 0.60},
                           {64, 32, 0.45},   {32, 64, 0.45},   {32, 32, 0.30}};
constexpr double kPrologue = 96;  // k-steps' worth of filling and draining a tile's pipeline
constexpr double kSplits[] = {1, 2, 4, 8, 16, 32, 64};

double ceil_div(double a, double b) { return std::ceil(a / b); }

Component component_of(KernelClass kind) {
  switch (kind) {
    case KernelClass::kConvolution:
      return Component::kConvolution;
    case KernelClass::kGroupedConvolution:
      return Component::kGrouped;
    case KernelClass::kAttention:
      return Component::kAttention;
    default:
      return Component::kLinear;
  }
}

KernelClass tensor_class(KernelClass kind) {
  switch (kind) {
    case KernelClass::kConvolution:
    case KernelClass::kGroupedConvolution:
    case KernelClass::kAttention:
      return kind;
    default:
      return KernelClass::kLinear;
  }
}

double memory_time(const Machine::Data& machine, const StepTask& task) {
  const Quantity& share = task.kind == KernelClass::kGather ? machine.efficiency.gather : machine.efficiency.memory;
  return task.bytes / (machine.memory_bytes_per_s.value.p50 * share.value.p50);
}

// From a fit to records: launch + flops + bytes.
ComponentTimes fitted_gemm(const GemmFit& fit, const StepTask& task) {
  ComponentTimes times{};
  times[size_t(component_of(task.kind))] = fit.s_per_flop * task.flops;
  times[size_t(Component::kMemory)] = fit.s_per_byte * task.bytes;
  times[size_t(Component::kLaunch)] = fit.launch_s * double(task.count);
  return times;
}

double tensor_time(const Machine::Data& machine, const StepTask& task) {
  const NumberType type = available_type(machine, task.gemm.type);
  const auto rate = machine.flops_per_s.find(type);
  const double peak = rate == machine.flops_per_s.end() ? 1e12 : rate->second.value.p50;
  const double share = machine.efficiency.tensor.at(tensor_class(task.kind)).value.p50;
  // Attention runs fused, in its own tiles: no padding beyond the class's share.
  if (task.kind == KernelClass::kAttention) return task.flops / (peak * share);
  const double padding = quantised_flops(task.gemm, machine.multiprocessors) / task.gemm.flops();
  return task.flops * padding / (peak * share);
}

}  // namespace

double sum(const ComponentTimes& times) { return std::accumulate(times.begin(), times.end(), 0.0); }

void add(ComponentTimes& to, const ComponentTimes& times) {
  for (size_t i = 0; i < kComponents; ++i) to[i] += times[i];
}

double quantised_flops(const GemmProblem& gemm, int multiprocessors) {
  const double k = double(gemm.k);
  double best = INFINITY;
  for (const Tile& tile : kTiles) {
    const double tiles = ceil_div(double(gemm.m), tile.m) * ceil_div(double(gemm.n), tile.n) * double(gemm.batch);
    for (const double split : kSplits) {
      if (split > 1 && k / split < 128) break;
      // Tiles over multiprocessors in whole waves; half of the last wave's idle time is won back by unequal tiles
      // (stream-K, two resident blocks).
      const double waves = tiles * split / multiprocessors;
      const double whole = waves < 1 ? 1 : 0.5 * (waves + std::ceil(waves));
      const double steps = k / split + kPrologue + (split > 1 ? 32 * std::log2(split) : 0);
      best = std::min(best, whole * multiprocessors * 2.0 * tile.m * tile.n * steps / tile.share);
      if (waves > 4) break;  // splitting cannot help a full machine
    }
  }
  return std::max(best, gemm.flops());
}

ComponentTimes task_time(const Machine::Data& machine, const StepTask& task) {
  ComponentTimes times{};
  const bool tensor = task.gemm.m > 0;
  if (tensor && !machine.gemm_fits.empty()) {
    const auto fit = machine.gemm_fits.find(available_type(machine, task.gemm.type));
    if (fit != machine.gemm_fits.end()) return fitted_gemm(fit->second, task);
  }
  times[size_t(Component::kLaunch)] = machine.efficiency.launch_s.value.p50 * double(task.count);
  const double memory_s = memory_time(machine, task);
  const double tensor_s = tensor ? tensor_time(machine, task) : 0;
  if (tensor_s > memory_s) {
    times[size_t(component_of(task.kind))] = tensor_s;
  } else {
    times[size_t(Component::kMemory)] = memory_s;
  }
  return times;
}

}  // namespace farscale
