// GEMMs from records or data sheets, the memory-bound side and launches.
#include "cluster/compute_model.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace farscale {
namespace {

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

// The fit of the type that a task runs in, if its GEMMs were measured.
const GemmFit* fit_of(const Machine::Data& machine, const StepTask& task) {
  if (task.gemm.m <= 0 || machine.gemm_fits.empty()) return nullptr;
  const auto fit = machine.gemm_fits.find(available_type(machine, task.gemm.type));
  return fit == machine.gemm_fits.end() ? nullptr : &fit->second;
}

// From a fit to records. A task's own FLOPs and bytes may differ from its GEMM's (causal halves, fused operands).
ComponentTimes fitted_gemm(const GemmFit& fit, const StepTask& task) {
  const GemmEstimate one = gemm_estimate(fit, task.gemm);
  ComponentTimes times{};
  times[size_t(component_of(task.kind))] = one.flops_s * task.flops / task.gemm.flops();
  times[size_t(Component::kMemory)] = one.bytes_s * task.bytes / task.gemm.bytes();
  times[size_t(Component::kLaunch)] = one.launch_s * double(task.count);
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

ComponentTimes task_time(const Machine::Data& machine, const StepTask& task) {
  ComponentTimes times{};
  const bool tensor = task.gemm.m > 0;
  if (const GemmFit* fit = fit_of(machine, task)) return fitted_gemm(*fit, task);
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

double task_log_sigma(const Machine::Data& machine, const StepTask& task) {
  const GemmFit* fit = fit_of(machine, task);
  return fit == nullptr ? 0 : gemm_estimate(*fit, task.gemm).log_sigma;
}

}  // namespace farscale
