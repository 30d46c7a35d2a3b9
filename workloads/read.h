// Reading a workload from strict TOML.
#pragma once

#include <string>

#include "workloads/workload.h"

namespace farscale {

// Reads, expands and checks a file. Throws InputError that names file, line, what was expected and the nearest name.
Workload read_workload(const std::string& path);
// The same from text; `name` stands for the file in messages.
Workload parse_workload(std::string_view text, const std::string& name);

}  // namespace farscale
