// The predict command: a workload on a machine at several sizes, as a table or one JSON document.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <memory>

#include "cluster/collective_command.h"
#include "cluster/commands.h"
#include "cluster/goodput.h"
#include "cluster/machine.h"
#include "cluster/option_checks.h"
#include "cluster/predict_output.h"

namespace farscale {
namespace {

struct PredictArguments {
  std::string collectives = "model";
  double eject_percent = 0;
  double input_gb_per_s = 0;
  double bucket_mib = 0;
  std::string workload;
  std::string model;
  std::string hardware;
  std::string gpus;
  CollectiveQuestion collective;
  PredictOptions options;
  bool explain = false;
  bool as_json = false;
};

// Sizes written before a "..." must be one series: each the same factor times the one before, but for rounding.
void check_series(const std::vector<int64_t>& sizes, size_t first, const std::string& text) {
  for (size_t i = first + 2; i < sizes.size(); ++i) {
    const double expected = double(sizes[i - 1]) * double(sizes[i - 1]) / double(sizes[i - 2]);
    if (std::abs(double(sizes[i]) - expected) < 1) continue;
    throw InputError(
        fmt::format("--gpus {}: '...' goes on by one factor, which {},{},{} do not have: write every size, or only two "
                    "before '...'",
                    text, sizes[i - 2], sizes[i - 1], sizes[i]));
  }
}

// "8,64,...,300000": a comma list; "..." continues by the factor of the two sizes before it up to the one after it.
std::vector<int64_t> parse_sizes(const std::string& text) {
  std::vector<int64_t> sizes;
  bool fill = false;
  size_t first = 0;  // of the series that a "..." would continue
  const auto bad = [&](const std::string& word) {
    return InputError(
        fmt::format("--gpus: expected whole numbers from 1 to 100,000,000 separated by commas, such as "
                    "8,512,50000 or 8,64,...,300000, not '{}'",
                    word));
  };
  for (const std::string& word : CLI::detail::split(text, ',')) {
    if (word == "..." || word == "…") {
      if (sizes.size() < 2 || fill) throw bad(text);
      check_series(sizes, first, text);
      fill = true;
      continue;
    }
    char* end = nullptr;
    const long long value = std::strtoll(word.c_str(), &end, 10);
    if (word.empty() || *end != '\0' || value < 1 || value > 100'000'000) throw bad(word);
    if (fill) {
      const double factor = double(sizes.back()) / double(sizes[sizes.size() - 2]);
      if (factor <= 1 || value <= sizes.back()) throw bad(text);
      for (double next = double(sizes.back()) * factor; next < double(value); next *= factor) {
        sizes.push_back(int64_t(next));
      }
      fill = false;
      first = sizes.size();
    }
    sizes.push_back(value);
  }
  if (sizes.empty() || fill) throw bad(text);
  return sizes;
}

void warn_host(const Machine& machine) {
  if (machine.data().kind != "host") return;
  fmt::print(stderr,
             "farscale: {} is a model of a HOST, not of a GPU: --gpus counts its ranks (processes), and nothing below "
             "says how fast any GPU trains\n",
             machine.name());
}

std::string without_percent_sign(std::string text) {
  if (text.ends_with('%')) text.pop_back();
  return text;
}

PredictOptions options_of(const PredictArguments& arguments) {
  PredictOptions options = arguments.options;
  options.collectives = arguments.collectives == "nccl"           ? CollectivePrior::kNccl
                        : arguments.collectives == "sharp"        ? CollectivePrior::kSharp
                        : arguments.collectives == "hierarchical" ? CollectivePrior::kHierarchical
                                                                  : CollectivePrior::kModel;
  options.eject = arguments.eject_percent / 100;
  options.input_bytes_per_s = arguments.input_gb_per_s * 1e9;
  options.bucket_bytes = arguments.bucket_mib * 1024 * 1024;
  return options;
}

void run_predict_collective(const PredictArguments& arguments) {
  CollectiveQuestion question = arguments.collective;
  question.model = arguments.model;
  question.ranks = parse_sizes(arguments.gpus);
  question.as_json = arguments.as_json;
  predict_collective(question);
}

void run_predict(const PredictArguments& arguments) {
  if (!arguments.collective.kind.empty()) return run_predict_collective(arguments);
  if (arguments.workload.empty())
    throw InputError("predict needs --workload (farscale list workloads) or --collective");
  if (arguments.model.empty() == arguments.hardware.empty()) {
    throw InputError(
        "predict needs one of --model (a file of `farscale fit`) and --hardware (see `farscale list hardware`)");
  }
  const std::vector<int64_t> sizes = parse_sizes(arguments.gpus);
  const PredictOptions options = options_of(arguments);
  const Workload workload = load_workload(arguments.workload);
  const Machine machine = arguments.model.empty() ? load_hardware(arguments.hardware) : load_model(arguments.model);
  warn_host(machine);
  Predictor predictor(workload, machine, options);
  const FailureModel failures = default_failure_model();
  std::vector<PredictRow> rows;
  for (const int64_t gpus : sizes) {
    rows.push_back(
        {predictor.at(gpus),
         job_goodput(failures, gpus, machine.gpus_per_node(), std::min(500, options.draws), options.seed).goodput});
  }
  const PredictAnswer answer{workload, machine, rows, arguments.explain};
  arguments.as_json ? print_json(predictor, answer) : print_text(predictor, answer);
}

// --collective asks about one collective of a fitted model: what only a workload has excludes it.
void add_collective_options(CLI::App& command, CollectiveQuestion& question) {
  const std::string shared[] = {"--help", "--model", "--gpus", "--json"};
  const std::vector<CLI::Option*> others = command.get_options([&](const CLI::Option* option) {
    return std::find(std::begin(shared), std::end(shared), "--" + option->get_single_name()) == std::end(shared);
  });
  CLI::Option* collective =
      command.add_option("--collective", question.kind, "instead of a workload: all_reduce, … as fitted");
  for (CLI::Option* other : others) collective->excludes(other);
  command.add_option("--bytes", question.bytes, "of --collective: sizes, 1048576,4194304")
      ->delimiter(',')
      ->needs(collective);
  command
      .add_option("--network", question.network,
                  "of --collective: \"per_leaf=4 oversubscription=2 order=interleaved slowest=0.25\"")
      ->needs(collective);
}

}  // namespace

void add_predict_command(CLI::App& app, ExitCode&) {
  auto arguments = std::make_shared<PredictArguments>();
  CLI::App* command =
      app.add_subcommand("predict", "step time, scaling and its range for a workload on 1 to 300,000 GPUs");
  command->footer(
      "example: farscale predict --workload hydranet-regnety16gf --hardware h100-sxm --gpus 8,512,50000 --explain\n"
      "         farscale predict --collective all_reduce --bytes 1048576 --model model.json --gpus 8,512");
  command->add_option("--workload", arguments->workload, "shipped name or TOML file (farscale list workloads)");
  command->add_option("--model", arguments->model, "model file written by farscale fit");
  command->add_option("--hardware", arguments->hardware, "shipped name or TOML file (farscale list hardware)");
  command->add_option("--gpus", arguments->gpus, "sizes: 8,512,50000, or 8,64,...,300000: each times the same factor")
      ->required();
  command
      ->add_option("--layout", arguments->options.layout,
                   "auto, or \"dp=.. tp=.. pp=.. cp=.. ep=.. zero=.. hsdp=.. mb=.. accum=..\"")
      ->capture_default_str();
  command
      ->add_option("--batch", arguments->options.batch,
                   "samples a step of the whole job (default: one micro-batch a GPU)")
      ->check(CLI::Range(int64_t{1}, int64_t{1'000'000'000}));
  command->add_option("--bucket-mib", arguments->bucket_mib, "size of gradient buckets (default: what auto finds best)")
      ->check(number_within(0.001, 1e6));
  command
      ->add_option("--collectives", arguments->collectives,
                   "whose formulas: model; hierarchical or sharp: model with those algorithms too; nccl: NCCL's own")
      ->check(CLI::IsMember({"model", "hierarchical", "sharp", "nccl"}))
      ->capture_default_str();
  command->add_option("--eject", arguments->eject_percent, "per cent of the GPUs, the slowest, taken out: 1 or 1%")
      ->transform(without_percent_sign)
      ->check(number_within(0, 49.9));
  command->add_option("--input-gb-per-s", arguments->input_gb_per_s, "GB/s the loader gives one GPU (default: enough)")
      ->check(number_within(1e-6, 1e4));
  command->add_flag("--ignore-memory", arguments->options.ignore_memory, "predict layouts that do not fit");
  command->add_option("--draws", arguments->options.draws, "Monte Carlo draws for the range")
      ->check(CLI::Range(20, 1000000))
      ->capture_default_str();
  command->add_option("--seed", arguments->options.seed, "seed of the draws")
      ->check(unsigned_number())
      ->capture_default_str();
  command->add_flag("--explain", arguments->explain, "breakdown, algorithms, sensitivities and the layouts not taken");
  command->add_flag("--json", arguments->as_json, "one JSON document on stdout");
  add_collective_options(*command, arguments->collective);
  command->callback([arguments] { run_predict(*arguments); });
}

}  // namespace farscale
