// The plan command: reads plans, runs them, prints.
#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <memory>

#include "cluster/commands.h"
#include "cluster/plan_output.h"
#include "cluster/plan_plot.h"
#include "kernels/error.h"
#include "results/result_file.h"

namespace farscale {
namespace {

struct PlanOptions {
  std::vector<std::string> plans;
  RunOptions run;
  std::string need, sensitivity, plot;
  double budget_usd = 0;
  int delay_days = 0;
  bool json = false, summary = false, evidence = false;
};

void print(const std::string& text) { std::fwrite(text.data(), 1, text.size(), stdout); }

// On a terminal, a bar from the second second on, wiped at the end; nothing otherwise.
std::function<void(double)> progress_of(const std::string& plan) {
  if (!::isatty(STDERR_FILENO)) return {};
  const auto start = std::chrono::steady_clock::now();
  return [plan, start, percent = -1](double share) mutable {
    const double elapsed_s = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    if (int(share * 100) == percent || elapsed_s < 1) return;
    percent = int(share * 100);
    constexpr int kWidth = 30;
    const std::string bar(size_t(share * kWidth), '#');
    std::fputs(share >= 1 ? "\r\033[K"
                          : fmt::format("\r{} [{:.<{}}] {} %, {:.0f} s left ", plan, bar, kWidth, percent,
                                        elapsed_s * (1 - share) / share)
                                .c_str(),
               stderr);
  };
}

// --sensitivity ANSWER: a total, or one of the questions that were asked.
SensitivityQuestion question_of(const PlanOptions& options) {
  if (options.sensitivity == "need") {
    if (options.need.empty()) throw InputError("--sensitivity need: expected --need beside it");
    return {"need", "GPUs needed", "GPUs",
            [need = parse_need(options.need)](const Plan& plan, const RunOptions& run, const MachineSource& machines) {
              return answer_need(plan, need, run, machines).gpus.p50;
            }};
  }
  if (options.sensitivity == "budget") {
    if (options.budget_usd <= 0) throw InputError("--sensitivity budget: expected --budget beside it");
    return {"budget", "samples/s that the budget keeps", "samples/s",
            [usd = options.budget_usd](const Plan& plan, const RunOptions& run, const MachineSource& machines) {
              return answer_budget(plan, usd, run, machines).kept_per_s.p50;
            }};
  }
  return total_question(options.sensitivity);
}

PlanAnswers answer_questions(const Plan& plan, const PlanOptions& options, const MachineSource& machines) {
  PlanAnswers answers;
  RunOptions run = options.run;
  run.progress = progress_of(plan.name + " --need");
  if (!options.need.empty()) answers.need = answer_need(plan, parse_need(options.need), run, machines);
  if (options.budget_usd > 0) answers.budget = answer_budget(plan, options.budget_usd, options.run, machines);
  if (!options.sensitivity.empty())
    answers.sensitivity = answer_sensitivity(plan, question_of(options), options.run.seed, machines,
                                             progress_of(plan.name + " --sensitivity"));
  return answers;
}

void print_text(const std::vector<PlanReport>& reports, const std::vector<PlanAnswers>& answers,
                const PlanOptions& options) {
  for (size_t i = 0; i < reports.size(); ++i) {
    const Plan& plan = reports[i].plan;
    if (!options.summary) print(plan_text(reports[i], options.evidence) + "\n");
    if (answers[i].need) print(need_text(*answers[i].need, plan) + "\n");
    if (answers[i].budget) print(budget_text(*answers[i].budget) + "\n");
    if (answers[i].delay) print(delay_text(*answers[i].delay, plan) + "\n");
    if (answers[i].sensitivity) print(sensitivity_text(*answers[i].sensitivity, plan) + "\n");
  }
  print(summary_text(reports));
  if (!options.summary && reports.size() > 1) print("\n" + difference_text(reports));
}

// Before the work rather than after it.
void check_plot(const std::string& path) {
  if (path.empty()) return;
  if (!path.ends_with(".svg")) throw InputError(fmt::format("--plot '{}': expected a name that ends in .svg", path));
  if (std::filesystem::exists(path))
    throw InputError(fmt::format("--plot {}: exists already and is never overwritten", path));
  const std::filesystem::path folder = std::filesystem::path(path).parent_path();
  if (!folder.empty() && !std::filesystem::is_directory(folder))
    throw EnvironmentError(
        fmt::format("--plot {}: folder '{}' does not exist: create it first", path, folder.string()));
}

TableRows rows_of(const std::string& name) {
  if (name == "day") return TableRows::kDays;
  return name == "week" ? TableRows::kWeeks : TableRows::kMonths;
}

void run_plans(const PlanOptions& options) {
  check_plot(options.plot);
  std::vector<Plan> plans;  // all are read before the first is run, so that a mistake is told at once
  for (const std::string& name : options.plans) plans.push_back(load_plan(name));
  const MachineSource machines = remembering(machine_for);
  std::vector<PlanAnswers> answers;
  for (const Plan& plan : plans) answers.push_back(answer_questions(plan, options, located(plan, machines)));
  std::vector<PlanReport> reports;
  for (size_t i = 0; i < plans.size(); ++i) {
    RunOptions run = options.run;
    run.by_day = options.json;
    run.progress = progress_of(plans[i].name);
    const MachineSource own = located(plans[i], machines);
    reports.push_back(run_plan(plans[i], run, own));
    if (options.delay_days > 0) answers[i].delay = answer_delay(reports[i], options.delay_days, own);
  }
  if (!options.plot.empty()) write_file(options.plot, plot_svg(reports));
  for (const PlanReport& report : reports)
    for (const std::string& warning : report.warnings)
      std::fprintf(stderr, "%s: %s\n", report.plan.name.c_str(), warning.c_str());
  if (options.json) return print(plans_json(reports, answers));
  print_text(reports, answers, options);
}

// Unlike CLI::Range, not NaN.
std::string amount_mistake(const std::string& text) {
  char* end = nullptr;
  const double usd = std::strtod(text.c_str(), &end);
  const bool is_amount = end != text.c_str() && *end == '\0' && usd >= 1 && usd <= 1e15;
  return is_amount ? std::string() : fmt::format("expected an amount from 1 to 1e15, not {}", text);
}

void add_questions(CLI::App& command, PlanOptions& options) {
  command.add_option(
      "--need", options.need,
      fmt::format("GPUs for a training by a date, with the plan's sites and dates: \"{}\"", kNeedExample));
  command.add_option("--budget", options.budget_usd, "What this many USD buy, or rent, e.g. 3.5e9")
      ->type_name("USD")
      ->check(amount_mistake, "FROM 1 TO 1e15");
  command.add_option("--delay", options.delay_days, "What halls and power cost that come this many days later")
      ->type_name("DAYS")
      ->check(CLI::Range(1, kMostPlanDays));
  command
      .add_option("--sensitivity", options.sensitivity,
                  "Which inputs move an answer most: samples, complete_day, cost_usd, idle_gpu_days, … (the totals of "
                  "--json), need, budget")
      ->type_name("ANSWER");
}

void add_output(CLI::App& command, PlanOptions& options) {
  command.add_flag("--summary", options.summary, "Only the compact table, one column a plan");
  command.add_flag("--evidence", options.evidence, "List every figure with its evidence and source");
  command
      .add_option_function<std::string>(
          "--by", [&options](const std::string& rows) { options.run.rows = rows_of(rows); },
          "Rows of the tables: day, week or month, which is the default; --json has every day")
      ->check(CLI::IsMember({"day", "week", "month"}))
      ->type_name("STEP");
  command.add_option("--plot", options.plot, "Draw fleet, training, power and cost over time")->type_name("FILE.svg");
  command.add_flag("--json", options.json, "One JSON document on stdout");
}

void add_draws(CLI::App& command, RunOptions& run) {
  command.add_flag("--events", run.events,
                   "Play every failure, repair and restart of every draw; otherwise goodput is Daly's closed form");
  command.add_option("--draws", run.draws, "Monte Carlo draws; 0: one nominal run")
      ->check(CLI::Range(0, 100000))
      ->capture_default_str();
  command.add_option("--seed", run.seed, "Seed of the draws; the same seed gives the same answer")
      ->capture_default_str();
  command.add_option("--threads", run.threads, "0: all cores; the answer does not depend on it")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
}

}  // namespace

void add_plan_command(CLI::App& app, ExitCode&) {
  auto options = std::make_shared<PlanOptions>();
  CLI::App* command =
      app.add_subcommand("plan", "Fleets over time: deliveries, bring-up, failures, power, cost, training");
  command->add_option("plans", options->plans, "Plan files, or names of shipped plans (farscale list plans)")
      ->required()
      ->type_name("PLAN");
  add_questions(*command, *options);
  add_output(*command, *options);
  add_draws(*command, options->run);
  command->footer("Example: farscale plan giga-texas-south-50k-h100 xai-300k-b200 --plot fleets.svg");
  command->callback([options] { run_plans(*options); });
}

}  // namespace farscale
