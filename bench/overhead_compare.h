// What the overhead programs share: the harness beside a bare loop of the same calls, samples of the two in turn,
// ratios taken within a pair; and how that is printed.
#pragma once

#include <cstdint>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "bench/sampler.h"
#include "kernels/backend.h"
#include "kernels/world.h"

namespace CLI {
class App;
}

namespace farscale {

struct OverheadOptions {
  int64_t rounds = 100;
  double sample_s = 0.02;
  bool json = false;
  bool assert_limits = false;
};
void add_overhead_options(CLI::App& app, OverheadOptions& options);

// One comparison: seconds per run of the bare loop, of the harness as it reports them, and of the harness by the clock
// on the wall, with everything `run` does around a sample.
struct LoopComparison {
  std::string name;
  double limit = 0;  // largest overhead allowed
  std::vector<double> bare_s, reported_s, wall_s, reported_ratio, wall_ratio;
};

// What to compare: `bare` makes runs of the same problem by itself and gives the seconds they took; it is first called
// after the backend has verified the operation.
struct Contest {
  std::string name;
  double limit = 0;
  Problem problem;
  TimeRuns bare;
};

// All ranks together. Throws EnvironmentError when the backend has no such operation, CallError when its result is
// wrong.
LoopComparison compare(const Contest& contest, const OverheadOptions& options, World& world, Backend& backend);

// Over the limit beyond doubt: the whole interval of the ratio lies above it.
bool over(const LoopComparison& comparison);
bool any_over(const std::vector<LoopComparison>& all);

void print_table(const std::vector<LoopComparison>& all);
nlohmann::ordered_json json_rows(const std::vector<LoopComparison>& all);

// Reads the arguments, then runs. Returns `run`'s exit code, or that of what was thrown after saying it.
int run_program(CLI::App& app, int argc, char** argv, const std::function<int()>& run);

}  // namespace farscale
