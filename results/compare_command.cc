// The compare command.
#include <CLI/CLI.hpp>

#include "results/commands.h"

namespace farscale {

void add_compare_command(CLI::App& app, ExitCode&) { app.add_subcommand("compare", "(being built)"); }

}  // namespace farscale
