// Checking a step's kernels against their references before it is timed, largest share of the step first.
#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "bench/step_run.h"
#include "kernels/format.h"

namespace farscale {
namespace {

// The work a problem stands for, to check the largest first: FLOPs and bytes weighed as ten to one.
double work_of(const Problem& problem) {
  if (const auto* gemm = std::get_if<GemmProblem>(&problem)) return gemm->flops();
  if (const auto* memory = std::get_if<MemoryProblem>(&problem)) return 10 * memory->bytes();
  if (const auto* convolution = std::get_if<ConvolutionProblem>(&problem)) return convolution->flops();
  return 10 * double(std::get<CollectiveProblem>(problem).bytes);
}

}  // namespace

std::vector<double> StepRun::work_per_problem() const {
  std::vector<double> work(plan_.problems.size(), 0);
  const auto add = [&](size_t problem, int64_t count) {
    work[problem] += work_of(plan_.problems[problem]) * double(count);
  };
  for (const Launch& launch : plan_.launches) add(launch.problem, launch.count);
  for (const Message& message : plan_.buckets) add(message.problem, message.count);
  for (const Message& message : plan_.blocking) add(message.problem, message.count);
  for (const Gather& gather : plan_.gathers) add(gather.problem, 1);
  return work;
}

bool StepRun::verify_one(size_t problem, Record& record, RecordVerdict& worst) {
  const bool correct = verify_together(lab_, *operations_[problem], record);
  if (!correct) {
    record.reason = fmt::format("{}: {}", name(plan_.problems[problem]), record.reason);
    return false;
  }
  const auto share = [](const RecordVerdict& v) { return v.bound > 0 ? v.worst_error / v.bound : v.worst_error; };
  if (!worst.checked || share(record.verdict) > share(worst)) worst = record.verdict;
  return true;
}

bool StepRun::verify(double budget_s, Record& record) {
  const std::vector<double> work = work_per_problem();
  std::vector<size_t> order(work.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return work[a] > work[b]; });
  const double all = std::accumulate(work.begin(), work.end(), 0.0);
  const double start_s = lab_.clock();
  if (input_copy_ && !verify_together(lab_, *input_copy_, record)) return false;
  RecordVerdict worst;
  double checked_work = 0;
  size_t checked = 0;
  for (size_t problem : order) {
    if (agreement_.decide(checked > 0 && lab_.clock() - start_s > budget_s)) break;
    if (!verify_one(problem, record, worst)) return false;
    checked_work += work[problem];
    ++checked;
  }
  record.verdict = worst;
  record.verdict.detail = fmt::format("{} of {} kernels of the step checked, {} of its work; worst: {}", checked,
                                      order.size(), format_percent(all > 0 ? checked_work / all : 1), worst.detail);
  return true;
}

}  // namespace farscale
