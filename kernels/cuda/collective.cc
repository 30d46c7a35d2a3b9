// Buffers, NCCL calls and exact checks of the collectives. Sizes as in kernels/world.h: all_reduce S -> S, broadcast S,
// reduce_scatter S -> S/ranks, all_gather S/ranks -> S, all_to_all and send_recv S -> S.
#include "kernels/cuda/collective.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "kernels/cuda/call.h"
#include "kernels/cuda/handles.h"
#include "kernels/cuda/nccl_choice.h"
#include "kernels/cuda/nccl_memory.h"
#include "kernels/format.h"
#include "kernels/reference.h"

namespace farscale::cuda {
namespace {

using Prepared = Maybe<std::unique_ptr<Operation>>;

constexpr int kFp8From = NCCL_VERSION(2, 24, 0);

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
    case NumberType::kFp8E4M3:
      return ncclFloat8e4m3;
    case NumberType::kFp8E5M2:
      return ncclFloat8e5m2;
    default:
      return std::nullopt;
  }
}

const char* name_of_call(CollectiveKind kind) {
  switch (kind) {
    case CollectiveKind::kAllReduce:
      return "ncclAllReduce(send, receive, count, type, ncclSum, communicator, stream)";
    case CollectiveKind::kReduceScatter:
      return "ncclReduceScatter(send, receive, count, type, ncclSum, communicator, stream)";
    case CollectiveKind::kAllGather:
      return "ncclAllGather(send, receive, count, type, communicator, stream)";
    case CollectiveKind::kBroadcast:
      return "ncclBroadcast(send, receive, count, type, 0, communicator, stream)";
    default:
      return "grouped ncclSend and ncclRecv";
  }
}

bool sums(CollectiveKind kind) { return kind == CollectiveKind::kAllReduce || kind == CollectiveKind::kReduceScatter; }

bool point_to_point(CollectiveKind kind) {
  return kind == CollectiveKind::kAllToAll || kind == CollectiveKind::kSendRecv;
}

// One allocation for both buffers, by CUDA or, where NCCL is to know it, by NCCL.
class Buffers {
 public:
  Buffers(size_t bytes, bool registered, const std::shared_ptr<Communicator>& communicator)
      : communicator_(communicator) {
    if (registered) {
      of_nccl_ = NcclMemory(communicator, bytes);
    } else {
      ordinary_ = DeviceMemory(bytes);
    }
  }
  std::byte* get() const { return of_nccl_.bytes() > 0 ? of_nccl_.get() : ordinary_.get(); }
  void make_known() {  // collective
    if (of_nccl_.bytes() > 0 && !registration_) registration_.emplace(communicator_, of_nccl_);
  }
  std::string kind() const { return registration_ ? registration_->kind() : "ordinary"; }

 private:
  std::shared_ptr<Communicator> communicator_;
  DeviceMemory ordinary_;
  NcclMemory of_nccl_;
  std::optional<Registration> registration_;
};

class CollectiveOperation final : public CudaOperation {
 public:
  explicit CollectiveOperation(const CollectiveRequest& request)
      : problem_(request.problem),
        settings_(request.settings),
        device_(*request.device),
        communicator_(request.communicator),
        shared_gpus_(request.shared_gpus),
        pattern_(problem_),
        element_(static_cast<size_t>(bytes_per_element(problem_.type))),
        send_bytes_(static_cast<size_t>(pattern_.send_elements()) * element_),
        receive_bytes_(static_cast<size_t>(pattern_.receive_elements()) * element_),
        bytes_(problem_.in_place ? std::max(send_bytes_, receive_bytes_) : aligned(send_bytes_) + receive_bytes_),
        memory_(bytes_, settings_.registered, communicator_) {
    write_inputs();
    settle();
  }

  Verdict verify() override;
  Facts details() const override;

 protected:
  void enqueue(CudaQueue& queue) override {
    queue.watch(communicator_);
    memory_.make_known();
    if (!settings_.graph) return issue(queue.stream());
    record();
    communicator_->poll("launching a graph of a collective");
    graph_->launch(queue.stream());
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
  bool grows() const { return problem_.in_place && sums(problem_.kind); }
  void write_inputs();
  void settle();
  void first_run();
  void record();
  void estimate();
  void issue(cudaStream_t stream);
  ncclResult_t call(cudaStream_t stream) const;
  void exchange(cudaStream_t stream);

  CollectiveProblem problem_;
  OperationSettings settings_;
  const Device& device_;
  std::shared_ptr<Communicator> communicator_;
  bool shared_gpus_;
  CollectivePattern pattern_;
  size_t element_;
  size_t send_bytes_;
  size_t receive_bytes_;
  size_t bytes_;
  Buffers memory_;
  std::optional<Graph> graph_;
  std::optional<double> first_call_s_;
  Facts choice_;  // what NCCL told during the check
};

void CollectiveOperation::write_inputs() {
  std::vector<std::byte> inputs(send_bytes_);
  pattern_.write(communicator_->rank(), inputs.data());
  device_.to_device(send(), inputs.data(), inputs.size());
}

// A sum in place becomes the next run's input and would reach infinity: timed runs add zeros.
void CollectiveOperation::settle() {
  if (!grows()) return;
  FARSCALE_CALL(cudaMemsetAsync(memory_.get(), 0, bytes_, device_.work()));
  FARSCALE_CALL(cudaStreamSynchronize(device_.work()));
}

// NCCL makes the connections of a size when it is first asked for it: a result of its own. Needs all ranks, as do
// registering and recording: not in the constructor, where one may fail alone.
void CollectiveOperation::first_run() {
  if (first_call_s_) return;
  memory_.make_known();
  CudaQueue queue(QueueRole::kCommunication, 0);
  queue.watch(communicator_);
  const Patience clock(0);
  issue(queue.stream());
  queue.synchronize();
  first_call_s_ = clock.waited_s();
}

// Recording follows a run, which has set up the connections.
void CollectiveOperation::record() {
  if (graph_) return;
  first_run();
  CudaQueue queue(QueueRole::kCommunication, 0);
  graph_.emplace(Graph::record(queue.stream(), [&] { issue(queue.stream()); }));
}

Facts CollectiveOperation::details() const {
  Facts facts = choice_;
  facts["library"] = communicator_->library();
  facts["communicator_setup_s"] = fmt::format("{:.6g}", communicator_->setup_s());
  if (first_call_s_) facts["first_call_s"] = fmt::format("{:.6g}", *first_call_s_);
  facts["buffers"] = memory_.kind();
  facts["launch"] = graph_ ? "graph, recorded once" : "eager";
  facts["data"] = grows() ? "zeros while timed: sums in place would grow without end" : "small integers";
  if (communicator_->most_ctas() > 0) facts["most_ctas"] = std::to_string(communicator_->most_ctas());
  if (shared_gpus_) facts["correctness_only"] = "ranks share a GPU: no bandwidth can be quoted";
  return facts;
}

void CollectiveOperation::issue(cudaStream_t stream) {
  communicator_->poll("enqueueing a collective");
  if (point_to_point(problem_.kind)) return exchange(stream);
  communicator_->run([&] { return call(stream); }, name_of_call(problem_.kind));
}

ncclResult_t CollectiveOperation::call(cudaStream_t stream) const {
  const Communicator& comm = *communicator_;
  const NcclCalls& calls = comm.calls();
  const ncclDataType_t type = *nccl_type(problem_.type);
  const size_t sent = send_bytes_ / element_;
  const size_t received = receive_bytes_ / element_;
  switch (problem_.kind) {
    case CollectiveKind::kAllReduce:
      return calls.ncclAllReduce(send(), receive(), sent, type, ncclSum, comm.get(), stream);
    case CollectiveKind::kReduceScatter:
      return calls.ncclReduceScatter(send(), receive(), received, type, ncclSum, comm.get(), stream);
    case CollectiveKind::kAllGather:
      return calls.ncclAllGather(send(), receive(), sent, type, comm.get(), stream);
    case CollectiveKind::kBroadcast:
      return calls.ncclBroadcast(send(), receive(), sent, type, 0, comm.get(), stream);
    default:
      return ncclInvalidUsage;  // exchange() makes these
  }
}

// All-to-all (its own call came with 2.28) and the ring as grouped sends and receives. The group is ended before
// anything is thrown: a thread left inside one would put every later call into it.
void CollectiveOperation::exchange(cudaStream_t stream) {
  Communicator& comm = *communicator_;
  const NcclCalls& calls = comm.calls();
  const bool ring = problem_.kind == CollectiveKind::kSendRecv;
  const int ranks = problem_.ranks;
  const size_t count = send_bytes_ / element_ / (ring ? 1U : static_cast<size_t>(ranks));
  const ncclDataType_t type = *nccl_type(problem_.type);
  FARSCALE_NCCL(comm, calls.ncclGroupStart());
  ncclResult_t sent = ncclSuccess;
  ncclResult_t received = ncclSuccess;
  for (int i = 0; i < (ring ? 1 : ranks) && sent == ncclSuccess && received == ncclSuccess; ++i) {
    const size_t offset = static_cast<size_t>(i) * count * element_;
    const int to = ring ? (comm.rank() + 1) % ranks : i;
    const int from = ring ? (comm.rank() + ranks - 1) % ranks : i;
    sent = calls.ncclSend(send() + offset, count, type, to, comm.get(), stream);
    if (sent == ncclSuccess) received = calls.ncclRecv(receive() + offset, count, type, from, comm.get(), stream);
  }
  const auto end = [&] {
    const ncclResult_t ended = calls.ncclGroupEnd();
    return sent != ncclSuccess ? sent : received != ncclSuccess ? received : ended;
  };
  comm.run(end, sent != ncclSuccess       ? "calls.ncclSend(send() + offset, count, type, to, ...)"
                : received != ncclSuccess ? "calls.ncclRecv(receive() + offset, count, type, from, ...)"
                                          : "calls.ncclGroupEnd()");
}

// NCCL's own estimate. It simulates only on blocking communicators (2.28, src/group.cc: on others it runs the call).
void CollectiveOperation::estimate() {
  Communicator& comm = *communicator_;
  const NcclCalls& calls = comm.calls();
  if (calls.ncclGroupSimulateEnd == nullptr || point_to_point(problem_.kind)) return;
  CudaQueue queue(QueueRole::kCommunication, 0);
  FARSCALE_NCCL(comm, calls.ncclGroupStart());
  const ncclResult_t called = call(queue.stream());
  ncclSimInfo_t info = NCCL_SIM_INFO_INITIALIZER;
  const auto end = [&] {
    const ncclResult_t ended = calls.ncclGroupSimulateEnd(&info);
    return called != ncclSuccess ? called : ended;
  };
  comm.run(end, called != ncclSuccess ? name_of_call(problem_.kind) : "calls.ncclGroupSimulateEnd(&info)");
  const double time_us = info.estimatedTime;  // nccl.h says no unit; its tuner counts in microseconds
  choice_["nccl_estimate"] = time_us > 0 && time_us < 1e9 ? format_seconds(time_us * 1e-6) : "unknown";
}

Verdict CollectiveOperation::verify() {
  NcclEar ear;
  ear.open();
  first_run();
  if (settings_.graph) record();
  if (choice_.empty()) estimate();
  write_inputs();
  if (!problem_.in_place) {
    device_.poison(receive(), receive_bytes_);
    FARSCALE_CALL(cudaStreamSynchronize(device_.work()));
  }
  CudaQueue queue(QueueRole::kCommunication, 0);  // no products here
  run(queue);
  queue.synchronize();
  choice_.merge(point_to_point(problem_.kind) ? Facts{{"algorithm", "point to point"}} : ear.close());
  const std::vector<std::byte> received = device_.to_host(receive(), receive_bytes_);
  settle();
  return pattern_.check(communicator_->rank(), received.data());
}

// Why NCCL or this GPU cannot, "" when they can.
std::string unsupported(const CollectiveRequest& request) {
  const CollectiveProblem& problem = request.problem;
  if (!nccl_type(problem.type)) return fmt::format("NCCL has no collectives of {}", name(problem.type));
  if (problem.type == NumberType::kFp8E4M3 || problem.type == NumberType::kFp8E5M2) {
    const Nccl& nccl = request.communicator->nccl();
    if (nccl.version_code() < kFp8From) return fmt::format("{} has no fp8, 2.24 has", nccl.version());
    // NCCL release notes 2.24: fp8 reductions on Hopper and newer.
    if (sums(problem.kind) && request.device->capability() < 90)
      return "NCCL adds fp8 on compute capability 9.0 and up";
  }
  if (point_to_point(problem.kind) && problem.in_place) {
    return fmt::format("NCCL has no {} in place: what is received would overwrite what is sent", name(problem.kind));
  }
  return "";
}

}  // namespace

Prepared prepare_collective(const CollectiveRequest& request) {
  const std::string reason = unsupported(request);
  if (!reason.empty()) return Prepared::absent(reason);
  const double needed = 2.0 * static_cast<double>(request.problem.bytes);
  const auto free = static_cast<double>(request.device->free_bytes());
  if (needed > free) {
    return Prepared::absent(
        fmt::format("does not fit: {} of device memory needed, {} free", format_bytes(needed), format_bytes(free)));
  }
  return std::unique_ptr<Operation>(std::make_unique<CollectiveOperation>(request));
}

}  // namespace farscale::cuda
