// farscale compare BASELINE OTHER: what differs around two runs, then case by case what differs in them.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "kernels/format.h"
#include "results/commands.h"
#include "results/compare.h"
#include "results/google_benchmark.h"
#include "results/percent.h"

namespace farscale {
namespace {

using Json = nlohmann::ordered_json;

struct CompareArguments {
  std::string baseline;
  std::string other;
  std::string threshold = "2%";
  std::string metric = "time";
  bool json = false;
};

constexpr const char* kFooter =
    "Matches cases by problem and settings and prints the ratio of median times, other over baseline (above 1 is "
    "slower),\n"
    "with a bootstrap 95 % interval. A case is SLOWER or faster when that interval lies beyond the threshold and "
    "medians\n"
    "and ranks hold up among all the cases compared (Holm), same when it lies within, otherwise unclear. A case that "
    "was\n"
    "ok and is now wrong or failed is BROKEN. BASELINE and OTHER are result files, Google Benchmark's JSON, or "
    "folders\n"
    "with the results of several launches: with 3 or more, what varies from launch to launch is in the interval too.\n"
    "Exit code: 0 no regression, 1 a case is slower or broken, 2 bad input.\n\n"
    "Example:\n"
    "  farscale run quick --out before.json && farscale run quick --out after.json\n"
    "  farscale compare before.json after.json --threshold 3%\n";

std::string rate_text(double rate, const std::string& unit) {
  if (rate <= 0) return "-";
  const bool bus = unit.ends_with(" bus");
  return format_si(rate, bus ? unit.substr(0, unit.size() - 4) : unit) + (bus ? " bus" : "");
}

std::string interval_text(const Interval& interval) {
  return fmt::format("{:.3f} to {:.3f}", interval.low, interval.high);
}

void print_environment(const Comparison& result) {
  if (result.differences.empty()) {
    std::puts("Environment: no recorded difference.\n");
    return;
  }
  TextTable table({"what differs", "baseline", "other"});
  for (const Difference& difference : result.differences) {
    table.add({difference.what, difference.baseline, difference.other});
  }
  fmt::print("{}\n", table.str());
}

void print_cases(const Comparison& result) {
  TextTable table(
      {"case", "baseline", "other", "baseline rate", "other rate", "time ratio", "95 % interval", "verdict", "note"});
  for (const CaseComparison& item : result.cases) {
    const bool timed = item.baseline_s > 0;
    table.add({item.name, timed ? format_seconds(item.baseline_s) : "-", timed ? format_seconds(item.other_s) : "-",
               rate_text(item.baseline_rate, item.rate_unit), rate_text(item.other_rate, item.rate_unit),
               timed ? fmt::format("{:.3f}", item.ratio.ratio) : "-",
               timed ? interval_text(item.ratio.interval95) : "-", std::string(name(item.change)), item.note});
  }
  fmt::print("{}\n", table.str());
  TextTable families({"family", "cases", "geometric mean of time ratios", "95 % interval"});
  for (const FamilyRatio& family : result.families) {
    families.add({family.family, fmt::format("{}", family.cases), fmt::format("{:.3f}", family.ratio.ratio),
                  interval_text(family.ratio.interval95)});
  }
  if (!families.empty()) fmt::print("{}\n", families.str());
}

void print_missing(const char* side, const std::vector<std::string>& names) {
  if (names.empty()) return;
  fmt::print("Only in the {} ({}):\n", side, names.size());
  for (const std::string& name : names) fmt::print("  {}\n", name);
  fmt::print("\n");
}

void print_verdict(const Comparison& result, const std::string& threshold) {
  const std::vector<std::string> regressions = result.regressions();
  if (regressions.empty()) {
    const auto unclear = std::count_if(result.cases.begin(), result.cases.end(),
                                       [](const CaseComparison& item) { return item.change == Change::kUnclear; });
    fmt::print("No regression beyond {} in {} cases", threshold, result.cases.size());
    if (unclear > 0) fmt::print("; {} unclear: more samples or launches would tell", unclear);
    fmt::print(".\n");
    return;
  }
  fmt::print("{} of {} cases regressed (slower beyond {}, or broken):\n", regressions.size(), result.cases.size(),
             threshold);
  for (const std::string& name : regressions) fmt::print("  {}\n", name);
}

Json ratio_json(const RatioEstimate& ratio) {
  return {{"ratio", ratio.ratio}, {"low", ratio.interval95.low}, {"high", ratio.interval95.high}};
}

Json case_json(const CaseComparison& item) {
  Json json = {{"name", item.name}, {"family", item.family}, {"verdict", name(item.change)}, {"note", item.note}};
  json["baseline_samples"] = item.baseline_samples;
  json["other_samples"] = item.other_samples;
  if (item.baseline_s <= 0) return json;
  json["baseline_s"] = item.baseline_s;
  json["other_s"] = item.other_s;
  json["time_ratio"] = ratio_json(item.ratio);
  if (item.baseline_rate <= 0) return json;
  json["baseline_rate"] = item.baseline_rate;
  json["other_rate"] = item.other_rate;
  json["rate_unit"] = item.rate_unit;
  return json;
}

Json comparison_json(const Comparison& result, const CompareArguments& arguments, double threshold) {
  Json json = {{"baseline", arguments.baseline},
               {"other", arguments.other},
               {"metric", arguments.metric},
               {"threshold", threshold},
               {"differences", Json::array()},
               {"warnings", result.warnings},
               {"cases", Json::array()},
               {"only_in_baseline", result.only_in_baseline},
               {"only_in_other", result.only_in_other},
               {"families", Json::array()},
               {"regressions", result.regressions()}};
  for (const Difference& d : result.differences) {
    json["differences"].push_back({{"what", d.what}, {"baseline", d.baseline}, {"other", d.other}});
  }
  for (const CaseComparison& item : result.cases) json["cases"].push_back(case_json(item));
  for (const FamilyRatio& family : result.families) {
    json["families"].push_back(
        {{"family", family.family}, {"cases", family.cases}, {"time_ratio", ratio_json(family.ratio)}});
  }
  return json;
}

ExitCode run_compare(const CompareArguments& arguments) {
  const CompareOptions options{.threshold = parse_percent("--threshold", arguments.threshold, {.least = 0, .most = 1}),
                               .metric = arguments.metric};
  const Comparison result = compare(read_launches(arguments.baseline), read_launches(arguments.other), options);
  for (const std::string& warning : result.warnings) fmt::print(stderr, "farscale: warning: {}\n", warning);
  if (arguments.json) {
    const Json json = comparison_json(result, arguments, options.threshold);
    fmt::print("{}\n", json.dump(2, ' ', false, Json::error_handler_t::replace));
  } else {
    print_environment(result);
    print_cases(result);
    print_missing("baseline", result.only_in_baseline);
    print_missing("other", result.only_in_other);
    print_verdict(result, format_percent(options.threshold));
  }
  return result.regressions().empty() ? ExitCode::kOk : ExitCode::kFailedCase;
}

}  // namespace

void add_compare_command(CLI::App& app, ExitCode& exit_code) {
  CLI::App* command = app.add_subcommand("compare", "whether two runs differ; exit 1 on a regression");
  const auto arguments = std::make_shared<CompareArguments>();
  command->add_option("BASELINE", arguments->baseline, "result file, or folder of launches")->required();
  command->add_option("OTHER", arguments->other, "the same, of what is to be judged")->required();
  command->add_option("--threshold", arguments->threshold, "slow-down that is no regression: 2% or 0.02")
      ->capture_default_str();
  command->add_option("--metric", arguments->metric, "time, or a series of steps: compute_only, exposed, …")
      ->capture_default_str();
  command->add_flag("--json", arguments->json, "one JSON document on stdout");
  command->footer(kFooter);
  command->callback([arguments, &exit_code] { exit_code = run_compare(*arguments); });
}

}  // namespace farscale
