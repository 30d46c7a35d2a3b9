// A queue is a stream, an event is an event. Waiting watches the communicator of the collectives in the queue, so that
// a rank that died ends the wait with an error and not never.
#pragma once

#include <functional>
#include <memory>

#include "kernels/backend.h"
#include "kernels/cuda/communicator.h"
#include "kernels/cuda/handles.h"

namespace farscale::cuda {

class QueueEvent final : public Event {
 public:
  cudaEvent_t get() const { return event_.get(); }

  // The communicator whose collectives must end before this event: who waits for it watches them, too.
  std::shared_ptr<Communicator> watched;

 private:
  CudaEvent event_;
};

// Destroyed with work in it, the work still runs to its end (cudaStreamDestroy), and freeing its memory waits for it.
class CudaQueue final : public Queue {
 public:
  // Communication runs at the highest priority. Products on this queue share one workspace of at least
  // `workspace_bytes`.
  CudaQueue(QueueRole role, size_t workspace_bytes);

  cudaStream_t stream() const { return stream_.get(); }
  const DeviceMemory& workspace(size_t bytes);  // allocates only where a queue opened with less is asked for more
  void watch(std::shared_ptr<Communicator> communicator) { watched_ = std::move(communicator); }

  void record(Event& event) override;
  void wait_for(Event& event) override;
  void synchronize() override;
  // `meanwhile` is called once all runs are enqueued, while the device is at them.
  double time_s(Operation& operation, int64_t runs, const std::function<void()>& meanwhile);

 private:
  Stream stream_;
  CudaEvent start_;
  CudaEvent stop_;
  DeviceMemory workspace_;
  std::shared_ptr<Communicator> watched_;
};

// What this module prepared: it can put one run on a stream.
class CudaOperation : public Operation {
 public:
  void run(Queue& queue) final;

 protected:
  virtual void enqueue(CudaQueue& queue) = 0;
};

}  // namespace farscale::cuda
