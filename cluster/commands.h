// The planner's commands, as the front door adds them: each reads its options, prints to stdout and sets the exit code.
#pragma once

#include "kernels/error.h"

namespace CLI {
class App;
}

namespace farscale {

void add_fit_command(CLI::App& app, ExitCode& exit_code);
void add_predict_command(CLI::App& app, ExitCode& exit_code);
void add_backtest_command(CLI::App& app, ExitCode& exit_code);
void add_plan_command(CLI::App& app, ExitCode& exit_code);
void add_workload_command(CLI::App& app, ExitCode& exit_code);  // workload show W
void add_list_command(CLI::App& app, ExitCode& exit_code);      // list workloads|hardware|plans

}  // namespace farscale
