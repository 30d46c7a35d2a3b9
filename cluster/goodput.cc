// Daly's exact goodput, its best interval, and their ranges over the draws of a failure model.
#include "cluster/goodput.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "cluster/plan_draws.h"
#include "kernels/error.h"

namespace farscale {
namespace {

constexpr double kDay_s = 86400;

void check_times(double mtbf_s, double checkpoint_s, double restart_s) {
  if (!(mtbf_s > 0))
    throw InputError("the mean time between failures must be above 0 s, not " + std::to_string(mtbf_s));
  if (!(checkpoint_s >= 0)) throw InputError("a checkpoint cannot take " + std::to_string(checkpoint_s) + " s");
  if (!(restart_s >= 0)) throw InputError("a restart cannot take " + std::to_string(restart_s) + " s");
}

Quantity assumed(double low, double value, double high, const char* why) {
  return {.value = {low, value, high}, .evidence = Evidence::kAssumed, .source = std::string("assumption: ") + why};
}

}  // namespace

double daly_goodput(double mtbf_s, double checkpoint_s, double restart_s, double interval_s) {
  check_times(mtbf_s, checkpoint_s, restart_s);
  if (!(interval_s >= 0)) throw InputError("a checkpoint interval cannot be " + std::to_string(interval_s) + " s");
  const double survives_restart = std::exp(-restart_s / mtbf_s);
  if (interval_s == 0) return checkpoint_s == 0 ? survives_restart : 0;
  return interval_s * survives_restart / (mtbf_s * std::expm1((interval_s + checkpoint_s) / mtbf_s));
}

double young_interval(double mtbf_s, double checkpoint_s) { return std::sqrt(2 * checkpoint_s * mtbf_s); }

double daly_interval(double mtbf_s, double checkpoint_s) {
  if (checkpoint_s >= 2 * mtbf_s) return mtbf_s;
  const double half = checkpoint_s / (2 * mtbf_s);
  return young_interval(mtbf_s, checkpoint_s) * (1 + std::sqrt(half) / 3 + half / 9) - checkpoint_s;
}

double linear_goodput(double mtbf_s, double checkpoint_s, double restart_s, double interval_s) {
  check_times(mtbf_s, checkpoint_s, restart_s);
  return (1 - (restart_s + interval_s / 2) / mtbf_s) / (1 + checkpoint_s / interval_s);
}

// With y = interval/mtbf and a = checkpoint/mtbf, d(goodput)/dy = 0 is g(y) = y - 1 + exp(-(y + a)) = 0. g is convex,
// so Newton's steps fall onto the positive root from the right after at most one step from anywhere above 0.
double best_checkpoint_interval(double mtbf_s, double checkpoint_s, double restart_s) {
  check_times(mtbf_s, checkpoint_s, restart_s);
  if (checkpoint_s == 0) return 0;
  const double a = checkpoint_s / mtbf_s;
  double y = std::clamp(daly_interval(mtbf_s, checkpoint_s) / mtbf_s, 1e-12, 1.0);
  for (int step = 0; step < 60; ++step) {
    const double less_one = std::expm1(-(y + a));  // keeps its digits where y and a are tiny
    const double change = (y + less_one) / -less_one;
    y -= change;
    if (std::abs(change) <= 1e-10 * y) break;
  }
  return y * mtbf_s;
}

FailureModel default_failure_model() {
  FailureModel model;
  model.node_failures_per_day = {
      .value = {2.34e-3, 3.79e-3, 6.5e-3},
      .evidence = Evidence::kPublished,
      .source =
          "low: Meta RSC-2, 2.34 failures per 1,000 node-days, high: RSC-1, 6.5 (Kokolis et al., arXiv "
          "2410.21680); value: Llama 3, 419 unexpected interruptions in 54 days on 2,048 nodes (arXiv "
          "2407.21783, table 5)"};
  model.checkpoint_s = assumed(2, 10, 30,
                               "training stands still while device memory is copied to hosts or storage; OPT and "
                               "BLOOM wrote 1.6 to 2.3 TB in up to 40 s, vision networks write less");
  model.restart_s = assumed(180, 420, 900,
                            "detection (30 s with probes to 10 min by default timeouts, ByteRobust arXiv 2509.16293), "
                            "node swap, start-up, loading, first steps");
  model.restart_s_per_1000_nodes =
      assumed(0, 10, 30, "rendezvous and communicator start-up grow with the number of nodes; measure it");
  model.checkpoint_s_per_1000_nodes =
      assumed(0, 0, 0, "replicas of a data parallel network are equal, so that a few of them write for all");
  model.silent_per_node_day = {.value = {2e-5, 5.4e-5, 1.5e-4},
                               .evidence = Evidence::kPublished,
                               .source =
                                   "Llama 3: 6 interruptions by silent data corruption in 54 days on 2,048 "
                                   "nodes (arXiv 2407.21783, table 5); range assumed"};
  model.silent_found_s = assumed(600, 1800, 14400, "found by checks of losses and gradients and by replays");
  model.resync_s = assumed(5, 30, 120, "an isolated job rebuilds its communicators without the lost replica");
  model.job_wide_share = assumed(0.02, 0.05, 0.2, "network and storage failures that no replica survives");
  return model;
}

double nodes_of(double gpus, int gpus_per_node) { return std::ceil(gpus / gpus_per_node - 1e-9); }

double FailureDraw::mtbf_s(double nodes) const { return kDay_s / (node_failures_per_day * nodes); }

double FailureDraw::restart_of_job_s(double nodes) const { return restart_s + restart_s_per_1000_nodes * nodes / 1000; }

double FailureDraw::checkpoint_of_job_s(double nodes) const {
  return checkpoint_s + checkpoint_s_per_1000_nodes * nodes / 1000;
}

double FailureDraw::stop_mtbf_s(double nodes, double excess) const {
  const double failures = node_failures_per_day * (1 + excess) * (isolated ? job_wide_share : 1);
  return kDay_s / std::max((failures + silent_per_node_day) * nodes, 1e-12);
}

double FailureDraw::best_interval_s(double nodes, double excess) const {
  const double best =
      best_checkpoint_interval(stop_mtbf_s(nodes, excess), checkpoint_of_job_s(nodes), restart_of_job_s(nodes));
  return std::min(best, kDay_s);  // nobody trusts a job for longer, however seldom it stops
}

double FailureDraw::goodput(double nodes, double excess) const {
  const double restart = restart_of_job_s(nodes);
  double share =
      daly_goodput(stop_mtbf_s(nodes, excess), checkpoint_of_job_s(nodes), restart, best_interval_s(nodes, excess)) *
      std::exp(-silent_per_node_day * nodes / kDay_s * silent_found_s);
  if (!isolated) return share;
  const double survived_per_s = node_failures_per_day * (1 + excess) * (1 - job_wide_share) * nodes / kDay_s;
  share *= std::exp(-survived_per_s * resync_s);
  return share * (1 - std::min(1.0, survived_per_s * restart * replica_nodes / nodes));
}

std::vector<FailureDraw> failure_draws(const FailureModel& model, int draws, uint64_t seed) {
  std::vector<FailureDraw> result(size_t(std::max(draws, 0)), median_failures(model));
  const auto draw = [&](const Quantity& quantity, const char* stream, double FailureDraw::*field) {
    const std::vector<double> values = quantity_draws(quantity, seed, stream, draws);
    for (size_t i = 0; i < result.size(); ++i) result[i].*field = std::max(values[i], 0.0);
  };
  draw(model.node_failures_per_day, "node failures per day", &FailureDraw::node_failures_per_day);
  draw(model.checkpoint_s, "checkpoint", &FailureDraw::checkpoint_s);
  draw(model.restart_s, "restart", &FailureDraw::restart_s);
  draw(model.restart_s_per_1000_nodes, "restart per 1000 nodes", &FailureDraw::restart_s_per_1000_nodes);
  draw(model.checkpoint_s_per_1000_nodes, "checkpoint per 1000 nodes", &FailureDraw::checkpoint_s_per_1000_nodes);
  draw(model.silent_per_node_day, "silent corruptions per day", &FailureDraw::silent_per_node_day);
  draw(model.silent_found_s, "silent corruption found", &FailureDraw::silent_found_s);
  draw(model.resync_s, "resync", &FailureDraw::resync_s);
  draw(model.job_wide_share, "job-wide failures", &FailureDraw::job_wide_share);
  for (FailureDraw& one : result) one.job_wide_share = std::min(one.job_wide_share, 1.0);
  return result;
}

FailureDraw median_failures(const FailureModel& model) {
  return {.node_failures_per_day = model.node_failures_per_day.value.p50,
          .checkpoint_s = model.checkpoint_s.value.p50,
          .restart_s = model.restart_s.value.p50,
          .restart_s_per_1000_nodes = model.restart_s_per_1000_nodes.value.p50,
          .checkpoint_s_per_1000_nodes = model.checkpoint_s_per_1000_nodes.value.p50,
          .silent_per_node_day = model.silent_per_node_day.value.p50,
          .silent_found_s = model.silent_found_s.value.p50,
          .isolated = model.isolated,
          .resync_s = model.resync_s.value.p50,
          .job_wide_share = model.job_wide_share.value.p50};
}

GoodputEstimate job_goodput(const FailureModel& model, int64_t gpus, int gpus_per_node, int draws, uint64_t seed,
                            double replica_nodes) {
  if (gpus < 1) throw InputError("a job needs at least 1 GPU, not " + std::to_string(gpus));
  if (gpus_per_node < 1) throw InputError("a node has at least 1 GPU, not " + std::to_string(gpus_per_node));
  if (draws < 1) throw InputError("at least 1 draw is needed, not " + std::to_string(draws));
  const double nodes = nodes_of(double(gpus), gpus_per_node);
  std::vector<double> goodput, mtbf, interval;
  for (FailureDraw draw : failure_draws(model, draws, seed)) {
    draw.replica_nodes = replica_nodes;
    mtbf.push_back(draw.mtbf_s(nodes));
    interval.push_back(draw.best_interval_s(nodes));
    goodput.push_back(draw.goodput(nodes));
  }
  return {.goodput = percentiles(goodput), .mtbf_s = percentiles(mtbf), .checkpoint_interval_s = percentiles(interval)};
}

}  // namespace farscale
