// The layouts that a search weighs.
#include "cluster/layout_grid.h"

#include <algorithm>
#include <bit>

#include "kernels/error.h"

namespace farscale {
namespace {

constexpr int64_t kMostTensor = 16, kMostPipeline = 64, kMostContext = 16, kMostExpert = 64;
constexpr int64_t kLeastTokens = 2048;  // a context rank's part of a sequence: with less, attention cannot hide it

// Splits that a network allows: powers of two that its layers divide by.
struct Splits {
  std::vector<int64_t> tensor, pipeline, context, expert;
};

std::vector<int64_t> powers(int64_t most) {
  std::vector<int64_t> all;
  for (int64_t i = 1; i <= most; i *= 2) all.push_back(i);
  return all;
}

Splits splits_of(const Workload& workload, const Machine::Data& machine) {
  const auto allowed = [&](std::vector<int64_t> all, const auto& layout_of) {
    std::erase_if(all, [&](int64_t parts) {
      try {
        if (parts > 1) lower(workload, {.layout = layout_of(parts)});
        return false;
      } catch (const InputError&) {
        return true;
      }
    });
    return all;
  };
  const bool sequences = workload.sample_unit() == "sequence";
  const auto tokens = int64_t(workload.frames_per_sample());
  return {.tensor = allowed(powers(std::min(machine.scale_up_domain, kMostTensor)),
                            [](int64_t parts) { return Layout{.tp = parts}; }),
          .pipeline = allowed(powers(kMostPipeline), [](int64_t parts) { return Layout{.pp = parts}; }),
          .context = powers(sequences ? std::clamp<int64_t>(tokens / kLeastTokens, 1, kMostContext) : 1),
          .expert = allowed(powers(kMostExpert), [](int64_t parts) { return Layout{.dp = parts, .ep = parts}; })};
}

// Ranks that HSDP shards over: as many as fit a domain, four times as many each time.
std::vector<int64_t> shards_of(const Machine::Data& machine, const Layout& layout) {
  const int64_t data = layout.dp * layout.cp;
  int64_t shard = std::clamp<int64_t>(machine.scale_up_domain / layout.tp, 2, data);
  while (data % shard != 0) --shard;
  std::vector<int64_t> shards;
  for (; shard > 1 && shard < data; shard *= 4) {
    if (data % shard == 0) shards.push_back(shard);
  }
  return shards;
}

// The layout with every stage of sharding; in groups, the optimizer's state alone (ZeRO 1) or all (HSDP).
void add_sharded(const Machine::Data& machine, Layout layout, std::vector<Layout>& all) {
  all.push_back(layout);
  if (layout.dp * layout.cp == 1) return;
  for (const int stage : {1, 2, 3}) {
    layout.zero_stage = stage;
    all.push_back(layout);
  }
  for (const int64_t shard : shards_of(machine, layout)) {
    layout.hsdp_shard = shard;
    for (const int stage : {1, 3}) {
      layout.zero_stage = stage;
      all.push_back(layout);
    }
  }
}

// Micro-batches that make a step of `batch` samples: the workload's own, halved and doubled.
void add_micro_batches(const Machine::Data& machine, Layout layout, int64_t batch, int64_t own,
                       std::vector<Layout>& all) {
  if (batch % layout.dp != 0) return;
  const int64_t of_rank = batch / layout.dp;
  for (int64_t size = 1; size <= of_rank; ++size) {
    const bool related = size % own == 0 ? std::has_single_bit(uint64_t(size / own))
                                         : own % size == 0 && std::has_single_bit(uint64_t(own / size));
    if (!related || of_rank % size != 0 || size > 16 * own) continue;
    layout.micro_batch = size == own ? 0 : size;
    layout.accumulation = of_rank / size;
    if (layout.pp > 1 && layout.accumulation < layout.pp) continue;  // the bubble would be half of the step or more
    add_sharded(machine, layout, all);
  }
}

}  // namespace

std::vector<Layout> layout_grid(const Workload& workload, const Machine::Data& machine, int64_t gpus, int64_t batch) {
  const Splits splits = splits_of(workload, machine);
  std::vector<Layout> all;
  for (const int64_t tp : splits.tensor) {
    for (const int64_t pp : splits.pipeline) {
      for (const int64_t cp : splits.context) {
        if (gpus % (tp * pp * cp) != 0) continue;
        const int64_t dp = gpus / (tp * pp * cp);
        for (const int64_t ep : splits.expert) {
          if (dp % ep != 0) continue;
          add_micro_batches(machine, {.dp = dp, .tp = tp, .pp = pp, .cp = cp, .ep = ep}, batch,
                            workload.default_micro_batch(), all);
        }
      }
    }
  }
  return all;
}

}  // namespace farscale
