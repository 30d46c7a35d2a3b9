// The life of a case: prepare, verify, sample, count.
#include "bench/measure.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "kernels/format.h"
#include "results/statistics.h"

namespace farscale {
namespace {

// Rates from the median: what the family is judged by.
void count_rates(const Case& item, Record& record) {
  const double time_s = median(record.samples_s);
  if (const auto* gemm = std::get_if<GemmProblem>(&*item.problem)) {
    set_counter(record, "flops_per_s", gemm->flops() / time_s);
  } else if (const auto* memory = std::get_if<MemoryProblem>(&*item.problem)) {
    set_counter(record, "bytes_per_s", memory->bytes() / time_s);
  } else if (const auto* collective = std::get_if<CollectiveProblem>(&*item.problem)) {
    set_counter(record, "bytes_per_s", double(collective->bytes) / time_s);
    set_counter(record, "bus_bytes_per_s", bus_bandwidth(*collective, time_s));
  } else if (const auto* convolution = std::get_if<ConvolutionProblem>(&*item.problem)) {
    set_counter(record, "flops_per_s", convolution->flops() / time_s);
  }
}

void keep_telemetry(const Lab& lab, Record& record) {
  for (const auto& [key, value] : lab.backend.telemetry()) {
    if (std::isfinite(value)) record.telemetry[key] = value;
  }
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

// Creates a communicator, and with `first_call` times its first all-reduce of 1 MiB instead.
double time_communicator(const Lab& lab, bool first_call) {
  const CollectiveProblem problem{.kind = CollectiveKind::kAllReduce,
                                  .bytes = 1 << 20,
                                  .type = NumberType::kFp32,
                                  .ranks = lab.world.size(),
                                  .in_place = false};
  lab.world.barrier();
  double start_s = lab.clock();
  const std::unique_ptr<World> world = lab.world.duplicate();
  if (!first_call) return lab.clock() - start_s;
  const OperationSettings settings{.data = InputData::kNormal, .seed = 1, .cold = false, .world = world.get()};
  auto operation = lab.backend.prepare(problem, settings);
  if (!operation) throw CallError(operation.reason());
  const auto queue = lab.backend.open_queue(QueueRole::kCompute);
  lab.world.barrier();
  start_s = lab.clock();
  (*operation)->run(*queue);
  queue->synchronize();
  return lab.clock() - start_s;
}

}  // namespace

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
  const OperationSettings settings{.data = item.data, .seed = 1, .cold = item.cold, .world = &lab.world};
  const std::unique_ptr<Operation> operation = prepare_together(lab, *item.problem, settings, record);
  if (!operation || !verify_together(lab, *operation, record)) return;
  const auto queue = lab.backend.open_queue(QueueRole::kCompute);
  const TimeRuns time = [&](int64_t runs) { return lab.backend.time_s(*operation, *queue, runs); };
  keep_samples(lab, take_samples(Agreement(lab.world), item.sampling, time, lab.clock), record);
  if (record.status != Status::kOk) return;
  count_rates(item, record);
  keep_telemetry(lab, record);
  record.details = operation->details();
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
      own_s.push_back(time_communicator(lab, *item.start == StartKind::kFirstAllReduce));
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
