// Preparing, checking and running a GEMM.
#include "kernels/cuda/gemm.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "kernels/cuda/call.h"
#include "kernels/cuda/launch.h"
#include "kernels/format.h"

namespace farscale::cuda {
namespace {

using Prepared = Maybe<std::unique_ptr<Operation>>;

constexpr int kMostCandidates = 64;

class GemmOperation final : public CudaOperation {
 public:
  GemmOperation(const GemmRequest& request, const GemmTypes& types);

  // The reason when cuBLASLt has no algorithm for the problem.
  std::string choose(TunedGemms& tuned);

  Verdict verify() override;
  Facts details() const override;

 protected:
  void enqueue(CudaQueue& queue) override {
    plan_.multiply(tuned_.algorithm, next(), workspace(queue.workspace(device_.workspace_bytes())), queue.stream());
  }

 private:
  GemmPointers at(int64_t set) const;
  GemmPointers next() { return at(next_++ % sets_); }
  static Workspace workspace(const DeviceMemory& memory) { return {.memory = memory.get(), .bytes = memory.bytes()}; }
  void fill_operands();
  Verdict check_product();
  Verdict compare(const GemmPointers& pointers) const;
  Facts facts_of_winner(const Candidate& winner, const std::vector<Candidate>& all) const;

  GemmProblem problem_;
  OperationSettings settings_;
  GemmTypes types_;
  const Device& device_;
  GemmBytes bytes_;
  int64_t sets_;
  DeviceMemory operands_;
  DeviceMemory scales_;
  GemmPlan plan_;
  TunedGemm tuned_;
  int64_t next_ = 0;
  std::optional<Verdict> fresh_;  // of the winner, until verify() is asked for it
};

GemmOperation::GemmOperation(const GemmRequest& request, const GemmTypes& types)
    : problem_(request.problem),
      settings_(request.settings),
      types_(types),
      device_(*request.device),
      bytes_(gemm_bytes(problem_, types)),
      sets_(rotation(bytes_.set(), settings_.cold, device_)),
      operands_(bytes_.set() * static_cast<size_t>(sets_)),
      scales_(sizeof(float)),
      plan_(request.blas, problem_, types_, reinterpret_cast<const float*>(scales_.get())) {
  const float one = 1;
  device_.to_device(scales_.get(), &one, sizeof one);
  fill_operands();
}

GemmPointers GemmOperation::at(int64_t set) const {
  std::byte* start = operands_.get() + static_cast<size_t>(set) * bytes_.set();
  return {.a = start, .b = start + aligned(bytes_.a), .c = start + aligned(bytes_.a) + aligned(bytes_.b)};
}

void GemmOperation::fill_operands() {
  for (int64_t set = 0; set < sets_; ++set) {
    const uint64_t seed = settings_.seed + 2 * static_cast<uint64_t>(set);
    const FillTask a{.type = types_.a_type,
                     .data = settings_.data,
                     .seed = seed,
                     .to = at(set).a,
                     .count = problem_.m * problem_.k * problem_.batch};
    const FillTask b{.type = types_.b_type,
                     .data = settings_.data,
                     .seed = seed + 1,
                     .to = at(set).b,
                     .count = problem_.k * problem_.n * problem_.batch};
    FARSCALE_CALL(launch_fill(a, device_.work()));
    FARSCALE_CALL(launch_fill(b, device_.work()));
  }
  FARSCALE_CALL(cudaStreamSynchronize(device_.work()));
}

std::string GemmOperation::choose(TunedGemms& tuned) {
  if (const auto known = tuned.find(problem_.name()); known != tuned.end()) {
    tuned_ = known->second;
    fresh_ = check_product();
    return "";
  }
  const auto found = plan_.candidates(kMostCandidates, device_.workspace_bytes());
  if (found.empty()) return "cuBLASLt has no algorithm for it on this GPU";
  const TuneTask task{
      .plan = &plan_, .workspace = workspace(device_.workspace()), .stream = device_.work(), .next = [this] {
        return next();
      }};
  std::vector<Candidate> candidates = time_candidates(task, found);
  const Candidate* first = nullptr;
  for (Candidate& candidate : candidates) {
    if (!candidate.failure.empty()) continue;
    if (first == nullptr) first = &candidate;
    tuned_.algorithm = candidate.heuristic.algo;
    fresh_ = check_product();
    if (!fresh_->correct) {
      candidate.failure = "wrong: " + fresh_->detail;
      continue;
    }
    tuned_.facts = facts_of_winner(candidate, candidates);
    tuned[problem_.name()] = tuned_;
    return "";
  }
  if (first == nullptr)
    throw CallError(
        fmt::format("{}: every candidate failed, the first with {}", problem_.name(), candidates.front().failure));
  tuned_.algorithm = first->heuristic.algo;  // all are wrong: the verdict says so, and nothing is remembered
  tuned_.facts = facts_of_winner(*first, candidates);
  return "";
}

Facts GemmOperation::facts_of_winner(const Candidate& winner, const std::vector<Candidate>& all) const {
  const AlgorithmFacts algorithm = facts_of(plan_.blas(), winner.heuristic.algo);
  const auto failed = std::count_if(all.begin(), all.end(), [](const Candidate& c) { return !c.failure.empty(); });
  const auto first = std::find_if(all.begin(), all.end(), [](const Candidate& c) { return c.place == 0; });
  Facts facts{{"algorithm", fmt::format("{}", algorithm.id)},
              {"tile", tile_name(algorithm.tile)},
              {"split_k", fmt::format("{}", algorithm.split_k)},
              {"stages", fmt::format("{}", algorithm.stages)},
              {"cluster", fmt::format("{}", algorithm.cluster)},
              {"workspace_used", format_bytes(static_cast<double>(winner.heuristic.workspaceSize))},
              {"heuristic_place", fmt::format("{} of {}", winner.place + 1, all.size())},
              {"candidates_failed", fmt::format("{}", failed)},
              {"host_cost", format_seconds(winner.host_cost_s)},
              {"timed_as", winner.graph ? "graph" : "eager"},
              {"launch_bound", winner.host_cost_s > 0.9 * winner.time_s ? "yes" : "no"}};
  if (first->failure.empty()) facts["gain_over_heuristic"] = fmt::format("{:.3f}", first->time_s / winner.time_s);
  for (const Candidate& candidate : all) {
    if (!candidate.failure.empty()) facts.try_emplace("first_failure", candidate.failure);
  }
  return facts;
}

Verdict GemmOperation::verify() {
  if (fresh_) return *std::exchange(fresh_, std::nullopt);  // the winner ran and was compared a moment ago
  return check_product();
}

Verdict GemmOperation::check_product() {
  const GemmPointers pointers = at(0);
  device_.poison(pointers.c, bytes_.c);
  plan_.multiply(tuned_.algorithm, pointers, workspace(device_.workspace()), device_.work());
  FARSCALE_CALL(cudaStreamSynchronize(device_.work()));
  return compare(pointers);
}

// kernels/reference.h reads both operands with one decoder: mixed types are widened to fp32, which holds them exactly.
std::vector<std::byte> widened(const std::vector<std::byte>& narrow, NumberType type) {
  const auto count = static_cast<int64_t>(static_cast<double>(narrow.size()) / bytes_per_element(type));
  std::vector<double> exact(static_cast<size_t>(count));
  decoder(type)(narrow.data(), 0, count, exact.data());
  std::vector<std::byte> wide(static_cast<size_t>(count) * sizeof(float));
  encode(NumberType::kFp32, exact.data(), count, wide.data(), 0);
  return wide;
}

Verdict GemmOperation::compare(const GemmPointers& pointers) const {
  std::vector<std::byte> a = device_.to_host(pointers.a, bytes_.a);
  std::vector<std::byte> b = device_.to_host(pointers.b, bytes_.b);
  const std::vector<std::byte> c = device_.to_host(pointers.c, bytes_.c);
  NumberType inputs = types_.a_type;
  if (types_.a_type != types_.b_type) {
    a = widened(a, types_.a_type);
    b = widened(b, types_.b_type);
    inputs = NumberType::kFp32;
  }
  const GemmOperands operands{.a = a.data(),
                              .b = b.data(),
                              .c = c.data(),
                              .decode_inputs = decoder(inputs),
                              .decode_output = decoder(types_.c_type)};
  return check_gemm(problem_, operands, gemm_rounding(problem_.type, problem_.k), settings_.seed);
}

Facts GemmOperation::details() const {
  Facts facts = tuned_.facts;
  facts["library"] = plan_.blas().version();
  facts["workspace"] = format_bytes(static_cast<double>(device_.workspace_bytes()));
  facts["buffers_rotated"] = fmt::format("{}", sets_);
  facts["types"] = fmt::format("A {}, B {}, C {}", name(types_.a_type), name(types_.b_type), name(types_.c_type));
  if (types_.fp8) facts["scaling"] = "one fp32 scale a tensor, all 1; fast accumulation off";
  return facts;
}

}  // namespace

Prepared prepare_gemm(const GemmRequest& request) {
  const auto types = gemm_types(request.problem, request.device->capability());
  if (!types) return Prepared::absent(types.reason());
  const GemmBytes bytes = gemm_bytes(request.problem, *types);
  const size_t needed = bytes.set() + request.device->workspace_bytes();
  const size_t free = request.device->free_bytes();
  if (needed > free) {
    return Prepared::absent(fmt::format("does not fit: {} of device memory needed, {} free",
                                        format_bytes(static_cast<double>(needed)),
                                        format_bytes(static_cast<double>(free))));
  }
  auto operation = std::make_unique<GemmOperation>(request, *types);
  const std::string reason = operation->choose(*request.tuned);
  if (!reason.empty()) return Prepared::absent(reason);
  return std::unique_ptr<Operation>(std::move(operation));
}

}  // namespace farscale::cuda
