// What the ranks of the fake NCCL do when they meet: a collective runs when the work of every rank has reached it.
#pragma once

#include <nccl.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "kernels/cuda/fake/stream.h"

namespace farscale::fake {

enum class CollectiveCall { kAllReduce, kReduceScatter, kAllGather, kBroadcast, kExchange };

struct Message {
  int peer;
  std::byte* data;
  size_t bytes;
};

// What one rank brings to a collective.
struct Part {
  CollectiveCall kind = CollectiveCall::kAllReduce;
  const std::byte* send = nullptr;
  std::byte* receive = nullptr;
  size_t count = 0;
  ncclDataType_t type = ncclFloat32;
  std::vector<Message> sends, receives;
};

struct Meeting;

// The ranks of one communicator.
struct Clique {
  int size = 0;
  int joined = 0;
  int connected = 0;  // ranks that made a first call
  bool broken = false;
  std::map<int64_t, std::shared_ptr<Meeting>> meetings;
};

// One rank of it.
struct Member {
  std::shared_ptr<Clique> clique;
  std::string key;  // of the clique
  int rank = 0;
  int most_ctas = 0;
  bool blocking = false;
  bool aborted = false;
  bool connected = false;
  int64_t sequence = 0;
  int registered = 0;
  std::shared_ptr<Member> child = nullptr;  // split off, and ended by an abort of this one
};

// The first call of a communicator sets up connections and returns when all ranks have made theirs, or one aborted.
// False when one did.
bool connect(Member& member);

// Bytes of one element.
size_t size_of(ncclDataType_t type);

// The work of one rank; the meeting is found when the stream first gets here, so that a graph can launch it again.
Work work_of(const std::shared_ptr<Member>& member, Part part);

}  // namespace farscale::fake
