// A run as the text of a result file and back. The schema is described in results/README.md; files are written and read
// through results/result_file.h.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "results/record.h"

namespace farscale {

// What Google Benchmark's `context` says about a machine, in its own words; taken once, at the start of a run.
struct MachineContext {
  struct Cache {
    std::string type;  // "Data", "Instruction", "Unified"
    int level = 0;
    int64_t size = 0;     // bytes
    int num_sharing = 1;  // CPUs that share it
  };
  std::string date;  // ISO 8601 with the offset from UTC
  std::string host_name;
  std::string executable;
  int num_cpus = 0;
  int mhz_per_cpu = 0;  // 0: unknown
  std::vector<Cache> caches;
  std::vector<double> load_avg;  // 1, 5 and 15 minutes
};

MachineContext machine_context();

// The document. Throws CallError naming the record and the key when a number is not finite, when a sample is not above
// zero or when a name appears twice.
std::string result_json(const Run& run, const MachineContext& machine);

// Reads it back; `path` stands for the file in messages. Throws InputError: file, line (or JSON path), what was
// expected.
Run parse_result(const std::string& text, const std::string& path);

}  // namespace farscale
