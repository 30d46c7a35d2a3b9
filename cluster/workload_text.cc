// `workload show` for people.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstdio>

#include "cluster/workload_show.h"
#include "kernels/format.h"

namespace farscale {
namespace {

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
  row("micro-batches a step", fmt::to_string(shown.options.layout.accumulation));
  row("micro-batch of one GPU", fmt::format("{} {}{}", step.micro_batch, unit, step.micro_batch > 1 ? "s" : ""));
  row("  training", format_si(step.training_flops, "FLOP"));
  if (step.executed_flops > step.training_flops) {
    row("  recomputed", format_si(step.executed_flops - step.training_flops, "FLOP"));
  }
  row("  activations kept", format_si(step.activation_bytes, "B"));
  row("  memory", format_si(step.memory_bytes, "B"));
  row("  read from storage", format_si(step.input_bytes, "B"));
  row("  copied to the GPU", format_si(step.decoded_bytes, "B"));
  std::string text = table.str();
  fmt::print("{}\n", text.substr(text.find('\n') + 1));
}

// When gradients are reduced: ZeRO 2 and 3 keep only shards of them, so after every micro-batch.
std::string reduced_when(const Layout& layout) {
  if (layout.accumulation == 1) return "";
  return layout.zero_stage >= 2 ? ", reduced after every micro-batch" : ", reduced after the last micro-batch";
}

void print_buckets(const Shown& shown, const ShowArguments& arguments) {
  if (shown.step.buckets.empty()) {
    fmt::print("no gradient buckets: nothing here is trained\n\n");
    return;
  }
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
  constexpr size_t kListed = 40;
  if (sizes.size() > kListed) {
    sizes.resize(kListed);
    sizes.push_back("…");
  }
  fmt::print("gradient buckets in ready order ({}{}): {}: {} MB\n\n",
             shown.options.layout.zero_stage == 3 ? "one a block" : arguments.bucket_rule,
             reduced_when(shown.options.layout), shown.step.buckets.size(), fmt::join(sizes, ", "));
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
  fmt::print("GEMMs of one micro-batch\n{}", table.str());
  fmt::print("{} launches of {} distinct GEMMs", launches, shown.gemms.size());
  if (shown.gemms.size() > rows)
    fmt::print("; the other {} with --rows {}", shown.gemms.size() - rows, shown.gemms.size());
  fmt::print("\n\n");
}

std::string percent_range(const Estimate& share) {
  return fmt::format("{} ({} to {})", format_percent(share.p50), format_percent(share.p05), format_percent(share.p95));
}

void print_classes(const Shown& shown, const ShowArguments& arguments) {
  const bool timed = !shown.time_shares.empty();
  std::vector<std::string> header = {"class", "launches", "FLOP", "bytes"};
  if (timed) header.push_back("time on " + arguments.hardware + " (predicted)");
  TextTable table(header);
  for (const ClassTotal& total : shown.classes) {
    std::vector<std::string> row = {std::string(name(total.kind)), fmt::to_string(total.launches),
                                    total.flops > 0 ? format_si(total.flops, "") : "-", format_si(total.bytes, "B")};
    if (timed) row.push_back(percent_range(shown.time_shares.at(total.kind)));
    table.add(row);
  }
  fmt::print("one micro-batch, and the optimizer's step\n{}", table.str());
  if (timed) {
    Evidence least = Evidence::kMeasured;
    for (const EvidenceLine& line : shown.evidence) least = weakest(least, line.evidence);
    fmt::print("compute without communication: {} ({} to {}, 5 % to 95 % of the draws; weakest input: {})\n",
               format_seconds(shown.compute_s.p50), format_seconds(shown.compute_s.p05),
               format_seconds(shown.compute_s.p95), name(least));
    for (const EvidenceLine& line : shown.evidence) {
      fmt::print("  {}  {}: {}\n", letter(line.evidence), line.what, line.source);
    }
  }
  fmt::print("\n");
}

void print_collectives(const Shown& shown) {
  if (shown.collectives.empty()) return;
  TextTable table(
      {"besides gradients", "collective", "group", "ranks", "pass", "a micro-batch", "a step", "bytes a step", ""});
  for (const CollectiveTotal& total : shown.collectives) {
    table.add({total.reason, std::string(name(total.kind)), total.group, fmt::to_string(total.ranks),
               std::string(name(total.pass)), total.pass == Pass::kOptimizer ? "-" : fmt::to_string(total.count),
               fmt::to_string(total.count * total.times_per_step),
               format_si(total.bytes * double(total.times_per_step), "B"),
               total.blocking ? "blocking" : "may overlap"});
  }
  fmt::print("{}\n", table.str());
}

}  // namespace

void print_text(const Shown& shown, const ShowArguments& arguments) {
  print_totals(shown);
  print_buckets(shown, arguments);
  print_gemms(shown, static_cast<size_t>(arguments.rows));
  print_classes(shown, arguments);
  print_collectives(shown);
  std::vector<std::string> yes, no;
  for (const MemoryFit& fit : memory_fit(shown, arguments.hardware)) {
    (fit.fits ? yes : no).push_back(fmt::format("{} ({})", fit.hardware, format_si(fit.capacity_bytes, "B")));
  }
  const std::string need = format_si(shown.step.memory_bytes, "B");
  if (!yes.empty()) fmt::print("{} a GPU fit: {}\n", need, fmt::join(yes, ", "));
  if (!no.empty()) fmt::print("{} a GPU do not fit: {}\n", need, fmt::join(no, ", "));
  for (const std::string& warning : shown.step.warnings) fmt::print(stderr, "farscale: {}\n", warning);
}

}  // namespace farscale
