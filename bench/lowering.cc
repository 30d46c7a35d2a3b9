// farscale-lowering: how long a lowering takes, for every shipped workload in every layout that divides it. Google
// Benchmark's flags apply; with FARSCALE_ASSERT=1 it exits 1 when one takes more than 5 ms.
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "kernels/error.h"
#include "kernels/format.h"
#include "workloads/workload.h"

namespace farscale {
namespace {

constexpr double kLimit = 5e-3;

// Plain, sharded, recomputed, divided in every way, and at the size of the largest fleets.
const std::vector<std::string> kLayouts = {
    "dp=8",           "dp=512 sync_bn=1",           "dp=64 zero=1",
    "dp=64 zero=3",   "dp=64 zero=3 hsdp=8 ckpt=1", "dp=8 tp=8",
    "dp=8 tp=8 cp=2", "dp=8 tp=8 pp=16 accum=64",   "dp=8 tp=8 pp=4 accum=64 interleave=4",
    "dp=300000"};

LoweringOptions options_for(const std::string& layout, bool fused) {
  LoweringOptions options;
  options.layout = parse_layout(layout, 0);
  options.fused = fused;
  return options;
}

bool divides(const Workload& workload, const std::string& layout) {
  try {
    lower(workload, options_for(layout, true));
    return true;
  } catch (const InputError&) {
    return false;  // heads, blocks or layers do not divide
  }
}

void time_lowering(benchmark::State& state, const Workload& workload, const LoweringOptions& options) {
  size_t tasks = 0;
  for (auto _ : state) {
    const LoweredStep step = lower(workload, options);
    tasks = step.tasks.size();
    benchmark::DoNotOptimize(tasks);
  }
  state.counters["tasks"] = double(tasks);
}

// Keeps the slowest while the console shows all.
class Slowest final : public benchmark::ConsoleReporter {
 public:
  void ReportRuns(const std::vector<Run>& runs) override {
    for (const Run& run : runs) {
      const double time_s = run.GetAdjustedCPUTime() * 1e-3;
      if (time_s > time_s_) name_ = run.benchmark_name();
      time_s_ = std::max(time_s_, time_s);
      ++count_;
    }
    ConsoleReporter::ReportRuns(runs);
  }
  bool over() const { return time_s_ > kLimit; }
  void print() const {
    fmt::print("slowest of {}: {} in {} (limit {})\n", count_, name_, format_seconds(time_s_), format_seconds(kLimit));
  }

 private:
  double time_s_ = 0;
  std::string name_;
  int count_ = 0;
};

int run(int argc, char** argv) {
  std::vector<Workload> workloads;
  for (const std::string& name : shipped_workloads()) workloads.push_back(load_workload(name));
  for (const Workload& workload : workloads) {
    for (const std::string& layout : kLayouts) {
      if (!divides(workload, layout)) continue;
      benchmark::RegisterBenchmark(fmt::format("lower/{}/{}", workload.name(), layout).c_str(),
                                   [&workload, options = options_for(layout, false)](benchmark::State& s) {
                                     time_lowering(s, workload, options);
                                   })
          ->Unit(benchmark::kMillisecond)
          ->MinTime(0.05);
    }
  }
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return static_cast<int>(ExitCode::kBadInput);
  Slowest reporter;
  benchmark::RunSpecifiedBenchmarks(&reporter);
  reporter.print();
  const char* asserted = std::getenv("FARSCALE_ASSERT");
  return asserted != nullptr && std::string(asserted) == "1" && reporter.over() ? 1 : 0;
}

}  // namespace
}  // namespace farscale

int main(int argc, char** argv) {
  try {
    return farscale::run(argc, argv);
  } catch (const farscale::Error& error) {
    std::fprintf(stderr, "farscale-lowering: %s\n", error.what());
    return static_cast<int>(error.code());
  }
}
