// The input copy and its check.
#include "kernels/cuda/input.h"

#include <fmt/format.h>

#include <cstring>

#include "kernels/cuda/call.h"
#include "kernels/format.h"

namespace farscale::cuda {
namespace {

using Prepared = Maybe<std::unique_ptr<Operation>>;

// Pinned memory: copies from it run beside kernels, and the bus reaches it without the processor.
class HostMemory {
 public:
  explicit HostMemory(size_t bytes) {
    void* memory = nullptr;
    FARSCALE_CALL(cudaMallocHost(&memory, bytes));
    handle_.reset(static_cast<unsigned char*>(memory));
  }
  unsigned char* get() const { return handle_.get(); }

 private:
  struct Free {
    void operator()(unsigned char* memory) const noexcept { (void)::cudaFreeHost(memory); }
  };
  std::unique_ptr<unsigned char, Free> handle_;
};

class InputOperation final : public CudaOperation {
 public:
  InputOperation(size_t bytes, const Device& device) : device_(device), bytes_(bytes), staged_(bytes), arrived_(bytes) {
    for (size_t i = 0; i < bytes; ++i) staged_.get()[i] = static_cast<unsigned char>(i * 131 >> 3);
  }

  Verdict verify() override {
    device_.poison(arrived_.get(), bytes_);
    copy(device_.work());
    const std::vector<std::byte> arrived = device_.to_host(arrived_.get(), bytes_);
    const bool same = std::memcmp(arrived.data(), staged_.get(), bytes_) == 0;
    return {.correct = same, .worst_error = same ? 0.0 : 1.0, .bound = 0, .detail = "every byte compared"};
  }
  Facts details() const override { return {{"memory", "pinned"}}; }

 protected:
  void enqueue(CudaQueue& queue) override { copy(queue.stream()); }

 private:
  void copy(cudaStream_t stream) {
    FARSCALE_CALL(cudaMemcpyAsync(arrived_.get(), staged_.get(), bytes_, cudaMemcpyHostToDevice, stream));
  }

  const Device& device_;
  size_t bytes_;
  HostMemory staged_;
  DeviceMemory arrived_;
};

}  // namespace

Prepared prepare_input(int64_t bytes, const Device& device) {
  const auto needed = static_cast<size_t>(bytes);
  const size_t free = device.free_bytes();
  if (needed > free) {
    return Prepared::absent(fmt::format("does not fit: {} of device memory needed, {} free",
                                        format_bytes(double(needed)), format_bytes(double(free))));
  }
  return std::unique_ptr<Operation>(std::make_unique<InputOperation>(needed, device));
}

}  // namespace farscale::cuda
