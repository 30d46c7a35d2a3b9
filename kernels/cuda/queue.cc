// Streams, their events, and waiting that ends.
#include "kernels/cuda/queue.h"

#include <limits>

#include "kernels/cuda/call.h"

namespace farscale::cuda {
namespace {

QueueEvent& ours(Event& event) {
  auto* known = dynamic_cast<QueueEvent*>(&event);
  if (known == nullptr) throw InputError("an event of another backend was given to a CUDA queue");
  return *known;
}

}  // namespace

CudaQueue::CudaQueue(QueueRole role, size_t workspace_bytes)
    : stream_(role == QueueRole::kCommunication ? Stream::Priority::kHighest : Stream::Priority::kNormal),
      start_(CudaEvent::Timing::kOn),
      stop_(CudaEvent::Timing::kOn),
      workspace_(workspace_bytes) {}

const DeviceMemory& CudaQueue::workspace(size_t bytes) {
  if (workspace_.bytes() < bytes) workspace_ = DeviceMemory(bytes);
  return workspace_;
}

void CudaQueue::record(Event& event) {
  ours(event).watched = watched_;
  FARSCALE_CALL(cudaEventRecord(ours(event).get(), stream()));
}

void CudaQueue::wait_for(Event& event) {
  if (ours(event).watched) watched_ = ours(event).watched;
  FARSCALE_CALL(cudaStreamWaitEvent(stream(), ours(event).get(), 0));
}

void CudaQueue::synchronize() {
  const double deadline_s = watched_ ? watched_->deadlines().operation_s : std::numeric_limits<double>::infinity();
  Patience patience(deadline_s);
  cudaError_t status = ::cudaStreamQuery(stream());
  for (; status == cudaErrorNotReady; status = ::cudaStreamQuery(stream())) {
    (void)::cudaGetLastError();  // "not ready" is no error, but the next launch would find it
    if (watched_) watched_->poll("cudaStreamQuery(stream())");
    if (!patience.wait()) watched_->fail("waiting for collectives", "the other ranks made no progress in time");
  }
  check(status, "cudaStreamQuery(stream())", std::source_location::current());
  if (watched_) watched_->poll("cudaStreamQuery(stream())");
}

double CudaQueue::time_s(Operation& operation, int64_t runs, const std::function<void()>& meanwhile) {
  FARSCALE_CALL(cudaEventRecord(start_.get(), stream()));
  for (int64_t i = 0; i < runs; ++i) operation.run(*this);
  FARSCALE_CALL(cudaEventRecord(stop_.get(), stream()));
  meanwhile();
  synchronize();
  float milliseconds = 0;
  FARSCALE_CALL(cudaEventElapsedTime(&milliseconds, start_.get(), stop_.get()));
  return static_cast<double>(milliseconds) * 1e-3;
}

void CudaOperation::run(Queue& queue) {
  auto* known = dynamic_cast<CudaQueue*>(&queue);
  if (known == nullptr) throw InputError("a queue of another backend was given to a CUDA operation");
  enqueue(*known);
}

}  // namespace farscale::cuda
