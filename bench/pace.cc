// The pause, the burst, the warming up and the long haul.
#include "bench/pace.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "kernels/format.h"

namespace farscale {
namespace {

constexpr size_t kSteadySamples = 8;  // at least, that must agree with each other
// And as long: NVML shows some GPUs' power anew only every 100 ms, and the same reading again is no agreement (Yang,
// Adamek and Armour, "Part-time Power Measurements", arXiv 2312.02741).
constexpr double kSteady_s = 0.5;
constexpr double kSteadyClock = 0.01;  // half the band, as a share of the middle
constexpr double kSteadyPower = 0.02;
constexpr double kBurst_s = 0.05;  // a GPU takes some ten milliseconds to notice what it draws
constexpr double kHeating =
    0.5;  // of sustain_s, in any case: at first the clock is steady because it has not fallen yet
constexpr int64_t kRecheckEvery = 8;

using Series = std::map<std::string, std::vector<double>>;

// Values that stay away for a sample are the value before: every series has one value a sample.
void note(Series& series, const Telemetry& seen, size_t samples) {
  for (const auto& [key, value] : seen) {
    if (!std::isfinite(value)) continue;
    std::vector<double>& values = series[key];
    values.resize(samples - 1, values.empty() ? (key.starts_with("throttle_") ? 0 : value) : values.back());
  }
  for (auto& [key, values] : series) {
    const auto now = seen.find(key);
    const bool told = now != seen.end() && std::isfinite(now->second);
    const double before = values.empty() || key.starts_with("throttle_") ? 0 : values.back();
    values.resize(samples, told ? now->second : before);
  }
}

double half_band(const std::vector<double>& values, size_t samples) {
  const auto [low, high] = std::minmax_element(values.end() - static_cast<std::ptrdiff_t>(samples), values.end());
  return *high > 0 ? (*high - *low) / (*high + *low) : 0;
}

template <typename Values>
void drop_first(Values& values, size_t count) {
  values.erase(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(std::min(count, values.size())));
}

void drop_first(Samples& samples, size_t count) {
  drop_first(samples.slowest_s, count);
  drop_first(samples.own_s, count);
}

// Adds what the device tells of each sample to `series`.
TimeRuns watched(const PaceTask& task, Series& series, size_t& samples) {
  return [&](int64_t runs) {
    const double time_s = task.time(runs);
    note(series, task.telemetry(), ++samples);
    return time_s;
  };
}

// Clock and power are what burst and sustained differ by; a host tells neither, only its load.
bool tells_pace(const Telemetry& telemetry) {
  return telemetry.contains("sm_clock_hz") || telemetry.contains("power_w");
}

Samples take_burst(const Agreement& agreement, const PaceTask& task, bool rested, Series& series) {
  Sampling sampling = task.sampling;
  if (rested) {
    sampling.budget_s = std::min(sampling.budget_s, kBurst_s);
    task.pause(sampling.cool_s);
  }
  size_t taken = 0;
  const TimeRuns time = watched(task, series, taken);
  Samples samples = take_samples(agreement, sampling, time, task.clock);
  for (auto& [key, values] : series) drop_first(values, values.size() - std::min(values.size(), samples.own_s.size()));
  return samples;
}

class Haul {
 public:
  Haul(const Agreement& agreement, const PaceTask& task, int64_t runs, Paced& paced)
      : agreement_(agreement), task_(task), paced_(paced), start_s_(task.clock()) {
    paced_.sustained.runs_per_sample = runs;
  }

  void run() {
    Samples& samples = paced_.sustained;
    size_t taken = 0;
    const TimeRuns time = watched(task_, paced_.telemetry, taken);
    for (bool last = false; !last;) {
      const Sample sample = take_sample(agreement_, time, samples.runs_per_sample);
      samples.failure = sample.failure;
      if (!sample.failure.empty()) return;
      samples.slowest_s.push_back(sample.slowest_s);
      samples.own_s.push_back(sample.own_s);
      last = agreement_.decide(done());
      const bool due = last || static_cast<int64_t>(samples.own_s.size()) % kRecheckEvery == 0;
      if (due && !still_right()) return;
    }
    paced_.heated_s = spent_s();
    const auto heating = static_cast<size_t>(agreement_.number(static_cast<double>(steady_from())));
    drop_first(samples, heating);
    for (auto& [key, values] : paced_.telemetry) drop_first(values, heating);
  }

 private:
  double spent_s() const { return task_.clock() - start_s_; }

  bool done() {
    Samples& samples = paced_.sustained;
    const double spent = spent_s();
    ended_s_.push_back(spent);
    const bool heated = spent >= kHeating * task_.sampling.sustain_s;
    const std::string wavers = heated && !steady_at_ ? still_unsteady() : "";
    if (!steady_at_ && heated && wavers.empty()) {
      steady_at_ = samples.own_s.size() - window();
      steady_s_ = spent;
      paced_.pace = fmt::format("steady after {}{}", format_seconds(spent), readings());
    }
    if (steady_at_) {
      const std::vector<double> steady(samples.slowest_s.begin() + static_cast<std::ptrdiff_t>(*steady_at_),
                                       samples.slowest_s.end());
      Sampling sampling = task_.sampling;
      sampling.budget_s = std::max(1e-3, task_.sampling.sustain_s - steady_s_);
      samples.stop_reason = stop_reason(sampling, steady, spent - steady_s_);
      return !samples.stop_reason.empty();
    }
    const auto least = std::max<int64_t>(2 * static_cast<int64_t>(kSteadySamples), task_.sampling.least_samples);
    if (spent < task_.sampling.sustain_s || static_cast<int64_t>(samples.own_s.size()) < least) return false;
    paced_.pace = fmt::format("not steady after {}: {}", format_seconds(spent), wavers);
    samples.stop_reason = fmt::format("{}, the second half of {} samples", paced_.pace, samples.own_s.size());
    return true;
  }

  size_t steady_from() const { return steady_at_ ? *steady_at_ : paced_.sustained.own_s.size() / 2; }

  // The last samples that together lasted long enough to be called steady; 0 while there are none.
  size_t window() const {
    size_t count = kSteadySamples;
    for (; count <= ended_s_.size(); ++count) {
      const double before = count == ended_s_.size() ? 0 : ended_s_[ended_s_.size() - count - 1];
      if (ended_s_.back() - before >= kSteady_s) return count;
    }
    return 0;
  }

  std::string still_unsteady() const {
    if (window() == 0) return fmt::format("less than {}", format_seconds(kSteady_s));
    return unsteady(paced_.telemetry, window());
  }

  // How often the meter was seen to move in that time.
  std::string readings() const {
    const auto power = paced_.telemetry.find("power_w");
    if (power == paced_.telemetry.end()) return "";
    const std::vector<double>& values = power->second;
    size_t count = 1;
    for (size_t i = values.size() - window() + 1; i < values.size(); ++i) count += values[i] != values[i - 1] ? 1 : 0;
    return fmt::format(", {} reading{} of power", count, count == 1 ? "" : "s");
  }

  bool still_right() {
    const std::optional<Verdict> verdict = task_.recheck();
    if (verdict) ++paced_.rechecks;
    paced_.wrong = agreement_.reason(verdict && !verdict->correct ? verdict->detail : "");
    return paced_.wrong.empty();
  }

  const Agreement& agreement_;
  const PaceTask& task_;
  Paced& paced_;
  double start_s_;
  double steady_s_ = 0;
  std::vector<double> ended_s_;  // when each sample ended, from the start
  std::optional<size_t> steady_at_;
};

}  // namespace

std::string unsteady(const Series& telemetry, size_t samples) {
  for (const auto& [key, most] : {std::pair{"sm_clock_hz", kSteadyClock}, std::pair{"power_w", kSteadyPower}}) {
    const auto found = telemetry.find(key);
    if (found == telemetry.end()) continue;
    if (found->second.size() < samples) return fmt::format("{} samples of {}", found->second.size(), key);
    const double band = half_band(found->second, samples);
    if (band > most) return fmt::format("{} ± {}", key, format_percent(band));
  }
  const bool enough = std::any_of(telemetry.begin(), telemetry.end(),
                                  [&](const auto& series) { return series.second.size() >= samples; });
  return enough ? "" : "few samples";
}

Paced take_paced_samples(const Agreement& agreement, const PaceTask& task) {
  Paced paced;
  const bool twice = agreement.decide(tells_pace(task.telemetry()) && task.sampling.sustain_s > 0);
  paced.burst = take_burst(agreement, task, twice, paced.burst_telemetry);
  paced.has_sustained = twice && paced.burst.failure.empty();
  if (paced.has_sustained) Haul(agreement, task, paced.burst.runs_per_sample, paced).run();
  return paced;
}

}  // namespace farscale
