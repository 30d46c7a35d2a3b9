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
  return {.node_failures_per_day = {.value = {2.34e-3, 3.79e-3, 6.5e-3},
                                    .evidence = Evidence::kPublished,
                                    .source =
                                        "low: Meta RSC-2, 2.34 failures per 1,000 node-days, high: RSC-1, 6.5 (Kokolis "
                                        "et al., arXiv 2410.21680); value: Llama 3, 419 unexpected interruptions in 54 "
                                        "days on 2,048 nodes (arXiv 2407.21783, table 5)"},
          .checkpoint_s = assumed(2, 10, 30,
                                  "training stands still while device memory is copied to hosts or storage; OPT "
                                  "and BLOOM wrote 1.6 to 2.3 TB in up to 40 s, vision networks write less"),
          .restart_s = assumed(180, 420, 900,
                               "detection (30 s with probes to 10 min by default timeouts, ByteRobust arXiv "
                               "2509.16293), node swap, start-up, loading, first steps"),
          .restart_s_per_1000_nodes =
              assumed(0, 10, 30, "rendezvous and communicator start-up grow with the number of nodes; measure it")};
}

double nodes_of(double gpus, int gpus_per_node) { return std::ceil(gpus / gpus_per_node - 1e-9); }

double FailureDraw::mtbf_s(double nodes) const { return kDay_s / (node_failures_per_day * nodes); }

double FailureDraw::restart_of_job_s(double nodes) const { return restart_s + restart_s_per_1000_nodes * nodes / 1000; }

double FailureDraw::goodput(double nodes) const {
  const double mtbf = mtbf_s(nodes);
  const double restart = restart_of_job_s(nodes);
  return daly_goodput(mtbf, checkpoint_s, restart, best_checkpoint_interval(mtbf, checkpoint_s, restart));
}

std::vector<FailureDraw> failure_draws(const FailureModel& model, int draws, uint64_t seed) {
  const auto rate = quantity_draws(model.node_failures_per_day, seed, "node failures per day", draws);
  const auto checkpoint = quantity_draws(model.checkpoint_s, seed, "checkpoint", draws);
  const auto restart = quantity_draws(model.restart_s, seed, "restart", draws);
  const auto growth = quantity_draws(model.restart_s_per_1000_nodes, seed, "restart per 1000 nodes", draws);
  std::vector<FailureDraw> result(rate.size());
  for (size_t i = 0; i < result.size(); ++i)
    result[i] = {rate[i], std::max(checkpoint[i], 0.0), std::max(restart[i], 0.0), std::max(growth[i], 0.0)};
  return result;
}

FailureDraw median_failures(const FailureModel& model) {
  return {.node_failures_per_day = model.node_failures_per_day.value.p50,
          .checkpoint_s = model.checkpoint_s.value.p50,
          .restart_s = model.restart_s.value.p50,
          .restart_s_per_1000_nodes = model.restart_s_per_1000_nodes.value.p50};
}

GoodputEstimate job_goodput(const FailureModel& model, int64_t gpus, int gpus_per_node, int draws, uint64_t seed) {
  if (gpus < 1) throw InputError("a job needs at least 1 GPU, not " + std::to_string(gpus));
  if (gpus_per_node < 1) throw InputError("a node has at least 1 GPU, not " + std::to_string(gpus_per_node));
  if (draws < 1) throw InputError("at least 1 draw is needed, not " + std::to_string(draws));
  const double nodes = nodes_of(double(gpus), gpus_per_node);
  std::vector<double> goodput, mtbf, interval;
  for (const FailureDraw& draw : failure_draws(model, draws, seed)) {
    const double restart = draw.restart_of_job_s(nodes);
    mtbf.push_back(draw.mtbf_s(nodes));
    interval.push_back(best_checkpoint_interval(mtbf.back(), draw.checkpoint_s, restart));
    goodput.push_back(daly_goodput(mtbf.back(), draw.checkpoint_s, restart, interval.back()));
  }
  return {.goodput = percentiles(goodput), .mtbf_s = percentiles(mtbf), .checkpoint_interval_s = percentiles(interval)};
}

}  // namespace farscale
