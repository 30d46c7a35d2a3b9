// The plan command: reads plans, runs them, prints.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <functional>
#include <memory>

#include "cluster/commands.h"
#include "cluster/plan_output.h"
#include "kernels/error.h"

namespace farscale {
namespace {

struct PlanOptions {
  std::vector<std::string> plans;
  RunOptions run;
  std::string need;
  double budget_usd = 0;
  int replicas = 0;
  bool json = false, summary = false, evidence = false;
};

void print(const std::string& text) { std::fwrite(text.data(), 1, text.size(), stdout); }

// A line on a terminal that counts up and is wiped at the end; nothing otherwise.
std::function<void(double)> progress_of(const std::string& plan) {
  if (!::isatty(STDERR_FILENO)) return {};
  return [plan, percent = -1](double share) mutable {
    if (int(share * 100) == percent) return;
    percent = int(share * 100);
    std::fprintf(stderr, percent >= 99 ? "\r\033[K" : "\r%s: failures, %d %%", plan.c_str(), percent);
  };
}

std::vector<PlanAnswers> answer_questions(const std::vector<Plan>& plans, const PlanOptions& options) {
  std::vector<PlanAnswers> answers;
  for (const Plan& plan : plans) {
    answers.emplace_back();
    if (!options.need.empty()) answers.back().need = answer_need(plan, parse_need(options.need), options.run);
    if (options.budget_usd > 0) answers.back().budget = answer_budget(plan, options.budget_usd, options.run);
  }
  return answers;
}

void print_text(const std::vector<PlanReport>& reports, const std::vector<PlanAnswers>& answers,
                const PlanOptions& options) {
  for (size_t i = 0; i < reports.size(); ++i) {
    if (!options.summary) print(plan_text(reports[i], options.evidence) + "\n");
    if (answers[i].need) print(need_text(*answers[i].need, reports[i].plan) + "\n");
    if (answers[i].budget) print(budget_text(*answers[i].budget) + "\n");
    if (answers[i].failures) print(failures_text(*answers[i].failures) + "\n");
  }
  print(summary_text(reports));
  if (!options.summary && reports.size() > 1) print("\n" + difference_text(reports));
}

void run_plans(const PlanOptions& options) {
  std::vector<Plan> plans;  // all are read before the first is run, so that a mistake is told at once
  for (const std::string& name : options.plans) plans.push_back(load_plan(name));
  std::vector<PlanAnswers> answers = answer_questions(plans, options);
  std::vector<PlanReport> reports;
  for (const Plan& plan : plans) reports.push_back(run_plan(plan, options.run));
  for (size_t i = 0; i < reports.size() && options.replicas > 0; ++i)
    answers[i].failures = answer_failures(reports[i], options.replicas, progress_of(reports[i].plan.name));
  for (const PlanReport& report : reports)
    for (const std::string& warning : report.warnings)
      std::fprintf(stderr, "%s: %s\n", report.plan.name.c_str(), warning.c_str());
  if (options.json) return print(plans_json(reports, answers));
  print_text(reports, answers, options);
}

}  // namespace

void add_plan_command(CLI::App& app, ExitCode&) {
  auto options = std::make_shared<PlanOptions>();
  CLI::App* command =
      app.add_subcommand("plan", "Fleets over time: deliveries, bring-up, failures, power, cost, training");
  command->add_option("plans", options->plans, "Plan files, or names of shipped plans (farscale list plans)")
      ->required()
      ->type_name("PLAN");
  command->add_flag("--summary", options->summary, "Only the compact table, one column a plan");
  command->add_flag("--evidence", options->evidence, "List every figure with its evidence and source");
  command->add_option("--need", options->need,
                      "GPUs for a training by a date: \"hydranet-regnety16gf:1.4e9 samples by 2025-06-30\"");
  command->add_option("--budget", options->budget_usd, "What this many USD buy, e.g. 3.5e9")
      ->check(CLI::PositiveNumber);
  command
      ->add_option("--replicas", options->replicas,
                   "Also play a year of the largest job failure by failure, this many times")
      ->check(CLI::Range(1, 1000000));
  command->add_flag("--json", options->json, "One JSON document on stdout");
  command->add_option("--draws", options->run.draws, "Monte Carlo draws; 0: one nominal run")
      ->check(CLI::Range(0, 100000))
      ->capture_default_str();
  command->add_option("--seed", options->run.seed, "Seed of the draws; the same seed gives the same answer")
      ->capture_default_str();
  command->footer("Example: farscale plan giga-texas-south-50k-h100 xai-300k-b200 --summary");
  command->callback([options] { run_plans(*options); });
}

}  // namespace farscale
