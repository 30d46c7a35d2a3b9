// CUDA's handles, each wrapped once: move-only, made by a checked call, closed by the destructor. A destructor cannot
// throw and drops its call's status: CUDA reports there what an earlier call did wrong, and that call has thrown.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <memory>

namespace farscale::cuda {

class Stream {
 public:
  enum class Priority { kNormal, kHighest };
  explicit Stream(Priority priority = Priority::kNormal);  // does not wait for the legacy default stream
  cudaStream_t get() const { return handle_.get(); }

 private:
  struct Destroy {
    void operator()(cudaStream_t stream) const noexcept { (void)::cudaStreamDestroy(stream); }
  };
  std::unique_ptr<CUstream_st, Destroy> handle_;
};

class CudaEvent {
 public:
  enum class Timing { kOff, kOn };
  explicit CudaEvent(Timing timing = Timing::kOff);
  cudaEvent_t get() const { return handle_.get(); }

 private:
  struct Destroy {
    void operator()(cudaEvent_t event) const noexcept { (void)::cudaEventDestroy(event); }
  };
  std::unique_ptr<CUevent_st, Destroy> handle_;
};

// Device memory; 256-byte aligned as cudaMalloc gives it. Throws OutOfDeviceMemory.
class DeviceMemory {
 public:
  DeviceMemory() = default;
  explicit DeviceMemory(size_t bytes);
  std::byte* get() const { return handle_.get(); }
  size_t bytes() const { return bytes_; }

 private:
  struct Free {
    void operator()(std::byte* memory) const noexcept { (void)::cudaFree(memory); }
  };
  std::unique_ptr<std::byte, Free> handle_;
  size_t bytes_ = 0;
};

// A recorded list of work that launches as one.
class Graph {
 public:
  // Records what `enqueue` puts on the stream, without running it. Work of other threads is not affected.
  template <typename Enqueue>
  static Graph record(cudaStream_t stream, Enqueue&& enqueue) {
    begin(stream);
    try {
      enqueue();
    } catch (...) {
      cancel(stream);
      throw;
    }
    return Graph(stream);
  }
  void launch(cudaStream_t stream) const;

 private:
  explicit Graph(cudaStream_t stream);  // ends the recording
  static void begin(cudaStream_t stream);
  static void cancel(cudaStream_t stream) noexcept;
  struct DestroyGraph {
    void operator()(cudaGraph_t graph) const noexcept { (void)::cudaGraphDestroy(graph); }
  };
  struct DestroyExecutable {
    void operator()(cudaGraphExec_t graph) const noexcept { (void)::cudaGraphExecDestroy(graph); }
  };
  std::unique_ptr<CUgraph_st, DestroyGraph> graph_;
  std::unique_ptr<CUgraphExec_st, DestroyExecutable> executable_;
};

}  // namespace farscale::cuda
