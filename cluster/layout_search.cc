// Which layout: the one asked for, or the fastest that fits the memory among data, sharded, tensor, context, expert and
// pipeline parallel ones, micro-batches and bucket sizes, all of them training the same samples in a step. The simplest
// is preferred unless another is clearly faster.
#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>

#include "cluster/predictor.h"
#include "kernels/error.h"
#include "kernels/format.h"

namespace farscale {
namespace {

constexpr double kUsableMemory = 0.94;  // the rest is context, workspace and fragmentation: assumption
constexpr double kClearlyFaster = 1.01;
constexpr int64_t kMostTensor = 16, kMostPipeline = 64, kMostContext = 16, kMostExpert = 64;
constexpr int64_t kLeastTokens = 2048;  // a context rank's part of a sequence: with less, attention cannot hide it
constexpr size_t kRefined = 12;         // best layouts that are tried with chunks and other buckets
constexpr double kBuckets[] = {100.0 * 1024 * 1024, 400.0 * 1024 * 1024};

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

// Ranks that HSDP shards over: whole domains, four times as many each time.
std::vector<int64_t> shards_of(const Machine::Data& machine, const Layout& layout) {
  std::vector<int64_t> shards;
  for (int64_t shard = std::max<int64_t>(2, machine.scale_up_domain / layout.tp); shard < layout.dp * layout.cp;
       shard *= 4) {
    if (layout.dp * layout.cp % shard == 0) shards.push_back(shard);
  }
  return shards;
}

// The layout with every stage of sharding.
void add_sharded(const Machine::Data& machine, Layout layout, std::vector<Layout>& all) {
  all.push_back(layout);
  if (layout.dp * layout.cp == 1) return;
  for (const int stage : {1, 2, 3}) {
    layout.zero_stage = stage;
    all.push_back(layout);
  }
  for (const int64_t shard : shards_of(machine, layout)) {
    layout.hsdp_shard = shard;
    all.push_back(layout);
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

std::vector<Layout> grid(const Splits& splits, const Machine::Data& machine, const Workload& workload, int64_t gpus,
                         int64_t batch) {
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

int complications(const Choice& choice) {
  const Layout& l = choice.layout;
  return (l.tp > 1) + (l.pp > 1) + (l.cp > 1) + (l.ep > 1) + (l.zero_stage > 0) + (l.hsdp_shard > 0) +
         (l.micro_batch > 0) + (l.interleave > 1) + (l.checkpoint != Layout::Checkpoint::kFile) +
         (choice.bucket_bytes > 0);
}

// What the slower layout spends more on, as a share of the chosen one's step.
std::string worse_part(const Candidate& slower, const Candidate& best) {
  const auto per_sample = [](const Candidate& one, double part) { return part / one.step_time_s / one.samples_per_s; };
  const std::pair<const char*, double StepTimes::*> parts[] = {
      {"compute", &StepTimes::compute},        {"memory passes", &StepTimes::memory},
      {"pipeline bubble", &StepTimes::bubble}, {"exposed communication", &StepTimes::exposed_comm},
      {"stragglers", &StepTimes::straggler},   {"input", &StepTimes::input}};
  const char* worst = "compute";
  double most = -INFINITY;
  for (const auto& [what, part] : parts) {
    const double more = per_sample(slower, slower.parts.*part) - per_sample(best, best.parts.*part);
    if (more > most) most = more, worst = what;
  }
  return fmt::format("{} slower, most of it {}", format_percent(best.samples_per_s / slower.samples_per_s - 1), worst);
}

bool faster(const Candidate& a, const Candidate& b) { return a.samples_per_s > b.samples_per_s; }

// The simplest of those that nobody would tell from the fastest goes first, and the others say why not.
void rank(std::vector<Candidate>& all) {
  std::stable_sort(all.begin(), all.end(), faster);
  if (all.empty() || all.front().samples_per_s <= 0) return;
  const double enough = all.front().samples_per_s / kClearlyFaster;
  auto chosen = all.begin();
  for (auto one = all.begin(); one != all.end() && one->samples_per_s >= enough; ++one) {
    if (complications(one->choice) < complications(chosen->choice)) chosen = one;
  }
  std::rotate(all.begin(), chosen, chosen + 1);
  for (size_t i = 1; i < all.size(); ++i) {
    if (!all[i].why_not.empty()) continue;
    const double gain = all[i].samples_per_s / all.front().samples_per_s - 1;
    all[i].why_not = gain < 0       ? worse_part(all[i], all.front())
                     : gain < 0.001 ? "no faster, and no simpler"
                                    : fmt::format("{} faster, but less simple", format_percent(gain));
  }
}

}  // namespace

double usable_bytes(const Machine::Data& machine) { return machine.memory_bytes.value.p50 * kUsableMemory; }

Candidate Predictor::weigh(const Choice& choice, int64_t gpus) {
  Candidate candidate{.choice = choice};
  const double usable = options_.ignore_memory ? 0 : usable_bytes(machine_.data());
  // Gradients alone may be too many for the memory: no need to lower the layout.
  const Layout& layout = choice.layout;
  const double gradients = workload_.gradient_bytes() / double(layout.tp * layout.pp * layout.ep);
  if (usable > 0 && layout.zero_stage < 2 && gradients > usable) {
    candidate.memory_bytes = gradients;
    candidate.why_not =
        fmt::format("needs more than {} of {} usable", format_si(gradients, "B"), format_si(usable, "B"));
    return candidate;
  }
  try {
    candidate.memory_bytes = profile(choice).memory_bytes;
    if (usable > 0 && candidate.memory_bytes > usable) {
      candidate.why_not =
          fmt::format("needs {} of {} usable", format_si(candidate.memory_bytes, "B"), format_si(usable, "B"));
      return candidate;
    }
    candidate.parts = times(choice, gpus, median_);
    candidate.step_time_s = candidate.parts.total();
    candidate.samples_per_s = samples_per_step(choice) / candidate.step_time_s;
  } catch (const InputError& error) {
    candidate.why_not = error.what();
  }
  return candidate;
}

// All that a GPU needs, of a layout whose gradients alone did not fit too; infinite where it cannot be lowered.
double Predictor::memory_needed(const Choice& choice) {
  try {
    return profile(choice).memory_bytes;
  } catch (const InputError&) {
    return INFINITY;
  }
}

void Predictor::nothing_fits(const std::vector<Candidate>& all, int64_t gpus) {
  const Candidate* least = nullptr;
  double least_bytes = INFINITY;
  for (const Candidate& one : all) {
    if (one.memory_bytes <= 0 || one.memory_bytes >= least_bytes) continue;  // it needs that much at least
    const double needed = memory_needed(one.choice);
    if (needed < least_bytes) least = &one, least_bytes = needed;
  }
  const std::string needed =
      least == nullptr
          ? fmt::format("no layout divides it: {}", all.empty() ? "none was found" : all.front().why_not)
          : fmt::format("the layout that needs least ({}) takes {} a GPU, {} are usable", least->choice.str(),
                        format_si(least_bytes, "B"), format_si(usable_bytes(machine_.data()), "B"));
  throw InputError(
      fmt::format("{} does not fit {} on {} GPUs: {}; use more GPUs, or a workload with a smaller "
                  "micro-batch or checkpoints",
                  workload_.name(), machine_.name(), gpus, needed));
}

std::vector<Candidate> Predictor::search(int64_t gpus) {
  const Machine::Data& machine = machine_.data();
  const int64_t own = workload_.default_micro_batch();
  const int64_t batch = options_.batch > 0 ? options_.batch : gpus * own;
  std::vector<Candidate> all;
  for (const Layout& layout : grid(splits_of(workload_, machine), machine, workload_, gpus, batch)) {
    all.push_back(weigh({layout, options_.bucket_bytes}, gpus));
    // What does not fit may do so when activations are computed again.
    if (all.back().samples_per_s > 0 || all.back().memory_bytes <= 0) continue;
    Layout again = layout;
    again.checkpoint = Layout::Checkpoint::kAll;
    all.push_back(weigh({again, options_.bucket_bytes}, gpus));
  }
  if (all.empty()) {
    throw InputError(
        fmt::format("{} samples a step cannot be spread over {} GPUs: no layout gives every GPU whole "
                    "micro-batches; use a --batch that more data-parallel ranks divide",
                    batch, gpus));
  }
  std::stable_sort(all.begin(), all.end(), faster);
  const size_t refined = std::min(kRefined, all.size());
  for (size_t i = 0; i < refined && all[i].samples_per_s > 0; ++i) {
    const Choice base = all[i].choice;
    for (const int64_t chunks : {int64_t{2}, int64_t{4}, int64_t{8}}) {
      if (base.layout.pp == 1 || base.layout.accumulation % base.layout.pp != 0) break;
      Choice chunked = base;
      chunked.layout.interleave = chunks;
      all.push_back(weigh(chunked, gpus));
    }
    for (const double bytes : kBuckets) {
      if (base.layout.zero_stage == 3 || options_.bucket_bytes > 0 || base.layout.dp == 1) break;
      all.push_back(weigh({base.layout, bytes}, gpus));
    }
  }
  rank(all);
  if (all.front().samples_per_s <= 0) nothing_fits(all, gpus);
  return all;
}

Candidate Predictor::asked_for(int64_t gpus) {
  Layout layout = parse_layout(options_.layout, gpus);
  if (layout.interleave > 1 && layout.pp == 1) {
    throw InputError(fmt::format("layout '{}': interleave= divides pipeline stages: give pp= too", options_.layout));
  }
  if (options_.batch > 0) {
    const int64_t size = layout.micro_batch > 0 ? layout.micro_batch : workload_.default_micro_batch();
    if (options_.batch % (layout.dp * size) != 0) {
      throw InputError(fmt::format("--batch {}: not a multiple of dp x mb = {} x {}", options_.batch, layout.dp, size));
    }
    layout.accumulation = options_.batch / (layout.dp * size);
  }
  Candidate asked{.choice = {layout, options_.bucket_bytes}};
  asked.memory_bytes = profile(asked.choice).memory_bytes;
  const double capacity = machine_.data().memory_bytes.value.p50;
  if (!options_.ignore_memory && capacity > 0 && asked.memory_bytes > capacity) {
    throw InputError(
        fmt::format("layout '{}' of {} needs {} a GPU and does not fit {}, which has {}: use --layout "
                    "auto, shard more (zero=, tp=, pp=), a smaller mb=, or --ignore-memory",
                    options_.layout, workload_.name(), format_si(asked.memory_bytes, "B"), machine_.name(),
                    format_si(capacity, "B")));
  }
  asked.parts = times(asked.choice, gpus, median_);
  asked.step_time_s = asked.parts.total();
  asked.samples_per_s = samples_per_step(asked.choice) / asked.step_time_s;
  return asked;
}

const std::vector<Candidate>& Predictor::candidates(int64_t gpus) {
  const auto found = searched_.find(gpus);
  if (found != searched_.end()) return found->second;
  if (options_.layout == "auto") return searched_[gpus] = search(gpus);
  return searched_[gpus] = {asked_for(gpus)};
}

}  // namespace farscale
