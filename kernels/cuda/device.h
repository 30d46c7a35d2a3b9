// One GPU as the operations see it: its sizes, a stream for setting up and checking, and copies to and from host
// memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "kernels/backend.h"
#include "kernels/cuda/handles.h"

namespace farscale::cuda {

class Device {
 public:
  explicit Device(int index);  // makes the GPU the current one of this thread

  int index() const { return index_; }
  const std::string& name() const { return name_; }
  const std::string& pci_bus_id() const { return pci_bus_id_; }
  int capability() const { return capability_; }  // 90 for compute capability 9.0
  int multiprocessors() const { return multiprocessors_; }
  double memory_bytes() const { return memory_bytes_; }
  double cache_bytes() const { return cache_bytes_; }  // L2

  void use() const;           // makes it the calling thread's current GPU
  size_t free_bytes() const;  // a case may use: nine tenths of what is free now
  cudaStream_t work() const { return work_.get(); }

  // What cuBLASLt may use beside the operands. cuBLAS documentation, "cublasLtMatmul workspace": 32 MiB is recommended
  // on Hopper and newer, 4 MiB before. Products of one stream share one; this is the work stream's.
  size_t workspace_bytes() const { return size_t{capability() >= 90 ? 32U : 4U} << 20; }
  const DeviceMemory& workspace() const;

  std::vector<std::byte> to_host(const void* from, size_t bytes) const;  // blocks
  void to_device(void* to, const void* from, size_t bytes) const;        // blocks
  void poison(void* memory, size_t bytes) const;  // bytes of 0xFF: NaN in every floating-point type, -1 in int8
  // Enqueues copies of the first of `sets` pieces of memory, one after the other, into all others.
  void repeat(std::byte* first, size_t set_bytes, int64_t sets) const;

 private:
  int index_;
  std::string name_;
  std::string pci_bus_id_;
  int capability_ = 0;
  int multiprocessors_ = 0;
  double memory_bytes_ = 0;
  double cache_bytes_ = 0;
  Stream work_;
  mutable DeviceMemory workspace_;  // made when first asked for
};

// How many copies of a case's buffers to rotate through: more than twice the last-level cache when cold, as far as the
// memory goes and up to kMostSets; at least one.
int64_t rotation(size_t set_bytes, bool cold, const Device& device);

// More sets than this only cost time: what is so small that a cache holds as many is bound by its launch.
inline constexpr int64_t kMostSets = 4096;

// "30", or why so few that the cache may hold them all.
std::string rotation_text(int64_t sets, size_t set_bytes, bool cold, const Device& device);

// Rounded up to the alignment cudaMalloc gives.
constexpr size_t aligned(size_t bytes) { return (bytes + 255) / 256 * 256; }

}  // namespace farscale::cuda
