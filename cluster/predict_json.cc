// Predictions as one JSON document.
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "cluster/machine.h"
#include "cluster/predict_output.h"

namespace farscale {
namespace {

using nlohmann::json;

json to_json(const Estimate& estimate) { return {{"p05", estimate.p05}, {"p50", estimate.p50}, {"p95", estimate.p95}}; }

json to_json(const std::vector<EvidenceLine>& lines) {
  json all = json::array();
  for (const EvidenceLine& line : lines) {
    all.push_back({{"what", line.what}, {"evidence", std::string(name(line.evidence))}, {"source", line.source}});
  }
  return all;
}

json to_json(const Breakdown& b) {
  return {{"compute", b.compute}, {"memory", b.memory},       {"exposed_comm", b.exposed_comm},
          {"bubble", b.bubble},   {"straggler", b.straggler}, {"input", b.input}};
}

json to_json(const PredictRow& row) {
  const Prediction& p = row.prediction;
  return {{"gpus", p.gpus},
          {"layout", p.layout.str()},
          {"step_time_s", to_json(p.step_time_s)},
          {"samples_per_s", to_json(p.samples_per_s)},
          {"mfu", to_json(p.mfu)},
          {"scaling_efficiency", to_json(p.scaling_efficiency)},
          {"exposed_comm_share", to_json(p.exposed_comm_share)},
          {"breakdown_s", to_json(p.breakdown_s)},
          {"goodput", to_json(row.goodput)},
          {"extrapolated_from_gpus", p.extrapolated_from_gpus},
          {"binding", p.binding},
          {"largest_uncertainty", {{"input", p.largest_uncertainty}, {"share", p.largest_uncertainty_share}}},
          {"memory_bytes", p.memory_bytes},
          {"bucket_bytes", p.bucket_bytes},
          {"evidence", to_json(p.evidence)},
          {"warnings", p.warnings}};
}

// Layouts that could run by speed; of those that cannot, as many again.
json not_taken(const std::vector<Candidate>& candidates) {
  constexpr size_t kShown = 20;
  json slower = json::array(), impossible = json::array();
  for (const Candidate& one : candidates) {
    if (one.why_not.empty()) continue;
    json& list = one.samples_per_s > 0 ? slower : impossible;
    if (list.size() >= kShown) continue;
    list.push_back({{"layout", one.choice.str()},
                    {"step_time_s", one.step_time_s},
                    {"samples_per_s", one.samples_per_s},
                    {"memory_bytes", one.memory_bytes},
                    {"why_not", one.why_not}});
  }
  return {{"weighed", candidates.size()}, {"slower", slower}, {"impossible", impossible}};
}

json explanation(Predictor& predictor, int64_t gpus) {
  json collectives = json::array(), sensitivities = json::array();
  for (const CollectiveNote& note : predictor.communication_notes(gpus)) {
    collectives.push_back({{"what", note.what},
                           {"algorithm", note.algorithm},
                           {"time_s", note.time_s},
                           {"inside_its_formula", note.holds}});
  }
  for (const Sensitivity& one : predictor.sensitivities(gpus)) {
    sensitivities.push_back({{"input", one.what}, {"low_share", one.low_share}, {"high_share", one.high_share}});
  }
  return {{"collectives", collectives},
          {"sensitivities", sensitivities},
          {"layouts", not_taken(predictor.candidates(gpus))}};
}

}  // namespace

void print_json(Predictor& predictor, const PredictAnswer& answer) {
  json document = {{"workload", answer.workload.name()},
                   {"machine", answer.machine.name()},
                   {"kind", answer.machine.data().kind},
                   {"predictions", json::array()}};
  for (const PredictRow& row : answer.rows) {
    json& one = document["predictions"].emplace_back(to_json(row));
    if (answer.explain) one["explanation"] = explanation(predictor, row.prediction.gpus);
  }
  fmt::print("{}\n", document.dump(1));
}

}  // namespace farscale
