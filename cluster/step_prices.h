// Prices of a step's collectives under one draw, and the link that each takes. For timeline.cc.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "cluster/timeline.h"

namespace farscale {

// Factor on collectives that reach farther than anything known.
inline double beyond(const StepConditions& conditions, const Group& group) {
  const double reach = double(group.reach());
  if (conditions.known_ranks <= 0 || reach <= conditions.known_ranks) return 1;
  return std::exp(conditions.extrapolation * std::log2(reach / conditions.known_ranks));
}

// A link of one GPU: those of its scale-up domain, or its network card.
enum class Link : uint8_t { kScaleUp, kCard };
using LinkTimes = std::array<double, 2>;  // seconds that each is busy

inline Link link_of(const Group& group) { return group.domains() > 1 ? Link::kCard : Link::kScaleUp; }

// Prices of a step's collectives under one draw. Most steps have a few distinct ones.
class Prices {
 public:
  Prices(const StepProfile& profile, const StepGroups& groups, const StepConditions& conditions) : profile_(profile) {
    std::transform(groups.begin(), groups.end(), links_.begin(), link_of);
    many_.resize(profile.prices.size() > kFew ? profile.prices.size() : 0);
    double* const times = many_.empty() ? few_.data() : many_.data();
    PricedCollective known;
    CollectiveCost cost;
    double factor = 1;
    for (size_t i = 0; i < profile.prices.size(); ++i) {
      const PricedCollective& one = profile.prices[i];
      const Group& group = of(groups, one.group);
      if (one.group == GroupName::kPipeline) {
        times[i] = beyond(conditions, group) * message_time(*conditions.links, one.bytes, group);
        continue;
      }
      if (i == 0 || one.kind != known.kind || one.group != known.group) {
        cost = collective_cost(one.kind, *conditions.links, group);
        factor = beyond(conditions, group);
        known = one;
      }
      times[i] = factor * cost.at(one.bytes);
    }
  }
  double operator[](size_t i) const { return many_.empty() ? few_[i] : many_[i]; }
  size_t link(size_t i) const { return size_t(link(profile_.prices[i].group)); }
  Link link(GroupName group) const { return links_[size_t(group)]; }

 private:
  static constexpr size_t kFew = 64;
  const StepProfile& profile_;
  std::array<Link, kGroups> links_{};
  std::array<double, kFew> few_{};
  std::vector<double> many_;
};

}  // namespace farscale
