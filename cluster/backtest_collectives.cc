// Collectives: every other size predicted from its neighbours, larger node counts from smaller ones of the same
// machines, and a network from its data sheet where only one domain was measured.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <set>

#include "cluster/backtest.h"
#include "cluster/backtest_curves.h"
#include "cluster/backtest_range.h"
#include "cluster/least_squares.h"
#include "kernels/module.h"

namespace farscale {
namespace {

constexpr double kLeastBytes = 1048576;  // smaller sizes are latency only and read off the table
constexpr const char* kSizes = "collectives, sizes";
constexpr const char* kNodes = "collectives, nodes";
constexpr const char* kFirst = "collectives, first network";

struct Guess {
  BacktestRow row;
  double log_sigma = 0;
  std::string group;  // rows of one group share their surprises
  bool asked = true;  // not of a background curve
};

// What a planner without a model would use: the bus bandwidth of the nearest known row, and Hockney's line.
struct Baselines {
  double carried_s = 0, hockney_s = 0;
};

// Latency + bandwidth by least squares on known points; 0 with fewer than two.
double hockney(const std::vector<CurvePoint>& known, double bytes) {
  if (known.size() < 2) return 0;
  std::vector<std::vector<double>> rows;
  std::vector<double> times;
  for (const CurvePoint& point : known) rows.push_back({1, point.bytes}), times.push_back(point.time_s);
  return fit_relative(rows, times).at({1, bytes});
}

std::string reason_of(const Curve& curve, const CurvePoint& point, std::string_view kind) {
  if (!point.doubt.empty()) return "its source warns: " + point.doubt;
  if (kind == kSizes) return "the library changes protocol or algorithm between the known sizes";
  if (!curve.fabric.named_rate) return "the name does not tell the network's rate: the GPU's usual card was assumed";
  if (curve.fabric.software_transport) return "transport in software: its latency is learned from few systems";
  return kind == kFirst ? "no row over this network is known" : "";
}

Guess guess(const Curve& curve, const CurvePoint& point, const char* kind, std::vector<int64_t> fitted,
            double predicted_s, double log_sigma, const Baselines& baselines) {
  return {.row = {.kind = kind,
                  .series = fmt::format("{} {}", curve.system, curve.collective),
                  .where = point.where,
                  .gpus = curve.gpus,
                  .bytes = point.bytes,
                  .fitted_on_gpus = std::move(fitted),
                  .measured_s = point.time_s,
                  .predicted_s = predicted_s,
                  .linear_s = baselines.carried_s,
                  .amdahl_s = baselines.hockney_s,
                  .doubted = !point.doubt.empty() || (kind != kSizes && !curve.fabric.named_rate),
                  .reason = reason_of(curve, point, kind)},
          .log_sigma = log_sigma,
          .group = curve.fabric.key(),
          .asked = !curve.background};
}

// Sizes from other sizes: the 1st, 3rd, 5th, … are known, the others predicted. The baseline: one bandwidth, that of
// the largest known size below.
void guess_sizes(const Curve& curve, std::vector<Guess>& guesses) {
  std::vector<CurvePoint> known;
  for (size_t i = 0; i < curve.points.size(); i += 2) known.push_back(curve.points[i]);
  if (known.size() < 2) return;
  for (size_t i = 1; i < curve.points.size(); i += 2) {
    const CurvePoint& point = curve.points[i];
    if (point.bytes < kLeastBytes) continue;
    const bool beyond = i + 1 >= curve.points.size();
    const CurvePoint& below = curve.points[i - 1];
    guesses.push_back(guess(curve, point, kSizes, {curve.gpus}, through(known, point.bytes), beyond ? 0.06 : 0.04,
                            {below.time_s * point.bytes / below.bytes, hockney(known, point.bytes)}));
  }
}

// What a curve may be predicted from: fewer ranks over the same network, and single domains of the same GPU, whoever
// measured them.
struct Known {
  std::vector<const Curve*> network, inside;
  std::vector<const Curve*> all() const {
    std::vector<const Curve*> both = inside;
    both.insert(both.end(), network.begin(), network.end());
    return both;
  }
  // The nearest: the most ranks over the network, or the longest of the single domains.
  const Curve& nearest() const {
    if (!network.empty()) {
      return **std::max_element(network.begin(), network.end(), [](auto* a, auto* b) { return a->gpus < b->gpus; });
    }
    return **std::max_element(inside.begin(), inside.end(), [](auto* a, auto* b) {
      return std::pair(a->gpus, a->points.size()) < std::pair(b->gpus, b->points.size());
    });
  }
};

Known known_for(const Curve& target, const std::vector<Curve>& curves) {
  Known known;
  for (const Curve& one : curves) {
    if (one.gpus >= target.gpus || one.kind != target.kind || one.fabric.gpu != target.fabric.gpu) continue;
    if (one.one_domain()) {
      known.inside.push_back(&one);
    } else if (one.fabric.same_network(target.fabric)) {
      known.network.push_back(&one);
    }
  }
  // A domain of the same size says more than a larger or smaller one.
  const int64_t domain = target.fabric.domain;
  if (std::any_of(known.inside.begin(), known.inside.end(), [&](auto* one) { return one->gpus == domain; })) {
    std::erase_if(known.inside, [&](auto* one) { return one->gpus != domain; });
  }
  return known;
}

// The law's time at the target, times what it missed on the nearest smaller curve over the same network at that size.
void guess_nodes(const Curve& target, const std::vector<Curve>& curves, std::vector<Guess>& guesses) {
  const Known known = known_for(target, curves);
  if (target.one_domain() || (known.network.empty() && known.inside.empty())) return;
  const bool first = known.network.empty();
  const FittedLaw law(expected_law(target.fabric, target.kind), known.all());
  const Curve& nearest = known.nearest();
  const double growth = std::log2(double(target.gpus) / double(nearest.gpus));
  for (const CurvePoint& point : target.points) {
    if (point.bytes < kLeastBytes) continue;
    double log_time = law.log_time(target, point.bytes);
    double scatter = 0.12;
    if (!first) {
      const double seen = std::clamp(point.bytes, nearest.points.front().bytes, nearest.points.back().bytes);
      log_time += std::log(through(nearest.points, seen)) - law.log_time(nearest, seen);
      scatter = 0.05 + 0.03 * growth;
    }
    const double wire = bus_factor(target.kind, target.gpus) / bus_factor(target.kind, nearest.gpus);
    guesses.push_back(
        guess(target, point, first ? kFirst : kNodes, {nearest.gpus}, std::exp(log_time),
              std::hypot(law.log_sigma(target, point.bytes), scatter),
              {wire * through(nearest.points, point.bytes), wire * hockney(nearest.points, point.bytes)}));
  }
}

// Adds the shipped curves of systems that the table does not hold: knowledge, not questions.
void add_background(std::vector<Curve>& curves) {
  const std::string path = data_folder("results/published") + "/collectives.csv";
  if (!std::filesystem::exists(path)) return;
  std::set<std::string> known;
  for (const Curve& curve : curves) known.insert(curve.system + curve.collective);
  for (Curve& curve : read_curves(read_csv(path))) {
    if (known.contains(curve.system + curve.collective)) continue;
    curve.background = true;
    curves.push_back(std::move(curve));
  }
}

// Says what was missing where one domain had to speak for a network.
void note_nodes(const std::vector<Guess>& guesses, BacktestReport& report) {
  std::set<std::string> first, nodes;
  for (const Guess& one : guesses) {
    if (one.row.kind == kFirst) first.insert(one.row.series);
    if (one.row.kind == kNodes) nodes.insert(one.row.series);
  }
  if (first.empty() && nodes.empty()) return;
  report.notes.push_back(fmt::format(
      "collectives over more nodes: {} systems with rows at fewer nodes of the same network, {} from one domain and "
      "the "
      "network's data sheet; nccl-tests at 2, 4 and 8 nodes of a network would move one from the second to the first",
      nodes.size(), first.size()));
}

}  // namespace

void backtest_collectives(const CsvTable& table, const BacktestOptions& options, BacktestReport& report) {
  std::vector<Curve> curves = read_curves(table, &report.notes);
  const LeaveOut& left_out = options.leave_out;
  if (left_out.hardware || left_out.workload || left_out.later) {
    report.notes.push_back(
        "collectives: --leave-out is of steps; a network is predicted from smaller curves of it and from single "
        "domains of the same GPU, whoever measured them");
  }
  if (options.background) add_background(curves);
  std::vector<Guess> guesses;
  for (const Curve& curve : curves) guess_sizes(curve, guesses);
  for (const Curve& curve : curves) guess_nodes(curve, curves, guesses);
  // Rows of a network that is guessed at surprise more than those of one that is told.
  const auto kind_of = [](const BacktestRow& row) { return std::pair(row.kind, row.kind == kFirst && row.doubted); };
  std::map<std::pair<std::string, bool>, std::vector<Surprise>> surprises;
  for (const Guess& one : guesses) {
    surprises[kind_of(one.row)].push_back(
        {one.group, std::abs(std::log(one.row.predicted_s / one.row.measured_s)) / one.log_sigma});
  }
  std::erase_if(guesses, [](const Guess& one) { return !one.asked; });
  note_nodes(guesses, report);
  for (Guess& one : guesses) {
    const double reach = std::exp(reach_of(surprises[kind_of(one.row)], one.group) * one.log_sigma);
    one.row.low_s = one.row.predicted_s / reach, one.row.high_s = one.row.predicted_s * reach;
    one.row.outlier = std::abs(std::log(one.row.predicted_s / one.row.measured_s)) > 6 * one.log_sigma;
    report.rows.push_back(std::move(one.row));
  }
}

}  // namespace farscale
