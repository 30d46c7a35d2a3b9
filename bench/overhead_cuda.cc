// farscale-overhead-cuda: what measuring through the CUDA module adds to a bare loop of ncclAllReduce between two
// events, one rank a GPU. The loop has a blocking communicator, a stream and memory of its own, and opens NCCL by
// itself.
#include <cuda_runtime_api.h>
#include <dlfcn.h>
#include <fmt/format.h>
#include <nccl.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <vector>

#include "bench/overhead_compare.h"
#include "kernels/format.h"
#include "kernels/module.h"

namespace farscale {
namespace {

struct Options : OverheadOptions {
  std::vector<int64_t> bytes{64 << 10, 1 << 20, 16 << 20, 256 << 20};
};

// The fakes are linked into the program itself.
#ifdef FARSCALE_OVERHEAD_FAKE
constexpr const char* kNccl = nullptr;
#else
constexpr const char* kNccl = "libnccl.so.2";
#endif

void check(cudaError_t status, const char* call) {
  if (status == cudaSuccess) return;
  throw CallError(fmt::format("{} failed: {} ({})", call, ::cudaGetErrorName(status), ::cudaGetErrorString(status)));
}

void check(ncclResult_t status, const char* call) {
  if (status != ncclSuccess) throw CallError(fmt::format("{} failed: NCCL's code {}", call, static_cast<int>(status)));
}

// The functions of NCCL; the library stays open, as in the module.
struct Nccl {
  decltype(&::ncclGetUniqueId) get_unique_id = find<decltype(&::ncclGetUniqueId)>("ncclGetUniqueId");
  decltype(&::ncclCommInitRank) init_rank = find<decltype(&::ncclCommInitRank)>("ncclCommInitRank");
  decltype(&::ncclCommDestroy) destroy = find<decltype(&::ncclCommDestroy)>("ncclCommDestroy");
  decltype(&::ncclAllReduce) all_reduce = find<decltype(&::ncclAllReduce)>("ncclAllReduce");

 private:
  template <typename Function>
  static Function find(const char* name) {
    void* library = ::dlopen(kNccl, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (library == nullptr) throw EnvironmentError(::dlerror());
    void* function = ::dlsym(library, name);
    if (function == nullptr) throw EnvironmentError(::dlerror());
    return reinterpret_cast<Function>(function);
  }
};

class Stream {
 public:
  Stream() {
    check(::cudaStreamCreateWithPriority(&handle_, cudaStreamNonBlocking, 0), "cudaStreamCreateWithPriority");
  }
  ~Stream() { (void)::cudaStreamDestroy(handle_); }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  cudaStream_t get() const { return handle_; }
  void synchronize() const { check(::cudaStreamSynchronize(handle_), "cudaStreamSynchronize(stream)"); }

 private:
  cudaStream_t handle_ = nullptr;
};

// Send and receive buffer of one rank; small integers are sent, as by the harness.
class Buffers {
 public:
  Buffers(size_t bytes, const Stream& stream) : bytes_(bytes) {
    check(::cudaMalloc(&send_, bytes_), "cudaMalloc(&send, bytes)");
    check(::cudaMalloc(&receive_, bytes_), "cudaMalloc(&receive, bytes)");
    std::vector<float> host(floats());
    for (size_t i = 0; i < host.size(); ++i) host[i] = static_cast<float>(i % 7);
    check(::cudaMemcpyAsync(send_, host.data(), floats() * sizeof(float), cudaMemcpyHostToDevice, stream.get()),
          "cudaMemcpyAsync(send, ...)");
    stream.synchronize();
  }
  ~Buffers() {
    (void)::cudaFree(send_);
    (void)::cudaFree(receive_);
  }
  Buffers(const Buffers&) = delete;
  Buffers& operator=(const Buffers&) = delete;
  const void* send() const { return send_; }
  void* receive() const { return receive_; }
  size_t floats() const { return bytes_ / sizeof(float); }

 private:
  size_t bytes_;
  void* send_ = nullptr;
  void* receive_ = nullptr;
};

// Making one is collective, as is ending it.
class BareLoop {
 public:
  BareLoop(const World& world, const Stream& stream) : stream_(stream) {
    ncclUniqueId id{};
    if (world.rank() == 0) check(nccl_.get_unique_id(&id), "ncclGetUniqueId(&id)");
    const std::string text = world.broadcast(std::string(id.internal, sizeof id.internal));
    std::copy(text.begin(), text.end(), id.internal);
    check(nccl_.init_rank(&communicator_, world.size(), id, world.rank()), "ncclCommInitRank(&communicator, ...)");
    check(::cudaEventCreateWithFlags(&start_, cudaEventDefault), "cudaEventCreateWithFlags");
    check(::cudaEventCreateWithFlags(&stop_, cudaEventDefault), "cudaEventCreateWithFlags");
  }
  ~BareLoop() {
    (void)::cudaEventDestroy(start_);
    (void)::cudaEventDestroy(stop_);
    (void)nccl_.destroy(communicator_);
  }
  BareLoop(const BareLoop&) = delete;
  BareLoop& operator=(const BareLoop&) = delete;

  double time_s(const Buffers& buffers, int64_t runs) {
    check(::cudaEventRecord(start_, stream_.get()), "cudaEventRecord(start, stream)");
    for (int64_t i = 0; i < runs; ++i) {
      check(nccl_.all_reduce(buffers.send(), buffers.receive(), buffers.floats(), ncclFloat32, ncclSum, communicator_,
                             stream_.get()),
            "ncclAllReduce");
    }
    check(::cudaEventRecord(stop_, stream_.get()), "cudaEventRecord(stop, stream)");
    stream_.synchronize();
    float milliseconds = 0;
    check(::cudaEventElapsedTime(&milliseconds, start_, stop_), "cudaEventElapsedTime");
    return static_cast<double>(milliseconds) * 1e-3;
  }

 private:
  Nccl nccl_;
  ncclComm_t communicator_ = nullptr;
  const Stream& stream_;
  cudaEvent_t start_ = nullptr, stop_ = nullptr;
};

// The GPU that the module gives this rank.
void use_gpu(const World& world) {
  int devices = 0;
  check(::cudaGetDeviceCount(&devices), "cudaGetDeviceCount(&devices)");
  if (world.local_rank() >= devices) {
    throw EnvironmentError(fmt::format("{} GPUs on this host: rank {} has none of its own", devices, world.rank()));
  }
  check(::cudaSetDevice(world.local_rank()), "cudaSetDevice");
}

std::vector<LoopComparison> compare_all(const Options& options, World& world, Backend& backend) {
  const Stream stream;
  // Made at its first run, after the backend's communicator: NCCL reads its environment once, and the backend sets
  // where the profiler plugin lies. So both run with it.
  std::unique_ptr<BareLoop> loop;
  std::vector<LoopComparison> all;
  for (const int64_t bytes : options.bytes) {
    const CollectiveProblem problem{.kind = CollectiveKind::kAllReduce,
                                    .bytes = bytes,
                                    .type = NumberType::kFp32,
                                    .ranks = world.size(),
                                    .in_place = false};
    const Buffers buffers(static_cast<size_t>(bytes), stream);
    const auto bare = [&](int64_t runs) {
      if (!loop) loop = std::make_unique<BareLoop>(world, stream);
      return loop->time_s(buffers, runs);
    };
    const std::string name = fmt::format("ncclAllReduce {}", format_bytes(double(bytes)));
    all.push_back(compare({.name = name, .limit = 0.01, .problem = problem, .bare = bare}, options, world, backend));
  }
  return all;
}

void print(const std::vector<LoopComparison>& all, const World& world, bool json) {
  if (json) {
    const nlohmann::ordered_json document = {{"ranks", world.size()}, {"rows", json_rows(all)}};
    std::puts(document.dump(1).c_str());
    return;
  }
  print_table(all);
  if (world.size() == 1) {
    std::puts(
        "one GPU: NCCL only copies, at the host's pace, and no limit is judged; scripts/launch -np N --mpi none "
        "compares over N");
  }
}

int run(const Options& options) {
  const std::unique_ptr<World> world = open_world();
  auto backend = open_backend("cuda", *world);
  if (!backend) throw EnvironmentError(backend.reason());
  use_gpu(*world);
  const std::vector<LoopComparison> all = compare_all(options, *world, **backend);
  if (world->rank() == 0) print(all, *world, options.json);
  backend = Maybe<std::unique_ptr<Backend>>::absent("closed before the world");
  return options.assert_limits && world->size() > 1 && any_over(all) ? static_cast<int>(ExitCode::kFailedCase) : 0;
}

}  // namespace
}  // namespace farscale

int main(int argc, char** argv) {
  farscale::Options options;
  CLI::App app("What measuring through the CUDA module adds to a bare loop of ncclAllReduce.",
               "farscale-overhead-cuda");
  farscale::add_overhead_options(app, options);
  app.add_option("--bytes", options.bytes, "sizes of the all-reduce (default 64 KiB, 1 MiB, 16 MiB and 256 MiB)")
      ->check(CLI::Range(int64_t{4}, int64_t{1} << 34));
  app.footer("Example:\n  farscale-overhead-cuda --assert --bytes 1048576");
  return farscale::run_program(app, argc, argv, [&] { return farscale::run(options); });
}
