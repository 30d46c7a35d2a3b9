// The run command.
#include <CLI/CLI.hpp>

#include "bench/commands.h"

namespace farscale {

void add_run_command(CLI::App& app, ExitCode&) { app.add_subcommand("run", "(being built)"); }

}  // namespace farscale
