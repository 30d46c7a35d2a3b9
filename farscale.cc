// The front door: subcommands and exit codes, nothing else. Every error ends here, in one message on stderr.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <exception>
#include <string>
#include <vector>

#include "cluster/commands.h"
#include "kernels/error.h"
#include "kernels/suggest.h"
#include "results/commands.h"
#ifdef FARSCALE_MEASURE
#include "bench/commands.h"
#endif

namespace farscale {
namespace {

#ifndef FARSCALE_MEASURE
// The planner's build: the measuring commands exist, and say why they cannot.
void add_absent_command(CLI::App& app, const char* name) {
  CLI::App* command = app.add_subcommand(name, "not in this build: it plans, and does not measure");
  command->allow_extras();
  command->callback([] {
    throw EnvironmentError("this farscale was built to plan only: rebuild with -DFARSCALE_MEASURE=ON to measure");
  });
}
void add_devices_command(CLI::App& app, ExitCode&) { add_absent_command(app, "devices"); }
void add_run_command(CLI::App& app, ExitCode&) { add_absent_command(app, "run"); }
#endif

void add_commands(CLI::App& app, ExitCode& exit_code) {
  for (const auto add : {add_devices_command, add_run_command, add_fit_command, add_predict_command,
                         add_backtest_command, add_plan_command, add_compare_command, add_check_command,
                         add_import_command, add_workload_command, add_list_command}) {
    add(app, exit_code);
  }
}

// CLI11 would say that a subcommand is required; the first word is one, misspelt.
void refuse_unknown_command(const CLI::App& app, int argc, char** argv) {
  if (argc < 2 || argv[1][0] == '-') return;
  std::vector<std::string> names;
  for (const CLI::App* command : app.get_subcommands(nullptr)) names.push_back(command->get_name());
  if (std::find(names.begin(), names.end(), argv[1]) == names.end()) {
    throw InputError(unknown_name("command", argv[1], names));
  }
}

ExitCode run(int argc, char** argv) {
  CLI::App app("Measures how fast GPUs train, and says what 50,000 to 300,000 of them will deliver.", "farscale");
  app.require_subcommand(1);
  app.set_version_flag("--version", std::string("farscale ") + FARSCALE_VERSION);
  ExitCode exit_code = ExitCode::kOk;
  add_commands(app, exit_code);
  refuse_unknown_command(app, argc, argv);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? ExitCode::kOk : ExitCode::kBadInput;
  }
  return exit_code;
}

}  // namespace
}  // namespace farscale

int main(int argc, char** argv) {
  try {
    return static_cast<int>(farscale::run(argc, argv));
  } catch (const farscale::Error& error) {
    std::fprintf(stderr, "farscale: %s\n", error.what());
    return static_cast<int>(error.code());
  } catch (const std::exception& error) {
    std::fprintf(stderr, "farscale: unexpected: %s\n", error.what());
    return static_cast<int>(farscale::ExitCode::kFailedCase);
  }
}
