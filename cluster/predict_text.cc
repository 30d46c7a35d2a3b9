// Predictions as tables.
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <functional>

#include "cluster/machine.h"
#include "cluster/predict_output.h"
#include "kernels/format.h"

namespace farscale {
namespace {

std::string range(const Estimate& e, const std::function<std::string(double)>& format) {
  return fmt::format("{} ({} … {})", format(e.p50), format(e.p05), format(e.p95));
}

// Without a prefix below one: "m/s" would be read as metres.
std::string rate(double value) { return value < 1 ? fmt::format("{:.3g} /s", value) : format_si(value, "/s"); }

void print_table(const std::vector<PredictRow>& rows, const std::string& unit, const std::string& noun) {
  TextTable table({noun, "layout", "step time", unit + "s/s", "MFU", "scaling", "exposed comm", "goodput", "bound by"});
  for (const PredictRow& row : rows) {
    const Prediction& p = row.prediction;
    table.add({format_count(double(p.gpus)), Choice{p.layout, p.bucket_bytes}.str(),
               range(p.step_time_s, format_seconds), range(p.samples_per_s, rate), range(p.mfu, format_percent),
               range(p.scaling_efficiency, format_percent), range(p.exposed_comm_share, format_percent),
               range(row.goodput, format_percent), p.binding});
  }
  fmt::print("{}", table.str());
}

// The best layouts not taken, and the first reasons of those that cannot run.
void print_runners_up(const std::vector<Candidate>& candidates) {
  constexpr int kShown = 4;
  int slower = 0, impossible = 0;
  for (const Candidate& candidate : candidates) {
    if (candidate.why_not.empty()) continue;
    int& shown = candidate.samples_per_s > 0 ? slower : impossible;
    if (++shown <= kShown) fmt::print("  not {}: {}\n", candidate.choice.str(), candidate.why_not);
  }
  if (candidates.size() > 1) {
    fmt::print("  {} layouts weighed, {} of them cannot run\n", format_count(double(candidates.size())),
               format_count(impossible));
  }
}

void print_communication(Predictor& predictor, int64_t gpus) {
  const std::vector<CollectiveNote> notes = predictor.communication_notes(gpus);
  if (notes.empty()) return;
  const BucketTotals& buckets = predictor.buckets(gpus);
  if (buckets.count > 0) {
    fmt::print("  {} gradient buckets, {} in all, {} to {} each\n", buckets.count, format_bytes(buckets.bytes),
               format_bytes(buckets.least), format_bytes(buckets.most));
  }
  TextTable table({"communication, smallest and largest", "by", "each"});
  for (const CollectiveNote& note : notes) {
    table.add({note.what, note.holds ? note.algorithm : note.algorithm + " (outside its formula)",
               format_seconds(note.time_s)});
  }
  fmt::print("{}", table.str());
}

void print_sensitivities(Predictor& predictor, int64_t gpus) {
  TextTable moves({"input", "step time at its 5th", "at its 95th percentile"});
  const std::vector<Sensitivity> sensitivities = predictor.sensitivities(gpus);
  const auto signed_percent = [](double share) { return fmt::format("{:+.1f} %", 100 * share); };
  for (size_t i = 0; i < std::min<size_t>(6, sensitivities.size()); ++i) {
    moves.add({sensitivities[i].what, signed_percent(sensitivities[i].low_share),
               signed_percent(sensitivities[i].high_share)});
  }
  fmt::print("{}", moves.str());
}

void print_explanation(Predictor& predictor, const Prediction& p, const char* noun) {
  const Breakdown& b = p.breakdown_s;
  fmt::print("\n{} {}, {}: bound by {}, {} on each\n", format_count(double(p.gpus)), noun,
             Choice{p.layout, p.bucket_bytes}.str(), p.binding, format_si(p.memory_bytes, "B"));
  TextTable parts({"part of the median step", "time", "share"});
  const std::pair<const char*, double> named[] = {
      {"compute", b.compute},        {"memory passes", b.memory}, {"exposed communication", b.exposed_comm},
      {"pipeline bubble", b.bubble}, {"stragglers", b.straggler}, {"input", b.input}};
  for (const auto& [what, time_s] : named) {
    parts.add({what, format_seconds(time_s), format_percent(time_s / p.step_time_s.p50)});
  }
  fmt::print("{}", parts.str());
  print_communication(predictor, p.gpus);
  fmt::print("largest uncertainty: {}, {} of the step time between its 5th and 95th percentile\n",
             p.largest_uncertainty, format_percent(p.largest_uncertainty_share));
  print_sensitivities(predictor, p.gpus);
  print_runners_up(predictor.candidates(p.gpus));
}

void print_evidence(const std::vector<PredictRow>& rows) {
  fmt::print("\nwhere it is from (M measured, P published, D data sheet, A assumed)\n");
  for (const EvidenceLine& line : rows.back().prediction.evidence) {
    fmt::print("  {}  {}: {}\n", letter(line.evidence), line.what, line.source);
  }
  std::vector<std::string> said;
  for (const PredictRow& row : rows) {
    for (const std::string& warning : row.prediction.warnings) {
      if (std::find(said.begin(), said.end(), warning) != said.end()) continue;
      fmt::print("  note: {}\n", warning);
      said.push_back(warning);
    }
  }
}

}  // namespace

void print_text(Predictor& predictor, const PredictAnswer& answer) {
  const bool host = answer.machine.data().kind == "host";
  const char* noun = host ? "ranks" : "GPUs";
  fmt::print(
      "{} on {}: median (5th … 95th percentile)\nscaling: rate per {} over that of the fewest whole nodes that run the "
      "layout\n",
      answer.workload.name(), answer.machine.name(), host ? "rank" : "GPU");
  print_table(answer.rows, answer.workload.sample_unit(), noun);
  if (answer.explain) {
    for (const PredictRow& row : answer.rows) print_explanation(predictor, row.prediction, noun);
  } else {
    const Prediction& last = answer.rows.back().prediction;
    fmt::print("least sure on {} {}: {}, {} of the step time from its 5th to its 95th percentile\n",
               format_count(double(last.gpus)), noun, last.largest_uncertainty,
               format_percent(last.largest_uncertainty_share));
  }
  print_evidence(answer.rows);
}

}  // namespace farscale
