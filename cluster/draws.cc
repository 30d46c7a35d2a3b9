// One draw is a set of quantiles, one for each input, pushed through the machine's quantities.
#include "cluster/draws.h"

#include <array>
#include <cmath>

#include "cluster/random.h"

namespace farscale {
namespace {

using Quantiles = std::array<double, kInputs>;

double ratio(const Quantity& quantity, double u) {
  return quantity.value.p50 > 0 ? quantity.at(u) / quantity.value.p50 : 1;
}

double tensor_factor(const Machine::Data& machine, KernelClass kind, double u) {
  const auto found = machine.efficiency.tensor.find(kind);
  return found == machine.efficiency.tensor.end() ? 1 : 1 / ratio(found->second, u);
}

LinkValues draw_links(const Machine::Data& machine, const Quantiles& u) {
  const CollectiveConstants& c = machine.collectives;
  LinkValues links = median_links(machine);
  const auto at = [&](Input input) { return u[size_t(input)]; };
  links.latency_scale = c.latency_scale.at(at(Input::kLatency));
  const double scale_up = ratio(machine.scale_up_bytes_per_s, at(Input::kRing));
  links.ring_bytes_per_s *= scale_up * ratio(c.ring_share, at(Input::kRing));
  links.switch_bytes_per_s *= scale_up * ratio(c.switch_share, at(Input::kSwitch));
  links.network_bytes_per_s *=
      ratio(c.network_share, at(Input::kNetwork)) * ratio(machine.nic_bytes_per_s, at(Input::kNetwork));
  links.network_channels *= ratio(c.network_channels, at(Input::kChannels));
  links.spine_divisor = c.spine_divisor.at(at(Input::kSpine));
  links.spine_hop_factor = c.spine_hop_factor.at(at(Input::kSpine));
  return links;
}

MachineDraw draw_at(const Machine::Data& machine, const Quantiles& u) {
  const auto at = [&](Input input) { return u[size_t(input)]; };
  const Efficiency& e = machine.efficiency;
  MachineDraw draw;
  draw.factors = {tensor_factor(machine, KernelClass::kLinear, at(Input::kLinear)),
                  tensor_factor(machine, KernelClass::kConvolution, at(Input::kConvolution)),
                  tensor_factor(machine, KernelClass::kGroupedConvolution, at(Input::kGrouped)),
                  tensor_factor(machine, KernelClass::kAttention, at(Input::kAttention)),
                  1 / (ratio(e.memory, at(Input::kMemory)) * ratio(machine.memory_bytes_per_s, at(Input::kMemory))),
                  ratio(e.launch_s, at(Input::kLaunch))};
  draw.overhead = e.overhead.at(at(Input::kOverhead));
  draw.interference = machine.collectives.interference.at(at(Input::kInterference));
  draw.spread =
      std::hypot(machine.ranks.persistent.at(at(Input::kSpread)), machine.ranks.transient.at(at(Input::kSpread)));
  draw.tail = std::min(1.0, machine.ranks.tail.value.p05 == machine.ranks.tail.value.p95
                                ? machine.ranks.tail.value.p50
                                : std::max(0.0, machine.ranks.tail.at(at(Input::kTail))));
  const bool certain = at(Input::kExtrapolation) == 0.5;
  draw.extrapolation = certain ? 0 : normal_quantile(at(Input::kExtrapolation));
  draw.residual =
      at(Input::kResidual) == 0.5 ? 1 : std::exp(machine.model_log_sigma * normal_quantile(at(Input::kResidual)));
  draw.links = draw_links(machine, u);
  return draw;
}

Quantiles middle() {
  Quantiles u;
  u.fill(0.5);
  return u;
}

}  // namespace

std::string_view name(Input input) {
  constexpr std::array<std::string_view, kInputs> kNames = {"linear efficiency",
                                                            "convolution efficiency",
                                                            "grouped convolution efficiency",
                                                            "attention efficiency",
                                                            "memory efficiency",
                                                            "kernel launch",
                                                            "step overhead",
                                                            "scale-up ring bandwidth",
                                                            "in-switch bandwidth",
                                                            "network bandwidth",
                                                            "collective latency",
                                                            "cards a collective keeps busy",
                                                            "spine",
                                                            "interference",
                                                            "spread of ranks",
                                                            "tail of the spread",
                                                            "extrapolation in ranks",
                                                            "model residual"};
  return kNames[size_t(input)];
}

MachineDraw moved_draw(const Machine::Data& machine, Input moved, double u) {
  Quantiles quantiles = middle();
  quantiles[size_t(moved)] = u;
  return draw_at(machine, quantiles);
}

MachineDraw median_draw(const Machine::Data& machine) { return draw_at(machine, middle()); }

std::vector<MachineDraw> make_draws(const Machine::Data& machine, int count, uint64_t seed) {
  std::vector<Rng> streams;
  for (size_t i = 0; i < kInputs; ++i) streams.emplace_back(Rng(seed * 1000003 + i).next());
  std::vector<MachineDraw> draws;
  draws.reserve(size_t(count));
  for (int d = 0; d < count; ++d) {
    Quantiles u;
    for (size_t i = 0; i < kInputs; ++i) u[i] = streams[i].uniform();
    draws.push_back(draw_at(machine, u));
  }
  return draws;
}

}  // namespace farscale
