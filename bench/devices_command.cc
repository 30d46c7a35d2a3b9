// The devices command.
#include <CLI/CLI.hpp>

#include "bench/commands.h"

namespace farscale {

void add_devices_command(CLI::App& app, ExitCode&) { app.add_subcommand("devices", "(being built)"); }

}  // namespace farscale
