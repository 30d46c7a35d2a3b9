// The life of a case: prepare, verify, sample, count.
#include "bench/measure.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <thread>

#include "bench/pace.h"
#include "kernels/format.h"
#include "results/statistics.h"

namespace farscale {
namespace {

// Rates from a time: what the family is judged by.
void count_rates(const Case& item, double time_s, const std::string& prefix, Record& record) {
  const auto count = [&](const char* rate, double value) { set_counter(record, prefix + rate, value); };
  if (const auto* gemm = std::get_if<GemmProblem>(&*item.problem)) {
    count("flops_per_s", gemm->flops() / time_s);
  } else if (const auto* memory = std::get_if<MemoryProblem>(&*item.problem)) {
    count("bytes_per_s", memory->bytes() / time_s);
  } else if (const auto* collective = std::get_if<CollectiveProblem>(&*item.problem)) {
    count("bytes_per_s", double(collective->bytes) / time_s);
    count("bus_bytes_per_s", bus_bandwidth(*collective, time_s));
  } else if (const auto* convolution = std::get_if<ConvolutionProblem>(&*item.problem)) {
    count("flops_per_s", convolution->flops() / time_s);
  }
}

// Of the samples as a whole: medians, and of each reason for throttling the share of samples it was seen in.
void keep_telemetry(const std::map<std::string, std::vector<double>>& series, Record& record) {
  for (const auto& [key, values] : series) {
    if (values.empty() || key == "throttle_reasons") continue;
    double sum = 0;
    for (const double value : values) sum += value;
    record.telemetry[key] = key.starts_with("throttle_") ? sum / double(values.size()) : median(values);
  }
  const auto reasons = series.find("throttle_reasons");
  if (reasons == series.end() || reasons->second.empty()) return;
  int64_t throttled = 0;
  for (size_t i = 0; i < reasons->second.size(); ++i) {
    throttled += std::any_of(series.begin(), series.end(), [&](const auto& s) {
      return s.first.starts_with("throttle_") && s.first != "throttle_reasons" && i < s.second.size() &&
             s.second[i] > 0;
    });
  }
  record.telemetry["throttled_share"] = double(throttled) / double(reasons->second.size());
  if (throttled > 0) record.details["throttled_samples"] = fmt::format("{} of {}", throttled, reasons->second.size());
}

// The sustained samples are the record's own, because they are what training gets; the burst stands beside them.
void keep_paced(const Case& item, const Lab& lab, const Paced& paced, Record& record) {
  keep_samples(lab, paced.burst, record);
  if (record.status != Status::kOk || !paced.has_sustained) return keep_telemetry(paced.burst_telemetry, record);
  if (!paced.wrong.empty()) {
    record.samples_s.clear();
    record.rank_medians_s.clear();
    record.status = Status::kWrong;
    record.reason = paced.wrong;
    record.verdict.correct = false;
    record.verdict.detail = paced.wrong;
    return;
  }
  const double burst_s = median(paced.burst.slowest_s);
  record.series_s["burst_rank_medians"] = record.rank_medians_s;
  keep_samples(lab, paced.sustained, record);
  if (record.status != Status::kOk) return;
  record.settings["pace"] = "sustained";
  record.details["cool_s"] = fmt::format("{:g}", item.sampling.cool_s);
  record.details["heated_s"] = fmt::format("{:.3g}", paced.heated_s);
  record.details["pace"] = paced.pace;
  record.details["rechecks"] = fmt::format("{}", paced.rechecks);
  record.series_s["burst"] = paced.burst.slowest_s;
  for (const auto& [key, values] : paced.telemetry) record.series_s[key] = values;
  for (const auto& [key, values] : paced.burst_telemetry) record.series_s["burst_" + key] = values;
  keep_telemetry(paced.telemetry, record);
  count_rates(item, burst_s, "burst_", record);
  set_counter(record, "sustained_over_burst", burst_s / median(record.samples_s));
}

// The median of single timings taken by hand: no pilot, because the first call is what is measured.
void keep_single_timings(const Lab& lab, const std::vector<double>& own_s, Record& record) {
  const Agreement agreement(lab.world);
  Samples samples;
  for (double time_s : own_s) {
    samples.own_s.push_back(time_s);
    samples.slowest_s.push_back(agreement.slowest(time_s));
  }
  samples.stop_reason = fmt::format("{} {}", own_s.size(), own_s.size() == 1 ? "start timed" : "starts timed");
  keep_samples(lab, samples, record);
}

// Creates a communicator over ranks of its own; with `first_bytes` above 0, times its first all-reduce instead. What a
// backend makes beside the world's (NCCL's) is told in the operation's details.
double time_communicator(const Lab& lab, int64_t first_bytes) {
  const CollectiveProblem problem{.bytes = first_bytes > 0 ? first_bytes : 1 << 20, .ranks = lab.world.size()};
  lab.world.barrier();
  double start_s = lab.clock();
  const std::unique_ptr<World> world = lab.world.duplicate();
  const double world_s = lab.clock() - start_s;
  auto operation = lab.backend.prepare(problem, {.cold = false, .world = world.get()});
  if (!operation && first_bytes == 0) return world_s;  // this backend has no collectives: the ranks alone
  if (!operation) throw CallError(operation.reason());
  const Facts details = (*operation)->details();
  const auto setup = details.find("communicator_setup_s");
  if (first_bytes == 0) return world_s + (setup == details.end() ? 0 : std::stod(setup->second));
  const auto queue = lab.backend.open_queue(QueueRole::kCompute);
  lab.world.barrier();
  start_s = lab.clock();
  (*operation)->run(*queue);
  queue->synchronize();
  return lab.clock() - start_s;
}

}  // namespace

void sleep_s(double seconds) { std::this_thread::sleep_for(std::chrono::duration<double>(seconds)); }

void skip(Record& record, std::string reason) {
  record.status = Status::kSkipped;
  record.reason = std::move(reason);
}

void fail(Record& record, std::string reason) {
  record.status = Status::kFailed;
  record.reason = std::move(reason);
}

void set_counter(Record& record, const std::string& name, double value) {
  if (std::isfinite(value)) {
    record.counters[name] = value;
  } else {
    record.details["dropped_" + name] = "not a finite number";
  }
}

std::unique_ptr<Operation> prepare_together(const Lab& lab, const Problem& problem, const OperationSettings& settings,
                                            Record& record) {
  const Agreement agreement(lab.world);
  std::unique_ptr<Operation> operation;
  std::string absent;
  std::string failed;
  try {
    auto prepared = lab.backend.prepare(problem, settings);
    if (prepared) operation = std::move(*prepared);
    if (!operation) absent = prepared.reason().empty() ? "the backend gave no reason" : prepared.reason();
  } catch (const std::exception& error) {
    failed = fmt::format("preparing {}: {}", name(problem), error.what());
  }
  const std::string any_failed = agreement.reason(failed);
  const std::string any_absent = agreement.reason(absent);
  if (!any_failed.empty()) fail(record, any_failed);
  if (any_failed.empty() && !any_absent.empty()) skip(record, any_absent);
  if (!any_failed.empty() || !any_absent.empty()) return nullptr;
  return operation;
}

bool verify_together(const Lab& lab, Operation& operation, Record& record) {
  const Agreement agreement(lab.world);
  Verdict verdict;
  std::string failed;
  try {
    verdict = operation.verify();
  } catch (const std::exception& error) {
    failed = fmt::format("verifying: {}", error.what());
  }
  const std::string any_failed = agreement.reason(failed);
  if (!any_failed.empty()) {
    fail(record, any_failed);
    return false;
  }
  const auto finite = [](double value) { return std::isfinite(value) ? value : 1e300; };
  const std::string wrong = agreement.reason(verdict.correct          ? ""
                                             : verdict.detail.empty() ? "differs from the reference"
                                                                      : verdict.detail);
  record.verdict = {.checked = true,
                    .correct = wrong.empty(),
                    .worst_error = agreement.slowest(finite(verdict.worst_error)),
                    .bound = finite(verdict.bound),
                    .detail = wrong.empty() ? verdict.detail : wrong};
  if (wrong.empty()) return true;
  record.status = Status::kWrong;
  record.reason = wrong;
  return false;
}

void keep_samples(const Lab& lab, const Samples& samples, Record& record) {
  if (!samples.failure.empty()) {
    fail(record, samples.failure);  // no timing of a case that failed half-way
    return;
  }
  record.samples_s = samples.slowest_s;
  record.runs_per_sample = samples.runs_per_sample;
  record.rank_medians_s = Agreement(lab.world).each(median(samples.own_s));
  record.reason = samples.stop_reason;
}

void measure_problem(const Case& item, Lab& lab, Record& record) {
  if (item.family == "collective" && lab.world.size() == 1) {
    skip(record, "one rank: nothing to communicate; start with mpirun -np 2 or more");
    return;
  }
  const OperationSettings settings{.data = item.data,
                                   .cold = item.cold,
                                   .world = &lab.world,
                                   .graph = item.graph,
                                   .registered = item.registered,
                                   .most_ctas = item.most_ctas};
  const std::unique_ptr<Operation> operation = prepare_together(lab, *item.problem, settings, record);
  if (!operation || !verify_together(lab, *operation, record)) return;
  const auto queue = lab.backend.open_queue(QueueRole::kCompute);
  const TimeRuns time = [&](int64_t runs) { return lab.backend.time_s(*operation, *queue, runs); };
  Sampling sampling = item.sampling;
  if (item.family == "collective")
    sampling.sustain_s = 0;  // links have no burst; what they draw is not the GPU's limit
  const PaceTask task{.sampling = sampling,
                      .time = time,
                      .clock = lab.clock,
                      .pause = lab.pause,
                      .telemetry = [&] { return lab.backend.telemetry(); },
                      .recheck = [&] { return operation->recheck(); }};
  keep_paced(item, lab, take_paced_samples(Agreement(lab.world), task), record);
  if (record.status != Status::kOk) {
    record.counters.clear();
    return;
  }
  for (const auto& [key, value] : operation->details()) record.details[key] = value;
  if (!record.details.contains("correctness_only")) count_rates(item, median(record.samples_s), "", record);
  if (const auto* gemm = std::get_if<GemmProblem>(&*item.problem)) {
    double& best = lab.best_gemm_flops_per_s[gemm->type];
    best = std::max(best, gemm->flops() / median(record.samples_s));
  }
}

void measure_start(const Case& item, Lab& lab, Record& record) {
  if (*item.start == StartKind::kWorld) return keep_single_timings(lab, {lab.world_start_s}, record);
  if (*item.start == StartKind::kBackend) return keep_single_timings(lab, {lab.backend_start_s}, record);
  if (lab.world.size() == 1) return skip(record, "one rank: no communicator to create");
  std::vector<double> own_s;
  for (int64_t i = 0; i < item.sampling.most_samples; ++i) {
    std::string failed;
    try {
      own_s.push_back(time_communicator(lab, item.start_bytes));
    } catch (const std::exception& error) {
      failed = error.what();
    }
    const std::string agreed = Agreement(lab.world).reason(failed);
    if (!agreed.empty()) return fail(record, agreed);
  }
  keep_single_timings(lab, own_s, record);
}

Record measure(const Case& item, Lab& lab) {
  Record record;
  record.name = item.name;
  record.family = item.family;
  record.problem = item.problem;
  record.settings = item.settings;
  if (item.start) {
    measure_start(item, lab, record);
  } else if (item.step) {
    measure_step(item, lab, record);
  } else {
    measure_problem(item, lab, record);
  }
  return record;
}

}  // namespace farscale
