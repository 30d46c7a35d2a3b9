// `workload show --json`.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "cluster/workload_show.h"

namespace farscale {
namespace {

using nlohmann::json;

json range(const Estimate& estimate) { return {{"p05", estimate.p05}, {"p50", estimate.p50}, {"p95", estimate.p95}}; }

json gemms_json(const Shown& shown) {
  json rows = json::array();
  for (const GemmRow& row : shown.gemms) {
    rows.push_back({{"pass", std::string(name(row.pass))},
                    {"class", std::string(name(row.kind))},
                    {"batch", row.gemm.batch},
                    {"m", row.gemm.m},
                    {"n", row.gemm.n},
                    {"k", row.gemm.k},
                    {"type", std::string(name(row.gemm.type))},
                    {"layout", row.gemm.layout()},
                    {"count", row.count},
                    {"flops", row.flops},
                    {"bytes", row.bytes}});
  }
  return rows;
}

json classes_json(const Shown& shown) {
  json rows = json::array();
  for (const ClassTotal& total : shown.classes) {
    json row = {{"class", std::string(name(total.kind))},
                {"launches", total.launches},
                {"flops", total.flops},
                {"bytes", total.bytes}};
    if (!shown.time_shares.empty()) row["time_share"] = range(shown.time_shares.at(total.kind));
    rows.push_back(row);
  }
  return rows;
}

json collectives_json(const Shown& shown) {
  json rows = json::array();
  for (const CollectiveTotal& total : shown.collectives) {
    rows.push_back({{"kind", std::string(name(total.kind))},
                    {"group", total.group},
                    {"ranks", total.ranks},
                    {"pass", std::string(name(total.pass))},
                    {"reason", total.reason},
                    {"blocking", total.blocking},
                    {"count", total.count},
                    {"bytes", total.bytes},
                    {"times_per_step", total.times_per_step}});
  }
  return rows;
}

json evidence_json(const Shown& shown) {
  json rows = json::array();
  for (const EvidenceLine& line : shown.evidence) {
    rows.push_back({{"what", line.what}, {"evidence", std::string(name(line.evidence))}, {"source", line.source}});
  }
  return rows;
}

}  // namespace

void print_json(const Shown& shown, const ShowArguments& arguments) {
  const Workload& w = shown.workload;
  const LoweredStep& step = shown.step;
  json document = {{"name", w.name()},
                   {"provenance", w.provenance()},
                   {"sources", w.sources()},
                   {"sample_unit", w.sample_unit()},
                   {"frames_per_sample", w.frames_per_sample()},
                   {"parameters", w.parameters()},
                   {"trainable_parameters", w.trainable_parameters()},
                   {"forward_flops_per_sample", w.forward_flops_per_sample()},
                   {"training_flops_per_sample", w.training_flops_per_sample()},
                   {"gradient_bytes", w.gradient_bytes()},
                   {"layout", shown.options.layout.str()},
                   {"fusion", arguments.fusion},
                   {"bucket_rule", arguments.bucket_rule},
                   {"micro_batch", step.micro_batch},
                   {"micro_batches_per_step", shown.options.layout.accumulation},
                   {"training_flops", step.training_flops},
                   {"executed_flops", step.executed_flops},
                   {"memory_bytes", step.memory_bytes},
                   {"activation_bytes", step.activation_bytes},
                   {"input_bytes", step.input_bytes},
                   {"decoded_bytes", step.decoded_bytes},
                   {"buckets_bytes", json::array()},
                   {"gemms", gemms_json(shown)},
                   {"classes", classes_json(shown)},
                   {"collectives", collectives_json(shown)},
                   {"memory_fit", json::array()},
                   {"warnings", step.warnings}};
  for (const Bucket& bucket : step.buckets) document["buckets_bytes"].push_back(bucket.bytes);
  for (const MemoryFit& fit : memory_fit(shown, arguments.hardware)) {
    document["memory_fit"].push_back(
        {{"hardware", fit.hardware}, {"memory_bytes", fit.capacity_bytes}, {"fits", fit.fits}});
  }
  if (!arguments.hardware.empty()) {
    document["hardware"] = arguments.hardware;
    document["compute_s"] = range(shown.compute_s);
    document["evidence"] = evidence_json(shown);
  }
  fmt::print("{}\n", document.dump(1));
}

}  // namespace farscale
