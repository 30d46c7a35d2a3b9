// farscale-overhead: what measuring through Farscale adds to bare loops of the same calls, as ratios in one run. GEMM
// against cblas_sgemm, and under Open MPI's launcher all-reduce against MPI_Allreduce; samples of the two alternate.
#include <cblas.h>
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#ifdef FARSCALE_OVERHEAD_MPI
#include <mpi.h>
#endif

#include <sys/mman.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <new>
#include <nlohmann/json.hpp>
#include <vector>

#include "bench/overhead_compare.h"
#include "bench/overhead_step.h"
#include "kernels/format.h"
#include "kernels/module.h"
#include "results/statistics.h"

namespace farscale {
namespace {

// Memory laid out as the harness's: page-aligned, in huge pages from 4 MiB on. Otherwise pages would be compared, not
// calls: Open MPI copies 1 MiB twice as fast between huge pages.
class Floats {
 public:
  explicit Floats(size_t elements) {
    constexpr size_t kPage = 4096, kHugePage = size_t{2} << 20;
    const bool huge = elements * sizeof(float) >= 2 * kHugePage;
    const size_t grain = huge ? kHugePage : kPage;
    const size_t bytes = (elements * sizeof(float) + grain - 1) / grain * grain;
    data_.reset(static_cast<float*>(std::aligned_alloc(grain, bytes)));
    if (!data_) throw std::bad_alloc();
    if (huge) ::madvise(data_.get(), bytes, MADV_HUGEPAGE);
    std::fill_n(data_.get(), elements, 1.0F);
  }
  float* data() const { return data_.get(); }
  float& operator[](size_t i) const { return data_.get()[i]; }

 private:
  struct Free {
    void operator()(float* data) const { std::free(data); }
  };
  std::unique_ptr<float, Free> data_;
};

double since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

LoopComparison compare_gemm(const OverheadOptions& options, World& world, Backend& backend) {
  constexpr int kSize = 1024;
  constexpr size_t kElements = size_t{kSize} * kSize;
  const Floats a(kElements), b(kElements), c(kElements);
  for (size_t i = 0; i < kElements; ++i) {
    a[i] = 0.5F + float(i % 17) / 17;
    b[i] = 0.5F - float(i % 13) / 13;
  }
  const auto bare = [&](int64_t runs) {
    const auto start = std::chrono::steady_clock::now();
    for (int64_t i = 0; i < runs; ++i) {
      ::cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, kSize, kSize, kSize, 1.0F, a.data(), kSize, b.data(),
                    kSize, 0.0F, c.data(), kSize);
    }
    return since(start);
  };
  const GemmProblem problem{.m = kSize, .n = kSize, .k = kSize, .batch = 1, .type = NumberType::kFp32};
  return compare({.name = "cblas_sgemm 1024^3 fp32", .limit = 0.02, .problem = problem, .bare = bare}, options, world,
                 backend);
}

#ifdef FARSCALE_OVERHEAD_MPI
LoopComparison compare_all_reduce(const OverheadOptions& options, World& world, Backend& backend, int64_t bytes) {
  const auto elements = static_cast<size_t>(bytes) / sizeof(float);
  const Floats send(elements), receive(elements);
  const auto bare = [&](int64_t runs) {
    const auto start = std::chrono::steady_clock::now();
    for (int64_t i = 0; i < runs; ++i) {
      const int code =
          MPI_Allreduce(send.data(), receive.data(), static_cast<int>(elements), MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
      if (code != MPI_SUCCESS) throw CallError(fmt::format("MPI_Allreduce failed (code {})", code));
    }
    return since(start);
  };
  const CollectiveProblem problem{.kind = CollectiveKind::kAllReduce,
                                  .bytes = bytes,
                                  .type = NumberType::kFp32,
                                  .ranks = world.size(),
                                  .in_place = false};
  const std::string name = fmt::format("MPI_Allreduce {}", format_bytes(double(bytes)));
  return compare({.name = name, .limit = 0.03, .problem = problem, .bare = bare}, options, world, backend);
}
#endif

std::vector<LoopComparison> compare_all(const OverheadOptions& options, World& world, Backend& backend) {
  std::vector<LoopComparison> all;
  all.push_back(compare_gemm(options, world, backend));
#ifdef FARSCALE_OVERHEAD_MPI
  if (std::getenv("OMPI_COMM_WORLD_SIZE") != nullptr && world.size() > 1) {
    for (int64_t bytes : {65536, 1 << 20, 16 << 20}) all.push_back(compare_all_reduce(options, world, backend, bytes));
  }
#endif
  return all;
}

constexpr double kIssueLimit = 0.02;

double issue_share(const IssueCost& cost) { return median(cost.issue_s) / median(cost.step_s); }

// Beyond doubt: the shortest step and the longest issuing that the intervals allow are still over.
bool over(const IssueCost& cost) {
  return median_interval95(cost.issue_s).low > kIssueLimit * median_interval95(cost.step_s).high;
}

void print_step(const IssueCost& cost) {
  std::fputs(fmt::format("step of {} launches: issuing takes {} of {}: {:.2f} % (limit {:.0f} %)\n", cost.launches,
                         format_seconds(median(cost.issue_s)), format_seconds(median(cost.step_s)),
                         100 * issue_share(cost), 100 * kIssueLimit)
                 .c_str(),
             stdout);
}

void print_json(const std::vector<LoopComparison>& all, const IssueCost& step, int ranks) {
  const nlohmann::ordered_json document = {{"ranks", ranks},
                                           {"rows", json_rows(all)},
                                           {"step",
                                            {{"launches", step.launches},
                                             {"issue_s", median(step.issue_s)},
                                             {"step_s", median(step.step_s)},
                                             {"share", issue_share(step)},
                                             {"limit", kIssueLimit},
                                             {"over", over(step)}}}};
  std::fputs((document.dump(1) + "\n").c_str(), stdout);
}

int run(const OverheadOptions& options) {
  const std::unique_ptr<World> world = open_world();
  auto backend = open_backend("host", *world);
  if (!backend) throw EnvironmentError(backend.reason());
  const std::vector<LoopComparison> all = compare_all(options, *world, **backend);
  const IssueCost step = measure_issue(*world, **backend, std::min<int64_t>(options.rounds, 10));
  if (world->rank() == 0 && options.json) print_json(all, step, world->size());
  if (world->rank() == 0 && !options.json) {
    print_table(all);
    if (world->size() == 1) std::puts("all-reduce: not compared with one rank; mpirun -np 2 farscale-overhead does");
    print_step(step);
  }
  backend = Maybe<std::unique_ptr<Backend>>::absent("closed before the world");
  return options.assert_limits && (over(step) || any_over(all)) ? static_cast<int>(ExitCode::kFailedCase) : 0;
}

}  // namespace
}  // namespace farscale

int main(int argc, char** argv) {
  farscale::OverheadOptions options;
  CLI::App app("What measuring through Farscale adds to bare loops of the same calls.", "farscale-overhead");
  farscale::add_overhead_options(app, options);
  app.footer("Example:\n  mpirun -np 2 --bind-to core farscale-overhead --assert");
  return farscale::run_program(app, argc, argv, [&] { return farscale::run(options); });
}
