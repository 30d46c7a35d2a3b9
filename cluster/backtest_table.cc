// Reading scaling tables and splitting their series.
#include "cluster/backtest_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <map>
#include <set>

#include "kernels/error.h"

namespace farscale {
namespace {

std::string upper(std::string text) {
  for (char& c : text) c = char(std::toupper(static_cast<unsigned char>(c)));
  return text;
}

// Digits in front of `unit` ("80GB" -> "80").
std::string number_before(const std::string& text, const std::string& unit) {
  for (size_t at = text.find(unit); at != std::string::npos; at = text.find(unit, at + 1)) {
    size_t begin = at;
    while (begin > 0 && std::isdigit(static_cast<unsigned char>(text[begin - 1]))) --begin;
    if (begin < at) return text.substr(begin, at - begin);
  }
  return "";
}

std::string period_of(const std::string& series) {
  if (series.size() < 2 || series[0] != 'v' || !std::isdigit(static_cast<unsigned char>(series[1]))) return "";
  return series.substr(0, series.find('-'));
}

bool is_true(const std::string& text) { return upper(text) == "TRUE" || text == "1" || upper(text) == "YES"; }

TableClass class_of(const CsvTable& table, size_t row) {
  const std::string layout = upper(table.text_or(row, "layout", ""));
  if (!table.has("seq_len")) return TableClass::kVision;
  return table.has("params") && layout.starts_with("FSDP") ? TableClass::kFsdp : TableClass::kTransformer;
}

ScalingRow read_row(const CsvTable& table, size_t i) {
  ScalingRow row;
  row.kind = class_of(table, i);
  row.series = table.text(i, "series");
  row.period = period_of(row.series);
  const std::string notes = table.text_or(i, "notes", "");
  // A series may mix jobs, told apart by the first phrase of the notes ("pretrain; …", "finetune LoRA; …").
  if (notes.find(';') != std::string::npos && row.kind == TableClass::kTransformer) {
    row.series += " / " + notes.substr(0, notes.find(';'));
  }
  row.graph = row.workload = table.text(i, "workload");
  for (const char* column : {"seq_len", "precision"}) {
    if (row.kind != TableClass::kVision && table.has(column)) row.workload += " " + table.text(i, column);
  }
  row.hardware = normalised_hardware(table.text(i, "hardware"));
  row.gpus = table.integer(i, "gpus", 1, 100'000'000);
  if (table.has("gpus_per_node")) row.gpus_per_node = table.maybe_number(i, "gpus_per_node", 1, 1e6).value_or(8);
  row.fabric = fmt::format("{} {} {}", table.text_or(i, "network", ""), row.gpus_per_node,
                           row.hardware.find("PCIe") == std::string::npos ? "SXM" : "PCIe");
  const double samples = table.number(i, "global_batch", 1e-9, 1e12) / double(row.gpus);
  row.accumulation = table.has("grad_accum") ? table.maybe_number(i, "grad_accum", 1, 1e9).value_or(1) : 1;
  row.micro_batch = samples / row.accumulation;
  if (table.has("params")) row.parameters = table.maybe_number(i, "params", 0, 1e15).value_or(0);
  if (table.has("activation_checkpoint")) row.checkpointing = is_true(table.text(i, "activation_checkpoint"));
  row.time_s = table.number(i, "step_time_s", 1e-9, 1e9);
  row.where = table.where(i);
  return row;
}

}  // namespace

std::string_view name(TableClass kind) {
  constexpr std::string_view kNames[] = {"vision", "fsdp", "transformer"};
  return kNames[size_t(kind)];
}

std::string normalised_hardware(const std::string& text) {
  std::string all = upper(text);
  // A name that holds another stands before it.
  constexpr const char* kFamilies[] = {"GB300",  "GB200",  "GH200", "B300", "B200", "H200", "H100",
                                       "H800",   "H20",    "A100",  "A800", "V100", "A30",  "MI355X",
                                       "MI325X", "MI300X", "L40S",  "TPU",  "P100"};
  std::string family;
  for (const char* candidate : kFamilies) {
    if (family.empty() && all.find(candidate) != std::string::npos) family = candidate;
  }
  if (family.empty()) return all;
  const bool pcie = all.find("PCIE") != std::string::npos || all.find("NVL ") != std::string::npos ||
                    all.ends_with("NVL") || family == "A30" || family == "L40S";
  return fmt::format("{} {} {}", family, pcie ? "PCIe" : "SXM", number_before(all, "GB"));
}

std::vector<ScalingRow> read_scaling_rows(const CsvTable& table) {
  table.expect_columns({"series", "hardware", "gpus", "workload", "global_batch", "layout", "step_time_s"});
  std::vector<ScalingRow> rows;
  for (size_t i = 0; i < table.rows(); ++i) {
    if (!table.maybe_number(i, "step_time_s", 1e-9, 1e9) || !table.maybe_number(i, "global_batch", 1e-9, 1e12))
      continue;
    rows.push_back(read_row(table, i));
  }
  return rows;
}

std::vector<SeriesSplit> split_series(const std::vector<ScalingRow>& rows, bool background) {
  std::vector<std::string> order;
  std::map<std::string, std::vector<size_t>> members;
  for (size_t i = 0; i < rows.size(); ++i) {
    if (rows[i].background && !background) continue;
    if (!members.contains(rows[i].series)) order.push_back(rows[i].series);
    members[rows[i].series].push_back(i);
  }
  std::vector<SeriesSplit> splits;
  for (const std::string& series : order) {
    std::set<int64_t> counts;
    for (const size_t i : members[series]) counts.insert(rows[i].gpus);
    if (counts.size() < 2) continue;
    SeriesSplit split{.series = series, .fitted = {}, .predicted = {}, .fitted_gpus = {}};
    for (const int64_t gpus : counts) {
      if (gpus * 4 <= *counts.rbegin()) split.fitted_gpus.push_back(gpus);
    }
    if (split.fitted_gpus.empty()) split.fitted_gpus.push_back(*counts.begin());
    for (const size_t i : members[series]) {
      (rows[i].gpus <= split.fitted_gpus.back() ? split.fitted : split.predicted).push_back(i);
    }
    splits.push_back(std::move(split));
  }
  return splits;
}

}  // namespace farscale
