// The fit command: result files to model.json, with the residual of every record.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>

#include "cluster/commands.h"
#include "cluster/fit.h"
#include "cluster/model_file.h"
#include "cluster/step_scaling.h"
#include "kernels/format.h"
#include "results/result_file.h"
#include "results/statistics.h"

namespace farscale {

std::string report_to_json(const FitReport& report) {
  nlohmann::json root = nlohmann::json::parse(model_to_json(report.model));
  root["residuals"] = nlohmann::json::array();
  for (const Residual& one : report.residuals) {
    root["residuals"].push_back({{"record", one.record},
                                 {"part", one.part},
                                 {"ranks", one.ranks},
                                 {"measured_s", one.measured_s},
                                 {"fitted_s", one.fitted_s},
                                 {"error", one.error()}});
  }
  root["notes"] = report.notes;
  root["sources"] = report.sources;
  return root.dump(1) + "\n";
}

namespace {

void print_report(const FitReport& report) {
  const Machine::Data& model = report.model;
  if (model.kind == "host") {
    fmt::print("model of a HOST ({}): it predicts this machine's ranks; it is no GPU and must not plan GPUs\n",
               model.title);
  } else {
    fmt::print("model of {}\n", model.title);
  }
  for (const EvidenceLine& line : model.evidence) fmt::print("  {}  {}\n", letter(line.evidence), line.what);
  fmt::print("  {}  memory bandwidth {}\n", letter(model.memory_bytes_per_s.evidence),
             format_si(model.memory_bytes_per_s.value.p50, "B/s"));
  fmt::print("  {}  step over its kernels {:.2f}\n", letter(model.efficiency.overhead.evidence),
             model.efficiency.overhead.value.p50);
  TextTable table({"record", "part", "ranks", "measured", "fitted", "error"});
  std::map<std::string, std::vector<double>> errors;
  for (const Residual& one : report.residuals) {
    table.add({one.record, one.part, std::to_string(one.ranks), format_seconds(one.measured_s),
               format_seconds(one.fitted_s), fmt::format("{:+.1f} %", 100 * one.error())});
    errors[one.part].push_back(std::abs(one.error()));
  }
  fmt::print("{}", table.str());
  for (const auto& [part, sizes] : errors) {
    fmt::print("{}: {} records, median error {}, worst {}\n", part, sizes.size(), format_percent(median(sizes)),
               format_percent(*std::max_element(sizes.begin(), sizes.end())));
  }
  for (const std::string& note : report.notes) fmt::print("note: {}\n", note);
}

struct FitArguments {
  std::vector<std::string> results;
  std::string model;
  bool as_json = false;
};

void run_fit(const FitArguments& arguments) {
  std::vector<Run> runs;
  for (const std::string& path : arguments.results) {
    runs.push_back(read_result(path));
    runs.back().path = path;
  }
  const FitReport report = fit_model(runs);
  const std::string text = report_to_json(report);
  if (!arguments.model.empty()) write_file(arguments.model, text);
  if (arguments.as_json) {
    fmt::print("{}", text);
    return;
  }
  print_report(report);
  if (const std::string scaling = step_scaling_text(runs); !scaling.empty()) fmt::print("\n{}\n", scaling);
  if (!arguments.model.empty()) {
    const bool whole_steps = !report.model.flops_per_s.empty();
    fmt::print("wrote {}: next `farscale predict {} --model {} --gpus {}`\n", arguments.model,
               whole_steps ? "--workload W" : "--collective all_reduce --bytes 1048576", arguments.model,
               whole_steps ? "1,2,4" : "2,4");
  }
}

}  // namespace

void add_fit_command(CLI::App& app, ExitCode&) {
  auto arguments = std::make_shared<FitArguments>();
  CLI::App* command = app.add_subcommand("fit", "result files to a cost model, with residuals");
  command->footer("example: mpirun -np 2 farscale run quick --out two.json && farscale fit two.json -o model.json");
  command->add_option("results", arguments->results, "result files of farscale run, of one kind of machine")
      ->required();
  command->add_option("-o,--output", arguments->model, "where to write the model (never overwritten)");
  command->add_flag("--json", arguments->as_json, "the model as one JSON document on stdout");
  command->callback([arguments] { run_fit(*arguments); });
}

}  // namespace farscale
