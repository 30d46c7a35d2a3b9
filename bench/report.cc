// Tables for people.
#include "bench/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "kernels/format.h"
#include "results/statistics.h"

namespace farscale {
namespace {

std::vector<const Record*> of_family(const Run& run, const std::string& family) {
  std::vector<const Record*> found;
  for (const Record& record : run.records) {
    if (record.family == family && record.status == Status::kOk && !record.samples_s.empty()) found.push_back(&record);
  }
  return found;
}

double counter(const Record& record, const std::string& name) {
  const auto found = record.counters.find(name);
  return found == record.counters.end() ? 0 : found->second;
}

std::string counter_text(const Record& record, const std::string& name, std::string (*format)(double)) {
  return record.counters.contains(name) ? format(record.counters.at(name)) : "-";
}

// Three significant digits, without an exponent: "0.00123", "12.3", "13,123".
std::string number_text(double value) {
  if (value >= 999.5) return format_count(value);
  const int whole = value > 0 ? static_cast<int>(std::floor(std::log10(value))) : 0;
  return fmt::format("{:.{}f}", value, std::max(0, 2 - whole));
}

// "1.23 ms ± 0.8 %": median and half its 95 % interval.
std::string time_text(const Record& record) { return format_seconds(median(record.samples_s)); }
std::string spread_text(const Record& record) { return format_percent(relative_interval95(record.samples_s)); }

std::string verdict_text(const Record& record) { return record.verdict.checked ? "correct" : "unchecked"; }

// What tells two cases of one problem apart, "hot" or "zeros".
std::string special(const Record& record) {
  std::string text;
  for (const auto& [key, usual] : std::map<std::string, std::string>{{"cache", "cold"}, {"data", "normal"}}) {
    const auto found = record.settings.find(key);
    if (found != record.settings.end() && found->second != usual) text += " " + found->second;
  }
  return text;
}

// What else is in a GEMM's name: scaling, accumulation, epilogue.
std::string variant(const GemmProblem& gemm) {
  std::string text;
  if (gemm.scaling != Scaling::kNone) text += fmt::format(" {}-scaled", name(gemm.scaling));
  if (gemm.fast_accumulation) text += " fast";
  if (gemm.epilogue != Epilogue::kNone) text += fmt::format(" {}", name(gemm.epilogue));
  return text;
}

// In units of 1e9; where the record's own is the sustained one, the burst's beside it.
std::string rate_text(const Record& record, const std::string& rate) {
  const double burst = counter(record, "burst_" + rate);
  return number_text(counter(record, rate) / 1e9) +
         (burst > 0 ? fmt::format(" (burst {})", number_text(burst / 1e9)) : "");
}

std::string gemm_table(const Run& run) {
  std::map<NumberType, double> best;
  for (const Record* record : of_family(run, "gemm")) {
    double& value = best[std::get<GemmProblem>(*record->problem).type];
    value = std::max(value, counter(*record, "flops_per_s"));
  }
  TextTable table({"GEMM", "m x n x k", "time", "±", "GFLOP/s", "of best", "result"});
  for (const Record* record : of_family(run, "gemm")) {
    const auto& gemm = std::get<GemmProblem>(*record->problem);
    const double rate = counter(*record, "flops_per_s");
    const std::string batch = gemm.batch > 1 ? fmt::format(" b{}", gemm.batch) : "";
    table.add({fmt::format("{} {}{}{}", name(gemm.type), gemm.layout(), variant(gemm), special(*record)),
               fmt::format("{}x{}x{}{}", gemm.m, gemm.n, gemm.k, batch), time_text(*record), spread_text(*record),
               rate_text(*record, "flops_per_s"), best[gemm.type] > 0 ? format_percent(rate / best[gemm.type]) : "-",
               verdict_text(*record)});
  }
  return table.empty() ? "" : table.str() + "\n";
}

std::string memory_table(const Run& run) {
  TextTable table({"memory", "moved", "time", "±", "GB/s", "result"});
  for (const Record* record : of_family(run, "memory")) {
    const auto& memory = std::get<MemoryProblem>(*record->problem);
    const std::string to = memory.type != memory.to && memory.name().find('-') != std::string::npos
                               ? fmt::format(" to {}", name(memory.to))
                               : "";
    table.add({fmt::format("{} {}{}{}", name(memory.kind), name(memory.type), to, special(*record)),
               format_bytes(memory.bytes()), time_text(*record), spread_text(*record),
               rate_text(*record, "bytes_per_s"), verdict_text(*record)});
  }
  return table.empty() ? "" : table.str() + "\n";
}

// How a collective was launched, where that is not the usual way.
std::string launch_text(const Record& record) {
  const auto setting = [&](const char* key) {
    const auto found = record.settings.find(key);
    return found == record.settings.end() ? "" : found->second;
  };
  const std::string ctas = setting("most_ctas");
  return fmt::format("{}{}{}", setting("launch").empty() ? "" : " graph",
                     setting("buffers").empty() ? "" : " registered", ctas.empty() ? "" : fmt::format(" {} SMs", ctas));
}

// What the library chose, where it tells: "NVLS SIMPLE x24".
std::string choice_text(const Record& record) {
  const auto detail = [&](const char* key) {
    const auto found = record.details.find(key);
    return found == record.details.end() ? "" : found->second;
  };
  if (detail("channels").empty()) return detail("algorithm").empty() ? "" : detail("algorithm");
  return fmt::format("{} {} x{}", detail("algorithm"), detail("protocol"), detail("channels"));
}

std::string collective_table(const Run& run) {
  const std::vector<const Record*> records = of_family(run, "collective");
  const bool told =
      std::any_of(records.begin(), records.end(), [](const Record* r) { return !choice_text(*r).empty(); });
  std::vector<std::string> heads = {"collective", "size", "ranks", "time", "±", "bus GB/s", "result"};
  if (told) heads.emplace_back("chosen");
  TextTable table(heads);
  for (const Record* record : records) {
    const auto& problem = std::get<CollectiveProblem>(*record->problem);
    const bool bandwidth = record->counters.contains("bus_bytes_per_s");
    std::vector<std::string> row = {fmt::format("{} {}{}{}", name(problem.kind), name(problem.type),
                                                problem.in_place ? " in place" : "", launch_text(*record)),
                                    format_bytes(double(problem.bytes)),
                                    std::to_string(problem.ranks),
                                    time_text(*record),
                                    spread_text(*record),
                                    bandwidth ? number_text(counter(*record, "bus_bytes_per_s") / 1e9) : "-",
                                    verdict_text(*record)};
    if (told) row.push_back(choice_text(*record));
    table.add(row);
  }
  return table.empty() ? "" : table.str() + "\n";
}

std::string samples_text(double rate) { return number_text(rate) + " samples/s"; }

// With the 95 % interval of its median: a small difference of two large times is no point.
std::string exposed_text(const Record& record) {
  const auto series = record.series_s.find("exposed");
  if (series == record.series_s.end() || series->second.empty()) return "-";
  const Interval interval = median_interval95(series->second);
  return fmt::format("{} ({} to {})", format_seconds(median(series->second)), format_seconds(interval.low),
                     format_seconds(interval.high));
}

std::string step_name(const Record& record) {
  const auto text = [&](const char* key) {
    const auto found = record.settings.find(key);
    return found == record.settings.end() ? std::string() : found->second;
  };
  const std::string scale = text("scale");
  return text("workload") + (scale.empty() || scale == "1" ? "" : " 1/" + scale);
}

std::string step_table(const Run& run) {
  TextTable times({"step", "p50", "±", "p95", "p99", "compute only", "comm. only", "exposed", "of step"});
  TextTable rates({"step", "scaled copy", "full size", "frames/s", "MFU", "HFU", "input it takes"});
  for (const Record* record : of_family(run, "step")) {
    times.add({step_name(*record), counter_text(*record, "p50_s", format_seconds), spread_text(*record),
               counter_text(*record, "p95_s", format_seconds), counter_text(*record, "p99_s", format_seconds),
               counter_text(*record, "compute_only_s", format_seconds),
               counter_text(*record, "communication_only_s", format_seconds), exposed_text(*record),
               counter_text(*record, "exposed_share", format_percent)});
    rates.add({step_name(*record), counter_text(*record, "scaled_samples_per_s", samples_text),
               counter_text(*record, "samples_per_s", samples_text), counter_text(*record, "frames_per_s", number_text),
               counter_text(*record, "mfu", format_percent), counter_text(*record, "hfu", format_percent),
               counter_text(*record, "input_bytes_per_s", [](double rate) { return format_si(rate, "B/s"); })});
  }
  if (times.empty()) return "";
  return fmt::format(
      "{}\n{}MFU: FLOPs the model needs over the peak named below; HFU: FLOPs executed, those of recomputation "
      "too.\n\n",
      times.str(), rates.str());
}

// How much a class of kernels is slower beside communication, with the range that the intervals of both medians leave.
std::string slowdown_text(const Record& record, const std::string& kind) {
  const auto alone = record.series_s.find("class/" + kind);
  const auto beside = record.series_s.find("class_beside_traffic/" + kind);
  if (alone == record.series_s.end() || beside == record.series_s.end()) return "-";
  const Interval before = median_interval95(alone->second), after = median_interval95(beside->second);
  return fmt::format("{:+.1f} % ({:+.1f} … {:+.1f})", 100 * (counter(record, "slowdown_" + kind) - 1),
                     100 * (after.low / before.high - 1), 100 * (after.high / before.low - 1));
}

// Each step's classes of kernels, and in words what a table has no room for.
std::string step_details(const Run& run) {
  std::string text;
  for (const Record* record : of_family(run, "step")) {
    TextTable classes({step_name(*record) + ": kernels", "share of compute", "slower beside communication"});
    for (const auto& [key, share] : record->counters) {
      if (!key.starts_with("share_") || key == "share_of_best_seen") continue;
      const std::string kind = key.substr(6);
      classes.add({kind, format_percent(share), slowdown_text(*record, kind)});
    }
    text += classes.str();
    for (const char* key : {"late", "peak", "kernels", "micro_batch", "graph"}) {
      const auto found = record->details.find(key);
      if (found != record->details.end()) text += fmt::format("{}: {}\n", key, found->second);
    }
    text += "\n";
  }
  return text;
}

std::string start_table(const Run& run) {
  TextTable table({"start", "time", "samples"});
  for (const Record* record : of_family(run, "start")) {
    table.add({record->name.substr(record->name.find('/') + 1), time_text(*record),
               std::to_string(record->samples_s.size())});
  }
  return table.empty() ? "" : table.str() + "\n";
}

// One line a reason, because eleven collectives are skipped for the same one.
std::string trouble(const Run& run) {
  std::vector<std::pair<std::string, std::vector<const Record*>>> groups;
  for (const Record& record : run.records) {
    if (record.status == Status::kOk) continue;
    const std::string key = fmt::format("{}: {}", name(record.status), record.reason);
    auto group = std::find_if(groups.begin(), groups.end(), [&](const auto& g) { return g.first == key; });
    if (group == groups.end()) group = groups.insert(groups.end(), {key, {}});
    group->second.push_back(&record);
  }
  std::string text;
  for (const auto& [reason, records] : groups) {
    const std::string more = records.size() > 1 ? fmt::format(" and {} more", records.size() - 1) : "";
    text += fmt::format("{}{} {}\n", records.front()->name, more, reason);
  }
  return text.empty() ? "" : text + "\n";
}

}  // namespace

std::string report_tables(const Run& run) {
  const std::string head = fmt::format("This machine: {}, backend {}, {} {}\n\n", run.device, run.backend, run.ranks,
                                       run.ranks == 1 ? "rank" : "ranks");
  return head + gemm_table(run) + memory_table(run) + collective_table(run) + step_table(run) + step_details(run) +
         start_table(run) + trouble(run);
}

int exit_code_of(const Run& run) {
  return std::any_of(
             run.records.begin(), run.records.end(),
             [](const Record& record) { return record.status == Status::kWrong || record.status == Status::kFailed; })
             ? 1
             : 0;
}

}  // namespace farscale
