// The workload command: what a network is made of, and what one GPU does of it in a step.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <memory>
#include <optional>

#include "cluster/commands.h"
#include "cluster/compute_model.h"
#include "cluster/draws.h"
#include "cluster/option_checks.h"
#include "cluster/workload_show.h"
#include "kernels/format.h"
#include "results/statistics.h"

namespace farscale {
namespace {

Estimate estimate_of(const std::vector<double>& values) {
  return {quantile(values, 0.05), quantile(values, 0.5), quantile(values, 0.95)};
}

// What the times of a step's kernels are worked out from.
std::vector<EvidenceLine> evidence_of(const Machine::Data& machine, const LoweredStep& step) {
  std::vector<EvidenceLine> lines;
  const auto add_line = [&](std::string what, const Quantity& quantity) {
    const bool known = std::any_of(lines.begin(), lines.end(), [&](const auto& line) { return line.what == what; });
    if (!known) lines.push_back({std::move(what), quantity.evidence, quantity.source});
  };
  const Efficiency& e = machine.efficiency;
  for (const StepTask& task : step.tasks) {
    if (task.gemm.m == 0) continue;
    const NumberType type = available_type(machine, task.gemm.type);
    const auto rate = machine.flops_per_s.find(type);
    if (rate != machine.flops_per_s.end()) {
      add_line(fmt::format("{} dense rate {}", name(type), format_si(rate->second.value.p50, "FLOP/s")), rate->second);
    }
    const auto share = e.tensor.find(task.kind);
    if (share == e.tensor.end()) continue;
    add_line(fmt::format("{} kernels at {} of it", name(task.kind), format_percent(share->second.value.p50)),
             share->second);
  }
  add_line(fmt::format("memory bandwidth {}", format_si(machine.memory_bytes_per_s.value.p50, "B/s")),
           machine.memory_bytes_per_s);
  add_line(fmt::format("passes at {} of it", format_percent(e.memory.value.p50)), e.memory);
  add_line(fmt::format("gathers at {} of it", format_percent(e.gather.value.p50)), e.gather);
  add_line(fmt::format("{} a launch", format_seconds(e.launch_s.value.p50)), e.launch_s);
  add_line(fmt::format("whole steps {:.2f} times their kernels", e.overhead.value.p50), e.overhead);
  return lines;
}

// Times of the kernels and each class's share of them, over draws of the machine's quantities.
void add_times(const Machine::Data& machine, Shown& shown) {
  constexpr int kDraws = 1000;
  std::map<KernelClass, ComponentTimes> classes;
  for (const StepTask& task : shown.step.tasks) add(classes[task.kind], task_time(machine, task));
  std::map<KernelClass, std::vector<double>> shares;
  std::vector<double> totals;
  for (const MachineDraw& draw : make_draws(machine, kDraws, 1)) {
    std::map<KernelClass, double> times;
    double total = 0;
    for (const auto& [kind, parts] : classes) total += times[kind] = dot(parts, draw.factors);
    for (const auto& [kind, time_s] : times) shares[kind].push_back(time_s / total);
    totals.push_back(total * draw.overhead * draw.residual);
  }
  shown.compute_s = estimate_of(totals);
  for (const auto& [kind, values] : shares) shown.time_shares[kind] = estimate_of(values);
  shown.evidence = evidence_of(machine, shown.step);
}

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
  Shown shown{workload, options, lower(workload, options), {}, {}, {}, {}, {}, {}};
  shown.gemms = gemm_table(shown.step);
  shown.classes = class_totals(shown.step);
  shown.collectives = collective_totals(shown.step, options.layout.accumulation);
  if (machine) add_times(machine->data(), shown);
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
