// The plan command.
#include <CLI/CLI.hpp>

#include "cluster/commands.h"

namespace farscale {

void add_plan_command(CLI::App& app, ExitCode&) { app.add_subcommand("plan", "(being built)"); }

}  // namespace farscale
