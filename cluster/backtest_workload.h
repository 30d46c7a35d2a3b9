// The networks that scaling tables name: a shipped one, a file, one told by the row's own columns, or one that nobody
// described.
#pragma once

#include <string>
#include <vector>

#include "cluster/backtest_table.h"

namespace farscale {

// Fills in what a row's layer graph says (kernels launched, bytes of gradients). A name is looked for as a file beside
// the table, as a file from here, and among the shipped workloads, written in any case, with or without spaces and
// minor versions ("Llama 3.1 8B" is llama3-8b). Appends notes: which graphs were used, which networks nobody described.
// Throws InputError for a file that is not a workload.
void describe_workloads(std::vector<ScalingRow>& rows, std::vector<std::string>& notes);

// The shipped workload that a name means, or "".
std::string shipped_workload_like(const std::string& name);

}  // namespace farscale
