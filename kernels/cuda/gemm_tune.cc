// Two rounds: a short look at every candidate, a longer one at the fastest few.
#include "kernels/cuda/gemm_tune.h"

#include <algorithm>
#include <chrono>

#include "kernels/cuda/call.h"

namespace farscale::cuda {
namespace {

constexpr double kShortLook_s = 1e-3;
constexpr double kLongLook_s = 6e-3;
constexpr double kBudget_s = 0.15;      // for the short looks: after that only kLeastCandidates are looked at
constexpr size_t kLeastCandidates = 8;  // cuBLASLt's best guesses
constexpr double kShort_s = 20e-6;      // below this, enqueuing may take as long as the product itself
constexpr int64_t kGraphRuns = 20;
constexpr size_t kFinalists = 4;
constexpr int kRounds = 3;  // of the finalists, in turn, so that a drifting clock meets all of them

double now_s() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

class Timer {
 public:
  explicit Timer(const TuneTask& task) : task_(task) {}

  // Seconds per product over `runs` products; sets the host's cost of enqueuing one. Throws when a call fails.
  double time_s(const Candidate& candidate, int64_t runs, double& host_cost_s) {
    FARSCALE_CALL(cudaEventRecord(start_.get(), task_.stream));
    const double start = now_s();
    enqueue(candidate, runs);
    host_cost_s = (now_s() - start) / static_cast<double>(runs);
    return stop_s() / static_cast<double>(runs);
  }

  // The same without the host in between: the products are recorded and launched as one graph.
  double graph_time_s(const Candidate& candidate) {
    const Graph graph = Graph::record(task_.stream, [&] { enqueue(candidate, kGraphRuns); });
    graph.launch(task_.stream);  // its first launch loads it
    FARSCALE_CALL(cudaEventRecord(start_.get(), task_.stream));
    graph.launch(task_.stream);
    return stop_s() / static_cast<double>(kGraphRuns);
  }

 private:
  void enqueue(const Candidate& candidate, int64_t runs) {
    for (int64_t i = 0; i < runs; ++i) {
      task_.plan->multiply(candidate.heuristic.algo, task_.next(), task_.workspace, task_.stream);
    }
  }
  double stop_s() {
    FARSCALE_CALL(cudaEventRecord(stop_.get(), task_.stream));
    FARSCALE_CALL(cudaStreamSynchronize(task_.stream));
    float milliseconds = 0;
    FARSCALE_CALL(cudaEventElapsedTime(&milliseconds, start_.get(), stop_.get()));
    return static_cast<double>(milliseconds) * 1e-3;
  }

  const TuneTask& task_;
  CudaEvent start_{CudaEvent::Timing::kOn};
  CudaEvent stop_{CudaEvent::Timing::kOn};
};

int64_t runs_for(double look_s, double time_s) {
  return static_cast<int64_t>(std::clamp(look_s / std::max(time_s, 1e-7), 1.0, 1000.0));
}

// Short products, where the host's pace would make all candidates look alike. A candidate that cannot be recorded keeps
// the time it has.
void look_without_host(Timer& timer, Candidate& candidate) {
  try {
    candidate.time_s = timer.graph_time_s(candidate);
    candidate.graph = true;
  } catch (const CallError& error) {
    candidate.graph = false;
    candidate.graph_failure = error.what();
  }
}

// A first product for the loading of its code and the clocks, one to learn the length, then the look itself. Returns
// when the first was done: the first shapes of a run load for all.
double look(Timer& timer, Candidate& candidate) {
  double loaded = now_s();
  try {
    (void)timer.time_s(candidate, 1, candidate.host_cost_s);
    loaded = now_s();
    candidate.time_s = timer.time_s(candidate, 1, candidate.host_cost_s);
    if (candidate.time_s >= kShortLook_s) return loaded;
    candidate.time_s = timer.time_s(candidate, runs_for(kShortLook_s, candidate.time_s), candidate.host_cost_s);
    if (candidate.time_s < kShort_s) look_without_host(timer, candidate);
  } catch (const CallError& error) {
    candidate.failure = error.what();
  }
  return loaded;
}

bool faster(const Candidate& a, const Candidate& b) {
  if (a.failure.empty() != b.failure.empty()) return a.failure.empty();
  return a.failure.empty() && a.time_s < b.time_s;
}

// A finalist's times: the lowest of the rounds, because a disturbance only ever adds.
struct Final {
  double time_s = 1e9;
  double host_cost_s = 1e9;
};

void look_longer(Timer& timer, Candidate& candidate, Final& best) {
  try {
    candidate.time_s = timer.time_s(candidate, runs_for(kLongLook_s, candidate.time_s), candidate.host_cost_s);
    if (candidate.graph) look_without_host(timer, candidate);
    best = {.time_s = std::min(best.time_s, candidate.time_s),
            .host_cost_s = std::min(best.host_cost_s, candidate.host_cost_s)};
  } catch (const CallError& error) {
    candidate.failure = error.what();
  }
}

// Short looks at candidates in cuBLASLt's order, as many as the budget lasts for.
std::vector<Candidate> looked_at(Timer& timer, const std::vector<cublasLtMatmulHeuristicResult_t>& found) {
  std::vector<Candidate> candidates;
  double looking_s = 0;
  for (const auto& heuristic : found) {
    if (candidates.size() >= kLeastCandidates && looking_s > kBudget_s) break;
    candidates.push_back({.heuristic = heuristic, .place = static_cast<int>(candidates.size()), .failure = ""});
    const double loaded = look(timer, candidates.back());
    looking_s += now_s() - loaded;
  }
  std::stable_sort(candidates.begin(), candidates.end(), faster);
  return candidates;
}

}  // namespace

std::vector<Candidate> time_candidates(const TuneTask& task,
                                       const std::vector<cublasLtMatmulHeuristicResult_t>& found) {
  Timer timer(task);
  std::vector<Candidate> candidates = looked_at(timer, found);
  const size_t finalists = std::min(kFinalists, candidates.size());
  std::vector<Final> best(finalists);
  for (int round = 0; round < kRounds; ++round) {
    for (size_t i = 0; i < finalists; ++i) {
      if (candidates[i].failure.empty()) look_longer(timer, candidates[i], best[i]);
    }
  }
  for (size_t i = 0; i < finalists; ++i) {  // the short look only chose them
    if (!candidates[i].failure.empty()) continue;
    candidates[i].time_s = best[i].time_s;
    candidates[i].host_cost_s = best[i].host_cost_s;
  }
  std::stable_sort(candidates.begin(), candidates.begin() + static_cast<std::ptrdiff_t>(finalists), faster);
  return candidates;
}

}  // namespace farscale::cuda
