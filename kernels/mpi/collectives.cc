// Data collectives on host memory.
#include "kernels/mpi/collectives.h"

#include <fmt/format.h>

#include <bit>
#include <limits>

#include "kernels/error.h"
#include "kernels/mpi/calls.h"

namespace farscale {
namespace {

constexpr int64_t kPiece = int64_t{1} << 30;

float widened(uint16_t bits) { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }

uint16_t rounded(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint32_t nearest = (bits + 0x7FFFU + ((bits >> 16) & 1U)) >> 16;
  return static_cast<uint16_t>(value == value ? nearest : (bits >> 16) | 0x40U);
}

void add_bf16(void* in, void* in_out, int* count, MPI_Datatype*) {
  const auto* from = static_cast<const uint16_t*>(in);
  auto* to = static_cast<uint16_t*>(in_out);
  for (int i = 0; i < *count; ++i) to[i] = rounded(widened(from[i]) + widened(to[i]));
}

MPI_Datatype datatype(NumberType type) {
  switch (type) {
    case NumberType::kFp64:
      return MPI_DOUBLE;
    case NumberType::kFp32:
      return MPI_FLOAT;
    case NumberType::kBf16:
      return MPI_UINT16_T;
    case NumberType::kInt8:
      return MPI_INT8_T;
    default:
      break;
  }
  throw InputError(fmt::format("{} has no MPI collectives (fp64, fp32, bf16 and int8 have)", name(type)));
}

int64_t element_bytes(NumberType type) { return static_cast<int64_t>(bytes_per_element(type)); }

struct Pieces {
  int64_t elements = 0;
  int64_t element_bytes = 0;
};

template <typename Call>
void in_pieces(const Pieces& pieces, Call&& call) {
  for (int64_t first = 0; first < pieces.elements; first += kPiece) {
    call(first * pieces.element_bytes, static_cast<int>(std::min(kPiece, pieces.elements - first)));
  }
}

int part_count(const CollectiveProblem& problem) {
  const int64_t part = problem.bytes / problem.ranks / element_bytes(problem.type);
  if (part <= std::numeric_limits<int>::max()) return static_cast<int>(part);
  throw InputError(fmt::format("{}: {} elements a rank, an MPI call counts to {}", problem.name(), part,
                               std::numeric_limits<int>::max()));
}

void all_reduce(const CollectiveCall& call, const CollectiveProblem& p, const void* send, void* receive) {
  const InCall inside(*call.slot, "MPI_Allreduce", p.bytes);
  const MPI_Datatype type = datatype(p.type);
  const MPI_Op op = p.type == NumberType::kBf16 ? call.bf16_sum : MPI_SUM;
  const auto* from = static_cast<const std::byte*>(send);
  auto* to = static_cast<std::byte*>(receive);
  in_pieces({p.bytes / element_bytes(p.type), element_bytes(p.type)}, [&](int64_t offset, int count) {
    FARSCALE_MPI(
        MPI_Allreduce(send == receive ? MPI_IN_PLACE : from + offset, to + offset, count, type, op, call.ranks));
  });
}

void broadcast(const CollectiveCall& call, const CollectiveProblem& p, void* buffer) {
  const InCall inside(*call.slot, "MPI_Bcast", p.bytes);
  const MPI_Datatype type = datatype(p.type);
  in_pieces({p.bytes / element_bytes(p.type), element_bytes(p.type)}, [&](int64_t offset, int count) {
    FARSCALE_MPI(MPI_Bcast(static_cast<std::byte*>(buffer) + offset, count, type, 0, call.ranks));
  });
}

void reduce_scatter(const CollectiveCall& call, const CollectiveProblem& p, const void* send, void* receive) {
  const InCall inside(*call.slot, "MPI_Reduce_scatter_block", p.bytes);
  const int count = part_count(p);
  const MPI_Op op = p.type == NumberType::kBf16 ? call.bf16_sum : MPI_SUM;
  FARSCALE_MPI(MPI_Reduce_scatter_block(send == receive ? MPI_IN_PLACE : send, receive, count, datatype(p.type), op,
                                        call.ranks));
}

void all_gather(const CollectiveCall& call, const CollectiveProblem& p, const void* send, void* receive) {
  const InCall inside(*call.slot, "MPI_Allgather", p.bytes);
  const int count = part_count(p);
  // In place: the rank's own part lies where it belongs, and send is the whole buffer or that part of it.
  const void* own = static_cast<const std::byte*>(receive) + call.rank * (p.bytes / p.ranks);
  const void* from = send == receive || send == own ? MPI_IN_PLACE : send;
  const MPI_Datatype type = datatype(p.type);
  FARSCALE_MPI(MPI_Allgather(from, count, type, receive, count, type, call.ranks));
}

void all_to_all(const CollectiveCall& call, const CollectiveProblem& p, const void* send, void* receive) {
  const InCall inside(*call.slot, "MPI_Alltoall", p.bytes);
  const int count = part_count(p);
  const MPI_Datatype type = datatype(p.type);
  FARSCALE_MPI(MPI_Alltoall(send == receive ? MPI_IN_PLACE : send, count, type, receive, count, type, call.ranks));
}

void send_recv(const CollectiveCall& call, const CollectiveProblem& p, const void* send, void* receive) {
  const InCall inside(*call.slot, "MPI_Sendrecv", p.bytes);
  const int next = (call.rank + 1) % p.ranks, before = (call.rank + p.ranks - 1) % p.ranks;
  const MPI_Datatype type = datatype(p.type);
  in_pieces({p.bytes / element_bytes(p.type), element_bytes(p.type)}, [&](int64_t offset, int count) {
    auto* to = static_cast<std::byte*>(receive) + offset;
    if (send == receive) {
      FARSCALE_MPI(MPI_Sendrecv_replace(to, count, type, next, 0, before, 0, call.ranks, MPI_STATUS_IGNORE));
    } else {
      const auto* from = static_cast<const std::byte*>(send) + offset;
      FARSCALE_MPI(MPI_Sendrecv(from, count, type, next, 0, to, count, type, before, 0, call.ranks, MPI_STATUS_IGNORE));
    }
  });
}

}  // namespace

Bf16Sum::Bf16Sum() { FARSCALE_MPI(MPI_Op_create(add_bf16, 1, &op_)); }
Bf16Sum::~Bf16Sum() {
  if (op_ != MPI_OP_NULL) MPI_Op_free(&op_);
}

void run_collective(const CollectiveCall& call, const CollectiveProblem& problem, const void* send, void* receive) {
  switch (problem.kind) {
    case CollectiveKind::kAllReduce:
      return all_reduce(call, problem, send, receive);
    case CollectiveKind::kReduceScatter:
      return reduce_scatter(call, problem, send, receive);
    case CollectiveKind::kAllGather:
      return all_gather(call, problem, send, receive);
    case CollectiveKind::kBroadcast:
      return broadcast(call, problem, receive);
    case CollectiveKind::kAllToAll:
      return all_to_all(call, problem, send, receive);
    case CollectiveKind::kSendRecv:
      return send_recv(call, problem, send, receive);
  }
}

}  // namespace farscale
