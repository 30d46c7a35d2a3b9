// What a prediction rests on, line by line, and what to be warned of.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "cluster/fit.h"
#include "cluster/predictor.h"
#include "kernels/format.h"

namespace farscale {
namespace {

EvidenceLine line(std::string what, const Quantity& quantity) {
  return {std::move(what), quantity.evidence, quantity.source};
}

void add_tensor_lines(std::vector<EvidenceLine>& lines, const Machine::Data& machine, const StepProfile& step) {
  constexpr std::pair<Component, KernelClass> kClasses[] = {{Component::kLinear, KernelClass::kLinear},
                                                            {Component::kConvolution, KernelClass::kConvolution},
                                                            {Component::kGrouped, KernelClass::kGroupedConvolution},
                                                            {Component::kAttention, KernelClass::kAttention}};
  for (const auto& [component, kind] : kClasses) {
    if (step.forward[size_t(component)] + step.backward[size_t(component)] <= 0) continue;
    const auto found = machine.efficiency.tensor.find(kind);
    if (found == machine.efficiency.tensor.end()) continue;
    lines.push_back(
        line(fmt::format("{} kernels at {} of the dense rate", name(kind), format_percent(found->second.value.p50)),
             found->second));
  }
}

void add_link_lines(std::vector<EvidenceLine>& lines, const Machine::Data& machine, const Group& group) {
  const CollectiveConstants& c = machine.collectives;
  lines.push_back(line(fmt::format("scale-up link {} a GPU, domain of {}",
                                   format_si(machine.scale_up_bytes_per_s.value.p50, "B/s"), machine.scale_up_domain),
                       machine.scale_up_bytes_per_s));
  if (group.domains() <= 1) return;
  lines.push_back(line(fmt::format("network card {} a GPU", format_si(machine.nic_bytes_per_s.value.p50, "B/s")),
                       machine.nic_bytes_per_s));
  lines.push_back(
      line(fmt::format("{} of the card's rate", format_percent(c.network_share.value.p50)), c.network_share));
  lines.push_back(line("latencies of the collective library's own model, scaled", c.latency_scale));
  if (group.reach() > c.pod.beyond_ranks) lines.push_back(line("pod above a rail", c.pod.collisions));
  if (group.reach() > c.pod_ranks) lines.push_back(line("spine above a pod", c.spine_divisor));
  if (group.reach() > c.site.beyond_ranks) lines.push_back(line("more than one site", c.site.collisions));
}

void add_placement_notes(std::vector<std::string>& notes, const Machine::Data& machine, const Choice& choice,
                         int64_t gpus) {
  const int64_t used = used_domain(machine, choice.layout);
  if (used < machine.scale_up_domain && gpus > used) {
    notes.push_back(fmt::format(
        "{}: {} of the {} GPUs of a scale-up domain are used, so that no tensor, context, expert or shard group "
        "straddles two; the others are not counted",
        choice.str(), used, machine.scale_up_domain));
  }
  if (const int64_t known = known_ranks(machine); machine.generation.empty() && gpus > known) {
    notes.push_back(fmt::format("{}: nobody measured its collectives on more than {} {}: ranges widen beyond",
                                machine.name, format_count(double(known)), machine.kind == "host" ? "ranks" : "GPUs"));
  }
}

}  // namespace

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
  add_placement_notes(prediction.warnings, machine, choice, prediction.gpus);
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

void Predictor::fill_evidence(Prediction& prediction, const Choice& choice) {
  const Machine::Data& machine = machine_.data();
  const StepProfile& step = profile(choice);
  std::vector<EvidenceLine>& lines = prediction.evidence;
  lines.push_back({fmt::format("workload {} ({})", workload_.name(), workload_.provenance()),
                   workload_.provenance() == "proxy" ? Evidence::kAssumed : Evidence::kPublished,
                   workload_.sources().empty() ? std::string("workload file") : workload_.sources().front()});
  lines.insert(lines.end(), machine.evidence.begin(), machine.evidence.end());
  const auto rate = machine.flops_per_s.find(step.type);
  if (rate != machine.flops_per_s.end()) {
    lines.push_back(line(fmt::format("{} dense rate {}", name(step.type), format_si(rate->second.value.p50, "FLOP/s")),
                         rate->second));
  }
  if (machine.gemm_fits.empty()) add_tensor_lines(lines, machine, step);
  lines.push_back(line(fmt::format("memory bandwidth {}", format_si(machine.memory_bytes_per_s.value.p50, "B/s")),
                       machine.memory_bytes_per_s));
  lines.push_back(
      line(fmt::format("passes at {} of the memory bandwidth", format_percent(machine.efficiency.memory.value.p50)),
           machine.efficiency.memory));
  if (options_.collectives == CollectivePrior::kNccl) {
    lines.push_back({"NCCL's own model of its collectives", Evidence::kPublished,
                     "NVIDIA/nccl src/graph/tuning.cc at 5067397; it ranks algorithms, and was not measured here"});
  }
  const StepGroups groups = step_groups(machine, choice.layout);
  if (machine.collective_fits.empty()) add_link_lines(lines, machine, of(groups, GroupName::kData));
  lines.push_back(line(fmt::format("compute slows by {} under communication",
                                   format_percent(machine.collectives.interference.value.p50)),
                       machine.collectives.interference));
  lines.push_back(line(fmt::format("ranks spread by {} and {} (persistent, each step)",
                                   format_percent(machine.ranks.persistent.value.p50),
                                   format_percent(machine.ranks.transient.value.p50)),
                       machine.ranks.transient));
  const double input = options_.input_bytes_per_s;
  lines.push_back({input > 0 ? fmt::format("input at {} a GPU", format_si(input, "B/s")) : "input pipeline keeps up",
                   Evidence::kAssumed, input > 0 ? "assumption: as asked for" : "assumption: no loader was measured"});
}

}  // namespace farscale
