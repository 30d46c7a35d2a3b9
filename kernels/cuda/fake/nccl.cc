// The calls of a fake NCCL whose ranks are threads of this process: nccl_ranks.h says what happens when they meet.
#include <dlfcn.h>
#include <nccl.h>

#include <cstdlib>
#include <cstring>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "kernels/cuda/fake/nccl_ranks.h"
#include "kernels/cuda/fake/stream.h"

using farscale::fake::Clique;
using farscale::fake::CollectiveCall;
using farscale::fake::count_alive;
using farscale::fake::fails;
using farscale::fake::Lock;
using farscale::fake::Member;
using farscale::fake::Part;
using farscale::fake::size_of;
using farscale::fake::state;
using farscale::fake::work_of;

namespace {

std::map<std::string, std::shared_ptr<Clique>>& cliques() {
  static auto* const kCliques = new std::map<std::string, std::shared_ptr<Clique>>();
  return *kCliques;
}

// What stands between ncclGroupStart and ncclGroupEnd of this thread: sends and receives, or one collective.
struct Group {
  bool open = false;
  std::shared_ptr<Member> member;
  cudaStream_t stream = nullptr;
  Part part;
};
Group& group() {
  static thread_local Group current;
  return current;
}

// The profiler plugin NCCL_PROFILER_PLUGIN names, as NCCL opens it; only what farscale-nccl.so needs of its interface.
struct Plugin {
  int mask = 0;
  void* const* functions = nullptr;  // after the name: init, start_event, …

  Plugin() {
    const char* path = std::getenv("NCCL_PROFILER_PLUGIN");
    void* library = path == nullptr ? nullptr : ::dlopen(path, RTLD_NOW | RTLD_LOCAL);
    void* table = library == nullptr ? nullptr : ::dlsym(library, "ncclProfiler_v4");
    if (table == nullptr) return;
    functions = static_cast<void* const*>(table) + 1;
    using Init = ncclResult_t (*)(void**, int*, const char*, uint64_t, int, int, int, void*);
    void* context = nullptr;
    (void)reinterpret_cast<Init>(functions[0])(&context, &mask, "fake", 1, 1, 1, 0, nullptr);
  }

  void tell(const char* function, int channels) const {
    if (functions == nullptr || (mask & 2) == 0) return;
    struct {
      uint8_t type = 2;
      void* parent = nullptr;
      int rank = 0;
      struct {
        uint64_t sequence = 0;
        const char* function;
        const void* send = nullptr;
        void* receive = nullptr;
        size_t count = 0;
        int root = 0;
        const char* type = "ncclFloat32";
        uint8_t channels;
        uint8_t warps = 8;
        const char* algorithm = "RING";
        const char* protocol = "SIMPLE";
      } collective;
    } event{.collective = {.function = function, .channels = static_cast<uint8_t>(channels)}};
    void* handle = nullptr;
    using Start = ncclResult_t (*)(void*, void**, void*);
    (void)reinterpret_cast<Start>(functions[1])(nullptr, &handle, &event);
  }
};
const Plugin& plugin() {
  static const auto* const kPlugin = new Plugin();
  return *kPlugin;
}

// What NCCL 2.28 pays for a group on a non-blocking communicator of several ranks: a thread that launches it.
constexpr double kGroupThread_s = 30e-6;

ncclResult_t launch(const char* call, const std::shared_ptr<Member>& member, cudaStream_t stream, Part part) {
  if (part.kind != CollectiveCall::kExchange) plugin().tell(call + 4, member->most_ctas > 0 ? member->most_ctas : 24);
  if (member->blocking && !farscale::fake::connect(*member)) return ncclRemoteError;
  const bool thread = !member->blocking && member->clique->size > 1;
  if (thread) {
    const Lock lock(state().mutex);
    ++state().group_threads;
    farscale::fake::enqueue(stream, kGroupThread_s, [] {});
  }
  farscale::fake::enqueue(stream, work_of(member, std::move(part)));
  return member->blocking ? ncclSuccess : ncclInProgress;
}

ncclResult_t post(const char* call, std::shared_ptr<Member> member, cudaStream_t stream, Part part) {
  if (fails(call)) return ncclSystemError;
  if (group().open && part.kind != CollectiveCall::kExchange) {
    group().member = member;
    group().stream = stream;
    group().part = std::move(part);
    return ncclSuccess;
  }
  return launch(call, member, stream, std::move(part));
}

}  // namespace

// Of one that is being split: where the new one goes once all ranks have come.
struct ncclComm {
  std::shared_ptr<Member> member;
  int splits = 0;
  ncclComm_t* wanted = nullptr;
  ncclComm_t pending = nullptr;
};

namespace {

ncclResult_t add_message(const char* call, bool send, const void* data, size_t bytes, int peer, ncclComm_t comm,
                         cudaStream_t stream) {
  if (fails(call)) return ncclSystemError;
  Group& g = group();
  if (!g.open) return ncclInvalidUsage;
  g.member = comm->member;
  g.stream = stream;
  auto* bytes_at = const_cast<std::byte*>(static_cast<const std::byte*>(data));
  (send ? g.part.sends : g.part.receives).push_back({peer, bytes_at, bytes});
  return ncclSuccess;
}

// One more rank of the clique that `key` stands for.
ncclComm_t new_rank(const std::string& key, int ranks, int rank, const ncclConfig_t& config) {
  const Lock lock(state().mutex);
  auto& clique = cliques()[key];
  if (!clique) clique = std::make_shared<Clique>();
  clique->size = ranks;
  ++clique->joined;
  const int ctas = config.maxCTAs == NCCL_CONFIG_UNDEF_INT ? 0 : config.maxCTAs;
  count_alive("communicator", 1);
  return new ncclComm{std::make_shared<Member>(
      Member{.clique = clique, .key = key, .rank = rank, .most_ctas = ctas, .blocking = config.blocking != 0})};
}

ncclResult_t join(const char* call, ncclComm_t* comm, int ranks, int rank, const ncclUniqueId& id,
                  const ncclConfig_t* config) {
  if (fails(call)) return ncclSystemError;
  if (config->blocking != 0 || rank < 0 || rank >= ranks) return ncclInvalidArgument;
  *comm = new_rank(std::string(id.internal, sizeof id.internal), ranks, rank, *config);
  (void)plugin();
  return ncclInProgress;
}

// Ends one communicator; those that were split from another are the others' work, and only they are counted.
void end(ncclComm_t comm, int64_t farscale::fake::State::*ended) {
  const bool was_split = comm->splits > 0 && comm->pending == nullptr;
  if (comm->pending != nullptr) end(std::exchange(comm->pending, nullptr), nullptr);
  delete comm;
  count_alive("communicator", -1);
  if (ended != nullptr && !was_split) ++(state().*ended);
}

bool all_here(const Clique& clique) { return clique.joined == clique.size; }

}  // namespace

extern "C" {

ncclResult_t ncclGetVersion(int* version) {
  if (fails("ncclGetVersion")) return ncclSystemError;
  *version = state().machine.nccl_version;
  return ncclSuccess;
}

ncclResult_t ncclGetUniqueId(ncclUniqueId* id) {
  if (fails("ncclGetUniqueId")) return ncclSystemError;
  static int64_t made = 0;
  const Lock lock(state().mutex);
  std::memset(id->internal, 0, sizeof id->internal);
  const int64_t number = ++made;
  std::memcpy(id->internal, &number, sizeof number);
  return ncclSuccess;
}

ncclResult_t ncclCommInitRankConfig(ncclComm_t* comm, int ranks, ncclUniqueId id, int rank, ncclConfig_t* config) {
  return join("ncclCommInitRankConfig", comm, ranks, rank, id, config);
}

// All ranks in the order they have: what this module asks for. As in NCCL, the new one is not there before it is done.
ncclResult_t ncclCommSplit(ncclComm_t comm, int color, int key, ncclComm_t* split, ncclConfig_t* config) {
  if (fails("ncclCommSplit")) return ncclSystemError;
  const Lock lock(state().mutex);
  const Member& member = *comm->member;
  if (color != 0 || key != member.rank || config->blocking != 1 || !all_here(*member.clique))
    return ncclInvalidArgument;
  *split = nullptr;
  comm->wanted = split;
  comm->pending = new_rank(member.key + "/" + std::to_string(comm->splits++), member.clique->size, key, *config);
  comm->member->child = comm->pending->member;
  return ncclInProgress;
}

// Blocking, so of one rank: others would have to come from other threads meanwhile. Only bare loops have such.
ncclResult_t ncclCommInitRank(ncclComm_t* comm, int ranks, ncclUniqueId id, int rank) {
  if (ranks != 1) return ncclInvalidArgument;
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = 0;
  if (join("ncclCommInitRank", comm, ranks, rank, id, &config) != ncclInProgress) return ncclSystemError;
  (*comm)->member->blocking = true;
  return ncclSuccess;
}

// All ranks bring the same ids in the same order: the first stands for them.
ncclResult_t ncclCommInitRankScalable(ncclComm_t* comm, int ranks, int rank, int count, ncclUniqueId* ids,
                                      ncclConfig_t* config) {
  if (count < 2 || count > ranks) return ncclInvalidArgument;
  return join("ncclCommInitRankScalable", comm, ranks, rank, ids[0], config);
}

ncclResult_t ncclMemAlloc(void** memory, size_t bytes) {
  if (fails("ncclMemAlloc")) return ncclUnhandledCudaError;
  *memory = std::aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
  count_alive("NCCL memory", 1);
  return ncclSuccess;
}

ncclResult_t ncclMemFree(void* memory) {
  const bool failing = fails("ncclMemFree");
  std::free(memory);
  count_alive("NCCL memory", -1);
  return failing ? ncclUnhandledCudaError : ncclSuccess;
}

ncclResult_t ncclCommRegister(ncclComm_t comm, void* memory, size_t, void** handle) {
  if (fails("ncclCommRegister")) return ncclSystemError;
  *handle = memory;
  ++comm->member->registered;
  return ncclSuccess;
}

ncclResult_t ncclCommDeregister(ncclComm_t comm, void*) {
  if (fails("ncclCommDeregister")) return ncclSystemError;
  return --comm->member->registered < 0 ? ncclInvalidUsage : ncclSuccess;
}

ncclResult_t ncclCommWindowRegister(ncclComm_t comm, void* memory, size_t, ncclWindow_t* window, int) {
  if (fails("ncclCommWindowRegister")) return ncclSystemError;
  *window = nullptr;
  const bool handle_instead = state().machine.nccl_version >= NCCL_VERSION(2, 28, 0);  // of a local registration
  if (!state().machine.windows && !handle_instead) return ncclSuccess;
  *window = static_cast<ncclWindow_t>(memory);
  ++comm->member->registered;
  return ncclSuccess;
}

ncclResult_t ncclCommWindowDeregister(ncclComm_t comm, ncclWindow_t) {
  if (fails("ncclCommWindowDeregister")) return ncclSystemError;
  return --comm->member->registered < 0 ? ncclInvalidUsage : ncclSuccess;
}

ncclResult_t ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t* result) {
  if (fails("ncclCommGetAsyncError")) return ncclInvalidArgument;
  const Lock lock(state().mutex);
  const Clique& clique = *comm->member->clique;
  *result = all_here(clique) && (comm->pending == nullptr || all_here(*comm->pending->member->clique)) ? ncclSuccess
                                                                                                       : ncclInProgress;
  if (*result == ncclSuccess && comm->pending != nullptr) *comm->wanted = std::exchange(comm->pending, nullptr);
  if (clique.broken) *result = ncclRemoteError;
  if (state().machine.async_error != 0) *result = static_cast<ncclResult_t>(state().machine.async_error);
  return ncclSuccess;
}

const char* ncclGetLastError(ncclComm_t) { return "said by the fake NCCL"; }

ncclResult_t ncclCommFinalize(ncclComm_t comm) {
  if (fails("ncclCommFinalize")) return ncclSystemError;
  return comm->member->blocking ? ncclSuccess : ncclInProgress;
}

ncclResult_t ncclCommDestroy(ncclComm_t comm) {
  const bool failing = fails("ncclCommDestroy");
  const Lock lock(state().mutex);
  if (comm->member->registered != 0) count_alive("registration", comm->member->registered);
  end(comm, &farscale::fake::State::finalised);
  return failing ? ncclSystemError : ncclSuccess;
}

ncclResult_t ncclCommAbort(ncclComm_t comm) {
  const bool failing = fails("ncclCommAbort");
  const Lock lock(state().mutex);
  for (auto member = comm->member; member != nullptr; member = member->child) {  // they share the flag
    member->aborted = true;
    member->clique->broken = true;
  }
  end(comm, &farscale::fake::State::aborted);
  return failing ? ncclSystemError : ncclSuccess;
}

ncclResult_t ncclAllReduce(const void* send, void* receive, size_t count, ncclDataType_t type, ncclRedOp_t,
                           ncclComm_t comm, cudaStream_t stream) {
  return post("ncclAllReduce", comm->member, stream,
              {CollectiveCall::kAllReduce,
               static_cast<const std::byte*>(send),
               static_cast<std::byte*>(receive),
               count,
               type,
               {},
               {}});
}

ncclResult_t ncclReduceScatter(const void* send, void* receive, size_t count, ncclDataType_t type, ncclRedOp_t,
                               ncclComm_t comm, cudaStream_t stream) {
  return post("ncclReduceScatter", comm->member, stream,
              {CollectiveCall::kReduceScatter,
               static_cast<const std::byte*>(send),
               static_cast<std::byte*>(receive),
               count,
               type,
               {},
               {}});
}

ncclResult_t ncclAllGather(const void* send, void* receive, size_t count, ncclDataType_t type, ncclComm_t comm,
                           cudaStream_t stream) {
  return post("ncclAllGather", comm->member, stream,
              {CollectiveCall::kAllGather,
               static_cast<const std::byte*>(send),
               static_cast<std::byte*>(receive),
               count,
               type,
               {},
               {}});
}

ncclResult_t ncclBroadcast(const void* send, void* receive, size_t count, ncclDataType_t type, int root,
                           ncclComm_t comm, cudaStream_t stream) {
  if (root != 0) return ncclInvalidArgument;
  return post("ncclBroadcast", comm->member, stream,
              {CollectiveCall::kBroadcast,
               static_cast<const std::byte*>(send),
               static_cast<std::byte*>(receive),
               count,
               type,
               {},
               {}});
}

ncclResult_t ncclGroupStart() {
  if (fails("ncclGroupStart")) return ncclSystemError;
  group() = {.open = true};
  count_alive("open NCCL group", 1);
  return ncclSuccess;
}

ncclResult_t ncclSend(const void* data, size_t count, ncclDataType_t type, int peer, ncclComm_t comm,
                      cudaStream_t stream) {
  return add_message("ncclSend", true, data, count * size_of(type), peer, comm, stream);
}

ncclResult_t ncclRecv(void* data, size_t count, ncclDataType_t type, int peer, ncclComm_t comm, cudaStream_t stream) {
  return add_message("ncclRecv", false, data, count * size_of(type), peer, comm, stream);
}

ncclResult_t ncclGroupEnd() {
  Group done = std::exchange(group(), {});
  if (done.open) count_alive("open NCCL group", -1);
  if (!done.open) return ncclInvalidUsage;
  if (done.member == nullptr) return fails("ncclGroupEnd") ? ncclSystemError : ncclSuccess;
  if (!done.part.sends.empty() || !done.part.receives.empty()) done.part.kind = CollectiveCall::kExchange;
  return post("ncclGroupEnd", done.member, done.stream, std::move(done.part));
}

// On a blocking communicator runs nothing; the time is what finish() would take, in microseconds. On others it runs
// what it was to simulate and tells nothing (NCCL 2.28, groupLaunchNonBlocking).
ncclResult_t ncclGroupSimulateEnd(ncclSimInfo_t* info) {
  Group done = std::exchange(group(), {});
  if (done.open) count_alive("open NCCL group", -1);
  if (fails("ncclGroupSimulateEnd") || !done.open || done.member == nullptr) return ncclInvalidUsage;
  if (!done.member->blocking) return launch("ncclGroupSimulateEnd", done.member, done.stream, std::move(done.part));
  info->estimatedTime = static_cast<float>(10 + double(done.part.count * size_of(done.part.type)) / 1e5);
  return ncclSuccess;
}

}  // extern "C"
