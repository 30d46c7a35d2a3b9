// The fit command.
#include <CLI/CLI.hpp>

#include "cluster/commands.h"

namespace farscale {

void add_fit_command(CLI::App& app, ExitCode&) { app.add_subcommand("fit", "(being built)"); }

}  // namespace farscale
