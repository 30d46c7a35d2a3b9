// Sums, copies and exchanges between threads that stand for ranks.
#include "kernels/cuda/fake/nccl_ranks.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <thread>
#include <utility>

#include "kernels/elements.h"

namespace farscale::fake {

struct Meeting {
  std::vector<Part> parts;
  int arrived = 0;
  bool done = false;
  double time_s = 0;
};

namespace {

NumberType number_type(ncclDataType_t type) {
  switch (type) {
    case ncclFloat64:
      return NumberType::kFp64;
    case ncclFloat16:
      return NumberType::kFp16;
    case ncclBfloat16:
      return NumberType::kBf16;
    case ncclInt8:
      return NumberType::kInt8;
    case ncclFloat8e4m3:
      return NumberType::kFp8E4M3;
    case ncclFloat8e5m2:
      return NumberType::kFp8E5M2;
    default:
      return NumberType::kFp32;
  }
}

}  // namespace

size_t size_of(ncclDataType_t type) { return static_cast<size_t>(farscale::bytes_per_element(number_type(type))); }

namespace {

std::vector<std::byte> copied(const std::byte* from, size_t bytes) { return {from, from + bytes}; }

// The sum over all ranks, of `count` elements each.
std::vector<std::byte> summed(const std::vector<Part>& parts, size_t count) {
  const NumberType type = number_type(parts.front().type);
  std::vector<double> sum(count), one(count);
  for (const Part& part : parts) {
    farscale::decoder(type)(part.send, 0, static_cast<int64_t>(count), one.data());
    for (size_t i = 0; i < count; ++i) sum[i] += one[i];
  }
  if (type == NumberType::kInt8) {
    for (double& value : sum) value = static_cast<int8_t>(static_cast<uint8_t>(static_cast<int64_t>(value)));
  }
  std::vector<std::byte> result(count * size_of(parts.front().type));
  farscale::encode(type, sum.data(), static_cast<int64_t>(count), result.data(), 0);
  return result;
}

void exchange(std::vector<Part>& parts) {
  const int ranks = static_cast<int>(parts.size());
  std::vector<std::pair<std::byte*, std::vector<std::byte>>> deliveries;
  for (int to = 0; to < ranks; ++to) {
    for (const Message& receive : parts[static_cast<size_t>(to)].receives) {
      for (const Message& send : parts[static_cast<size_t>(receive.peer)].sends) {
        if (send.peer == to) deliveries.emplace_back(receive.data, copied(send.data, send.bytes));
      }
    }
  }
  for (const auto& [to, bytes] : deliveries) std::memcpy(to, bytes.data(), bytes.size());
}

void gather(std::vector<Part>& parts, size_t bytes) {
  std::vector<std::byte> all;
  for (const Part& part : parts) all.insert(all.end(), part.send, part.send + bytes);
  for (Part& part : parts) std::memcpy(part.receive, all.data(), all.size());
}

void run(std::vector<Part>& parts) {
  const size_t bytes = parts.front().count * size_of(parts.front().type);
  switch (parts.front().kind) {
    case CollectiveCall::kAllReduce: {
      const auto sum = summed(parts, parts.front().count);
      for (Part& part : parts) std::memcpy(part.receive, sum.data(), bytes);
      break;
    }
    case CollectiveCall::kReduceScatter: {
      const auto sum = summed(parts, parts.front().count * parts.size());
      for (size_t rank = 0; rank < parts.size(); ++rank) {
        std::memcpy(parts[rank].receive, sum.data() + rank * bytes, bytes);
      }
      break;
    }
    case CollectiveCall::kAllGather:
      gather(parts, bytes);
      break;
    case CollectiveCall::kBroadcast: {
      const auto root = copied(parts.front().send, bytes);
      for (Part& part : parts) std::memcpy(part.receive, root.data(), bytes);
      break;
    }
    case CollectiveCall::kExchange:
      exchange(parts);
      break;
  }
  if (state().machine.corrupt_collectives && bytes > 0) parts.front().receive[bytes - 1] ^= std::byte{0x10};
}

// Every rank must ask for the same; the real library would hang or corrupt.
bool agree(const std::vector<Part>& parts) {
  for (const Part& part : parts) {
    if (part.kind != parts.front().kind || part.count != parts.front().count) return false;
  }
  return true;
}

void finish(Clique& clique, Meeting& meeting) {
  if (agree(meeting.parts)) {
    run(meeting.parts);
  } else {
    clique.broken = true;
  }
  size_t bytes = meeting.parts.front().count * size_of(meeting.parts.front().type);
  meeting.time_s += 10e-6 + static_cast<double>(bytes) / 1e11;
  meeting.done = true;
}

}  // namespace

bool connect(Member& member) {
  const auto look = [&](bool first) {
    const Lock lock(state().mutex);
    Clique& clique = *member.clique;
    if (first) ++clique.connected;
    return clique.broken ? -1 : clique.connected < clique.size ? 0 : 1;
  };
  int seen = look(!std::exchange(member.connected, true));
  for (; seen == 0; seen = look(false)) std::this_thread::sleep_for(std::chrono::microseconds(100));
  return seen > 0;
}

Work work_of(const std::shared_ptr<Member>& member, Part part) {
  return [member, part = std::move(part), meeting = std::shared_ptr<Meeting>()](CUstream_st& stream) mutable {
    Clique& clique = *member->clique;
    if (member->aborted || clique.broken) return true;
    if (!meeting) {
      const int64_t sequence = member->sequence++;
      auto& place = clique.meetings[sequence];
      if (!place)
        place = std::make_shared<Meeting>(Meeting{.parts = std::vector<Part>(static_cast<size_t>(clique.size))});
      meeting = place;
      meeting->parts[static_cast<size_t>(member->rank)] = part;
      meeting->time_s = std::max(meeting->time_s, stream.time_s);
      if (++meeting->arrived == clique.size) {
        clique.meetings.erase(sequence);
        finish(clique, *meeting);
      }
    }
    if (meeting->done) stream.time_s = meeting->time_s;
    return meeting->done;
  };
}

}  // namespace farscale::fake
