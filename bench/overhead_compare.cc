// Rounds of two samples, and their table.
#include "bench/overhead_compare.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "bench/agreement.h"
#include "kernels/format.h"
#include "results/statistics.h"

namespace farscale {
namespace {

// Adds one round: bare, harness, in turn first. Ratios are taken within a round, so that drift cancels.
void add_round(const Agreement& agreement, const Sampling& sampling, const TimeRuns& harness, const TimeRuns& bare,
               int64_t runs, LoopComparison& comparison) {
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

std::string change(double ratio) { return fmt::format("{:+.2f} %", 100 * (ratio - 1)); }

std::string change_text(const std::vector<double>& ratios) {
  const Interval interval = median_interval95(ratios);
  return fmt::format("{} ({} to {})", change(median(ratios)), change(interval.low), change(interval.high));
}

}  // namespace

void add_overhead_options(CLI::App& app, OverheadOptions& options) {
  app.add_option("--rounds", options.rounds, "pairs of samples (default 100)")->check(CLI::Range(6, 100000));
  app.add_option("--sample", options.sample_s, "seconds a sample (default 0.02)")->check(CLI::Range(1e-4, 10.0));
  app.add_flag("--json", options.json, "print one JSON document");
  app.add_flag("--assert", options.assert_limits, "exit 1 when an overhead is beyond doubt over its limit");
}

LoopComparison compare(const Contest& contest, const OverheadOptions& options, World& world, Backend& backend) {
  const Agreement agreement(world);
  // Not rotated through more than the cache: the bare loop is not either.
  auto operation = backend.prepare(contest.problem, {.cold = false, .world = &world});
  if (!operation) throw EnvironmentError(fmt::format("{}: {}", contest.name, operation.reason()));
  if (!(*operation)->verify().correct) throw CallError(fmt::format("{}: wrong result", contest.name));
  const auto queue = backend.open_queue(QueueRole::kCompute);
  const TimeRuns harness = [&](int64_t runs) { return backend.time_s(**operation, *queue, runs); };
  contest.bare(3);
  const double run_s = agreement.slowest(contest.bare(10) / 10);
  const int64_t runs = agreement.count(runs_for({.sample_s = options.sample_s}, run_s));
  const LoopComparison fresh{.name = contest.name, .limit = contest.limit};
  LoopComparison comparison = fresh;
  for (int64_t i = 0; i < options.rounds + 2; ++i) {
    if (i == 2) comparison = fresh;  // two rounds to warm up
    add_round(agreement, {}, harness, contest.bare, runs, comparison);
  }
  return comparison;
}

bool over(const LoopComparison& comparison) {
  return median_interval95(comparison.reported_ratio).low > 1 + comparison.limit;
}

bool any_over(const std::vector<LoopComparison>& all) {
  return std::any_of(all.begin(), all.end(), [](const LoopComparison& one) { return over(one); });
}

void print_table(const std::vector<LoopComparison>& all) {
  TextTable table({"against", "bare loop", "harness adds, as reported", "by the wall clock", "limit", "verdict"});
  for (const LoopComparison& one : all) {
    table.add({one.name, format_seconds(median(one.bare_s)), change_text(one.reported_ratio),
               change_text(one.wall_ratio), change(1 + one.limit), over(one) ? "over" : "within"});
  }
  std::fputs(table.str().c_str(), stdout);
}

nlohmann::ordered_json json_rows(const std::vector<LoopComparison>& all) {
  nlohmann::ordered_json rows = nlohmann::ordered_json::array();
  for (const LoopComparison& one : all) {
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
  return rows;
}

int run_program(CLI::App& app, int argc, char** argv, const std::function<int()>& run) {
  try {
    app.parse(argc, argv);
    return run();
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : static_cast<int>(ExitCode::kBadInput);
  } catch (const Error& error) {
    std::fprintf(stderr, "%s: %s\n", app.get_name().c_str(), error.what());
    return static_cast<int>(error.code());
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s: unexpected: %s\n", app.get_name().c_str(), error.what());
    return 1;
  }
}

}  // namespace farscale
