// The list command.
#include <CLI/CLI.hpp>

#include "cluster/commands.h"

namespace farscale {

void add_list_command(CLI::App& app, ExitCode&) { app.add_subcommand("list", "(being built)"); }

}  // namespace farscale
