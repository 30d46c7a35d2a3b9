// The workload command: what a network is made of, and what one GPU does of it in a step.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <memory>
#include <optional>

#include "cluster/commands.h"
#include "cluster/compute_model.h"
#include "cluster/option_checks.h"
#include "cluster/workload_show.h"
#include "kernels/format.h"
#include "results/statistics.h"

namespace farscale {
namespace {

Shown look_up(const ShowArguments& arguments) {
  Workload workload = load_workload(arguments.workload);
  LoweringOptions options;
  options.layout = parse_layout(arguments.layout, 0);
  if (arguments.batch > 0) options.layout.micro_batch = arguments.batch;
  options.fused = arguments.fusion == "fused";
  options.bucket_rule = arguments.bucket_rule;
  options.bucket_bytes = arguments.bucket_mib * 1024 * 1024;
  std::optional<Machine> machine;
  if (!arguments.hardware.empty()) machine = load_hardware(arguments.hardware);
  const auto time_of = [&](const StepTask& task) { return sum(task_time(machine->data(), task)); };
  if (machine && options.layout.pp > 1) options.block_costs = block_costs(workload, options, time_of);
  Shown shown{workload, options, lower(workload, options), {}, {}, {}, {}, 0};
  shown.gemms = gemm_table(shown.step);
  shown.classes = class_totals(shown.step);
  shown.collectives = collective_totals(shown.step);
  if (!machine) return shown;
  for (const StepTask& task : shown.step.tasks) {
    const double time_s = time_of(task);
    shown.time_s[task.kind] += time_s;
    shown.total_time_s += time_s;
  }
  return shown;
}

// Medians of reading and of lowering, to stderr: both are on the way of every prediction.
void print_timing(const ShowArguments& arguments, const LoweringOptions& options) {
  constexpr int kRuns = 21;
  std::vector<double> load_s, lower_s;
  for (int i = 0; i < kRuns; ++i) {
    using Clock = std::chrono::steady_clock;
    const auto start = Clock::now();
    const Workload workload = load_workload(arguments.workload);
    const auto loaded = Clock::now();
    lower(workload, options);
    load_s.push_back(std::chrono::duration<double>(loaded - start).count());
    lower_s.push_back(std::chrono::duration<double>(Clock::now() - loaded).count());
  }
  fmt::print(stderr, "read {}, lowered {} (medians of {})\n", format_seconds(median(load_s)),
             format_seconds(median(lower_s)), kRuns);
}

}  // namespace

std::vector<MemoryFit> memory_fit(const Shown& shown, const std::string& hardware) {
  std::vector<MemoryFit> fits;
  for (const std::string& name : hardware.empty() ? shipped_hardware() : std::vector<std::string>{hardware}) {
    const double capacity = load_hardware(name).data().memory_bytes.value.p50;
    if (capacity > 0) fits.push_back({name, capacity, shown.step.memory_bytes <= capacity});
  }
  return fits;
}

void add_workload_command(CLI::App& app, ExitCode&) {
  CLI::App* command = app.add_subcommand("workload", "What a network is made of");
  command->require_subcommand(1);
  CLI::App* show =
      command->add_subcommand("show", "Parameters, FLOPs, gradient buckets, GEMMs and memory of a network");
  show->footer(
      "Example:\n  farscale workload show hydranet-regnety16gf --layout \"dp=512\" --hardware h100-sxm\n"
      "  farscale workload show ./mine.toml --batch 4 --fusion eager --json");
  auto arguments = std::make_shared<ShowArguments>();
  show->add_option("WORKLOAD", arguments->workload, "shipped name or a TOML file of your own")->required();
  show->add_option("--batch", arguments->batch, "samples of a micro-batch on one GPU (default: the workload's)")
      ->check(CLI::Range(int64_t{1}, int64_t{1'000'000}));
  show->add_option("--layout", arguments->layout,
                   "dp, tp, pp, cp, ep, zero, hsdp, mb, accum, interleave, sync_bn, ckpt")
      ->capture_default_str();
  show->add_option("--fusion", arguments->fusion, "memory passes as PyTorch eager or fused")
      ->check(CLI::IsMember({"eager", "fused"}))
      ->capture_default_str();
  show->add_option("--buckets", arguments->bucket_rule, "rule that makes gradient buckets")
      ->check(CLI::IsMember({"pytorch", "megatron", "deepspeed", "single"}))
      ->capture_default_str();
  show->add_option("--bucket-mib", arguments->bucket_mib, "size of a bucket in MiB (default: the rule's)")
      ->check(number_within(0.001, 1e6));
  show->add_option("--hardware", arguments->hardware, "share of time by class and memory fit on this GPU");
  show->add_option("--rows", arguments->rows, "rows of the GEMM table")
      ->check(CLI::Range(1, 100000))
      ->capture_default_str();
  show->add_flag("--time", arguments->timing, "also time reading and lowering");
  show->add_flag("--json", arguments->as_json, "one JSON document on stdout");
  show->callback([arguments] {
    const Shown shown = look_up(*arguments);
    if (arguments->timing) print_timing(*arguments, shown.options);
    arguments->as_json ? print_json(shown, *arguments) : print_text(shown, *arguments);
  });
}

}  // namespace farscale
