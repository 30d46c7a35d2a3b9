// farscale import FORMAT FILE: other programs' results as a result file.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>

#include "kernels/error.h"
#include "kernels/format.h"
#include "results/commands.h"
#include "results/google_benchmark.h"
#include "results/import.h"
#include "results/result_file.h"
#include "results/statistics.h"

namespace farscale {
namespace {

struct ImportArguments {
  std::string format;
  std::string file;
  std::string output;
  std::string collective;
  std::string system;
  bool json = false;
};

constexpr const char* kFooter =
    "nccl-tests: what all_reduce_perf and its kin print, or their -J file (the environment in it is left out: it may "
    "hold\n"
    "secrets). google-benchmark: a JSON file of any program on it. csv: a table with the columns of\n"
    "results/published/collectives.csv or gemm.csv. RESULT is FILE's name with .farscale.json unless given.\n\n"
    "Example:\n"
    "  farscale import csv results/published/gemm.csv --system 'NVIDIA H100 SXM' -o h100-gemm.json\n"
    "  mpirun -np 8 all_reduce_perf -b 1M -e 8G -f 2 > all_reduce.txt && farscale import nccl-tests all_reduce.txt\n";

Run read(const ImportArguments& arguments) {
  if (arguments.format == "csv") return import_csv(read_csv(arguments.file), arguments.system);
  const std::string text = read_text(arguments.file);
  if (arguments.format == "nccl-tests") return import_nccl_tests(text, arguments.file, arguments.collective);
  return parse_google_benchmark(text, arguments.file);
}

void print_table(const Run& run, const std::string& output) {
  TextTable table({"case", "status", "median", "samples"});
  for (const Record& record : run.records) {
    table.add({record.name, std::string(name(record.status)),
               record.samples_s.empty() ? "-" : format_seconds(median(record.samples_s)),
               fmt::format("{}", record.samples_s.size())});
  }
  fmt::print("{}\n{} cases of {} on {} ranks -> {}\n", table.str(), run.records.size(),
             run.device.empty() ? "an unnamed device" : run.device, run.ranks, output);
}

ExitCode run_import(ImportArguments arguments) {
  if (arguments.output.empty()) {
    arguments.output = std::filesystem::path(arguments.file).filename().replace_extension(".farscale.json").string();
  }
  ResultWriter writer(arguments.output);
  Run run = read(arguments);
  if (run.records.empty()) throw InputError(fmt::format("{}: no case could be read from it", arguments.file));
  run.environment["imported_from"] = std::filesystem::path(arguments.file).filename().string();
  writer.write(run);
  for (const std::string& warning : run.warnings) fmt::print(stderr, "farscale: warning: {}\n", warning);
  if (arguments.json) {
    const nlohmann::ordered_json json = {{"result", writer.path()},  {"cases", run.records.size()},
                                         {"ranks", run.ranks},       {"device", run.device},
                                         {"warnings", run.warnings}, {"complete", run.complete}};
    fmt::print("{}\n", json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace));
  } else {
    print_table(run, writer.path());
  }
  return ExitCode::kOk;
}

}  // namespace

void add_import_command(CLI::App& app, ExitCode& exit_code) {
  CLI::App* command = app.add_subcommand("import", "other programs' results as a result file");
  const auto arguments = std::make_shared<ImportArguments>();
  command->add_option("FORMAT", arguments->format, "nccl-tests, google-benchmark or csv")
      ->required()
      ->check(CLI::IsMember({"nccl-tests", "google-benchmark", "csv"}));
  command->add_option("FILE", arguments->file, "what to read")->required();
  command->add_option("-o,--out", arguments->output, "result file to write; never one that exists");
  command->add_option("--collective", arguments->collective, "what ran, where nccl-tests' text does not say");
  command->add_option("--system", arguments->system, "which machine of a CSV table");
  command->add_flag("--json", arguments->json, "one JSON document on stdout");
  command->footer(kFooter);
  command->callback([arguments, &exit_code] { exit_code = run_import(*arguments); });
}

}  // namespace farscale
