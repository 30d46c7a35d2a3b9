// The predict command: a workload on a machine at several sizes, as a table or one JSON document.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "cluster/collective_command.h"
#include "cluster/commands.h"
#include "cluster/goodput.h"
#include "cluster/machine.h"
#include "cluster/predictor.h"
#include "kernels/format.h"

namespace farscale {
namespace {

using nlohmann::json;

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

struct Row {
  Prediction prediction;
  Estimate goodput;
};

// "8,64,...,300000": a comma list; "..." continues by the factor of the two sizes before it up to the one after it.
std::vector<int64_t> parse_sizes(const std::string& text) {
  std::vector<int64_t> sizes;
  bool fill = false;
  const auto bad = [&](const std::string& word) {
    return InputError(
        fmt::format("--gpus: expected whole numbers from 1 to 100,000,000 separated by commas, such as "
                    "8,512,50000 or 8,64,...,300000, not '{}'",
                    word));
  };
  for (const std::string& word : CLI::detail::split(text, ',')) {
    if (word == "..." || word == "…") {
      if (sizes.size() < 2 || fill) throw bad(text);
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
    }
    sizes.push_back(value);
  }
  if (sizes.empty() || fill) throw bad(text);
  return sizes;
}

json to_json(const Estimate& estimate) { return {{"p05", estimate.p05}, {"p50", estimate.p50}, {"p95", estimate.p95}}; }

json to_json(const std::vector<EvidenceLine>& lines) {
  json all = json::array();
  for (const EvidenceLine& line : lines) {
    all.push_back({{"what", line.what}, {"evidence", std::string(name(line.evidence))}, {"source", line.source}});
  }
  return all;
}

json to_json(const Row& row) {
  const Prediction& p = row.prediction;
  const Breakdown& b = p.breakdown_s;
  return {{"gpus", p.gpus},
          {"layout", p.layout.str()},
          {"step_time_s", to_json(p.step_time_s)},
          {"samples_per_s", to_json(p.samples_per_s)},
          {"mfu", to_json(p.mfu)},
          {"scaling_efficiency", to_json(p.scaling_efficiency)},
          {"exposed_comm_share", to_json(p.exposed_comm_share)},
          {"breakdown_s",
           {{"compute", b.compute},
            {"memory", b.memory},
            {"exposed_comm", b.exposed_comm},
            {"bubble", b.bubble},
            {"straggler", b.straggler},
            {"input", b.input}}},
          {"goodput", to_json(row.goodput)},
          {"extrapolated_from_gpus", p.extrapolated_from_gpus},
          {"binding", p.binding},
          {"largest_uncertainty", {{"input", p.largest_uncertainty}, {"share", p.largest_uncertainty_share}}},
          {"memory_bytes", p.memory_bytes},
          {"bucket_bytes", p.bucket_bytes},
          {"evidence", to_json(p.evidence)},
          {"warnings", p.warnings}};
}

std::string range(const Estimate& e, const std::function<std::string(double)>& format) {
  return fmt::format("{} ({} … {})", format(e.p50), format(e.p05), format(e.p95));
}

std::string rate(double value) { return format_si(value, "/s"); }

void print_table(const std::vector<Row>& rows, const std::string& unit, const std::string& noun) {
  TextTable table({noun, "layout", "step time", unit + "s/s", "MFU", "scaling", "exposed comm", "goodput", "bound by"});
  for (const Row& row : rows) {
    const Prediction& p = row.prediction;
    table.add({format_count(double(p.gpus)), Choice{p.layout, p.bucket_bytes}.str(),
               range(p.step_time_s, format_seconds), range(p.samples_per_s, rate), format_percent(p.mfu.p50),
               range(p.scaling_efficiency, format_percent), range(p.exposed_comm_share, format_percent),
               range(row.goodput, format_percent), p.binding});
  }
  fmt::print("{}", table.str());
}

// The best layouts not taken, and the first reasons of those that cannot run.
void print_runners_up(const std::vector<Candidate>& candidates) {
  constexpr int kShown = 4;
  int slower = 0, impossible = 0;
  for (const Candidate& candidate : candidates) {
    if (candidate.why_not.empty()) continue;
    int& shown = candidate.samples_per_s > 0 ? slower : impossible;
    if (++shown <= kShown) fmt::print("  not {}: {}\n", candidate.choice.str(), candidate.why_not);
  }
  if (candidates.size() > 1) {
    fmt::print("  {} layouts weighed, {} of them cannot run\n", format_count(double(candidates.size())),
               format_count(impossible));
  }
}

void print_communication(Predictor& predictor, int64_t gpus) {
  const std::vector<CollectiveNote> notes = predictor.communication_notes(gpus);
  if (notes.empty()) return;
  const BucketTotals& buckets = predictor.buckets(gpus);
  if (buckets.count > 0) {
    fmt::print("  {} gradient buckets, {} in all, {} to {} each\n", buckets.count, format_bytes(buckets.bytes),
               format_bytes(buckets.least), format_bytes(buckets.most));
  }
  TextTable table({"communication, smallest and largest", "by", "each"});
  for (const CollectiveNote& note : notes) {
    table.add({note.what, note.holds ? note.algorithm : note.algorithm + " (outside its formula)",
               format_seconds(note.time_s)});
  }
  fmt::print("{}", table.str());
}

void print_sensitivities(Predictor& predictor, int64_t gpus) {
  TextTable moves({"input", "step time at its 5th", "at its 95th percentile"});
  const std::vector<Sensitivity> sensitivities = predictor.sensitivities(gpus);
  const auto signed_percent = [](double share) { return fmt::format("{:+.1f} %", 100 * share); };
  for (size_t i = 0; i < std::min<size_t>(6, sensitivities.size()); ++i) {
    moves.add({sensitivities[i].what, signed_percent(sensitivities[i].low_share),
               signed_percent(sensitivities[i].high_share)});
  }
  fmt::print("{}", moves.str());
}

void print_explanation(Predictor& predictor, const Prediction& p, const char* noun) {
  const Breakdown& b = p.breakdown_s;
  fmt::print("\n{} {}, {}: bound by {}, {} on each\n", format_count(double(p.gpus)), noun,
             Choice{p.layout, p.bucket_bytes}.str(), p.binding, format_si(p.memory_bytes, "B"));
  TextTable parts({"part of the median step", "time", "share"});
  const std::pair<const char*, double> named[] = {
      {"compute", b.compute},        {"memory passes", b.memory}, {"exposed communication", b.exposed_comm},
      {"pipeline bubble", b.bubble}, {"stragglers", b.straggler}, {"input", b.input}};
  for (const auto& [what, time_s] : named) {
    parts.add({what, format_seconds(time_s), format_percent(time_s / p.step_time_s.p50)});
  }
  fmt::print("{}", parts.str());
  print_communication(predictor, p.gpus);
  fmt::print("largest uncertainty: {}, {} of the step time between its 5th and 95th percentile\n",
             p.largest_uncertainty, format_percent(p.largest_uncertainty_share));
  print_sensitivities(predictor, p.gpus);
  print_runners_up(predictor.candidates(p.gpus));
}

void print_evidence(const Prediction& p) {
  fmt::print("\nwhere it is from (M measured, P published, D data sheet, A assumed)\n");
  for (const EvidenceLine& line : p.evidence)
    fmt::print("  {}  {}: {}\n", letter(line.evidence), line.what, line.source);
  for (const std::string& warning : p.warnings) fmt::print("  note: {}\n", warning);
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
  if (!arguments.workload.empty()) throw InputError("predict takes --workload or --collective, not both");
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
  std::vector<Row> rows;
  for (const int64_t gpus : sizes) {
    rows.push_back(
        {predictor.at(gpus),
         job_goodput(failures, gpus, machine.gpus_per_node(), std::min(500, options.draws), options.seed).goodput});
  }
  if (arguments.as_json) {
    json document = {{"workload", workload.name()},
                     {"machine", machine.name()},
                     {"kind", machine.data().kind},
                     {"predictions", json::array()}};
    for (const Row& row : rows) document["predictions"].push_back(to_json(row));
    fmt::print("{}\n", document.dump(1));
    return;
  }
  fmt::print("{} on {}: median (5th … 95th percentile)\n", workload.name(), machine.name());
  const char* noun = machine.data().kind == "host" ? "ranks" : "GPUs";
  print_table(rows, workload.sample_unit(), noun);
  if (arguments.explain) {
    for (const Row& row : rows) print_explanation(predictor, row.prediction, noun);
  }
  print_evidence(rows.back().prediction);
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
  command->add_option("--gpus", arguments->gpus, "sizes: 8,512,50000 or 8,64,...,300000")->required();
  command->add_option("--collective", arguments->collective.kind, "instead of a workload: all_reduce, … as fitted");
  command->add_option("--bytes", arguments->collective.bytes, "of --collective: sizes, 1048576,4194304")
      ->delimiter(',');
  command->add_option("--network", arguments->collective.network,
                      "of --collective: \"per_leaf=4 oversubscription=2 order=interleaved slowest=0.25\"");
  command
      ->add_option("--layout", arguments->options.layout,
                   "auto, or \"dp=.. tp=.. pp=.. cp=.. ep=.. zero=.. hsdp=.. mb=.. accum=..\"")
      ->capture_default_str();
  command
      ->add_option("--batch", arguments->options.batch,
                   "samples a step of the whole job (default: one micro-batch a GPU)")
      ->check(CLI::Range(int64_t{1}, int64_t{1'000'000'000}));
  command->add_option("--bucket-mib", arguments->bucket_mib, "size of gradient buckets (default: what auto finds best)")
      ->check(CLI::Range(0.001, 1e6));
  command
      ->add_option("--collectives", arguments->collectives,
                   "whose formulas: model; hierarchical or sharp: model with those algorithms too; nccl: NCCL's own")
      ->check(CLI::IsMember({"model", "hierarchical", "sharp", "nccl"}))
      ->capture_default_str();
  command->add_option("--eject", arguments->eject_percent, "per cent of the GPUs, the slowest, taken out: 1 or 1%")
      ->transform(without_percent_sign)
      ->check(CLI::Range(0.0, 49.9));
  command->add_option("--input-gb-per-s", arguments->input_gb_per_s, "GB/s the loader gives one GPU (default: enough)")
      ->check(CLI::Range(1e-6, 1e4));
  command->add_flag("--ignore-memory", arguments->options.ignore_memory, "predict layouts that do not fit");
  command->add_option("--draws", arguments->options.draws, "Monte Carlo draws for the range")
      ->check(CLI::Range(20, 1000000))
      ->capture_default_str();
  command->add_option("--seed", arguments->options.seed, "seed of the draws")->capture_default_str();
  command->add_flag("--explain", arguments->explain, "breakdown, algorithms, sensitivities and the layouts not taken");
  command->add_flag("--json", arguments->as_json, "one JSON document on stdout");
  command->callback([arguments] { run_predict(*arguments); });
}

}  // namespace farscale
