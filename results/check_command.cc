// farscale check RESULT: acceptance of a machine, with names.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>

#include "kernels/format.h"
#include "results/check.h"
#include "results/commands.h"
#include "results/percent.h"
#include "results/result_file.h"

namespace farscale {
namespace {

using Json = nlohmann::ordered_json;

struct CheckArguments {
  std::string result;
  std::string baseline;
  std::string threshold = "5%";
  bool json = false;
};

constexpr const char* kFooter =
    "Accepts a machine when no case is wrong, failed or newly skipped, none is slower than the baseline beyond the\n"
    "threshold, and no rank or host is slower than the median of the others beyond it (GEMM and memory cases: inside "
    "a\n"
    "collective every rank takes the slowest's time). Without --baseline only the machine itself is judged.\n"
    "Exit code: 0 accepted, 1 not accepted, 2 bad input.\n\n"
    "Example:\n"
    "  farscale run quick --out good.json && farscale run quick --out today.json\n"
    "  farscale check today.json --baseline good.json\n";

void print_findings(const Check& outcome) {
  TextTable table({"finding", "where", "why"});
  for (const Finding& finding : outcome.findings) table.add({finding.what, finding.where, finding.why});
  if (!table.empty()) fmt::print("{}\n", table.str());
}

// The slowest first; on a large machine the rest are like each other.
void print_standings(std::vector<Standing> standings) {
  constexpr size_t kShown = 12;
  std::stable_sort(standings.begin(), standings.end(),
                   [](const Standing& a, const Standing& b) { return a.ratio.ratio > b.ratio.ratio; });
  TextTable table({"who", "host", "family", "time / others' median", "95 % interval", "cases"});
  for (size_t i = 0; i < std::min(kShown, standings.size()); ++i) {
    const Standing& s = standings[i];
    table.add({s.who, s.host, s.family, fmt::format("{:.3f}", s.ratio.ratio),
               fmt::format("{:.3f} to {:.3f}", s.ratio.interval95.low, s.ratio.interval95.high),
               fmt::format("{}", s.cases)});
  }
  if (!table.empty()) fmt::print("Slowest of {}:\n{}\n", standings.size(), table.str());
}

Json check_json(const Check& outcome) {
  Json json = {{"accepted", outcome.findings.empty()},
               {"cases", outcome.cases},
               {"compared", outcome.compared},
               {"findings", Json::array()},
               {"ranks", Json::array()},
               {"warnings", outcome.warnings}};
  for (const Finding& f : outcome.findings) {
    json["findings"].push_back({{"what", f.what}, {"where", f.where}, {"why", f.why}});
  }
  for (const Standing& s : outcome.standings) {
    json["ranks"].push_back({{"who", s.who},
                             {"host", s.host},
                             {"family", s.family},
                             {"ratio", s.ratio.ratio},
                             {"low", s.ratio.interval95.low},
                             {"high", s.ratio.interval95.high},
                             {"cases", s.cases},
                             {"slow", s.slow}});
  }
  return json;
}

ExitCode run_check(const CheckArguments& arguments) {
  const CheckOptions options{.threshold = parse_percent("--threshold", arguments.threshold, {.least = 0, .most = 1})};
  const Run result = read_result(arguments.result);
  std::optional<Run> baseline;
  if (!arguments.baseline.empty()) baseline = read_result(arguments.baseline);
  const Check outcome = check(result, baseline ? &*baseline : nullptr, options);
  for (const std::string& warning : outcome.warnings) fmt::print(stderr, "farscale: warning: {}\n", warning);
  if (arguments.json) {
    fmt::print("{}\n", check_json(outcome).dump(2, ' ', false, Json::error_handler_t::replace));
  } else {
    print_standings(outcome.standings);
    print_findings(outcome);
    const size_t findings = outcome.findings.size();
    fmt::print("{}: {} case{}, {}{} finding{}.\n", findings == 0 ? "Accepted" : "NOT accepted", outcome.cases,
               outcome.cases == 1 ? "" : "s",
               baseline ? fmt::format("{} compared with the baseline, ", outcome.compared) : "", findings,
               findings == 1 ? "" : "s");
  }
  return outcome.findings.empty() ? ExitCode::kOk : ExitCode::kFailedCase;
}

}  // namespace

void add_check_command(CLI::App& app, ExitCode& exit_code) {
  CLI::App* command =
      app.add_subcommand("check", "acceptance: is a machine right and even; which rank, which host, why");
  const auto arguments = std::make_shared<CheckArguments>();
  command->add_option("RESULT", arguments->result, "result file of the machine to judge")->required();
  command->add_option("--baseline", arguments->baseline, "result file of a machine known to be good");
  command->add_option("--threshold", arguments->threshold, "slow-down that is accepted: 5% or 0.05")
      ->capture_default_str();
  command->add_flag("--json", arguments->json, "one JSON document on stdout");
  command->footer(kFooter);
  command->callback([arguments, &exit_code] { exit_code = run_check(*arguments); });
}

}  // namespace farscale
