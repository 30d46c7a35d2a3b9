// The rows of nccl-tests' results on their way to records, from its text and from its JSON alike. Internal to results.
#pragma once

#include <string>
#include <vector>

#include "results/record.h"

namespace farscale {

// One placement of one size, from either format.
struct NcclRow {
  CollectiveProblem problem = {};
  std::string type = {};
  std::vector<double> times_s = {};
  double bus_gb_per_s = 0;
  bool checked = false;
  double wrong = 0;
};

// What ran: "all_reduce_perf", "./build/alltoall_perf" or our own name. Theirs without a name of ours are refused by
// name.
CollectiveKind nccl_kind(const std::string& program, const std::string& path);

// Puts rows into a run, and counts those it leaves out: types and sizes we have no name for.
class NcclRows {
 public:
  NcclRows(Run& run, int64_t iterations) : run_(run), iterations_(iterations) {}

  void add(NcclRow row);
  void finish();  // the counts as warnings

 private:
  void fill(const NcclRow& row, Record& record);

  Run& run_;
  int64_t iterations_;
  int left_out_ = 0;
  int disagreeing_ = 0;
};

// The -J file.
Run import_nccl_json(const std::string& text, const std::string& path, const std::string& collective);

}  // namespace farscale
