// Latency and bandwidth of collectives from records at several sizes and rank counts.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "cluster/collective_model.h"
#include "cluster/fit.h"
#include "cluster/least_squares.h"
#include "kernels/format.h"
#include "results/statistics.h"

namespace farscale {
namespace {

constexpr double kKnots[] = {65536.0, 1048576.0, 16777216.0, 268435456.0};  // where protocols and caches change

struct Observation {
  const Record* record;
  int ranks;
  bool several_hosts;
  double bytes, time_s;
};

std::map<CollectiveKind, std::vector<Observation>> by_kind(const std::vector<Run>& runs) {
  std::map<CollectiveKind, std::vector<Observation>> all;
  for (const Run& run : runs) {
    const bool several_hosts = std::set<std::string>(run.hosts.begin(), run.hosts.end()).size() > 1;
    for (const Record* record : usable(run)) {
      if (!record->problem || !std::holds_alternative<CollectiveProblem>(*record->problem) || record->samples_s.empty())
        continue;
      const auto& problem = std::get<CollectiveProblem>(*record->problem);
      const double time_s = median(record->samples_s);
      if (problem.ranks < 2 || time_s <= 0) continue;
      all[problem.kind].push_back({record, problem.ranks, several_hosts, double(problem.bytes), time_s});
    }
  }
  return all;
}

// Segment starts: 0 and the knots that have two sizes or more on both sides.
std::vector<double> segments_for(const std::vector<Observation>& all) {
  std::set<double> sizes;
  for (const Observation& one : all) sizes.insert(one.bytes);
  std::vector<double> from = {0};
  for (const double knot : kKnots) {
    const auto below =
        std::count_if(sizes.begin(), sizes.end(), [&](double s) { return s <= knot && s > from.back(); });
    const auto above = std::count_if(sizes.begin(), sizes.end(), [&](double s) { return s > knot; });
    if (below >= 2 && above >= 2) from.push_back(knot);
  }
  return from;
}

std::vector<double> terms(CollectiveKind kind, bool ring, bool base, const std::vector<double>& from, double bytes,
                          int ranks) {
  std::vector<double> row = {base ? 1.0 : 0.0, latency_steps(kind, ring, ranks)};
  const double wire = bus_factor(kind, ranks);
  for (size_t i = 0; i < from.size(); ++i) {
    const double until = i + 1 < from.size() ? std::min(bytes, from[i + 1]) : bytes;
    row.push_back(wire * std::max(0.0, until - from[i]));
  }
  return row;
}

struct Attempt {
  CollectiveFit fit;
  LinearFit linear;
  std::vector<std::vector<double>> rows;
};

Attempt attempt(CollectiveKind kind, const std::vector<Observation>& all, bool ring, bool base) {
  Attempt result;
  CollectiveFit& fit = result.fit;
  fit.ring = ring;
  fit.from_bytes = segments_for(all);
  std::vector<double> times;
  fit.least_ranks = all.front().ranks;
  fit.least_bytes = all.front().bytes;
  for (const Observation& one : all) {
    result.rows.push_back(terms(kind, ring, base, fit.from_bytes, one.bytes, one.ranks));
    times.push_back(one.time_s);
    fit.least_ranks = std::min<int64_t>(fit.least_ranks, one.ranks);
    fit.most_ranks = std::max<int64_t>(fit.most_ranks, one.ranks);
    fit.least_bytes = std::min(fit.least_bytes, one.bytes);
    fit.most_bytes = std::max(fit.most_bytes, one.bytes);
  }
  result.linear = fit_relative(result.rows, times);
  fit.base_s = result.linear.coefficients[0];
  fit.hop_s = result.linear.coefficients[1];
  fit.s_per_byte.assign(result.linear.coefficients.begin() + 2, result.linear.coefficients.end());
  for (const std::vector<double>& row : result.linear.covariance) {
    fit.covariance.insert(fit.covariance.end(), row.begin(), row.end());
  }
  fit.log_sigma = std::max(0.01, result.linear.log_sigma);
  fit.records = int(all.size());
  const std::vector<double> largest = terms(kind, ring, base, fit.from_bytes, fit.most_bytes, int(fit.most_ranks));
  fit.relative_error = result.linear.standard_error(largest) / std::max(1e-30, result.linear.at(largest));
  return result;
}

// Bus bandwidth at large sizes of one tier: inside a host or across several; `otherwise` where no record tells it.
Quantity link_rate(CollectiveKind kind, std::vector<Observation> all, bool several_hosts, double otherwise) {
  std::erase_if(all, [&](const Observation& one) { return one.several_hosts != several_hosts; });
  if (all.size() < 3) {
    return {{otherwise * 0.9, otherwise, otherwise * 1.1}, Evidence::kMeasured, "measured: all-reduce records"};
  }
  const bool several = std::any_of(all.begin(), all.end(), [&](auto& one) { return one.ranks != all.front().ranks; });
  const Attempt fit = attempt(kind, all, true, several);
  const double rate = 1 / std::max(fit.fit.s_per_byte.back(), 1e-30), reach = std::exp(1.645 * fit.fit.log_sigma);
  return {
      {rate / reach, rate, rate * reach},
      Evidence::kMeasured,
      fmt::format("measured: {} all-reduce records {}", all.size(), several_hosts ? "across hosts" : "in one host")};
}

}  // namespace

void fit_collectives(const std::vector<Run>& runs, FitReport& report) {
  Machine::Data& model = report.model;
  for (const auto& [kind, all] : by_kind(runs)) {
    if (all.size() < 3) {
      report.notes.push_back(fmt::format("{}: {} records are too few to fit", name(kind), all.size()));
      continue;
    }
    std::set<int> ranks;
    for (const Observation& one : all) ranks.insert(one.ranks);
    // With one rank count, base and hops cannot be told apart: all latency goes to the hops, which grow with the ranks.
    const bool several = ranks.size() > 1;
    Attempt best = attempt(kind, all, true, several);
    if (several) {
      Attempt tree = attempt(kind, all, false, true);
      if (tree.linear.log_sigma < 0.9 * best.linear.log_sigma) best = std::move(tree);
    } else {
      report.notes.push_back(
          fmt::format("{}: measured on {} ranks only: how latency grows with ranks is an assumption "
                      "(a ring's, all of it)",
                      name(kind), *ranks.begin()));
    }
    for (size_t i = 0; i < all.size(); ++i) {
      report.residuals.push_back(
          {all[i].record->name, std::string(name(kind)), all[i].ranks, all[i].time_s, best.linear.at(best.rows[i])});
    }
    const double rate = 1 / std::max(best.fit.s_per_byte.back(), 1e-30);
    model.collective_fits[kind] = best.fit;
    model.fitted_ranks = std::max(model.fitted_ranks, best.fit.most_ranks);
    model.evidence.push_back(
        {fmt::format("{} on {} to {} ranks: {} and {} a {} step, {} on the bus at large sizes, within {}", name(kind),
                     best.fit.least_ranks, best.fit.most_ranks, format_seconds(best.fit.base_s),
                     format_seconds(best.fit.hop_s), best.fit.ring ? "ring" : "tree", format_si(rate, "B/s"),
                     format_percent(best.fit.log_sigma)),
         Evidence::kMeasured, fmt::format("{} records of {}", all.size(), runs.front().path)});
    if (kind == CollectiveKind::kAllReduce) {
      model.scale_up_bytes_per_s = link_rate(kind, all, false, rate);
      model.nic_bytes_per_s = link_rate(kind, all, true, rate);
    }
  }
  if (model.collective_fits.empty()) {
    const Estimate& link = model.nic_bytes_per_s.value;
    report.notes.push_back(
        fmt::format("no collective records: links assumed at {} … {}; run on 2 ranks or more to measure them",
                    format_si(link.p05, "B/s"), format_si(link.p95, "B/s")));
  }
}

}  // namespace farscale
