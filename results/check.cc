// Acceptance of a machine.
#include "results/check.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "kernels/error.h"
#include "kernels/format.h"

namespace farscale {
namespace {

bool runs_alone(const Record& record) { return record.family == "gemm" || record.family == "memory"; }

std::string host_of(const Run& run, size_t rank) {
  return rank < run.hosts.size() ? run.hosts[rank] : std::string("unknown host");
}

// Members (ranks, or hosts as the median of their ranks) of one case, each against the median of the others.
void add_ratios(const std::vector<double>& times_s, std::vector<std::vector<double>>& ratios) {
  for (size_t i = 0; i < times_s.size(); ++i) {
    std::vector<double> others = times_s;
    others.erase(others.begin() + static_cast<std::ptrdiff_t>(i));
    ratios[i].push_back(times_s[i] / median(others));
  }
}

Standing standing_of(const std::vector<double>& ratios, const CheckOptions& options) {
  Standing standing;
  standing.ratio = {.ratio = median(ratios), .interval95 = median_interval95(ratios)};
  standing.cases = ratios.size();
  // Slower by more than the threshold, and slower in so many cases that it is no accident of one.
  standing.slow = standing.ratio.ratio > 1 + options.threshold && standing.ratio.interval95.low > 1;
  return standing;
}

// The hosts of the run in order, and their medians for one case.
std::vector<double> by_host(const Run& run, const std::vector<double>& times_s, const std::vector<std::string>& hosts) {
  std::vector<double> medians;
  for (const std::string& host : hosts) {
    std::vector<double> own;
    for (size_t rank = 0; rank < times_s.size(); ++rank) {
      if (host_of(run, rank) == host) own.push_back(times_s[rank]);
    }
    medians.push_back(median(own));
  }
  return medians;
}

std::vector<std::string> hosts_in_order(const Run& run, size_t ranks) {
  std::vector<std::string> hosts;
  for (size_t rank = 0; rank < ranks; ++rank) {
    if (std::find(hosts.begin(), hosts.end(), host_of(run, rank)) == hosts.end()) hosts.push_back(host_of(run, rank));
  }
  return hosts;
}

void rank_family(const Run& run, const std::string& family, const CheckOptions& options, Check& result) {
  const auto ranks = static_cast<size_t>(run.ranks);
  const std::vector<std::string> hosts = hosts_in_order(run, ranks);
  std::vector<std::vector<double>> rank_ratios(ranks), host_ratios(hosts.size());
  for (const Record* record : usable(run)) {
    if (!runs_alone(*record) || record->family != family || record->rank_medians_s.size() != ranks) continue;
    const auto& times = record->rank_medians_s;
    if (std::any_of(times.begin(), times.end(), [](double t) { return !(t > 0); })) continue;
    add_ratios(times, rank_ratios);
    if (hosts.size() > 1) add_ratios(by_host(run, times, hosts), host_ratios);
  }
  const auto keep = [&](const std::vector<double>& ratios, std::string who, std::string host) {
    if (ratios.empty()) return;
    Standing standing = standing_of(ratios, options);
    standing.who = std::move(who);
    standing.host = std::move(host);
    standing.family = family;
    result.standings.push_back(std::move(standing));
  };
  for (size_t rank = 0; rank < ranks; ++rank) keep(rank_ratios[rank], fmt::format("rank {}", rank), host_of(run, rank));
  for (size_t host = 0; host < hosts.size(); ++host) keep(host_ratios[host], "host " + hosts[host], hosts[host]);
}

void find_slow(Check& result) {
  for (const Standing& standing : result.standings) {
    if (!standing.slow) continue;
    const bool host = standing.who.starts_with("host ");
    result.findings.push_back(
        {.what = host ? "slow host" : "slow rank",
         .where = host ? standing.who : fmt::format("{} on {}", standing.who, standing.host),
         .why = fmt::format("{} takes {:.2f} times the others' median ({:.2f} to {:.2f} over {} cases)",
                            standing.family, standing.ratio.ratio, standing.ratio.interval95.low,
                            standing.ratio.interval95.high, standing.cases)});
  }
}

// What each case says of itself.
void find_statuses(const Run& run, const Run* baseline, Check& result) {
  if (!run.complete) result.findings.push_back({.what = "incomplete", .where = run.path, .why = "the run did not end"});
  for (const Record& record : run.records) {
    const bool wrong = record.status == Status::kOk && record.verdict.checked && !record.verdict.correct;
    if (record.status == Status::kWrong || record.status == Status::kFailed || wrong) {
      const std::string_view what = wrong ? "wrong" : name(record.status);
      const std::string& why = record.reason.empty() ? record.verdict.detail : record.reason;
      result.findings.push_back({.what = std::string(what), .where = record.name, .why = why});
    }
    const Record* before = baseline == nullptr ? nullptr : baseline->find(record.name);
    if (record.status == Status::kSkipped && before != nullptr && before->status == Status::kOk) {
      result.findings.push_back({.what = "skipped", .where = record.name, .why = record.reason});
    }
  }
}

void find_slower(const Run& run, const Run& baseline, const CheckOptions& options, Check& result) {
  const Comparison comparison = compare({baseline}, {run}, {.threshold = options.threshold, .seed = options.seed});
  for (const CaseComparison& item : comparison.cases) {
    result.compared += item.baseline_s > 0;
    if (item.change != Change::kSlower) continue;  // broken ones are found by their status
    result.findings.push_back(
        {.what = "slower",
         .where = item.name,
         .why = fmt::format("{} against {}: {:.2f} times the baseline ({:.2f} to {:.2f})", format_seconds(item.other_s),
                            format_seconds(item.baseline_s), item.ratio.ratio, item.ratio.interval95.low,
                            item.ratio.interval95.high)});
  }
  if (run.ranks != baseline.ranks) {  // collectives and steps over another number of ranks are other cases
    result.warnings.push_back(fmt::format("{} ranks against {} in the baseline: only cases of one rank are compared",
                                          run.ranks, baseline.ranks));
    return;
  }
  for (const std::string& name : comparison.only_in_baseline) {
    result.findings.push_back({.what = "missing", .where = name, .why = "in the baseline, not measured here"});
  }
}

}  // namespace

Check check(const Run& result, const Run* baseline, const CheckOptions& options) {
  Check outcome;
  outcome.cases = result.records.size();
  if (result.records.empty()) throw InputError(fmt::format("{}: no cases to check", result.path));
  find_statuses(result, baseline, outcome);
  if (baseline != nullptr) find_slower(result, *baseline, options, outcome);
  if (result.ranks > 1) {
    for (const char* family : {"gemm", "memory"}) rank_family(result, family, options, outcome);
    find_slow(outcome);
  }
  return outcome;
}

}  // namespace farscale
