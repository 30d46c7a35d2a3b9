// The workload command.
#include <CLI/CLI.hpp>

#include "cluster/commands.h"

namespace farscale {

void add_workload_command(CLI::App& app, ExitCode&) { app.add_subcommand("workload", "(being built)"); }

}  // namespace farscale
