// Provenance: what a result was taken with, from an allow-list. Never the whole environment: it may hold secrets.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "kernels/backend.h"
#include "kernels/world.h"

namespace farscale {

// Version, commit and compiler of this program; CPU, kernel and load of this machine; MPI library and launcher; the
// backend's facts as "backend.…"; allow-listed environment variables as "env.…".
std::map<std::string, std::string> capture_environment(const World& world, const DeviceReport& device);

// True for the variables that tune what is measured (NCCL_*, OMP_NUM_THREADS, OMPI_MCA_btl, …) and hold no secrets.
bool is_allowed_variable(const std::string& name);

std::string load_average();     // "0.52 0.34 0.18", 1, 5 and 15 minutes; "unknown"
std::string utc_now();          // "2024-05-01T12:34:56Z"
std::string launcher_name();    // "mpirun (Open MPI)", "none"
std::string cpu_name();         // "AMD EPYC 9B45, 2 CPUs"
std::string program_version();  // "0.1.0 (commit 4c0ae87)"

}  // namespace farscale
