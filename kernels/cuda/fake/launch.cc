// The kernels of kernels.cu as plain loops on the host.
#include "kernels/cuda/launch.h"

#include <cmath>
#include <cstring>

#include "kernels/cuda/fake/stream.h"
#include "kernels/elements.h"
#include "kernels/reference.h"

namespace farscale::cuda {
namespace {

double cost_s(double bytes) { return 2e-6 + bytes / 1e12; }

double array_bytes(NumberType type, int64_t count) { return bytes_per_element(type) * static_cast<double>(count); }

bool wide(NumberType type) { return type == NumberType::kFp32 || type == NumberType::kFp64; }

// tf32 inputs are fp32 numbers with the 13 lowest mantissa bits zero.
void round_to_tf32(void* data, int64_t count) {
  auto* bits = static_cast<uint32_t*>(data);
  for (int64_t i = 0; i < count; ++i) bits[i] = (bits[i] + 0x1000U) & 0xFFFFE000U;
}

template <typename T>
void triad(const TriadTask& task) {
  const auto* x = static_cast<const T*>(task.x);
  const auto* y = static_cast<const T*>(task.y);
  auto* z = static_cast<T*>(task.z);
  for (int64_t i = 0; i < task.count; ++i) z[i] = x[i] + static_cast<T>(task.scale) * y[i];
}

template <typename T>
void adamw(const AdamWTask& task) {
  auto* p = static_cast<T*>(task.p);
  auto* m = static_cast<T*>(task.m);
  auto* v = static_cast<T*>(task.v);
  const auto* g = static_cast<const T*>(task.g);
  const AdamWStep<T> step;
  for (int64_t i = 0; i < task.count; ++i) adamw_update(p[i], m[i], v[i], g[i], step);
}

}  // namespace

cudaError_t launch_fill(const FillTask& task, cudaStream_t stream) {
  if (fake::fails("launch_fill")) return cudaErrorLaunchFailure;
  fake::enqueue(stream, cost_s(array_bytes(task.type, task.count)), [task] {
    fill(task.type, task.to, {.first = 0, .count = task.count}, task.data, task.seed);
    if (task.type == NumberType::kTf32) round_to_tf32(task.to, task.count);
  });
  return cudaSuccess;
}

cudaError_t launch_copy(const void* x, void* y, int64_t bytes, cudaStream_t stream) {
  if (fake::fails("launch_copy")) return cudaErrorLaunchFailure;
  fake::enqueue(stream, cost_s(2.0 * static_cast<double>(bytes)),
                [=] { std::memcpy(y, x, static_cast<size_t>(bytes)); });
  return cudaSuccess;
}

cudaError_t launch_triad(const TriadTask& task, cudaStream_t stream) {
  if (fake::fails("launch_triad")) return cudaErrorLaunchFailure;
  if (!wide(task.type)) return cudaErrorNotSupported;
  fake::enqueue(stream, cost_s(3 * array_bytes(task.type, task.count)), [task] {
    if (task.type == NumberType::kFp64) triad<double>(task);
    if (task.type == NumberType::kFp32) triad<float>(task);
  });
  return cudaSuccess;
}

cudaError_t launch_adamw(const AdamWTask& task, cudaStream_t stream) {
  if (fake::fails("launch_adamw")) return cudaErrorLaunchFailure;
  if (!wide(task.type)) return cudaErrorNotSupported;
  fake::enqueue(stream, cost_s(7 * array_bytes(task.type, task.count)), [task] {
    if (task.type == NumberType::kFp64) adamw<double>(task);
    if (task.type == NumberType::kFp32) adamw<float>(task);
  });
  return cudaSuccess;
}

}  // namespace farscale::cuda
