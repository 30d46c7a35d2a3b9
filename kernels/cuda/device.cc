// Asking a GPU what it is, and moving bytes.
#include "kernels/cuda/device.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "kernels/cuda/call.h"

namespace farscale::cuda {
namespace {

int select(int index) {
  FARSCALE_CALL(cudaSetDevice(index));
  return index;
}

int attribute(cudaDeviceAttr which, int device) {
  int value = 0;
  FARSCALE_CALL(cudaDeviceGetAttribute(&value, which, device));
  return value;
}

}  // namespace

Device::Device(int index) : index_(select(index)) {
  cudaDeviceProp properties{};
  FARSCALE_CALL(cudaGetDeviceProperties(&properties, index));
  name_ = properties.name;
  std::array<char, 32> pci{};
  FARSCALE_CALL(cudaDeviceGetPCIBusId(pci.data(), static_cast<int>(pci.size()), index));
  pci_bus_id_ = pci.data();
  capability_ = 10 * properties.major + properties.minor;
  multiprocessors_ = properties.multiProcessorCount;
  memory_bytes_ = static_cast<double>(properties.totalGlobalMem);
  cache_bytes_ = attribute(cudaDevAttrL2CacheSize, index);
}

void Device::use() const { (void)select(index_); }

size_t Device::free_bytes() const {
  size_t free = 0;
  size_t total = 0;
  FARSCALE_CALL(cudaMemGetInfo(&free, &total));
  return free / 10 * 9;
}

const DeviceMemory& Device::workspace() const {
  if (workspace_.bytes() == 0) workspace_ = DeviceMemory(workspace_bytes());
  return workspace_;
}

std::vector<std::byte> Device::to_host(const void* from, size_t bytes) const {
  std::vector<std::byte> to(bytes);
  FARSCALE_CALL(cudaMemcpyAsync(to.data(), from, bytes, cudaMemcpyDeviceToHost, work()));
  FARSCALE_CALL(cudaStreamSynchronize(work()));
  return to;
}

void Device::to_device(void* to, const void* from, size_t bytes) const {
  FARSCALE_CALL(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, work()));
  FARSCALE_CALL(cudaStreamSynchronize(work()));
}

// Each copy doubles what there is.
void Device::repeat(std::byte* first, size_t set_bytes, int64_t sets) const {
  for (int64_t done = 1; done < sets; done *= 2) {
    const auto more = static_cast<size_t>(std::min(done, sets - done));
    FARSCALE_CALL(cudaMemcpyAsync(first + static_cast<size_t>(done) * set_bytes, first, more * set_bytes,
                                  cudaMemcpyDeviceToDevice, work()));
  }
}

void Device::poison(void* memory, size_t bytes) const { FARSCALE_CALL(cudaMemsetAsync(memory, 0xFF, bytes, work())); }

int64_t rotation(size_t set_bytes, bool cold, const Device& device) {
  if (!cold) return 1;
  const auto wanted = static_cast<int64_t>(2 * device.cache_bytes() / static_cast<double>(set_bytes)) + 1;
  const auto room = static_cast<int64_t>(device.free_bytes() / set_bytes);
  return std::max<int64_t>(1, std::min({wanted, room, kMostSets}));
}

std::string rotation_text(int64_t sets, size_t set_bytes, bool cold, const Device& device) {
  if (!cold || static_cast<double>(sets) * static_cast<double>(set_bytes) > device.cache_bytes()) {
    return fmt::format("{}", sets);
  }
  return fmt::format("{}, which the cache can hold: not cold", sets);
}

}  // namespace farscale::cuda
