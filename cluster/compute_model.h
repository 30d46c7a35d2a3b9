// How long the kernels of a step take on one GPU: GEMMs by tile and wave quantisation or by memory, passes by memory,
// each with its start. Times are split into components so that a draw of the efficiencies can rescale them.
#pragma once

#include <array>
#include <cstdint>

#include "cluster/gemm_model.h"
#include "cluster/machine.h"
#include "workloads/workload.h"

namespace farscale {

// What a second of a kernel is owed to; a draw multiplies each by its own factor.
enum class Component : uint8_t { kLinear, kConvolution, kGrouped, kAttention, kMemory, kLaunch };
inline constexpr size_t kComponents = 6;
using ComponentTimes = std::array<double, kComponents>;

double sum(const ComponentTimes& times);
inline double dot(const ComponentTimes& times, const ComponentTimes& factors) {
  double total = 0;
  for (size_t i = 0; i < kComponents; ++i) total += times[i] * factors[i];
  return total;
}
void add(ComponentTimes& to, const ComponentTimes& times);

// Seconds of a task (all its launches), by component, at the machine's median parameters.
ComponentTimes task_time(const Machine::Data& machine, const StepTask& task);

// How far a task's shape is from what was measured on the machine, as the log-sigma of its time; 0 where no GEMM was
// measured (the ranges of the learned efficiencies speak then) and for memory passes.
double task_log_sigma(const Machine::Data& machine, const StepTask& task);

}  // namespace farscale
