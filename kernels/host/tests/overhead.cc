// What the operation's own code costs: Operation::run against a bare cblas_sgemm, and World::collective against the
// bare call it makes (through a function pointer out of the same library). Run alone, or with two ranks under a
// launcher:
//   build/kernels/host/tests/host_overhead
//   mpirun -np 2 build/kernels/host/tests/host_overhead
#include <cblas.h>
#include <dlfcn.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <functional>
#include <vector>

#include "kernels/elements.h"
#include "kernels/module.h"

namespace farscale {
namespace {

double time_s(const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + values.size() / 2, values.end());
  return values[values.size() / 2];
}

void compare_gemm(World& world) {
  auto backend = open_backend("host", world);
  if (!backend) throw EnvironmentError(backend.reason());
  constexpr int kSize = 1024;
  const auto operation = (*backend)->prepare(GemmProblem{.m = kSize, .n = kSize, .k = kSize}, {.cold = false});
  const auto queue = (*backend)->open_queue(QueueRole::kCompute);
  std::vector<float> a(kSize * kSize), b(a), c(a);
  fill(NumberType::kFp32, a.data(), {.count = kSize * kSize}, InputData::kNormal, 1);
  fill(NumberType::kFp32, b.data(), {.count = kSize * kSize}, InputData::kNormal, 2);
  std::vector<double> bare, ours, ratios;
  for (int i = 0; i < 41; ++i) {  // in turns, so that both see the same machine
    bare.push_back(time_s([&] {
      for (int run = 0; run < 5; ++run) {
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, kSize, kSize, kSize, 1, a.data(), kSize, b.data(), kSize,
                    0, c.data(), kSize);
      }
    }));
    ours.push_back((*backend)->time_s(**operation, *queue, 5));
    ratios.push_back(ours.back() / bare.back());
  }
  std::printf("gemm/fp32/1024^3: bare %.4f ms, through Operation::run %.4f ms, median ratio %.4f\n",
              median(bare) / 5 * 1e3, median(ours) / 5 * 1e3, median(ratios));
}

// MPI_Allreduce out of the module's library, with its constants found as that library has them (Open MPI).
void compare_all_reduce(World& world) {
  using AllReduce = int (*)(const void*, void*, int, void*, void*, void*);
  const auto call = reinterpret_cast<AllReduce>(::dlsym(RTLD_DEFAULT, "MPI_Allreduce"));
  void* type = ::dlsym(RTLD_DEFAULT, "ompi_mpi_float");
  void* sum = ::dlsym(RTLD_DEFAULT, "ompi_mpi_op_sum");
  void* ranks = ::dlsym(RTLD_DEFAULT, "ompi_mpi_comm_world");
  if (call == nullptr || type == nullptr || sum == nullptr || ranks == nullptr) return;
  for (const int64_t bytes : {65536L, 1L << 20, 16L << 20}) {
    std::vector<float> from(static_cast<size_t>(bytes / 4), 1.0F), to(from);
    const CollectiveProblem problem{.bytes = bytes, .ranks = world.size()};
    const int runs = static_cast<int>(std::max<int64_t>(4, (32L << 20) / bytes / 2));
    std::vector<double> bare, ours, ratios;
    for (int i = 0; i < 61; ++i) {
      world.barrier();
      bare.push_back(time_s([&] {
        for (int run = 0; run < runs; ++run)
          call(from.data(), to.data(), static_cast<int>(bytes / 4), type, sum, ranks);
      }));
      world.barrier();
      ours.push_back(time_s([&] {
        for (int run = 0; run < runs; ++run) world.collective(problem, from.data(), to.data());
      }));
      ratios.push_back(ours.back() / bare.back());
    }
    if (world.rank() != 0) continue;
    std::printf("all_reduce/fp32/%ldB/%dranks: bare %.2f us, through World::collective %.2f us, median ratio %.4f\n",
                static_cast<long>(bytes), world.size(), median(bare) / runs * 1e6, median(ours) / runs * 1e6,
                median(ratios));
  }
}

}  // namespace
}  // namespace farscale

int main() {
  try {
    const auto world = farscale::open_world();
    if (world->size() == 1) farscale::compare_gemm(*world);
    if (world->size() > 1) farscale::compare_all_reduce(*world);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "host_overhead: %s\n", error.what());
    return 1;
  }
}
