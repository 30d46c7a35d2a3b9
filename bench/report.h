// The tables a run ends with, and its records as JSON.
#pragma once

#include <string>

#include "results/record.h"

namespace farscale {

// "This machine": GEMM, memory, collectives, steps, starts; what was skipped, wrong or failed with its reason.
std::string report_tables(const Run& run);

// {"result_file": path, "complete": …, "records": […]}: one document, ends with a newline. Medians and their 95 %
// intervals stand beside the raw samples.
std::string report_json(const Run& run, const std::string& path);

// 1 when a case failed or was wrong, otherwise 0: the run's exit code.
int exit_code_of(const Run& run);

}  // namespace farscale
