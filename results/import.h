// Other programs' results as runs of ours: nccl-tests (its text and its -J JSON) and CSV tables like
// results/published's. Google Benchmark's files are read by results/google_benchmark.h.
#pragma once

#include <string>

#include "results/csv.h"
#include "results/record.h"

namespace farscale {

// What nccl-tests prints, or its -J file. Both placements become records of their own with one sample, the mean
// nccl-tests took (with -I and -J: one sample an iteration); #wrong above zero is status wrong. `collective` names what
// ran where the text does not say (before version 2.17); "" to read it from the file. Rows of types we do not know are
// left out and counted in the warnings. Throws InputError: not nccl-tests' output, cut off, unknown collective.
Run import_nccl_tests(const std::string& text, const std::string& path, const std::string& collective);

// A table with the columns of collectives.csv (system, collective, gpus, bytes, time_us) or gemm.csv (hardware,
// precision, m, n, k, tflops). One machine a run: `system` picks it when the table has several.
Run import_csv(const CsvTable& table, const std::string& system);

}  // namespace farscale
