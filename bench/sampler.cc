// The sampling loop.
#include "bench/sampler.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>

#include "kernels/format.h"
#include "results/statistics.h"

namespace farscale {
namespace {

// A case so slow that least_samples would take many times its budget ends with three.
constexpr int64_t kLeastOfAll = 3;
constexpr double kPatience = 4;

// Of many samples the interval is looked at now and then: it takes a sort.
bool worth_a_look(const Sampling& sampling, size_t count, double spent_s) {
  const bool at_an_end = spent_s >= sampling.budget_s || static_cast<int64_t>(count) >= sampling.most_samples;
  return count <= 64 || count % 16 == 0 || at_an_end;
}

// One run, then a sample of about the right length: the second sees neither first-call costs nor the clock's grain.
std::string agree_on_runs(const Agreement& agreement, const Sampling& sampling, const TimeRuns& time,
                          Samples& samples) {
  for (int pilot = 0; pilot < 2; ++pilot) {
    const Sample sample = take_sample(agreement, time, samples.runs_per_sample);
    if (!sample.failure.empty()) return sample.failure;
    samples.runs_per_sample = agreement.count(runs_for(sampling, sample.slowest_s));
  }
  return "";
}

}  // namespace

Sample take_sample(const Agreement& agreement, const TimeRuns& time, int64_t runs) {
  std::string failure;
  double own_s = 0;
  agreement.world().barrier();
  try {
    own_s = time(runs) / double(runs);
    if (!std::isfinite(own_s) || own_s <= 0) failure = fmt::format("the clock gave {} s for {} runs", own_s, runs);
  } catch (const std::exception& error) {
    failure = error.what();
    if (failure.empty()) failure = "failed without a message";
  }
  const std::vector<double> agreed =
      agreement.world().reduce({failure.empty() ? own_s : 0, failure.empty() ? 0.0 : 1.0}, Reduction::kMax);
  if (agreed.at(1) > 0.5) return {.own_s = own_s, .slowest_s = 0, .failure = agreement.reason(failure)};
  return {.own_s = own_s, .slowest_s = agreed.at(0), .failure = ""};
}

Clock steady_clock_s() {
  return [] { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); };
}

std::string stop_reason(const Sampling& sampling, const std::vector<double>& samples_s, double spent_s) {
  const auto count = static_cast<int64_t>(samples_s.size());
  const bool exact = sampling.least_samples == sampling.most_samples;
  if (!exact && count >= kLeastOfAll && count < sampling.least_samples && spent_s >= kPatience * sampling.budget_s) {
    const double half_range = relative_interval95(samples_s);  // of so few, the interval is the whole range
    return fmt::format("{:.0f} times the budget of {} used up: range ± {} of {} samples", kPatience,
                       format_seconds(sampling.budget_s), format_percent(half_range), count);
  }
  if (count < sampling.least_samples) return "";
  const double interval = relative_interval95(samples_s);
  std::string found = fmt::format("interval {} after {} samples", format_percent(interval), count);
  if (interval < sampling.interval) return found;
  const bool late = spent_s >= sampling.budget_s;
  if (late && !exact) return fmt::format("budget {} used up: {}", format_seconds(sampling.budget_s), found);
  if (count >= sampling.most_samples) return fmt::format("most samples taken: {}", found);
  return "";
}

int64_t runs_for(const Sampling& sampling, double run_s) {
  if (!(run_s > 0)) return 1;
  return static_cast<int64_t>(std::clamp(std::ceil(sampling.sample_s / run_s), 1.0, 1e6));
}

Samples take_samples(const Agreement& agreement, const Sampling& sampling, const TimeRuns& time, const Clock& clock) {
  Samples samples;
  samples.failure = agree_on_runs(agreement, sampling, time, samples);
  const double start_s = clock();
  while (samples.failure.empty()) {
    const Sample sample = take_sample(agreement, time, samples.runs_per_sample);
    if (!sample.failure.empty()) {
      samples.failure = sample.failure;
      break;
    }
    samples.slowest_s.push_back(sample.slowest_s);
    samples.own_s.push_back(sample.own_s);
    // Only rank 0's clock and arithmetic decide; the reason is text that only rank 0 writes.
    const double spent_s = clock() - start_s;
    if (worth_a_look(sampling, samples.slowest_s.size(), spent_s)) {
      samples.stop_reason = stop_reason(sampling, samples.slowest_s, spent_s);
    }
    if (agreement.decide(!samples.stop_reason.empty())) break;
  }
  return samples;
}

}  // namespace farscale
