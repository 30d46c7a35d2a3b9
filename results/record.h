// The record: one case's samples and what is known about them, and a run: the records of one `farscale run` with the
// environment they were taken in. A result file is a run as a Google Benchmark JSON document (results/result_file.h).
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "kernels/problem.h"

namespace farscale {

enum class Status { kOk, kSkipped, kWrong, kFailed };

std::string_view name(Status status);        // "ok", "skipped", "wrong", "failed"
Status parse_status(std::string_view text);  // throws InputError

struct RecordVerdict {
  bool checked = false;
  bool correct = false;
  double worst_error = 0;
  double bound = 0;
  std::string detail = {};
};

struct Record {
  std::string name = {};    // unique within a run: problem name plus settings, "gemm/fp32/nn/1024x1024x1024"
  std::string family = {};  // "gemm", "memory", "collective", "step", "start" (library start, communicator creation, …)
  std::optional<Problem> problem = {};               // absent for steps
  std::map<std::string, std::string> settings = {};  // "data": "normal", "cache": "cold", "workload": …, "scale": …
  Status status = Status::kOk;
  std::string reason = {};  // why not ok; or why sampling stopped: "interval 0.8 % after 12 samples"
  RecordVerdict verdict = {};

  std::vector<double> samples_s = {};               // one timing each, in seconds per run: the slowest rank's
  int64_t runs_per_sample = 1;                      // runs averaged inside one sample
  std::vector<double> rank_medians_s = {};          // median of each rank's own samples
  std::map<std::string, double> counters = {};      // "flops_per_s", "bytes_per_s", "bus_bytes_per_s", "exposed_s", …
  std::map<std::string, double> telemetry = {};     // clock, power, temperature, throttle flags during the samples
  std::map<std::string, std::string> details = {};  // algorithm, tile, threads, …
  // Further timings of the same case: "compute_only", "both", …
  std::map<std::string, std::vector<double>> series_s = {};
};

struct Run {
  int schema = 1;
  std::string suite = {};
  std::string backend = {};  // "host", "cuda"
  std::string device = {};
  int ranks = 1;
  std::vector<std::string> hosts = {};                  // host of each rank
  std::map<std::string, std::string> environment = {};  // allow-listed facts, never the whole environment
  std::vector<std::string> warnings = {};
  bool complete = false;  // false while a run is going on or was killed
  std::string path = {};  // the file it was read from, for messages; not written
  std::vector<Record> records = {};

  const Record* find(const std::string& record_name) const;
};

// Records that carry samples and passed their check.
std::vector<const Record*> usable(const Run& run);

}  // namespace farscale
