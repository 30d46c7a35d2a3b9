// Result files of other programs on Google Benchmark, read as runs.
#pragma once

#include <string>
#include <vector>

#include "results/record.h"

namespace farscale {

// A Google Benchmark JSON file without our keys: one record a benchmark, one sample a repetition (real time), family
// "google-benchmark"; errors become failed records. Throws InputError like read_result().
Run parse_google_benchmark(const std::string& text, const std::string& path);

// A result file of ours or a plain Google Benchmark one, whichever it is.
Run read_any_result(const std::string& path);

// One file, or every *.json of a folder in the order of their names: the launches of one side of a comparison.
std::vector<Run> read_launches(const std::string& path);

}  // namespace farscale
