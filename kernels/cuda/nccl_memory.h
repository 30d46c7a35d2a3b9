// Device memory that NCCL knows: allocated by it, and registered with a communicator.
#pragma once

#include <memory>
#include <string>

#include "kernels/cuda/communicator.h"

namespace farscale::cuda {

// ncclMemAlloc; given back by ncclMemFree.
class NcclMemory {
 public:
  NcclMemory() = default;
  NcclMemory(const std::shared_ptr<Communicator>& communicator, size_t bytes);
  std::byte* get() const { return handle_.get(); }
  size_t bytes() const { return bytes_; }

 private:
  struct Free {
    std::shared_ptr<Communicator> communicator;  // the library must outlive its memory
    void operator()(std::byte* memory) const noexcept { (void)communicator->calls().ncclMemFree(memory); }
  };
  std::unique_ptr<std::byte, Free> handle_;
  size_t bytes_ = 0;
};

// NCCL may then read and write the memory in place of its own buffers. As a symmetric window where the library (2.27)
// and the links between the GPUs allow it, otherwise as a user buffer. Making one is collective.
class Registration {
 public:
  Registration(std::shared_ptr<Communicator> communicator, const NcclMemory& memory);
  ~Registration();
  Registration(const Registration&) = delete;
  Registration& operator=(const Registration&) = delete;
  std::string kind() const { return window_ != nullptr ? "symmetric window" : "user buffer"; }

 private:
  void deregister();

  std::shared_ptr<Communicator> communicator_;
  ncclWindow_t window_ = nullptr;
  void* handle_ = nullptr;
};

}  // namespace farscale::cuda
