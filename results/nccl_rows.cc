// nccl-tests' names and figures in ours.
#include "results/nccl_rows.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "kernels/error.h"

namespace farscale {
namespace {

struct TypeName {
  std::string_view theirs;
  NumberType ours;
};
constexpr std::array<TypeName, 9> kTypes = {{{"float", NumberType::kFp32},
                                             {"double", NumberType::kFp64},
                                             {"half", NumberType::kFp16},
                                             {"bfloat16", NumberType::kBf16},
                                             {"int8", NumberType::kInt8},
                                             {"f8e4m3", NumberType::kFp8E4M3},
                                             {"f8e5m2", NumberType::kFp8E5M2},
                                             {"fp8_e4m3", NumberType::kFp8E4M3},
                                             {"fp8_e5m2", NumberType::kFp8E5M2}}};

}  // namespace

CollectiveKind nccl_kind(const std::string& program, const std::string& path) {
  std::string name = program.substr(program.find_last_of('/') + 1);
  if (name.ends_with("_perf")) name.resize(name.size() - 5);
  if (name == "alltoall") name = "all_to_all";
  try {
    return parse_collective_kind(name);
  } catch (const InputError& error) {
    throw InputError(fmt::format("{}: {}", path, error.what()));
  }
}

void NcclRows::add(NcclRow row) {
  const auto type = std::find_if(kTypes.begin(), kTypes.end(), [&](const TypeName& t) { return t.theirs == row.type; });
  const bool timed = !row.times_s.empty() && row.times_s[0] > 0;
  if (type == kTypes.end() || !timed || row.problem.bytes == 0) {
    ++left_out_;
    return;
  }
  row.problem.type = type->ours;
  Record record{.name = row.problem.name(), .family = "collective", .problem = row.problem};
  try {
    row.problem.validate();
  } catch (const InputError&) {
    ++left_out_;  // nccl-tests rounds odd sizes; ours divide into ranks
    return;
  }
  fill(row, record);
  const auto known =
      std::find_if(run_.records.begin(), run_.records.end(), [&](const Record& r) { return r.name == record.name; });
  if (known == run_.records.end()) {
    run_.records.push_back(std::move(record));
  } else {  // another cycle (-N) over the same sizes: more samples of the same case
    known->samples_s.insert(known->samples_s.end(), record.samples_s.begin(), record.samples_s.end());
    if (record.status == Status::kWrong) known->status = record.status, known->reason = record.reason;
  }
}

void NcclRows::finish() {
  if (left_out_ > 0) {
    run_.warnings.push_back(fmt::format("{} rows left out: types or sizes Farscale has no name for", left_out_));
  }
  if (disagreeing_ > 0) {
    run_.warnings.push_back(
        fmt::format("{} rows whose bus bandwidth is not that of their time, size and collective: "
                    "is the collective right?",
                    disagreeing_));
  }
}

void NcclRows::fill(const NcclRow& row, Record& record) {
  record.settings["placement"] = row.problem.in_place ? "in place" : "out of place";
  record.details["statistic"] = row.times_s.size() == 1 ? "mean" : "each iteration";
  record.samples_s = row.times_s;
  record.runs_per_sample = row.times_s.size() == 1 ? iterations_ : 1;
  record.verdict = {
      .checked = row.checked, .correct = row.checked && row.wrong == 0, .detail = "nccl-tests' own check"};
  if (row.checked && row.wrong != 0) {
    record.status = Status::kWrong;
    record.reason = fmt::format("{} wrong elements", row.wrong);
  }
  const double bus = bus_bandwidth(row.problem, row.times_s[0]);
  record.counters = {{"bus_bytes_per_s", bus}, {"bytes_per_s", double(row.problem.bytes) / row.times_s[0]}};
  // Printed with two digits, so only figures of some size can disagree.
  const bool off = row.times_s.size() == 1 && row.bus_gb_per_s > 5 && std::abs(bus / 1e9 / row.bus_gb_per_s - 1) > 0.02;
  disagreeing_ += off;
}

}  // namespace farscale
