// The commands on result files, as the front door adds them.
#pragma once

#include "kernels/error.h"

namespace CLI {
class App;
}

namespace farscale {

void add_compare_command(CLI::App& app, ExitCode& exit_code);
void add_check_command(CLI::App& app, ExitCode& exit_code);
void add_import_command(CLI::App& app, ExitCode& exit_code);

}  // namespace farscale
