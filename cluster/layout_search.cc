// Which layout: the one asked for, or the fastest that fits the memory among data, sharded, tensor, context, expert and
// pipeline parallel ones, micro-batches and bucket sizes, all of them training the same samples in a step. The simplest
// is preferred unless another is clearly faster.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "cluster/layout_grid.h"
#include "cluster/predictor.h"
#include "kernels/error.h"
#include "kernels/format.h"

namespace farscale {
namespace {

constexpr double kUsableMemory = 0.94;  // the rest is context, workspace and fragmentation: assumption
constexpr double kClearlyFaster = 1.01;
constexpr int64_t kChunks[] = {2, 4, 8};  // of a pipeline stage
constexpr size_t kRefined = 12;           // best layouts that are tried with other buckets
constexpr size_t kRanked = 32;            // best layouts that are weighed once more, on so many draws
constexpr size_t kRankingDraws = 100;
constexpr double kBuckets[] = {100.0 * 1024 * 1024, 400.0 * 1024 * 1024};

int complications(const Choice& choice, const Machine::Data& machine) {
  const Layout& l = choice.layout;
  return (used_domain(machine, l) < machine.scale_up_domain) + (l.tp > 1) + (l.pp > 1) + (l.cp > 1) + (l.ep > 1) +
         (l.zero_stage > 0) + (l.hsdp_shard > 0) + (l.micro_batch > 0) + (l.interleave > 1) +
         (l.checkpoint != Layout::Checkpoint::kFile) + (choice.bucket_bytes > 0);
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

// The simplest of the first `count` that nobody would tell from the fastest goes first, the others by speed.
void choose_simplest(std::vector<Candidate>& all, size_t count, const Machine::Data& machine) {
  const auto end = all.begin() + ptrdiff_t(count);
  std::stable_sort(all.begin(), end, faster);
  const double enough = all.front().samples_per_s / kClearlyFaster;
  auto chosen = all.begin();
  for (auto one = all.begin(); one != end && one->samples_per_s >= enough; ++one) {
    if (complications(one->choice, machine) < complications(chosen->choice, machine)) chosen = one;
  }
  std::rotate(all.begin(), chosen, chosen + 1);
}

void say_why_not(std::vector<Candidate>& all) {
  for (size_t i = 1; i < all.size(); ++i) {
    if (!all[i].why_not.empty()) continue;
    const double gain = all[i].samples_per_s / all.front().samples_per_s - 1;
    all[i].why_not = gain < 0       ? worse_part(all[i], all.front())
                     : gain < 0.001 ? "no faster, and no simpler"
                                    : fmt::format("{} faster, but less simple", format_percent(gain));
  }
}

void take(Candidate& candidate, double samples, const StepTimes& parts) {
  candidate.parts = parts;
  candidate.step_time_s = parts.total();
  candidate.samples_per_s = samples / candidate.step_time_s;
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
    take(candidate, samples_per_step(choice), times(choice, gpus, median_));
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
  for (const Layout& layout : layout_grid(workload_, machine, gpus, batch)) {
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
  if (all.front().samples_per_s <= 0) nothing_fits(all, gpus);
  refine(all, gpus);
  rank_on_draws(all, gpus);
  return all;
}

// Chunks for every pipeline that would be fastest if they did nothing but divide its bubble, other buckets for the best
// layouts. All are sorted by speed, before and after.
void Predictor::refine(std::vector<Candidate>& all, int64_t gpus) {
  const double best = all.front().samples_per_s;
  for (size_t i = 0, known = all.size(); i < known && all[i].samples_per_s > 0; ++i) {
    const Candidate base = all[i];
    const Layout& layout = base.choice.layout;
    const double shorter_s = base.step_time_s - base.parts.bubble * (1 - 1 / double(std::end(kChunks)[-1]));
    if (layout.pp == 1 || layout.accumulation % layout.pp != 0) continue;
    if (base.samples_per_s * base.step_time_s / shorter_s < best) continue;
    for (const int64_t chunks : kChunks) {
      Choice chunked = base.choice;
      chunked.layout.interleave = chunks;
      all.push_back(weigh(chunked, gpus));
    }
  }
  std::stable_sort(all.begin(), all.end(), faster);
  for (size_t i = 0, known = std::min(kRefined, all.size()); i < known && all[i].samples_per_s > 0; ++i) {
    const Choice base = all[i].choice;
    if (base.layout.zero_stage == 3 || options_.bucket_bytes > 0 || base.layout.dp == 1) continue;
    for (const double bytes : kBuckets) all.push_back(weigh({base.layout, bytes}, gpus));
  }
  std::stable_sort(all.begin(), all.end(), faster);
}

// The best layouts are weighed once more by the median of draws, as predictions are: where communication seldom shows,
// it is more than at the median inputs. The others, all slower there, keep their distance to the chosen one.
void Predictor::rank_on_draws(std::vector<Candidate>& all, int64_t gpus) {
  const Machine::Data& machine = machine_.data();
  const auto impossible = std::find_if(all.begin(), all.end(), [](const Candidate& c) { return c.samples_per_s <= 0; });
  const auto possible = size_t(impossible - all.begin()), ranked = std::min(kRanked, possible);
  choose_simplest(all, possible, machine);
  for (size_t i = 0; i < ranked; ++i) {
    const Choice& choice = all[i].choice;
    take(all[i], samples_per_step(choice), middle_of(times_of_draws(choice, gpus, kRankingDraws)));
  }
  choose_simplest(all, ranked, machine);
  const double longer = all.front().step_time_s / times(all.front().choice, gpus, median_).total();
  for (size_t i = ranked; i < possible; ++i) {
    take(all[i], samples_per_step(all[i].choice), all[i].parts * longer);
  }
  std::stable_sort(all.begin() + 1, all.end(), faster);
  say_why_not(all);
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
  take(asked, samples_per_step(asked.choice), times(asked.choice, gpus, median_));
  return asked;
}

const std::vector<Candidate>& Predictor::candidates(int64_t gpus) {
  const auto found = searched_.find(gpus);
  if (found != searched_.end()) return found->second;
  if (options_.layout == "auto") return searched_[gpus] = search(gpus);
  return searched_[gpus] = {asked_for(gpus)};
}

}  // namespace farscale
