// The backtest command.
#include <CLI/CLI.hpp>

#include "cluster/commands.h"

namespace farscale {

void add_backtest_command(CLI::App& app, ExitCode&) { app.add_subcommand("backtest", "(being built)"); }

}  // namespace farscale
