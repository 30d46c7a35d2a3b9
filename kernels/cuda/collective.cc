// Buffers, NCCL calls and exact checks of the collectives. Sizes as in kernels/world.h: all_reduce S -> S, broadcast S,
// reduce_scatter S -> S/ranks, all_gather S/ranks -> S, all_to_all S -> S.
#include "kernels/cuda/collective.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "kernels/cuda/call.h"
#include "kernels/format.h"
#include "kernels/reference.h"

namespace farscale::cuda {
namespace {

using Prepared = Maybe<std::unique_ptr<Operation>>;

std::optional<ncclDataType_t> nccl_type(NumberType type) {
  switch (type) {
    case NumberType::kFp64:
      return ncclFloat64;
    case NumberType::kFp32:
      return ncclFloat32;
    case NumberType::kFp16:
      return ncclFloat16;
    case NumberType::kBf16:
      return ncclBfloat16;
    case NumberType::kInt8:
      return ncclInt8;
    default:
      return std::nullopt;
  }
}

class CollectiveOperation final : public CudaOperation {
 public:
  CollectiveOperation(const CollectiveProblem& problem, const Device& device,
                      std::shared_ptr<Communicator> communicator)
      : problem_(problem),
        device_(device),
        communicator_(std::move(communicator)),
        pattern_(problem),
        element_(static_cast<size_t>(bytes_per_element(problem.type))),
        send_bytes_(static_cast<size_t>(pattern_.send_elements()) * element_),
        receive_bytes_(static_cast<size_t>(pattern_.receive_elements()) * element_),
        memory_(problem.in_place ? std::max(send_bytes_, receive_bytes_) : aligned(send_bytes_) + receive_bytes_) {
    write_inputs();
  }

  Verdict verify() override;
  Facts details() const override {
    return {{"library", communicator_->library()},
            {"communicator_setup", format_seconds(communicator_->setup_s())},
            {"algorithm", "unknown (NCCL does not tell)"}};
  }

 protected:
  void enqueue(CudaQueue& queue) override {
    queue.watch(communicator_);
    issue(queue.stream());
  }

 private:
  // In place, the smaller side lies where NCCL wants it: at this rank's part of the larger one.
  size_t part_offset() const {
    return static_cast<size_t>(communicator_->rank()) * std::min(send_bytes_, receive_bytes_);
  }
  std::byte* send() const {
    const bool inside = problem_.in_place && send_bytes_ < receive_bytes_;
    return memory_.get() + (inside ? part_offset() : 0);
  }
  std::byte* receive() const {
    if (!problem_.in_place) return memory_.get() + aligned(send_bytes_);
    return memory_.get() + (receive_bytes_ < send_bytes_ ? part_offset() : 0);
  }
  void write_inputs();
  void issue(cudaStream_t stream);
  void exchange(size_t count, ncclDataType_t type, cudaStream_t stream);

  CollectiveProblem problem_;
  const Device& device_;
  std::shared_ptr<Communicator> communicator_;
  CollectivePattern pattern_;
  size_t element_;
  size_t send_bytes_;
  size_t receive_bytes_;
  DeviceMemory memory_;
};

void CollectiveOperation::write_inputs() {
  std::vector<std::byte> inputs(send_bytes_);
  pattern_.write(communicator_->rank(), inputs.data());
  device_.to_device(send(), inputs.data(), inputs.size());
}

void CollectiveOperation::issue(cudaStream_t stream) {
  Communicator& comm = *communicator_;
  comm.poll("enqueueing a collective");
  const NcclCalls& calls = comm.calls();
  const ncclDataType_t type = *nccl_type(problem_.type);
  const size_t sent = send_bytes_ / element_;
  const size_t received = receive_bytes_ / element_;
  switch (problem_.kind) {
    case CollectiveKind::kAllReduce:
      FARSCALE_ACCEPT(comm, calls.ncclAllReduce(send(), receive(), sent, type, ncclSum, comm.get(), stream));
      return;
    case CollectiveKind::kReduceScatter:
      FARSCALE_ACCEPT(comm, calls.ncclReduceScatter(send(), receive(), received, type, ncclSum, comm.get(), stream));
      return;
    case CollectiveKind::kAllGather:
      FARSCALE_ACCEPT(comm, calls.ncclAllGather(send(), receive(), sent, type, comm.get(), stream));
      return;
    case CollectiveKind::kBroadcast:
      FARSCALE_ACCEPT(comm, calls.ncclBroadcast(send(), receive(), sent, type, 0, comm.get(), stream));
      return;
    case CollectiveKind::kAllToAll:
      exchange(sent / static_cast<size_t>(problem_.ranks), type, stream);
      return;
    case CollectiveKind::kSendRecv:
      return;
  }
}

// All-to-all as grouped sends and receives: the form every NCCL has (its own ncclAlltoAll came with 2.28). The group is
// ended before anything is thrown: a thread left inside one would put every later call into it.
void CollectiveOperation::exchange(size_t count, ncclDataType_t type, cudaStream_t stream) {
  Communicator& comm = *communicator_;
  const NcclCalls& calls = comm.calls();
  FARSCALE_ACCEPT(comm, calls.ncclGroupStart());
  ncclResult_t sent = ncclSuccess;
  ncclResult_t received = ncclSuccess;
  const auto fine = [](ncclResult_t status) { return status == ncclSuccess || status == ncclInProgress; };
  for (int peer = 0; peer < problem_.ranks && fine(sent) && fine(received); ++peer) {
    const size_t offset = static_cast<size_t>(peer) * count * element_;
    sent = calls.ncclSend(send() + offset, count, type, peer, comm.get(), stream);
    if (fine(sent)) received = calls.ncclRecv(receive() + offset, count, type, peer, comm.get(), stream);
  }
  const ncclResult_t ended = calls.ncclGroupEnd();
  comm.accept(fine(sent) ? ncclSuccess : sent, "calls.ncclSend(send() + offset, count, type, peer, ...)");
  comm.accept(fine(received) ? ncclSuccess : received, "calls.ncclRecv(receive() + offset, count, type, peer, ...)");
  comm.accept(ended, "calls.ncclGroupEnd()");
}

Verdict CollectiveOperation::verify() {
  write_inputs();
  if (!problem_.in_place) {
    device_.poison(receive(), receive_bytes_);
    FARSCALE_CALL(cudaStreamSynchronize(device_.work()));
  }
  CudaQueue queue(QueueRole::kCommunication, 0);  // no products here
  run(queue);
  queue.synchronize();
  const std::vector<std::byte> received = device_.to_host(receive(), receive_bytes_);
  return pattern_.check(communicator_->rank(), received.data());
}

}  // namespace

Prepared prepare_collective(const CollectiveProblem& problem, const Device& device,
                            std::shared_ptr<Communicator> communicator) {
  if (!nccl_type(problem.type)) {
    return Prepared::absent(
        fmt::format("collectives of {} are not implemented: fp64, fp32, fp16, bf16 and int8 are", name(problem.type)));
  }
  if (problem.kind == CollectiveKind::kSendRecv) return Prepared::absent("send_recv is not implemented");
  if (problem.kind == CollectiveKind::kAllToAll && problem.in_place) {
    return Prepared::absent("NCCL has no all-to-all in place: a part would be overwritten before it is sent");
  }
  const double needed = 2.0 * static_cast<double>(problem.bytes);
  const auto free = static_cast<double>(device.free_bytes());
  if (needed > free) {
    return Prepared::absent(
        fmt::format("does not fit: {} of device memory needed, {} free", format_bytes(needed), format_bytes(free)));
  }
  return std::unique_ptr<Operation>(std::make_unique<CollectiveOperation>(problem, device, std::move(communicator)));
}

}  // namespace farscale::cuda
