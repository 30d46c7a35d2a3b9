// Comparing: matching cases, ratios of medians, verdicts over the whole table.
#include "results/compare.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <set>

#include "kernels/error.h"
#include "kernels/format.h"
#include "kernels/suggest.h"

namespace farscale {
namespace {

constexpr double kAlpha = 0.025;  // one side of 95 %

// With too few launches on a side, the part of the spread that the samples of a launch share is assumed (an intraclass
// correlation of 4 %).
constexpr double kSharedSpread = 0.2;

// Below this no order statistics enclose the median with 95 %, and no verdict is given.
constexpr size_t kLeastSamples = 6;

// One case over the launches of a side.
struct Side {
  std::vector<const Record*> records;
  Launches samples;  // of the metric, one entry a launch that has it
  size_t count() const {
    size_t total = 0;
    for (const auto& launch : samples) total += launch.size();
    return total;
  }
};

std::string key_of(const Record& record) {
  std::string key = record.family + "|" + (record.problem ? name(*record.problem) : record.name);
  for (const auto& [setting, value] : record.settings) key += fmt::format("|{}={}", setting, value);
  return key;
}

bool passed(const Record& record) {
  return record.status == Status::kOk && (!record.verdict.checked || record.verdict.correct);
}

bool broken(const Side& side) {
  return std::any_of(side.records.begin(), side.records.end(), [](const Record* record) {
    return record->status == Status::kWrong || record->status == Status::kFailed ||
           (record->status == Status::kOk && !passed(*record));
  });
}

std::string status_text(const Side& side) {
  for (const Record* record : side.records) {
    if (passed(*record)) continue;
    const Status status = record->status == Status::kOk ? Status::kWrong : record->status;
    return record->reason.empty() ? std::string(name(status)) : fmt::format("{} ({})", name(status), record->reason);
  }
  return "ok";
}

const std::vector<double>& samples_of(const Record& record, const std::string& metric) {
  static const std::vector<double> kNone;
  if (metric == "time") return record.samples_s;
  const auto series = record.series_s.find(metric);
  return series == record.series_s.end() ? kNone : series->second;
}

using Sides = std::map<std::string, Side>;

Sides sides_of(const std::vector<Run>& runs, const std::string& metric) {
  Sides sides;
  for (const Run& run : runs) {
    for (const Record& record : run.records) {
      Side& side = sides[key_of(record)];
      side.records.push_back(&record);
      const std::vector<double>& samples = samples_of(record, metric);
      const bool positive = std::all_of(samples.begin(), samples.end(), [](double s) { return s > 0; });
      if (passed(record) && !samples.empty() && positive) side.samples.push_back(samples);
    }
  }
  return sides;
}

struct Rate {
  double value = 0;
  std::string unit = {};
};

// What one run of the problem is worth, over its time; nothing for steps and for single series of a case.
Rate rate_of(const Record& record, double time_s) {
  if (!record.problem || time_s <= 0) return {};
  if (const auto* gemm = std::get_if<GemmProblem>(&*record.problem)) return {gemm->flops() / time_s, "FLOP/s"};
  if (const auto* memory = std::get_if<MemoryProblem>(&*record.problem)) return {memory->bytes() / time_s, "B/s"};
  const auto& collective = std::get<CollectiveProblem>(*record.problem);
  if (collective.ranks == 1) return {double(collective.bytes) / time_s, "B/s"};
  return {bus_bandwidth(collective, time_s), "B/s bus"};
}

// Verdicts need all cases at once: these are the one-sided probabilities they are decided on.
struct Evidence {
  size_t at = 0;  // index into Comparison::cases
  double slower = 1;
  double faster = 1;
};

double share_below(const std::vector<double>& sorted, double limit) {
  return double(std::upper_bound(sorted.begin(), sorted.end(), limit) - sorted.begin()) / double(sorted.size());
}

std::vector<double> pooled(const Launches& launches) {
  std::vector<double> all;
  for (const auto& launch : launches) all.insert(all.end(), launch.begin(), launch.end());
  return all;
}

std::vector<double> scaled(std::vector<double> values, double factor) {
  for (double& value : values) value *= factor;
  return values;
}

void add_timings(const Side& base, const Side& other, const CompareOptions& options, CaseComparison& item,
                 Evidence& evidence) {
  const bool enough = std::min(base.samples.size(), other.samples.size()) >= kEnoughLaunches;
  const std::vector<double> draws =
      bootstrap_ratio_draws(base.samples, other.samples, options.draws, options.seed, enough ? 0 : kSharedSpread);
  item.baseline_s = median_of_medians(base.samples);
  item.other_s = median_of_medians(other.samples);
  item.ratio = {.ratio = item.other_s / item.baseline_s,
                .interval95 = {quantile(draws, kAlpha), quantile(draws, 1 - kAlpha)}};
  if (options.metric == "time") {
    const Rate rate = rate_of(*base.records[0], item.baseline_s);
    item.baseline_rate = rate.value;
    item.other_rate = rate_of(*other.records[0], item.other_s).value;
    item.rate_unit = rate.unit;
  }
  // The ranks have to say so too, each case on its own: the bootstrap of few samples is too sure of itself. They stay
  // out of the correction for many cases, because six samples a side cannot say more than one in 924, however far
  // apart.
  if (std::min(item.baseline_samples, item.other_samples) < kLeastSamples) return;
  const double limit = 1 + options.threshold;
  const std::vector<double> before = pooled(base.samples), after = pooled(other.samples);
  if (rank_sum_probability(scaled(before, limit), after) <= kAlpha) evidence.slower = share_below(draws, limit);
  if (rank_sum_probability(scaled(after, limit), before) <= kAlpha) evidence.faster = 1 - share_below(draws, 1 / limit);
}

// Two modes within a launch are written down, and a case is no slower when the baseline was as slow itself at times,
// nor faster when the other was as slow as the baseline.
void judge_modes(const Side& base, const Side& other, CaseComparison& item, Evidence& evidence) {
  const auto two = [](const Side& side) { return std::any_of(side.samples.begin(), side.samples.end(), bimodal); };
  const bool in_base = two(base), in_other = two(other);
  if (in_base && item.other_s <= quantile(pooled(base.samples), 0.9)) evidence.slower = 1;
  if (in_other && item.baseline_s <= quantile(pooled(other.samples), 0.9)) evidence.faster = 1;
  if (in_base || in_other) {
    item.note = fmt::format("two modes in {}", in_base && in_other ? "both" : in_base ? "baseline" : "other");
  }
}

// Everything about one case but its verdict among the others.
CaseComparison compare_case(const Side& base, const Side& other, const CompareOptions& options, Evidence& evidence) {
  CaseComparison item{.name = base.records[0]->name, .family = base.records[0]->family};
  item.baseline_samples = base.count();
  item.other_samples = other.count();
  const bool base_broken = broken(base), other_broken = broken(other);
  if (base_broken || other_broken) {
    item.change = base_broken && other_broken ? Change::kNotTimed : other_broken ? Change::kBroken : Change::kMended;
    item.note = fmt::format("{} -> {}", status_text(base), status_text(other));
  } else if (base.samples.empty() || other.samples.empty()) {
    const bool skipped = status_text(base) != "ok" || status_text(other) != "ok";
    item.note = skipped ? fmt::format("{} -> {}", status_text(base), status_text(other))
                        : fmt::format("no '{}' timings on both sides", options.metric);
  } else {
    add_timings(base, other, options, item, evidence);
    judge_modes(base, other, item, evidence);
    item.change = Change::kUnclear;  // until decide() has seen all cases
  }
  return item;
}

// Why a case is unclear, where the figures beside it would not say.
void explain(bool beyond, size_t cases, CaseComparison& item) {
  const size_t few = std::min(item.baseline_samples, item.other_samples);
  const std::string why = few < kLeastSamples ? fmt::format("only {} sample{}", few, few == 1 ? "" : "s")
                          : beyond            ? fmt::format("too little evidence among {} cases", cases)
                                              : std::string();
  if (!why.empty()) item.note += (item.note.empty() ? "" : "; ") + why;
}

void decide(const std::vector<Evidence>& evidence, const CompareOptions& options, std::vector<CaseComparison>& cases) {
  std::vector<double> slower, faster;
  for (const Evidence& e : evidence) slower.push_back(e.slower), faster.push_back(e.faster);
  const std::vector<bool> is_slower = holm(slower, kAlpha), is_faster = holm(faster, kAlpha);
  for (size_t i = 0; i < evidence.size(); ++i) {
    CaseComparison& item = cases[evidence[i].at];
    const Interval& interval = item.ratio.interval95;
    const bool within = interval.low >= 1 / (1 + options.threshold) && interval.high <= 1 + options.threshold;
    if (is_slower[i]) {
      item.change = Change::kSlower;
    } else if (is_faster[i]) {
      item.change = Change::kFaster;
    } else if (within && std::min(item.baseline_samples, item.other_samples) > 1) {
      item.change = Change::kSame;
    } else {
      explain(interval.low > 1 + options.threshold || interval.high < 1 / (1 + options.threshold), evidence.size(),
              item);
    }
  }
}

std::vector<FamilyRatio> families_of(const std::vector<CaseComparison>& cases) {
  struct Sum {
    size_t count = 0;
    double log_ratio = 0;
    double variance = 0;
  };
  std::map<std::string, Sum> sums;
  for (const CaseComparison& item : cases) {
    if (item.baseline_s <= 0) continue;
    Sum& sum = sums[item.family];
    ++sum.count;
    sum.log_ratio += std::log(item.ratio.ratio);
    const double error = std::log(item.ratio.interval95.high / item.ratio.interval95.low) / (2 * 1.96);
    sum.variance += error * error;
  }
  std::vector<FamilyRatio> families;
  for (const auto& [family, sum] : sums) {
    const double centre = sum.log_ratio / double(sum.count), error = std::sqrt(sum.variance) / double(sum.count);
    families.push_back({.family = family,
                        .cases = sum.count,
                        .ratio = {.ratio = std::exp(centre),
                                  .interval95 = {std::exp(centre - 1.96 * error), std::exp(centre + 1.96 * error)}}});
  }
  return families;
}

[[noreturn]] void refuse_unmatched(const Sides& base, const Sides& other) {
  const auto example = [](const Sides& sides) {
    return sides.empty() ? std::string("no case at all")
                         : fmt::format("'{}', …", sides.begin()->second.records[0]->name);
  };
  throw InputError(fmt::format("nothing to compare: no case is on both sides (baseline has {} other has {})",
                               example(base), example(other)));
}

// What runs record where they can: without it a file is none the worse, and the name no mistake.
constexpr std::array kSeries = {"burst", "compute_only", "communication_only", "exposed", "both", "graph"};

void require_metric(const Sides& base, const Sides& other, const std::string& metric) {
  std::set<std::string> known = {"time"};
  for (const Sides* sides : {&base, &other}) {
    for (const auto& [key, side] : *sides) {
      for (const auto& [series, values] : side.records[0]->series_s) known.insert(series);
    }
  }
  if (!known.contains(metric)) {
    if (std::find(kSeries.begin(), kSeries.end(), metric) != kSeries.end()) {
      throw InputError(fmt::format("no {} in these files (in them: {})", metric, fmt::join(known, ", ")));
    }
    throw InputError(unknown_name("metric", metric, std::vector<std::string>(known.begin(), known.end())));
  }
}

}  // namespace

std::string_view name(Change change) {
  switch (change) {
    case Change::kSame:
      return "same";
    case Change::kFaster:
      return "faster";
    case Change::kSlower:
      return "SLOWER";
    case Change::kUnclear:
      return "unclear";
    case Change::kBroken:
      return "BROKEN";
    case Change::kMended:
      return "mended";
    case Change::kNotTimed:
      return "not timed";
  }
  return "";
}

std::vector<std::string> Comparison::regressions() const {
  std::vector<std::string> names;
  for (const CaseComparison& item : cases) {
    if (item.change == Change::kSlower || item.change == Change::kBroken) names.push_back(item.name);
  }
  return names;
}

Comparison compare(const std::vector<Run>& baseline, const std::vector<Run>& other, const CompareOptions& options) {
  if (baseline.empty() || other.empty()) throw InputError("nothing to compare: expected a run on each side");
  const Sides before = sides_of(baseline, options.metric), after = sides_of(other, options.metric);
  require_metric(before, after, options.metric);
  Comparison result;
  std::vector<Evidence> evidence;
  std::set<std::string> listed;
  for (const Run& run : baseline) {  // in the order they were measured
    for (const Record& record : run.records) {
      const std::string key = key_of(record);
      if (!listed.insert(key).second) continue;
      if (!after.contains(key)) {
        result.only_in_baseline.push_back(record.name);
        continue;
      }
      Evidence found{.at = result.cases.size()};
      result.cases.push_back(compare_case(before.at(key), after.at(key), options, found));
      if (result.cases.back().change == Change::kUnclear) evidence.push_back(found);
    }
  }
  for (const auto& [key, side] : after) {
    if (!before.contains(key)) result.only_in_other.push_back(side.records[0]->name);
  }
  if (result.cases.empty()) refuse_unmatched(before, after);
  decide(evidence, options, result.cases);
  result.families = families_of(result.cases);
  result.differences = differences_of(baseline, other);
  result.warnings = warnings_about(baseline, other);
  return result;
}

}  // namespace farscale
