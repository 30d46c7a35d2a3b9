// Devices and memory of the fake CUDA runtime.
#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>

#include "kernels/cuda/fake/stream.h"

using farscale::fake::count_alive;
using farscale::fake::enqueue;
using farscale::fake::fails;
using farscale::fake::Lock;
using farscale::fake::state;

namespace {

constexpr double kMemoryBytes_per_s = 1e12;
constexpr size_t kPoisoned = 64 << 10;  // of fresh memory: workspaces are large and hardly touched

int64_t allocated() {
  int64_t bytes = 0;
  for (const auto& [memory, size] : state().memory) bytes += size;
  return bytes;
}

// As many as CUDA_VISIBLE_DEVICES lists, as the driver hides the others.
int visible(int devices) {
  const char* list = std::getenv("CUDA_VISIBLE_DEVICES");
  if (list == nullptr || devices <= 0) return devices;
  const std::string_view text = list;
  const auto listed = text.empty() ? 0 : 1 + std::count(text.begin(), text.end(), ',');
  return std::min(devices, static_cast<int>(listed));
}

}  // namespace

extern "C" {

cudaError_t cudaGetDeviceCount(int* count) {
  if (fails("cudaGetDeviceCount")) return cudaErrorUnknown;
  const int devices = visible(state().machine.devices);
  *count = std::max(devices, 0);
  if (devices > 0) return cudaSuccess;
  return devices == 0 ? cudaErrorNoDevice : static_cast<cudaError_t>(-devices);
}

cudaError_t cudaSetDevice(int device) {
  if (fails("cudaSetDevice")) return cudaErrorUnknown;
  return device >= 0 && device < state().machine.devices ? cudaSuccess : cudaErrorInvalidDevice;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int) {
  if (fails("cudaGetDeviceProperties")) return cudaErrorUnknown;
  const auto& machine = state().machine;
  std::snprintf(properties->name, sizeof properties->name, "Fake GPU (host memory)");
  properties->major = machine.major;
  properties->minor = machine.minor;
  properties->multiProcessorCount = 2;
  properties->totalGlobalMem = static_cast<size_t>(machine.memory_bytes);
  return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
  if (fails("cudaDeviceGetAttribute")) return cudaErrorUnknown;
  if (attribute != cudaDevAttrL2CacheSize) return cudaErrorInvalidValue;
  *value = state().machine.cache_bytes;
  return cudaSuccess;
}

cudaError_t cudaDeviceGetPCIBusId(char* text, int length, int device) {
  if (fails("cudaDeviceGetPCIBusId")) return cudaErrorUnknown;
  std::snprintf(text, static_cast<size_t>(length), "0000:%02X:00.0", device + 1);
  return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int* version) {
  if (fails("cudaRuntimeGetVersion")) return cudaErrorUnknown;
  *version = CUDART_VERSION;
  return cudaSuccess;
}

cudaError_t cudaDriverGetVersion(int* version) {
  if (fails("cudaDriverGetVersion")) return cudaErrorUnknown;
  *version = CUDART_VERSION;
  return cudaSuccess;
}

cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  if (fails("cudaMemGetInfo")) return cudaErrorUnknown;
  const Lock lock(state().mutex);
  *total = static_cast<size_t>(state().machine.memory_bytes);
  *free = static_cast<size_t>(std::max<int64_t>(0, state().machine.memory_bytes - allocated()));
  return cudaSuccess;
}

cudaError_t cudaMalloc(void** memory, size_t bytes) {
  if (fails("cudaMalloc")) return cudaErrorMemoryAllocation;
  const Lock lock(state().mutex);
  const auto size = static_cast<int64_t>(bytes);
  if (allocated() + size > state().machine.memory_bytes) return cudaErrorMemoryAllocation;
  *memory = std::aligned_alloc(256, (bytes + 255) / 256 * 256);
  std::memset(*memory, 0xCB, std::min(bytes, kPoisoned));
  state().memory[*memory] = size;
  count_alive("device memory", 1);
  return cudaSuccess;
}

cudaError_t cudaFree(void* memory) {
  const bool failing = fails("cudaFree");
  const Lock lock(state().mutex);
  if (state().memory.erase(memory) == 0) return cudaErrorInvalidValue;
  std::free(memory);
  count_alive("device memory", -1);
  return failing ? cudaErrorUnknown : cudaSuccess;
}

cudaError_t cudaMallocHost(void** memory, size_t bytes) {
  if (fails("cudaMallocHost")) return cudaErrorMemoryAllocation;
  *memory = std::malloc(bytes);
  count_alive("pinned memory", 1);
  return cudaSuccess;
}

cudaError_t cudaFreeHost(void* memory) {
  const bool failing = fails("cudaFreeHost");
  std::free(memory);
  count_alive("pinned memory", -1);
  return failing ? cudaErrorUnknown : cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind, cudaStream_t stream) {
  if (fails("cudaMemcpyAsync")) return cudaErrorUnknown;
  enqueue(stream, double(bytes) / kMemoryBytes_per_s, [=] { std::memcpy(to, from, bytes); });
  return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void* memory, int value, size_t bytes, cudaStream_t stream) {
  if (fails("cudaMemsetAsync")) return cudaErrorUnknown;
  enqueue(stream, double(bytes) / kMemoryBytes_per_s, [=] { std::memset(memory, value, bytes); });
  return cudaSuccess;
}

cudaError_t cudaGetLastError() { return cudaSuccess; }

const char* cudaGetErrorName(cudaError_t error) {
  switch (error) {
    case cudaErrorMemoryAllocation:
      return "cudaErrorMemoryAllocation";
    case cudaErrorNoDevice:
      return "cudaErrorNoDevice";
    case cudaErrorInsufficientDriver:
      return "cudaErrorInsufficientDriver";
    case cudaErrorStubLibrary:
      return "cudaErrorStubLibrary";
    case cudaErrorLaunchFailure:
      return "cudaErrorLaunchFailure";
    default:
      return "cudaErrorUnknown";
  }
}

const char* cudaGetErrorString(cudaError_t) { return "made to fail by the fake CUDA runtime"; }

}  // extern "C"
