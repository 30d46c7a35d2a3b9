// Choosing among formulas, and fitted curves.
#include "cluster/collective_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>

#include "cluster/nccl_model.h"
#include "kernels/error.h"
#include "kernels/problem.h"

namespace farscale {
namespace {

TierValues median_tier(const TierConstants& tier) {
  return {double(tier.beyond_ranks), tier.oversubscription, tier.collisions.value.p50, tier.hop_factor.value.p50};
}

}  // namespace

LinkValues median_links(const Machine::Data& machine) {
  const CollectiveConstants& c = machine.collectives;
  const double scale_up = machine.scale_up_bytes_per_s.value.p50;
  LinkValues links{.constants = &c,
                   .latency_scale = c.latency_scale.value.p50,
                   .ring_bytes_per_s = scale_up * c.ring_share.value.p50,
                   .switch_bytes_per_s = machine.reduces_in_switch ? scale_up * c.switch_share.value.p50 : 0,
                   .network_bytes_per_s = machine.nic_bytes_per_s.value.p50 * c.network_share.value.p50,
                   .network_channels = c.network_channels.value.p50,
                   .scatter = c.scatter.value.p50,
                   .nccl_generation = nccl_generation(machine.generation)};
  for (size_t i = 0; i < kTiers; ++i) links.tiers[i] = median_tier(c.tier(Tier(i)));
  return links;
}

double line_bytes(Protocol protocol) {
  // Data in a line: 8 of 16 bytes (a flag with every word), 120 of 128 (one flag a line), a cache line.
  constexpr std::array<double, kProtocols> kData = {8, 120, 128};
  return kData[size_t(protocol)];
}

double CostLine::corrected(double bytes) const {
  if (correction == nullptr) return 1;
  const auto words = uint64_t(std::max(bytes, 64.0)) >> 6;
  const auto place = size_t(std::bit_width(words)) - 1;
  return place < correction->size() ? (*correction)[place] : 1;  // beyond the table NCCL applies no correction
}

void CollectiveCost::add(const CostLine& line) {
  if (count_ < kMost) lines_[count_++] = line;
}

void CollectiveCost::set_fit(const CollectiveFit& fit, CollectiveKind kind, int64_t ranks, double factor) {
  count_ = 1;
  const double wire = bus_factor(kind, ranks);
  lines_[0] = {.algorithm = "fitted",
               .alpha_s = factor * (fit.base_s + fit.hop_s * latency_steps(kind, fit.ring, ranks))};
  segments_ = std::min(fit.from_bytes.size(), kMost);
  for (size_t i = 0; i < segments_; ++i) {
    from_[i] = fit.from_bytes[i];
    slope_[i] = factor * wire * fit.s_per_byte[i];
  }
}

double CollectiveCost::at(double bytes) const {
  if (count_ == 0) return 0;
  double least = lines_[0].at(bytes);
  for (size_t i = 1; i < count_; ++i) {
    if (lines_[i].alpha_s < least) least = std::min(least, lines_[i].at(bytes));  // the others cannot win
  }
  for (size_t i = 0; i < segments_ && bytes > from_[i]; ++i) {
    const double until = i + 1 < segments_ ? std::min(bytes, from_[i + 1]) : bytes;
    least += slope_[i] * (until - from_[i]);
  }
  return least;
}

const CostLine& CollectiveCost::best(double bytes) const {
  size_t least = 0;
  for (size_t i = 1; i < count_; ++i) {
    if (lines_[i].at(bytes) < lines_[least].at(bytes)) least = i;
  }
  return lines_[least];
}

const CostLine& CollectiveCost::line(std::string_view algorithm) const {
  for (size_t i = 0; i < count_; ++i) {
    if (lines_[i].algorithm == algorithm) return lines_[i];
  }
  throw InputError(fmt::format("no algorithm '{}' for this group", algorithm));
}

bool CollectiveCost::has(std::string_view algorithm) const {
  return std::any_of(lines_.begin(), lines_.begin() + ptrdiff_t(count_),
                     [&](const CostLine& line) { return line.algorithm == algorithm; });
}

CollectiveCost collective_cost(CollectiveKind kind, const LinkValues& links, const Group& group) {
  CollectiveCost cost;
  if (group.ranks <= 1) return cost;
  const bool nccl = links.prior == CollectivePrior::kNccl;
  if (!nccl && links.fits) {
    const auto fit = links.fits->find(kind);
    if (fit != links.fits->end()) {
      cost.set_fit(fit->second, kind, group.ranks, 1);
      return cost;
    }
  }
  return nccl && kind != CollectiveKind::kAllToAll ? nccl_cost(kind, nccl_system(links, group))
                                                   : closed_forms(kind, links, group);
}

double latency_steps(CollectiveKind kind, bool ring, int64_t ranks) {
  const double rounds = kind == CollectiveKind::kAllReduce ? 2 : 1;
  return rounds * (ring ? double(ranks - 1) : std::log2(double(ranks)));
}

double fitted_time(const CollectiveFit& fit, CollectiveKind kind, int64_t ranks, double bytes) {
  CollectiveCost cost;
  cost.set_fit(fit, kind, ranks, 1);
  return cost.at(bytes);
}

double message_time(const LinkValues& links, double bytes, const Group& group) {
  if (group.domains() == 1) {
    return links.latency_scale * links.constants->ring.scale_up_s[size_t(Protocol::kSimple)] +
           bytes / links.ring_bytes_per_s;
  }
  double hop_s = links.constants->ring.network_s[size_t(Protocol::kSimple)];
  double slowest = 1;
  for (const TierValues& tier : links.tiers) {
    if (double(group.reach()) <= tier.beyond_ranks) continue;
    hop_s += (tier.hop_factor - 1) * links.constants->ring.network_s[size_t(Protocol::kSimple)];
    slowest = std::max(slowest, tier.collisions);
  }
  return links.latency_scale * hop_s + bytes * slowest / links.network_bytes_per_s;
}

}  // namespace farscale
