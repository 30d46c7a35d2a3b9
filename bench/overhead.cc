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

#include "bench/overhead_step.h"
#include "bench/sampler.h"
#include "kernels/format.h"
#include "kernels/module.h"
#include "results/statistics.h"

namespace farscale {
namespace {

struct Options {
  int64_t rounds = 100;
  double sample_s = 0.02;
  bool json = false;
  bool assert_limits = false;
};

// One comparison: seconds per run of the bare loop, of the harness as it reports them, and of the harness by the clock
// on the wall, with everything `run` does around a sample.
struct Comparison {
  std::string name;
  double limit = 0;  // largest overhead allowed
  std::vector<double> bare_s, reported_s, wall_s, reported_ratio, wall_ratio;
};

// Adds one round: bare, harness, in turn first. Ratios are taken within a round, so that drift cancels.
template <typename Bare>
void add_round(const Agreement& agreement, const Sampling& sampling, const TimeRuns& harness, const Bare& bare,
               int64_t runs, Comparison& comparison) {
  const Clock clock = steady_clock_s();
  double bare_s = 0, reported_s = 0, wall_s = 0;
  const auto run_bare = [&] {
    agreement.world().barrier();
    bare_s = agreement.slowest(bare(runs) / double(runs));
  };
  const auto run_harness = [&] {
    agreement.world().barrier();
    const double start_s = clock();
    const Sample sample = take_sample(agreement, harness, runs);
    if (!sample.failure.empty()) throw CallError(sample.failure);
    comparison.reported_s.push_back(sample.slowest_s);
    agreement.decide(!stop_reason(sampling, comparison.reported_s, start_s).empty());
    wall_s = agreement.slowest((clock() - start_s) / double(runs));
    reported_s = sample.slowest_s;
  };
  const bool bare_first = comparison.bare_s.size() % 2 == 0;
  if (bare_first) run_bare();
  run_harness();
  if (!bare_first) run_bare();
  comparison.bare_s.push_back(bare_s);
  comparison.wall_s.push_back(wall_s);
  comparison.reported_ratio.push_back(reported_s / bare_s);
  comparison.wall_ratio.push_back(wall_s / bare_s);
}

template <typename Bare>
Comparison compare(const std::string& name, double limit, const Options& options, World& world, Backend& backend,
                   const Problem& problem, const Bare& bare) {
  const Agreement agreement(world);
  // Not rotated through more than the cache: the bare loop is not either.
  auto operation = backend.prepare(problem, {.cold = false, .world = &world});
  if (!operation) throw EnvironmentError(fmt::format("{}: {}", name, operation.reason()));
  if (!(*operation)->verify().correct) throw CallError(fmt::format("{}: wrong result", name));
  const auto queue = backend.open_queue(QueueRole::kCompute);
  const TimeRuns harness = [&](int64_t runs) { return backend.time_s(**operation, *queue, runs); };
  bare(3);
  const double run_s = agreement.slowest(bare(10) / 10);
  const int64_t runs = agreement.count(runs_for({.sample_s = options.sample_s}, run_s));
  Comparison comparison{.name = name, .limit = limit};
  for (int64_t i = 0; i < options.rounds + 2; ++i) {
    if (i == 2) comparison = {.name = name, .limit = limit};  // two rounds to warm up
    add_round(agreement, {}, harness, bare, runs, comparison);
  }
  return comparison;
}

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

Comparison compare_gemm(const Options& options, World& world, Backend& backend) {
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
  return compare("cblas_sgemm 1024^3 fp32", 0.02, options, world, backend, problem, bare);
}

#ifdef FARSCALE_OVERHEAD_MPI
Comparison compare_all_reduce(const Options& options, World& world, Backend& backend, int64_t bytes) {
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
  return compare(fmt::format("MPI_Allreduce {}", format_bytes(double(bytes))), 0.03, options, world, backend, problem,
                 bare);
}
#endif

std::vector<Comparison> compare_all(const Options& options, World& world, Backend& backend) {
  std::vector<Comparison> all;
  all.push_back(compare_gemm(options, world, backend));
#ifdef FARSCALE_OVERHEAD_MPI
  if (std::getenv("OMPI_COMM_WORLD_SIZE") != nullptr && world.size() > 1) {
    for (int64_t bytes : {65536, 1 << 20, 16 << 20}) all.push_back(compare_all_reduce(options, world, backend, bytes));
  }
#endif
  return all;
}

// Over the limit beyond doubt: the whole interval of the ratio lies above it.
bool over(const Comparison& comparison) {
  return median_interval95(comparison.reported_ratio).low > 1 + comparison.limit;
}

std::string change(double ratio) { return fmt::format("{:+.2f} %", 100 * (ratio - 1)); }

std::string change_text(const std::vector<double>& ratios) {
  const Interval interval = median_interval95(ratios);
  return fmt::format("{} ({} to {})", change(median(ratios)), change(interval.low), change(interval.high));
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

void print_table(const std::vector<Comparison>& all, int ranks) {
  TextTable table({"against", "bare loop", "harness adds, as reported", "by the wall clock", "limit", "verdict"});
  for (const Comparison& one : all) {
    table.add({one.name, format_seconds(median(one.bare_s)), change_text(one.reported_ratio),
               change_text(one.wall_ratio), change(1 + one.limit), over(one) ? "over" : "within"});
  }
  std::fputs(table.str().c_str(), stdout);
  if (ranks == 1) std::fputs("all-reduce: not compared with one rank; mpirun -np 2 farscale-overhead does\n", stdout);
}

void print_json(const std::vector<Comparison>& all, const IssueCost& step, int ranks) {
  nlohmann::ordered_json rows = nlohmann::ordered_json::array();
  for (const Comparison& one : all) {
    const Interval interval = median_interval95(one.reported_ratio);
    rows.push_back({{"against", one.name},
                    {"bare_s", median(one.bare_s)},
                    {"harness_s", median(one.reported_s)},
                    {"ratio", median(one.reported_ratio)},
                    {"interval95", {interval.low, interval.high}},
                    {"wall_ratio", median(one.wall_ratio)},
                    {"limit", 1 + one.limit},
                    {"over", over(one)}});
  }
  const nlohmann::ordered_json document = {{"ranks", ranks},
                                           {"rows", std::move(rows)},
                                           {"step",
                                            {{"launches", step.launches},
                                             {"issue_s", median(step.issue_s)},
                                             {"step_s", median(step.step_s)},
                                             {"share", issue_share(step)},
                                             {"limit", kIssueLimit},
                                             {"over", over(step)}}}};
  std::fputs((document.dump(1) + "\n").c_str(), stdout);
}

int run(const Options& options) {
  const std::unique_ptr<World> world = open_world();
  auto backend = open_backend("host", *world);
  if (!backend) throw EnvironmentError(backend.reason());
  const std::vector<Comparison> all = compare_all(options, *world, **backend);
  const IssueCost step = measure_issue(*world, **backend, std::min<int64_t>(options.rounds, 10));
  if (world->rank() == 0 && options.json) print_json(all, step, world->size());
  if (world->rank() == 0 && !options.json) {
    print_table(all, world->size());
    print_step(step);
  }
  bool any_over = over(step);
  for (const Comparison& one : all) any_over = any_over || over(one);
  backend = Maybe<std::unique_ptr<Backend>>::absent("closed before the world");
  return options.assert_limits && any_over ? static_cast<int>(ExitCode::kFailedCase) : 0;
}

}  // namespace
}  // namespace farscale

int main(int argc, char** argv) {
  farscale::Options options;
  CLI::App app("What measuring through Farscale adds to bare loops of the same calls.", "farscale-overhead");
  app.add_option("--rounds", options.rounds, "pairs of samples (default 100)")->check(CLI::Range(6, 100000));
  app.add_option("--sample", options.sample_s, "seconds a sample (default 0.02)")->check(CLI::Range(1e-4, 10.0));
  app.add_flag("--json", options.json, "print one JSON document");
  app.add_flag("--assert", options.assert_limits, "exit 1 when an overhead is beyond doubt over its limit");
  app.footer("Example:\n  mpirun -np 2 --bind-to core farscale-overhead --assert");
  CLI11_PARSE(app, argc, argv);
  try {
    return farscale::run(options);
  } catch (const farscale::Error& error) {
    std::fprintf(stderr, "farscale-overhead: %s\n", error.what());
    return static_cast<int>(error.code());
  } catch (const std::exception& error) {
    std::fprintf(stderr, "farscale-overhead: unexpected: %s\n", error.what());
    return 1;
  }
}
