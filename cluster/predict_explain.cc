// What moves a prediction, and what its communication is made of.
#include <fmt/format.h>

#include <algorithm>
#include <tuple>

#include "cluster/draws.h"
#include "cluster/predictor.h"
#include "kernels/format.h"

namespace farscale {

std::vector<Sensitivity> Predictor::sensitivities(int64_t gpus) {
  const Choice choice = choose(gpus);
  const double middle = times(choice, gpus, median_).total();
  std::vector<Sensitivity> all;
  for (size_t i = 0; i < kInputs; ++i) {
    const auto share = [&](double u) {
      MachineDraw draw = moved_draw(machine_.data(), Input(i), u);
      draw.links.prior = options_.collectives;
      return times(choice, gpus, draw).total() / middle - 1;
    };
    all.push_back({std::string(name(Input(i))), share(0.05), share(0.95)});
  }
  std::stable_sort(all.begin(), all.end(),
                   [](const Sensitivity& a, const Sensitivity& b) { return a.reach() > b.reach(); });
  return all;
}

namespace {

// Of each kind over each group the smallest and the largest one: what lies between is alike.
std::vector<PricedCollective> extremes(std::vector<PricedCollective> all) {
  const auto key = [](const PricedCollective& one) { return std::tuple(one.group, one.kind, one.bytes); };
  std::sort(all.begin(), all.end(), [&](const auto& a, const auto& b) { return key(a) < key(b); });
  std::vector<PricedCollective> kept;
  for (size_t i = 0; i < all.size(); ++i) {
    const auto other = [&](size_t j) { return all[j].kind != all[i].kind || all[j].group != all[i].group; };
    if (i == 0 || i + 1 == all.size() || other(i - 1) || other(i + 1)) kept.push_back(all[i]);
  }
  return kept;
}

}  // namespace

std::vector<CollectiveNote> Predictor::communication_notes(int64_t gpus) {
  const Choice choice = choose(gpus);
  const StepGroups groups = step_groups(machine_.data(), choice.layout);
  std::vector<CollectiveNote> notes;
  for (const PricedCollective& one : extremes(profile(choice).prices)) {
    const Group& group = of(groups, one.group);
    if (group.ranks <= 1) continue;
    if (one.group == GroupName::kPipeline) {
      const bool message = one.kind == CollectiveKind::kBroadcast;  // else sums of what stages share
      notes.push_back({message ? fmt::format("message of {} to the next stage", format_bytes(one.bytes))
                               : fmt::format("{} of {} between stages", name(one.kind), format_bytes(one.bytes)),
                       "send and receive", message_time(median_.links, one.bytes, group)});
      continue;
    }
    const CollectiveCost cost = collective_cost(one.kind, median_.links, group);
    const CostLine& best = cost.best(one.bytes);
    notes.push_back({fmt::format("{} of {} over {} ranks in {} {}", name(one.kind), format_bytes(one.bytes),
                                 format_count(double(group.ranks)), format_count(double(group.domains())),
                                 group.domains() == 1 ? "domain" : "domains"),
                     std::string(best.algorithm), cost.at(one.bytes), best.holds(one.bytes)});
  }
  return notes;
}

}  // namespace farscale
