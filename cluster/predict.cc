// Predictor: layouts lowered once, draws made once, one pass over the draws for each size.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "cluster/draws.h"
#include "cluster/fit.h"
#include "cluster/jitter.h"
#include "cluster/predictor.h"
#include "kernels/error.h"
#include "kernels/format.h"

namespace farscale {
namespace {

// Log spread of communication time for each doubling of the ranks beyond those the model has seen: assumption, sized on
// what fits to a quarter of the ranks miss on published tables.
constexpr double kSpreadPerDoubling = 0.08;

double known_ranks(const Machine::Data& machine) {
  return double(machine.fitted_ranks > 0 ? machine.fitted_ranks : machine.collectives.published_ranks);
}

Estimate estimate_of(std::vector<double>& values) {
  const auto at = [&](double q) {
    const auto place = values.begin() + std::lround(q * double(values.size() - 1));
    std::nth_element(values.begin(), place, values.end());
    return *place;
  };
  return {at(0.05), at(0.5), at(0.95)};
}

// The breakdown of the median inputs, scaled so that its parts sum to the median of the draws.
Breakdown breakdown_of(const StepTimes& times, double median_s) {
  const double scale = median_s / times.total();
  return {times.compute * scale, times.memory * scale,    times.exposed_comm * scale,
          times.bubble * scale,  times.straggler * scale, times.input * scale};
}

std::string binding_of(const Breakdown& parts) {
  const std::pair<double, const char*> named[] = {
      {parts.compute, "compute"},        {parts.memory, "memory"},        {parts.exposed_comm, "exposed communication"},
      {parts.bubble, "pipeline bubble"}, {parts.straggler, "stragglers"}, {parts.input, "input"}};
  return std::max_element(std::begin(named), std::end(named))->second;
}

void check(const PredictOptions& options, const Machine::Data& machine) {
  if (machine.flops_per_s.empty()) {
    throw InputError(fmt::format(
        "{}: has no GEMM records and answers --collective only: run `farscale run quick --only gemm,memory,step` and "
        "fit it with this",
        machine.path.empty() ? machine.name : machine.path));
  }
  if (options.eject < 0 || options.eject >= 0.5) {
    throw InputError(
        fmt::format("--eject: expected a share from 0 to less than 50 %, not {:.3g} %", 100 * options.eject));
  }
  if (options.collectives == CollectivePrior::kNccl && median_links(machine).nccl_generation < 0) {
    throw InputError(fmt::format(
        "--collectives nccl: NCCL's tuning tables have Volta, Ampere, Hopper and Blackwell GPUs; {} is none "
        "of them (a hardware file says so with generation = \"hopper\")",
        machine.name));
  }
}

[[noreturn]] void not_finite(const Machine::Data& machine, int64_t gpus) {
  throw InputError(fmt::format(
      "{}: no finite step time on {} GPUs (memory {}, scale-up link {}, network card {}): fit the model "
      "anew, or correct the rate that is 0",
      machine.path.empty() ? machine.name : machine.path, gpus, format_si(machine.memory_bytes_per_s.value.p50, "B/s"),
      format_si(machine.scale_up_bytes_per_s.value.p50, "B/s"), format_si(machine.nic_bytes_per_s.value.p50, "B/s")));
}

std::vector<MachineDraw> draws_of(const Machine::Data& machine, const PredictOptions& options) {
  std::vector<MachineDraw> draws = make_draws(machine, std::max(20, options.draws), options.seed);
  for (MachineDraw& draw : draws) draw.links.prior = options.collectives;
  return draws;
}

MachineDraw median_of(const Machine::Data& machine, const PredictOptions& options) {
  MachineDraw draw = median_draw(machine);
  draw.links.prior = options.collectives;
  return draw;
}

}  // namespace

Slowest::Slowest(int64_t n) : normal(expected_max_normal(n)), exponential(expected_max_exponential(n)), ranks(n) {}

double Slowest::at(const MachineDraw& draw) const {
  const double heavy = draw.shape > 0 ? expected_max_generalised_pareto(ranks, draw.shape) : exponential;
  return (1 - draw.tail) * normal + draw.tail * heavy;
}

std::string Choice::str() const {
  return bucket_bytes > 0 ? fmt::format("{} buckets={}", layout.str(), format_bytes(bucket_bytes)) : layout.str();
}

Predictor::Predictor(const Workload& workload, const Machine& machine, const PredictOptions& options)
    : workload_(workload), machine_(machine), options_(options) {
  check(options, machine_.data());
  median_ = median_of(machine_.data(), options);
  draws_ = draws_of(machine_.data(), options);
}

const StepProfile& Predictor::profile(const Choice& choice) {
  const Layout& key = choice.layout;
  const std::string text = fmt::format("{} {} {} {} {} {} {} {} {} {} {} {} {}", key.dp, key.tp, key.pp, key.cp, key.ep,
                                       key.zero_stage, key.hsdp_shard, key.micro_batch, key.accumulation,
                                       key.interleave, key.sync_batch_norm, int(key.checkpoint), choice.bucket_bytes);
  const auto found = profiles_.find(text);
  if (found != profiles_.end()) return found->second;
  LoweringOptions lowering{.layout = key, .bucket_bytes = choice.bucket_bytes};
  if (key.pp > 1) lowering.block_costs = costs_of_blocks(choice);
  return profiles_[text] = profile_step(machine_.data(), lower(workload_, lowering), key);
}

// Pipeline stages are balanced by this machine's times, and the slowest is priced. All layouts that divide a block
// alike share its cost.
const std::vector<double>& Predictor::costs_of_blocks(const Choice& choice) {
  const Layout& layout = choice.layout;
  const std::array<int64_t, 5> key{layout.tp, layout.cp, layout.ep, layout.micro_batch, int64_t(layout.checkpoint)};
  const auto found = block_costs_.find(key);
  if (found != block_costs_.end()) return found->second;
  return block_costs_[key] = block_costs(workload_, {.layout = layout},
                                         [&](const StepTask& task) { return sum(task_time(machine_.data(), task)); });
}

const Slowest& Predictor::slowest(int64_t ranks) { return slowest_.try_emplace(ranks, ranks).first->second; }

// The ranks of a tensor and context group wait for each other in every layer, all others once a step: over its
// micro-batches the passing part of the spread averages out, the persistent part does not. Taking out the slowest
// share of the GPUs bounds the persistent part at that quantile.
StepConditions Predictor::conditions_of(const MachineDraw& draw, const StepProfile& step, const Layout& layout,
                                        int64_t gpus) {
  const int64_t team = layout.tp * layout.cp;
  const double passing = draw.transient / std::sqrt(double(std::max<int64_t>(1, layout.accumulation)));
  const double of_teams = slowest(std::max<int64_t>(1, gpus / team)).at(draw);
  Straggling straggling;
  straggling.step = of_teams * std::hypot(draw.persistent, passing);
  if (team > 1) {
    straggling.step += (slowest(gpus).at(draw) - of_teams) * draw.persistent;
    straggling.layer = slowest(team).at(draw) * draw.transient;
  }
  if (options_.eject > 0) {
    const double bound = (1 - draw.tail) * upper_normal(options_.eject) +
                         draw.tail * upper_generalised_pareto(options_.eject, draw.shape);
    straggling.step = std::min(straggling.step, std::max(0.0, bound) * draw.persistent + of_teams * passing);
  }
  StepConditions conditions{.factors = draw.factors,
                            .overhead = draw.overhead * draw.residual,
                            .interference = draw.interference,
                            .extrapolation = kSpreadPerDoubling * draw.extrapolation,
                            .known_ranks = known_ranks(machine_.data()),
                            .straggling = straggling,
                            .input_bytes_per_s = options_.input_bytes_per_s,
                            .links = &draw.links};
  for (size_t i = 0; i < kComponents; ++i) {
    if (step.unfamiliar[i] > 0) conditions.factors[i] *= std::exp(draw.unfamiliar * step.unfamiliar[i]);
  }
  return conditions;
}

StepTimes Predictor::times(const Choice& choice, int64_t gpus, const MachineDraw& draw) {
  const StepProfile& step = profile(choice);
  return step_times(step, step_groups(machine_.data(), choice.layout), choice.layout,
                    conditions_of(draw, step, choice.layout, gpus));
}

double Predictor::samples_per_step(const Choice& choice) {
  const Layout& layout = choice.layout;
  return double(layout.dp) * double(profile(choice).micro_batch) * double(std::max<int64_t>(1, layout.accumulation));
}

// The smallest whole node (or more nodes, where the layout needs them) that runs the same layout: what scaling
// efficiency is measured against.
Choice Predictor::reference_of(const Choice& choice, int64_t gpus, int64_t* reference_gpus) {
  const Layout& layout = choice.layout;
  const int64_t model = layout.tp * layout.pp * layout.cp;
  const int64_t shard = layout.zero_stage > 0 && layout.hsdp_shard > 0 ? layout.hsdp_shard : 1;
  int64_t least = std::lcm<int64_t>(machine_.gpus_per_node(), model * std::lcm(shard, layout.ep));
  Choice reference = choice;
  while (least < gpus) {
    reference.layout.dp = least / model;
    const double capacity = machine_.data().memory_bytes.value.p50;
    if (capacity <= 0 || options_.ignore_memory || profile(reference).memory_bytes <= capacity) break;
    least *= 2;
  }
  *reference_gpus = std::min(least, gpus);
  return least >= gpus ? choice : reference;
}

const std::vector<double>& Predictor::reference_rates(const Choice& choice, int64_t gpus) {
  int64_t reference_gpus = gpus;
  const Choice reference = reference_of(choice, gpus, &reference_gpus);
  std::vector<double>& base = reference_rates_[fmt::format("{} {}", reference.str(), reference_gpus)];
  if (!base.empty()) return base;
  const double rate = samples_per_step(reference) / double(reference_gpus);
  base.reserve(draws_.size());
  for (const MachineDraw& draw : draws_) base.push_back(rate / times(reference, reference_gpus, draw).total());
  return base;
}

void Predictor::fill_ranges(Prediction& prediction, const Choice& choice) {
  const int64_t gpus = prediction.gpus;
  const std::vector<double>& base = reference_rates(choice, gpus);
  const StepProfile& step = profile(choice);
  const StepGroups groups = step_groups(machine_.data(), choice.layout);
  const double samples = samples_per_step(choice);
  const double peak = machine_.peak_flops_per_s(step.type) * double(gpus);
  const double flops = workload_.training_flops_per_sample() * samples;
  std::vector<double> time_s, rate, mfu, efficiency, exposed;
  for (size_t i = 0; i < draws_.size(); ++i) {
    const StepTimes times =
        step_times(step, groups, choice.layout, conditions_of(draws_[i], step, choice.layout, gpus));
    const double total = times.total();
    time_s.push_back(total);
    rate.push_back(samples / total);
    mfu.push_back(peak > 0 ? flops / (total * peak) : 0);
    efficiency.push_back(rate.back() / double(gpus) / base[i]);
    exposed.push_back(times.exposed_comm / total);
    if (!std::isfinite(total) || !std::isfinite(efficiency.back())) not_finite(machine_.data(), gpus);
  }
  prediction.samples_per_s_draws = rate;
  prediction.step_time_s = estimate_of(time_s);
  prediction.samples_per_s = estimate_of(rate);
  prediction.mfu = estimate_of(mfu);
  prediction.scaling_efficiency = estimate_of(efficiency);
  prediction.exposed_comm_share = estimate_of(exposed);
}

void Predictor::fill_warnings(Prediction& prediction, const Choice& choice) {
  const StepProfile& step = profile(choice);
  const Machine::Data& machine = machine_.data();
  prediction.warnings = step.warnings;
  const double capacity = machine.memory_bytes.value.p50;
  if (capacity > 0 && step.memory_bytes > usable_bytes(machine)) {
    prediction.warnings.push_back(fmt::format("{}: needs {} a GPU, {} has {} ({} of them usable)", choice.str(),
                                              format_si(step.memory_bytes, "B"), machine.name, format_si(capacity, "B"),
                                              format_si(usable_bytes(machine), "B")));
  }
  if (const std::string busy = busy_note(machine.ranks); !busy.empty()) prediction.warnings.push_back(busy);
  constexpr int64_t kEven = 8;
  if (options_.layout == "auto" && choice.layout.zero_stage > 0 && prediction.gpus > kEven &&
      prediction.gpus % kEven != 0) {
    prediction.warnings.push_back(fmt::format("few layouts divide {} GPUs: {} would allow tensor and pipeline splits",
                                              format_count(double(prediction.gpus)),
                                              format_count(double(prediction.gpus - prediction.gpus % kEven))));
  }
  for (const CollectiveNote& note : communication_notes(prediction.gpus)) {
    if (note.holds) continue;
    prediction.warnings.push_back(
        fmt::format("{}: {} sends chunks shorter than a line of its protocol: its formula does not hold there",
                    note.what, note.algorithm));
  }
  if (options_.eject > 0) {
    prediction.warnings.push_back(fmt::format("the {} GPUs are those left after the slowest {} were taken out of {}",
                                              format_count(double(prediction.gpus)), format_percent(options_.eject),
                                              format_count(std::ceil(double(prediction.gpus) / (1 - options_.eject)))));
  }
}

Prediction Predictor::at(int64_t gpus) {
  if (gpus < 1) throw InputError(fmt::format("--gpus: expected at least 1 GPU, not {}", gpus));
  if (gpus > 100'000'000) {
    throw InputError(fmt::format("--gpus: {} is more than 100,000,000 GPUs: no such machine can be planned", gpus));
  }
  const Choice choice = choose(gpus);
  Prediction prediction;
  prediction.gpus = gpus;
  prediction.layout = choice.layout;
  prediction.bucket_bytes = choice.bucket_bytes;
  prediction.memory_bytes = profile(choice).memory_bytes;
  fill_ranges(prediction, choice);
  prediction.breakdown_s = breakdown_of(times(choice, gpus, median_), prediction.step_time_s.p50);
  prediction.binding = binding_of(prediction.breakdown_s);
  const Sensitivity largest = sensitivities(gpus).front();
  prediction.largest_uncertainty = largest.what;
  prediction.largest_uncertainty_share = largest.reach();
  prediction.extrapolated_from_gpus = machine_.data().fitted_ranks;
  fill_warnings(prediction, choice);
  fill_evidence(prediction, choice);
  return prediction;
}

Prediction predict(const Workload& workload, const Machine& machine, int64_t gpus, const PredictOptions& options) {
  return Predictor(workload, machine, options).at(gpus);
}

}  // namespace farscale
