// The predict command.
#include <CLI/CLI.hpp>

#include "cluster/commands.h"

namespace farscale {

void add_predict_command(CLI::App& app, ExitCode&) { app.add_subcommand("predict", "(being built)"); }

}  // namespace farscale
