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

// NCCL may then read and write the memory in place of its own buffers. A symmetric window is asked for where the
// library has them (2.27), otherwise a user buffer. NCCL does not tell whether a window became symmetric: from 2.28 on
// it answers with a window also where the GPUs cannot map each other's memory, and registers a user buffer behind it
// (src/dev_runtime.cc, ncclDevrWindowRegisterInGroup). Making one is collective.
class Registration {
 public:
  Registration(std::shared_ptr<Communicator> communicator, const NcclMemory& memory);
  ~Registration();
  Registration(const Registration&) = delete;
  Registration& operator=(const Registration&) = delete;
  std::string kind() const { return window_ != nullptr ? "window asked for" : "user buffer"; }

 private:
  void deregister();

  std::shared_ptr<Communicator> communicator_;
  ncclWindow_t window_ = nullptr;
  void* handle_ = nullptr;
};

}  // namespace farscale::cuda
