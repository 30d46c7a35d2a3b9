// The workload command: what a network is made of, and what one GPU does of it in a step.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>

#include "cluster/commands.h"
#include "cluster/compute_model.h"
#include "kernels/format.h"
#include "workloads/show.h"

namespace farscale {
namespace {

using nlohmann::json;

struct ShowArguments {
  std::string workload;
  std::string layout = "dp=8";
  std::string fusion = "fused";
  std::string bucket_rule = "pytorch";
  std::string hardware;
  int64_t batch = 0;
  double bucket_mib = 0;
  int rows = 20;
  bool as_json = false;
};

// Everything that is printed, as text or as JSON.
struct Shown {
  Workload workload;
  LoweringOptions options;
  LoweredStep step;
  std::vector<GemmRow> gemms;
  std::vector<ClassTotal> classes;
  std::vector<CollectiveTotal> collectives;
  std::map<KernelClass, double> time_s;  // by class on the hardware asked for; empty without
  double total_time_s = 0;
};

Shown look_up(const ShowArguments& arguments) {
  Workload workload = load_workload(arguments.workload);
  LoweringOptions options;
  options.layout = parse_layout(arguments.layout, 0);
  if (arguments.batch > 0) options.layout.micro_batch = arguments.batch;
  options.fused = arguments.fusion == "fused";
  options.bucket_rule = arguments.bucket_rule;
  options.bucket_bytes = arguments.bucket_mib * 1024 * 1024;
  LoweredStep step = lower(workload, options);
  Shown shown{workload, options, std::move(step), {}, {}, {}, {}, 0};
  shown.gemms = gemm_table(shown.step);
  shown.classes = class_totals(shown.step);
  shown.collectives = collective_totals(shown.step);
  if (arguments.hardware.empty()) return shown;
  const Machine machine = load_hardware(arguments.hardware);
  for (const StepTask& task : shown.step.tasks) {
    const double time_s = sum(task_time(machine.data(), task));
    shown.time_s[task.kind] += time_s;
    shown.total_time_s += time_s;
  }
  return shown;
}

struct Fit {
  std::string hardware;
  double capacity_bytes = 0;
  bool fits = false;
};

std::vector<Fit> memory_fit(const Shown& shown, const std::string& hardware) {
  std::vector<Fit> fits;
  for (const std::string& name : hardware.empty() ? shipped_hardware() : std::vector<std::string>{hardware}) {
    const double capacity = load_hardware(name).data().memory_bytes.value.p50;
    if (capacity > 0) fits.push_back({name, capacity, shown.step.memory_bytes <= capacity});
  }
  return fits;
}

json gemms_json(const Shown& shown) {
  json rows = json::array();
  for (const GemmRow& row : shown.gemms) {
    rows.push_back({{"pass", std::string(name(row.pass))},
                    {"class", std::string(name(row.kind))},
                    {"batch", row.gemm.batch},
                    {"m", row.gemm.m},
                    {"n", row.gemm.n},
                    {"k", row.gemm.k},
                    {"type", std::string(name(row.gemm.type))},
                    {"layout", row.gemm.layout()},
                    {"count", row.count},
                    {"flops", row.flops},
                    {"bytes", row.bytes}});
  }
  return rows;
}

json classes_json(const Shown& shown) {
  json rows = json::array();
  for (const ClassTotal& total : shown.classes) {
    json row = {{"class", std::string(name(total.kind))},
                {"launches", total.launches},
                {"flops", total.flops},
                {"bytes", total.bytes}};
    if (shown.total_time_s > 0) {
      row["time_s"] = shown.time_s.at(total.kind);
      row["time_share"] = shown.time_s.at(total.kind) / shown.total_time_s;
    }
    rows.push_back(row);
  }
  return rows;
}

json collectives_json(const Shown& shown) {
  json rows = json::array();
  for (const CollectiveTotal& total : shown.collectives) {
    rows.push_back({{"kind", std::string(name(total.kind))},
                    {"group", total.group},
                    {"ranks", total.ranks},
                    {"pass", std::string(name(total.pass))},
                    {"reason", total.reason},
                    {"blocking", total.blocking},
                    {"count", total.count},
                    {"bytes", total.bytes}});
  }
  return rows;
}

void print_json(const Shown& shown, const ShowArguments& arguments) {
  const Workload& w = shown.workload;
  const LoweredStep& step = shown.step;
  json document = {{"name", w.name()},
                   {"provenance", w.provenance()},
                   {"sources", w.sources()},
                   {"sample_unit", w.sample_unit()},
                   {"frames_per_sample", w.frames_per_sample()},
                   {"parameters", w.parameters()},
                   {"trainable_parameters", w.trainable_parameters()},
                   {"forward_flops_per_sample", w.forward_flops_per_sample()},
                   {"training_flops_per_sample", w.training_flops_per_sample()},
                   {"gradient_bytes", w.gradient_bytes()},
                   {"layout", shown.options.layout.str()},
                   {"fusion", arguments.fusion},
                   {"bucket_rule", arguments.bucket_rule},
                   {"micro_batch", step.micro_batch},
                   {"training_flops", step.training_flops},
                   {"executed_flops", step.executed_flops},
                   {"memory_bytes", step.memory_bytes},
                   {"activation_bytes", step.activation_bytes},
                   {"input_bytes", step.input_bytes},
                   {"buckets_bytes", json::array()},
                   {"gemms", gemms_json(shown)},
                   {"classes", classes_json(shown)},
                   {"collectives", collectives_json(shown)},
                   {"memory_fit", json::array()},
                   {"warnings", step.warnings}};
  for (const Bucket& bucket : step.buckets) document["buckets_bytes"].push_back(bucket.bytes);
  for (const Fit& fit : memory_fit(shown, arguments.hardware)) {
    document["memory_fit"].push_back(
        {{"hardware", fit.hardware}, {"memory_bytes", fit.capacity_bytes}, {"fits", fit.fits}});
  }
  if (!arguments.hardware.empty()) document["hardware"] = arguments.hardware;
  fmt::print("{}\n", document.dump(1));
}

void print_totals(const Shown& shown) {
  const Workload& w = shown.workload;
  const LoweredStep& step = shown.step;
  fmt::print("{} ({})\n", w.name(), w.provenance());
  for (const std::string& source : w.sources()) fmt::print("  {}\n", source);
  const std::string unit = w.sample_unit();
  TextTable table({"", ""});
  const auto row = [&](const std::string& what, const std::string& value) { table.add({what, value}); };
  row("parameters", format_count(double(w.parameters())));
  if (w.trainable_parameters() != w.parameters()) row("  trained", format_count(double(w.trainable_parameters())));
  row("forward, one " + unit, format_si(w.forward_flops_per_sample(), "FLOP"));
  row("training, one " + unit, format_si(w.training_flops_per_sample(), "FLOP"));
  row("gradients", format_si(w.gradient_bytes(), "B"));
  row("layout", shown.options.layout.str());
  row("micro-batch of one GPU", fmt::format("{} {}{}", step.micro_batch, unit, step.micro_batch > 1 ? "s" : ""));
  row("  training", format_si(step.training_flops, "FLOP"));
  if (step.executed_flops > step.training_flops) {
    row("  recomputed", format_si(step.executed_flops - step.training_flops, "FLOP"));
  }
  row("  activations kept", format_si(step.activation_bytes, "B"));
  row("  memory", format_si(step.memory_bytes, "B"));
  row("  read from storage", format_si(step.input_bytes, "B"));
  std::string text = table.str();
  fmt::print("{}\n", text.substr(text.find('\n') + 1));
}

void print_buckets(const Shown& shown, const ShowArguments& arguments) {
  std::vector<std::string> sizes;
  size_t count = 0;
  for (size_t i = 0; i <= shown.step.buckets.size(); ++i) {  // equal neighbours are counted together
    const bool same = i > 0 && i < shown.step.buckets.size() && count > 0 &&
                      fmt::format("{:.1f}", double(shown.step.buckets[i].bytes) / 1e6) ==
                          fmt::format("{:.1f}", double(shown.step.buckets[i - 1].bytes) / 1e6);
    if (!same && count > 0) {
      const std::string size = fmt::format("{:.1f}", double(shown.step.buckets[i - 1].bytes) / 1e6);
      sizes.push_back(count > 1 ? fmt::format("{} x {}", count, size) : size);
      count = 0;
    }
    ++count;
  }
  fmt::print("gradient buckets in ready order ({}): {}: {} MB\n\n",
             shown.options.layout.zero_stage == 3 ? "one a block" : arguments.bucket_rule, shown.step.buckets.size(),
             fmt::join(sizes, ", "));
}

void print_gemms(const Shown& shown, size_t rows) {
  TextTable table({"pass", "class", "batch", "M", "N", "K", "count", "FLOP", "share"});
  for (size_t i = 0; i < std::min(rows, shown.gemms.size()); ++i) {
    const GemmRow& row = shown.gemms[i];
    table.add({std::string(name(row.pass)), std::string(name(row.kind)), fmt::to_string(row.gemm.batch),
               fmt::to_string(row.gemm.m), fmt::to_string(row.gemm.n), fmt::to_string(row.gemm.k),
               fmt::to_string(row.count), format_si(row.flops, ""),
               format_percent(row.flops / shown.step.executed_flops)});
  }
  int64_t launches = 0;
  for (const GemmRow& row : shown.gemms) launches += row.count;
  fmt::print("{}", table.str());
  fmt::print("{} launches of {} distinct GEMMs", launches, shown.gemms.size());
  if (shown.gemms.size() > rows)
    fmt::print("; the other {} with --rows {}", shown.gemms.size() - rows, shown.gemms.size());
  fmt::print("\n\n");
}

void print_classes(const Shown& shown, const ShowArguments& arguments) {
  std::vector<std::string> header = {"class", "launches", "FLOP", "bytes"};
  if (shown.total_time_s > 0) header.push_back("time on " + arguments.hardware + " (predicted)");
  TextTable table(header);
  for (const ClassTotal& total : shown.classes) {
    std::vector<std::string> row = {std::string(name(total.kind)), fmt::to_string(total.launches),
                                    total.flops > 0 ? format_si(total.flops, "") : "-", format_si(total.bytes, "B")};
    if (shown.total_time_s > 0) row.push_back(format_percent(shown.time_s.at(total.kind) / shown.total_time_s));
    table.add(row);
  }
  fmt::print("{}", table.str());
  if (shown.total_time_s > 0) fmt::print("compute without communication: {}\n", format_seconds(shown.total_time_s));
  fmt::print("\n");
}

void print_collectives(const Shown& shown) {
  if (shown.collectives.empty()) return;
  TextTable table({"besides gradients", "collective", "group", "ranks", "pass", "count", "bytes", ""});
  for (const CollectiveTotal& total : shown.collectives) {
    table.add({total.reason, std::string(name(total.kind)), total.group, fmt::to_string(total.ranks),
               std::string(name(total.pass)), fmt::to_string(total.count), format_si(total.bytes, "B"),
               total.blocking ? "blocking" : "may overlap"});
  }
  fmt::print("{}\n", table.str());
}

void print_text(const Shown& shown, const ShowArguments& arguments) {
  print_totals(shown);
  print_buckets(shown, arguments);
  print_gemms(shown, static_cast<size_t>(arguments.rows));
  print_classes(shown, arguments);
  print_collectives(shown);
  std::vector<std::string> yes, no;
  for (const Fit& fit : memory_fit(shown, arguments.hardware)) {
    (fit.fits ? yes : no).push_back(fmt::format("{} ({})", fit.hardware, format_si(fit.capacity_bytes, "B")));
  }
  const std::string need = format_si(shown.step.memory_bytes, "B");
  if (!yes.empty()) fmt::print("{} a GPU fit: {}\n", need, fmt::join(yes, ", "));
  if (!no.empty()) fmt::print("{} a GPU do not fit: {}\n", need, fmt::join(no, ", "));
  for (const std::string& warning : shown.step.warnings) fmt::print(stderr, "farscale: {}\n", warning);
}

}  // namespace

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
  show->add_option("--layout", arguments->layout, "dp, tp, pp, cp, ep, zero, hsdp, mb, accum, interleave, sync_bn")
      ->capture_default_str();
  show->add_option("--fusion", arguments->fusion, "memory passes as PyTorch eager or fused")
      ->check(CLI::IsMember({"eager", "fused"}))
      ->capture_default_str();
  show->add_option("--buckets", arguments->bucket_rule, "rule that makes gradient buckets")
      ->check(CLI::IsMember({"pytorch", "megatron", "deepspeed", "single"}))
      ->capture_default_str();
  show->add_option("--bucket-mib", arguments->bucket_mib, "size of a bucket in MiB (default: the rule's)")
      ->check(CLI::Range(0.001, 1e6));
  show->add_option("--hardware", arguments->hardware, "share of time by class and memory fit on this GPU");
  show->add_option("--rows", arguments->rows, "rows of the GEMM table")
      ->check(CLI::Range(1, 100000))
      ->capture_default_str();
  show->add_flag("--json", arguments->as_json, "one JSON document on stdout");
  show->callback([arguments] {
    const Shown shown = look_up(*arguments);
    arguments->as_json ? print_json(shown, *arguments) : print_text(shown, *arguments);
  });
}

}  // namespace farscale
