// One draw is a set of quantiles, one for each input, pushed through the machine's quantities.
#include "cluster/draws.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <memory>
#include <vector>

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

TierValues draw_tier(const TierConstants& tier, double u) {
  return {double(tier.beyond_ranks), tier.oversubscription, std::max(1.0, tier.collisions.at(u)),
          std::max(1.0, tier.hop_factor.at(u))};
}

// Lower triangle of a covariance matrix's Cholesky factor; directions without variance stay 0.
std::vector<double> cholesky(const std::vector<double>& covariance, size_t size) {
  std::vector<double> lower(size * size, 0);
  for (size_t i = 0; i < size; ++i) {
    for (size_t j = 0; j <= i; ++j) {
      double rest = covariance[i * size + j];
      for (size_t k = 0; k < j; ++k) rest -= lower[i * size + k] * lower[j * size + k];
      const double diagonal = lower[j * size + j];
      lower[i * size + j] = i == j ? std::sqrt(std::max(0.0, rest)) : diagonal > 0 ? rest / diagonal : 0;
    }
  }
  return lower;
}

// One draw of a fitted curve: its coefficients from their covariance, its spread as one factor. Costs stay costs: no
// coefficient falls below a tenth of its median.
CollectiveFit draw_fit(const CollectiveFit& fit, Rng& normal, double spread) {
  CollectiveFit drawn = fit;
  std::vector<double*> coefficients = {&drawn.base_s, &drawn.hop_s};
  for (double& slope : drawn.s_per_byte) coefficients.push_back(&slope);
  const size_t size = coefficients.size();
  const double together = std::exp(spread);
  const bool known = fit.covariance.size() == size * size;
  const double common = known ? 1 : std::exp(fit.relative_error * normal.normal());
  std::vector<double> z(size);
  for (double& one : z) one = normal.normal();
  const std::vector<double> lower = known ? cholesky(fit.covariance, size) : std::vector<double>{};
  for (size_t i = 0; i < size; ++i) {
    double moved = 0;
    for (size_t j = 0; known && j <= i; ++j) moved += lower[i * size + j] * z[j];
    const double median = *coefficients[i];
    *coefficients[i] = together * common * std::max(0.1 * median, median + moved);
  }
  return drawn;
}

// The curves of one draw. The quantile seeds the numbers of the covariance; at its middle nothing moves but, for a
// sensitivity, everything by its own spread.
std::shared_ptr<const CollectiveFits> draw_fits(const Machine::Data& machine, double u) {
  if (machine.collective_fits.empty()) return nullptr;
  auto fits = std::make_shared<CollectiveFits>(machine.collective_fits);
  if (u == 0.5) return fits;
  Rng normal(uint64_t(u * 0x1p53));
  const double z = normal_quantile(u);
  for (auto& [kind, fit] : *fits) fit = draw_fit(fit, normal, fit.log_sigma * z);
  return fits;
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
  for (size_t i = 0; i < kTiers; ++i) links.tiers[i] = draw_tier(c.tier(Tier(i)), at(Input::kSpine));
  links.scatter = std::clamp(c.scatter.at(at(Input::kScatter)), 0.0, 1.0);
  links.fits = draw_fits(machine, at(Input::kFittedCurves));
  return links;
}

// A standard normal number for a quantile; exactly 0 in the middle.
double standard(double u) { return u == 0.5 ? 0 : normal_quantile(u); }

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
  draw.persistent = std::max(0.0, machine.ranks.persistent.at(at(Input::kSpread)));
  draw.transient = std::max(0.0, machine.ranks.transient.at(at(Input::kSpread)));
  draw.tail = std::clamp(machine.ranks.tail.at(at(Input::kTail)), 0.0, 1.0);
  draw.shape = std::clamp(machine.ranks.shape.at(at(Input::kTail)), 0.0, 0.45);
  draw.extrapolation = standard(at(Input::kExtrapolation));
  draw.unfamiliar = standard(at(Input::kShapes));
  draw.residual = std::exp(machine.model_log_sigma * standard(at(Input::kResidual)));
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
                                                            "network tiers",
                                                            "interference",
                                                            "spread of ranks",
                                                            "tail of the spread",
                                                            "extrapolation in ranks",
                                                            "model residual",
                                                            "GEMM shapes away from records",
                                                            "fitted collectives",
                                                            "placement of ranks"};
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
