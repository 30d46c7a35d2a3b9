// The measuring commands, as the front door adds them.
#pragma once

#include "kernels/error.h"

namespace CLI {
class App;
}

namespace farscale {

void add_devices_command(CLI::App& app, ExitCode& exit_code);
void add_run_command(CLI::App& app, ExitCode& exit_code);

}  // namespace farscale
