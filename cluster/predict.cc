// Predictor: layouts lowered once, draws made once, one pass over the draws for each size.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <span>

#include "cluster/draws.h"
#include "cluster/jitter.h"
#include "cluster/predictor.h"
#include "kernels/error.h"
#include "kernels/format.h"

namespace farscale {
namespace {

Estimate estimate_of(std::vector<double>& values) {
  const auto at = [&](double q) {
    const auto place = values.begin() + std::lround(q * double(values.size() - 1));
    std::nth_element(values.begin(), place, values.end());
    return *place;
  };
  return {at(0.05), at(0.5), at(0.95)};
}

Breakdown breakdown_of(const StepTimes& times) {
  return {times.compute, times.memory, times.exposed_comm, times.bubble, times.straggler, times.input};
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

int64_t known_ranks(const Machine::Data& machine) {
  if (machine.fitted_ranks > 0) return machine.fitted_ranks;
  return machine.generation.empty() ? machine.scale_up_domain : machine.collectives.published_ranks;
}

StepTimes middle_of(std::vector<StepTimes> draws) {
  std::sort(draws.begin(), draws.end(), [](const StepTimes& a, const StepTimes& b) { return a.total() < b.total(); });
  const double median_s = draws[size_t(std::lround(0.5 * double(draws.size() - 1)))].total();
  const std::span<const StepTimes> half =
      std::span(draws).subspan(draws.size() / 4, draws.size() - draws.size() / 4 * 2);
  StepTimes mean, slope;
  double variance = 0;
  for (const StepTimes& one : half) mean += one * (1 / double(half.size()));
  for (const StepTimes& one : half) {
    const double more_s = one.total() - mean.total();
    slope += one * more_s;
    variance += more_s * more_s;
  }
  if (variance > 0) mean += slope * ((median_s - mean.total()) / variance);
  mean.exposed_comm = std::max(0.0, mean.exposed_comm);
  mean.input = std::max(0.0, mean.input);
  return mean * (median_s / mean.total());
}

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
                            .known_ranks = double(known_ranks(machine_.data())),
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

std::vector<StepTimes> Predictor::times_of_draws(const Choice& choice, int64_t gpus, size_t count) {
  const StepProfile& step = profile(choice);
  const StepGroups groups = step_groups(machine_.data(), choice.layout);
  std::vector<StepTimes> times;
  for (size_t i = 0; i < std::min(count, draws_.size()); ++i) {
    times.push_back(step_times(step, groups, choice.layout, conditions_of(draws_[i], step, choice.layout, gpus)));
  }
  return times;
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
  for (const StepTimes& times : times_of_draws(reference, reference_gpus)) base.push_back(rate / times.total());
  return base;
}

void Predictor::fill_ranges(Prediction& prediction, const Choice& choice) {
  const int64_t gpus = prediction.gpus;
  const std::vector<double>& base = reference_rates(choice, gpus);
  const double samples = samples_per_step(choice);
  const double peak = machine_.peak_flops_per_s(profile(choice).type) * double(gpus);
  const double flops = workload_.training_flops_per_sample() * samples;
  const std::vector<StepTimes> steps = times_of_draws(choice, gpus);
  std::vector<double> time_s, rate, mfu, efficiency, exposed;
  for (size_t i = 0; i < steps.size(); ++i) {
    const double total = steps[i].total();
    time_s.push_back(total);
    rate.push_back(samples / total);
    mfu.push_back(peak > 0 ? flops / (total * peak) : 0);
    efficiency.push_back(rate.back() / double(gpus) / base[i]);
    exposed.push_back(steps[i].exposed_comm / total);
    if (!std::isfinite(total) || !std::isfinite(efficiency.back())) not_finite(machine_.data(), gpus);
  }
  prediction.breakdown_s = breakdown_of(middle_of(steps));
  prediction.samples_per_s_draws = rate;
  prediction.step_time_s = estimate_of(time_s);
  prediction.samples_per_s = estimate_of(rate);
  prediction.mfu = estimate_of(mfu);
  prediction.scaling_efficiency = estimate_of(efficiency);
  prediction.exposed_comm_share = estimate_of(exposed);
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
