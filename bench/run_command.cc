// farscale run: reads the request, measures, prints.
#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "bench/commands.h"
#include "bench/report.h"
#include "bench/run_log.h"
#include "bench/run_setup.h"
#include "bench/session.h"
#include "bench/watch.h"
#include "kernels/module.h"
#include "results/result_file.h"

namespace farscale {
namespace {

// A rank that stops answering is lost after this long, so that a run ends within half a minute of a failure.
constexpr double kDeadline = 25;

constexpr const char* kFooter =
    "Google Benchmark's flags are taken where ranks cannot diverge over them: --benchmark_filter=RE,\n"
    "--benchmark_list_tests, --benchmark_format=console|json|csv, --benchmark_out=FILE, --benchmark_out_format,\n"
    "--benchmark_color, --benchmark_counters_tabular, --benchmark_time_unit, --benchmark_context=KEY=VALUE,\n"
    "--benchmark_repetitions=N (exactly N samples a case).\n\n"
    "Examples:\n"
    "  farscale run quick\n"
    "  farscale run node --only gemm,memory --out node7.json\n"
    "  farscale run --only step --workload ./mine.toml --layout 'zero=1' --input\n"
    "  mpirun -np 2 farscale run quick --only collective --benchmark_filter='all_reduce.*1048576B'";

void print(std::FILE* stream, const std::string& text) { std::fputs(text.c_str(), stream); }

void print_list(const std::vector<Case>& cases, bool json) {
  nlohmann::ordered_json rows = nlohmann::ordered_json::array();
  for (const Case& item : cases) {
    if (!json) print(stdout, item.name + "\n");
    rows.push_back({{"name", item.name}, {"family", item.family}, {"settings", item.settings}});
  }
  if (json) print(stdout, nlohmann::ordered_json{{"cases", rows}}.dump(1) + "\n");
}

void print_start(const ChosenBackend& chosen, const Run& run, size_t cases) {
  const std::string why = chosen.why.empty() ? "" : fmt::format(" (not {})", chosen.why);
  print(stderr, fmt::format("backend {}: {}{}\n", chosen.name, run.device, why));
  for (const std::string& warning : run.warnings) print(stderr, fmt::format("warning: {}\n", warning));
  if (::isatty(2) != 0) {
    print(stderr, fmt::format("{} cases on {} rank{}, {}\n", cases, run.ranks, run.ranks == 1 ? "" : "s",
                              run.environment.at("mpi")));
  }
}

void print_end(const RunRequest& request, const GoogleFlags& flags, const RunLog& log) {
  if (request.json) {
    print(stdout, report_json(log.run(), log.path()));
    return;
  }
  // With --benchmark_format the document on stdout is Google Benchmark's alone.
  std::FILE* stream = flags.format.empty() ? stdout : stderr;
  if (flags.format.empty()) print(stdout, report_tables(log.run()));
  print(stream, fmt::format("Written to {}\nNext: farscale fit {} -o model.json, or farscale compare {} OTHER.json\n",
                            log.path(), log.path(), log.path()));
  std::fflush(nullptr);
}

Display display_of(const RunRequest& request, const GoogleFlags& flags, bool first) {
  if (!first) return Display::kNothing;
  if (!flags.format.empty()) return Display::kFormatOnStdout;
  return ::isatty(2) != 0 && !request.list ? Display::kProgressOnStderr : Display::kNothing;
}

std::unique_ptr<RunLog> open_log(const RunRequest& request, const RunPlan& plan, Run head, const Agreement& agreement) {
  if (!agreement.first()) {
    agreement.on_first([] {});
    return std::make_unique<RunLog>(std::move(head), "");
  }
  std::unique_ptr<RunLog> log;
  agreement.on_first([&] {
    check_google_out(plan.flags);
    const std::string fallback = free_name(default_result_name(head.backend, head.suite, head.hosts.front()));
    log = std::make_unique<RunLog>(std::move(head), request.out.empty() ? fallback : request.out);
  });
  return log;
}

// While it lives, an early end can save the log.
class LogInReach {
 public:
  LogInReach(EarlyEnd& early_end, World& world, RunLog& log) : early_end_(early_end), world_(world) {
    early_end_.set(&world, &log);
  }
  ~LogInReach() { early_end_.set(&world_, nullptr); }
  LogInReach(const LogInReach&) = delete;
  LogInReach& operator=(const LogInReach&) = delete;

 private:
  EarlyEnd& early_end_;
  World& world_;
};

ExitCode measure_all(const RunRequest& request, World& world, double world_start_s, EarlyEnd& early_end) {
  const Agreement agreement(world);
  RunPlan plan = plan_run(request, agreement);
  if (request.list || plan.flags.list_tests) {
    if (agreement.first()) print_list(plan.cases, request.json);
    return ExitCode::kOk;
  }
  ChosenBackend chosen = choose_backend(request.backend, world);
  plan.cases = cases_on(std::move(plan.cases), chosen.name);
  const std::unique_ptr<RunLog> log = open_log(request, plan, describe_run(request, plan, chosen, world), agreement);
  const LogInReach in_reach(early_end, world, *log);
  if (agreement.first()) print_start(chosen, log->run(), plan.cases.size());
  Lab lab{.world = world, .backend = *chosen.backend, .backend_name = chosen.name};
  lab.workload = plan.workload ? &*plan.workload : nullptr;
  lab.world_start_s = world_start_s;
  lab.backend_start_s = chosen.start_s;
  SessionOptions options{.flags = plan.flags,
                         .display = display_of(request, plan.flags, agreement.first()),
                         .total_s = plan.suite.total_s};
  if (!agreement.first()) options.flags.out.clear();
  run_session(plan.cases, lab, *log, options);
  if (agreement.first()) print_end(request, plan.flags, *log);
  return static_cast<ExitCode>(exit_code_of(log->run()));
}

// Opens the world and measures. An error that all ranks agree on is returned, so that the world closes in good order
// before it is thrown; any other ends all ranks at once.
std::optional<AgreedError> measure_in_world(const RunRequest& request, EarlyEnd& early_end, ExitCode& code,
                                            bool& first) {
  const Clock clock = steady_clock_s();
  const double start_s = clock();
  const std::unique_ptr<World> world = open_world();
  const double world_start_s = std::max(clock() - start_s, 1e-9);
  first = world->rank() == 0;
  early_end.set(world.get(), nullptr);
  world->on_lost(kDeadline, [&](const std::string& message) { early_end.on_lost(message); });
  std::optional<AgreedError> agreed;
  try {
    code = measure_all(request, *world, world_start_s, early_end);
  } catch (const AgreedError& error) {
    agreed = error;
    code = error.code();
  } catch (const std::exception& error) {
    if (world->size() == 1) throw;
    print(stderr, fmt::format("farscale: rank {}: {}\n", world->rank(), error.what()));
    world->abort(static_cast<int>(ExitCode::kFailedCase));
    throw;
  }
  early_end.over(code);
  return agreed;
}

ExitCode run(const RunRequest& request) {
  EarlyEnd early_end;
  const SignalWatch signals([&](const std::string& signal) { early_end.on_signal(signal); });
  ExitCode code = ExitCode::kOk;
  bool first = true;
  const std::optional<AgreedError> agreed = measure_in_world(request, early_end, code, first);
  if (agreed && first) throw *agreed;  // told once, by rank 0
  return code;
}

}  // namespace

void add_run_command(CLI::App& app, ExitCode& exit_code) {
  auto request = std::make_shared<RunRequest>();
  CLI::App* command = app.add_subcommand("run", "measure this machine, alone or on every rank of a launcher");
  command->add_option("suite", request->suite, "quick (default), node, full, or the path of a suite in TOML");
  command->add_option("--backend", request->backend, "auto (default: cuda where it opens, otherwise host), cuda, host");
  command->add_option("--workload", request->workload, "shipped name or TOML file (default: the suite's)");
  command->add_option("--only", request->only, "families: start,gemm,memory,collective,step")->delimiter(',');
  command->add_option("--out,-o", request->out, "result file (default: a new name in this folder)");
  command->add_option("--scale", request->scale,
                      "divide the step's FLOPs, bytes and gradients by this number, or auto");
  command->add_option("--layout", request->layout, "of the step over all ranks: any of zero, sync_bn, ckpt, mb");
  command->add_flag("--input", request->input, "copy the next step's input to the device beside every step");
  command->add_option("--budget", request->budget_s, "seconds of samples a case at most");
  command->add_flag("--json", request->json, "print one JSON document with all records");
  command->add_flag("--list", request->list, "print the names of the cases and end");
  command->allow_extras();
  command->footer(kFooter);
  command->callback([command, request, &exit_code] {
    request->extra = command->remaining();
    for (const CLI::Option* option : command->get_options()) {
      if (option->nonpositional()) request->own_flags.push_back(option->get_name());
    }
    exit_code = run(*request);
  });
}

}  // namespace farscale
