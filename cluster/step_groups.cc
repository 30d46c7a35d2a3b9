// Where the ranks of a layout lie: its communication groups and the scale-up domains they fill.
#include <algorithm>

#include "cluster/timeline.h"

namespace farscale {

int64_t used_domain(const Machine::Data& machine, const Layout& layout) {
  const int64_t domain = std::max<int64_t>(1, machine.scale_up_domain);
  int64_t used = 1;
  // `ranks` times as many: all of them in the domain, or as many as it takes of equal parts.
  const auto fits = [&](int64_t ranks) {
    int64_t inside = std::min(ranks, domain / used);
    while (ranks % inside != 0) --inside;
    used *= inside;
    return inside == ranks;
  };
  for (const int64_t ranks : {layout.tp, layout.cp, layout.ep}) {
    if (!fits(ranks)) return used;
  }
  const int64_t shard = layout.hsdp_shard * layout.tp;
  if (shard > 0 && shard % used == 0 && !fits(shard / used)) return used;
  return domain - domain % used;
}

StepGroups step_groups(const Machine::Data& machine, const Layout& layout) {
  const int64_t domain = used_domain(machine, layout);
  const auto group = [&](int64_t ranks, int64_t inner) {
    const int64_t inside = std::max<int64_t>(1, domain / std::max<int64_t>(1, inner));
    return Group{ranks, std::min(ranks, inside), ranks * inner};
  };
  const int64_t data = layout.dp * layout.cp;
  const int64_t shard = layout.hsdp_shard > 0 ? std::min(layout.hsdp_shard, data) : data;
  const int64_t all = data * layout.tp * layout.pp;
  StepGroups groups;
  groups[size_t(GroupName::kData)] = group(data, layout.tp);
  groups[size_t(GroupName::kTensor)] = group(layout.tp, 1);
  groups[size_t(GroupName::kContext)] = group(layout.cp, layout.tp);
  groups[size_t(GroupName::kExpert)] = group(layout.ep, layout.tp * layout.cp);
  groups[size_t(GroupName::kPipeline)] = {layout.pp, all <= domain ? layout.pp : 1, all};
  groups[size_t(GroupName::kShard)] = group(shard, layout.tp);
  groups[size_t(GroupName::kCopies)] = group(std::max<int64_t>(1, data / layout.ep), layout.tp * layout.ep);
  groups[size_t(GroupName::kReplica)] = group(data / shard, layout.tp * shard);
  return groups;
}

}  // namespace farscale
