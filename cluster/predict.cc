// Predictor: layouts lowered once, draws made once, one pass over the draws for each size.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "cluster/draws.h"
#include "cluster/jitter.h"
#include "cluster/predictor.h"
#include "kernels/error.h"
#include "kernels/format.h"

namespace farscale {
namespace {

// Log spread of communication time for each doubling of the ranks beyond those the model has seen: assumption, sized on
// what fits to a quarter of the ranks miss on published tables.
constexpr double kSpreadPerDoubling = 0.08;

// Expected slowest rank: the normal and the exponential part once for each size, mixed by every draw's tail.
struct Slowest {
  double normal = 0, exponential = 0;
  explicit Slowest(int64_t ranks) : normal(expected_max_normal(ranks)), exponential(expected_max_exponential(ranks)) {}
  double at(const MachineDraw& draw) const {
    return draw.spread * ((1 - draw.tail) * normal + draw.tail * exponential);
  }
};

double doublings_beyond(const Machine::Data& machine, int64_t gpus) {
  const int64_t known = machine.fitted_ranks > 0 ? machine.fitted_ranks : machine.collectives.published_ranks;
  return known > 0 && gpus > known ? std::log2(double(gpus) / double(known)) : 0;
}

StepConditions conditions_of(const MachineDraw& draw, const Slowest& slowest, double doublings) {
  return {.factors = draw.factors,
          .overhead = draw.overhead * draw.residual,
          .interference = draw.interference,
          .communication = std::exp(kSpreadPerDoubling * doublings * draw.extrapolation),
          .straggler = slowest.at(draw),
          .links = draw.links};
}

Estimate estimate_of(std::vector<double>& values) {
  const auto at = [&](double q) {
    const auto place = values.begin() + ptrdiff_t(q * double(values.size() - 1) + 0.5);
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

}  // namespace

Predictor::Predictor(const Workload& workload, const Machine& machine, const PredictOptions& options)
    : workload_(workload),
      machine_(machine),
      options_(options),
      median_(median_draw(machine.data())),
      draws_(make_draws(machine.data(), std::max(20, options.draws), options.seed)) {}

const StepProfile& Predictor::profile(const Layout& layout) {
  Layout key = layout;
  if (layout.zero_stage == 0 && layout.ep == 1) key.dp = 1;  // nothing of one GPU's step depends on the width then
  const std::string text =
      fmt::format("{} {} {} {} {} {} {} {} {} {} {}", key.dp, key.tp, key.pp, key.cp, key.ep, key.zero_stage,
                  key.hsdp_shard, key.micro_batch, key.accumulation, key.interleave, key.sync_batch_norm);
  const auto found = profiles_.find(text);
  if (found != profiles_.end()) return found->second;
  return profiles_[text] = profile_step(machine_.data(), lower(workload_, {.layout = key}));
}

StepTimes Predictor::times(const Layout& layout, int64_t gpus, const MachineDraw& draw) {
  return step_times(profile(layout), machine_.data(), layout,
                    conditions_of(draw, Slowest(gpus), doublings_beyond(machine_.data(), gpus)));
}

double Predictor::samples_per_step(const Layout& layout) {
  return double(layout.dp) * double(profile(layout).micro_batch) * double(std::max<int64_t>(1, layout.accumulation));
}

// The smallest whole node (or more nodes, where the layout needs them) that runs the same layout: what scaling
// efficiency is measured against.
Layout Predictor::reference_layout(const Layout& layout, int64_t gpus, int64_t* reference_gpus) {
  const int64_t model = layout.tp * layout.pp * layout.cp;
  const int64_t shard = layout.zero_stage > 0 && layout.hsdp_shard > 0 ? layout.hsdp_shard : 1;
  int64_t least = std::lcm<int64_t>(machine_.gpus_per_node(), model * shard);
  Layout reference = layout;
  while (least < gpus) {
    reference.dp = least / model;
    if (gpus % least == 0 || layout.zero_stage == 0) {
      const double capacity = machine_.data().memory_bytes.value.p50;
      if (capacity <= 0 || profile(reference).memory_bytes <= capacity) break;
    }
    least *= 2;
  }
  if (least >= gpus) {
    *reference_gpus = gpus;
    return layout;
  }
  *reference_gpus = least;
  return reference;
}

void Predictor::fill_ranges(Prediction& prediction, const Layout& layout) {
  const int64_t gpus = prediction.gpus;
  int64_t reference_gpus = gpus;
  const Layout reference = reference_layout(layout, gpus, &reference_gpus);
  const StepProfile& step = profile(layout);
  const double samples = samples_per_step(layout);
  const double peak = machine_.peak_flops_per_s(step.type);
  const double flops = step.training_flops * double(std::max<int64_t>(1, layout.accumulation));
  const Slowest slowest(gpus);
  const double beyond = doublings_beyond(machine_.data(), gpus);
  std::vector<double>& base = reference_rates_[fmt::format("{} {}", reference.str(), reference_gpus)];
  if (base.empty()) {
    const Slowest of_reference(reference_gpus);
    const double reference_beyond = doublings_beyond(machine_.data(), reference_gpus);
    const double rate = samples_per_step(reference) / double(reference_gpus);
    for (const MachineDraw& draw : draws_) {
      const StepConditions conditions = conditions_of(draw, of_reference, reference_beyond);
      base.push_back(rate / step_times(profile(reference), machine_.data(), reference, conditions).total());
    }
  }
  std::vector<double> time_s, rate, mfu, efficiency, exposed;
  for (size_t i = 0; i < draws_.size(); ++i) {
    const StepTimes times = step_times(step, machine_.data(), layout, conditions_of(draws_[i], slowest, beyond));
    const double total = times.total();
    time_s.push_back(total);
    rate.push_back(samples / total);
    mfu.push_back(peak > 0 ? flops / (total * peak) : 0);
    efficiency.push_back(rate.back() / double(gpus) / base[i]);
    exposed.push_back(times.exposed_comm / total);
  }
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
  Prediction prediction;
  prediction.gpus = gpus;
  prediction.layout = choose(gpus, nullptr);
  const Layout& layout = prediction.layout;
  fill_ranges(prediction, layout);
  prediction.breakdown_s = breakdown_of(times(layout, gpus, median_), prediction.step_time_s.p50);
  prediction.binding = binding_of(prediction.breakdown_s);
  prediction.extrapolated_from_gpus = machine_.data().fitted_ranks;
  prediction.warnings = profile(layout).warnings;
  fill_evidence(prediction, layout);
  return prediction;
}

std::vector<Sensitivity> Predictor::sensitivities(int64_t gpus) {
  const Layout layout = choose(gpus, nullptr);
  const double middle = times(layout, gpus, median_).total();
  std::vector<Sensitivity> all;
  for (size_t i = 0; i < kInputs; ++i) {
    const auto share = [&](double u) {
      return times(layout, gpus, moved_draw(machine_.data(), Input(i), u)).total() / middle - 1;
    };
    all.push_back({std::string(name(Input(i))), share(0.05), share(0.95)});
  }
  std::stable_sort(all.begin(), all.end(), [](const Sensitivity& a, const Sensitivity& b) {
    return std::abs(a.high_share - a.low_share) > std::abs(b.high_share - b.low_share);
  });
  return all;
}

std::vector<std::string> Predictor::communication_notes(int64_t gpus) {
  const Layout layout = choose(gpus, nullptr);
  const StepProfile& step = profile(layout);
  const Group group = step_groups(machine_.data(), layout).data;
  const CollectiveKind kind = layout.zero_stage >= 1 ? CollectiveKind::kReduceScatter : CollectiveKind::kAllReduce;
  std::vector<std::string> notes;
  if (group.ranks <= 1 || step.buckets.empty()) return notes;
  const CollectiveCost cost = collective_cost(kind, median_.links, group);
  double bytes = 0, least = INFINITY, most = 0;
  for (const BucketProfile& bucket : step.buckets) {
    bytes += bucket.bytes;
    least = std::min(least, bucket.bytes);
    most = std::max(most, bucket.bytes);
  }
  notes.push_back(fmt::format("{} gradient buckets, {} in all, {} to {} each, over {} ranks in {} domains",
                              step.buckets.size(), format_bytes(bytes), format_bytes(least), format_bytes(most),
                              format_count(double(group.ranks)), format_count(double(group.domains()))));
  for (const double size : {least, most}) {
    notes.push_back(fmt::format("{} of {}: {}, {}", name(kind), format_bytes(size), cost.best(size).algorithm,
                                format_seconds(cost.at(size))));
  }
  return notes;
}

Prediction predict(const Workload& workload, const Machine& machine, int64_t gpus, const PredictOptions& options) {
  return Predictor(workload, machine, options).at(gpus);
}

}  // namespace farscale
