// Which layout: the one asked for, or the simplest that fits the memory, weighed against the others when the simplest
// does not fit.
#include <fmt/format.h>

#include <algorithm>

#include "cluster/predictor.h"
#include "kernels/error.h"
#include "kernels/format.h"

namespace farscale {
namespace {

constexpr double kUsableMemory = 0.94;  // the rest is context, workspace and fragmentation: assumption

// Layouts worth weighing for models too large for one GPU: sharding inside a domain or more, then tensor and pipeline
// splits by powers of two.
std::vector<Layout> sharded_layouts(const Machine::Data& machine, int64_t gpus) {
  std::vector<Layout> layouts;
  for (int64_t tp = 1; tp <= std::min<int64_t>(machine.scale_up_domain, 8); tp *= 2) {
    for (int64_t pp = 1; pp <= 16; pp *= 2) {
      if (gpus % (tp * pp) != 0) continue;
      const int64_t dp = gpus / (tp * pp);
      for (const int zero : {0, 1, 2, 3}) {
        Layout layout{.dp = dp, .tp = tp, .pp = pp, .zero_stage = zero};
        if (pp > 1) layout.accumulation = 4 * pp;  // keeps the bubble under a quarter: assumption
        if (zero > 0 && dp == 1) continue;
        layouts.push_back(layout);
        for (int64_t shard = 8; zero == 3 && shard < dp; shard *= 4) {
          if (dp % shard != 0) continue;
          layout.hsdp_shard = shard;
          layouts.push_back(layout);
        }
      }
    }
  }
  return layouts;
}

}  // namespace

Layout Predictor::choose(int64_t gpus, std::vector<Candidate>* weighed) {
  const double capacity = machine_.data().memory_bytes.value.p50 * kUsableMemory;
  if (options_.layout != "auto") {
    const Layout layout = parse_layout(options_.layout, gpus);
    if (weighed) weighed->push_back({layout, 0, 0, ""});
    return layout;
  }
  const Layout plain{.dp = gpus};
  double least_bytes = profile(plain).memory_bytes;
  const bool fits = capacity <= 0 || least_bytes <= capacity;
  if (fits && weighed == nullptr) return plain;
  std::vector<Candidate> all;
  const auto weigh = [&](const Layout& layout) {
    Candidate candidate{layout, 0, 0, ""};
    try {
      const double bytes = profile(layout).memory_bytes;
      least_bytes = std::min(least_bytes, bytes);
      if (capacity > 0 && bytes > capacity) {
        candidate.why_not = fmt::format("needs {} of {} usable", format_si(bytes, "B"), format_si(capacity, "B"));
      } else {
        candidate.step_time_s = times(layout, gpus, median_).total();
        candidate.samples_per_s = samples_per_step(layout) / candidate.step_time_s;
      }
    } catch (const InputError& error) {
      candidate.why_not = error.what();
    }
    all.push_back(candidate);
  };
  weigh(plain);
  for (const Layout& layout : sharded_layouts(machine_.data(), gpus)) {
    if (layout.tp * layout.pp > 1 || layout.zero_stage > 0) weigh(layout);
  }
  std::stable_sort(all.begin(), all.end(),
                   [](const Candidate& a, const Candidate& b) { return a.samples_per_s > b.samples_per_s; });
  if (all.front().samples_per_s <= 0) {
    throw InputError(
        fmt::format("{} does not fit {} on {} GPUs: the layout that needs least takes {} a GPU, {} are "
                    "usable; use more GPUs, or a layout with a smaller micro-batch (mb=)",
                    workload_.name(), machine_.name(), gpus, format_si(least_bytes, "B"), format_si(capacity, "B")));
  }
  for (size_t i = 1; i < all.size(); ++i) {
    if (all[i].why_not.empty()) {
      all[i].why_not = fmt::format("{} slower", format_percent(all.front().samples_per_s / all[i].samples_per_s - 1));
    }
  }
  // The simplest layout wins unless another is clearly faster: within 1 % nobody would take the complication.
  Layout chosen = all.front().layout;
  if (fits) chosen = plain;
  if (weighed) *weighed = all;
  return chosen;
}

std::vector<Candidate> Predictor::candidates(int64_t gpus) {
  std::vector<Candidate> all;
  choose(gpus, &all);
  return all;
}

}  // namespace farscale
