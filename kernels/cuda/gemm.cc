// Preparing, checking and running a GEMM.
#include "kernels/cuda/gemm.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "kernels/cuda/arena.h"
#include "kernels/cuda/call.h"
#include "kernels/cuda/gemm_check.h"
#include "kernels/cuda/gemm_extras.h"
#include "kernels/cuda/launch.h"
#include "kernels/format.h"

namespace farscale::cuda {
namespace {

using Prepared = Maybe<std::unique_ptr<Operation>>;
using Bytes = std::vector<std::byte>;

constexpr int kMostCandidates = 64;

class GemmOperation final : public CudaOperation {
 public:
  GemmOperation(const GemmRequest& request, const GemmTypes& types);

  // The reason when cuBLASLt has no algorithm for the problem.
  std::string choose(TunedGemms& tuned);

  Verdict verify() override;
  std::optional<Verdict> recheck() override;
  Facts details() const override;

 protected:
  void enqueue(CudaQueue& queue) override {
    multiply(next(), workspace(queue.workspace(device_.workspace_bytes())), queue.stream());
  }

 private:
  GemmPointers at(int64_t set) const;
  GemmPointers next() { return at(last_ = next_++ % sets_); }
  static Workspace workspace(const DeviceMemory& memory) { return {.memory = memory.get(), .bytes = memory.bytes()}; }
  void multiply(const GemmPointers& pointers, const Workspace& workspace, cudaStream_t stream) const {
    plan_.multiply(tuned_.algorithm, pointers, workspace, stream);
  }
  void multiply_here(int64_t set) const;
  void fill_operands();
  std::string first_that_is_right(std::vector<Candidate>& candidates, TunedGemms& tuned);
  Verdict check_product();
  Verdict compare(const GemmPointers& pointers) const;
  Verdict compare_on_host(const GemmPointers& pointers) const;
  Bytes expanded(const StoredMatrix& matrix, size_t bytes) const;
  void approve();
  std::vector<uint64_t> sums(int64_t set) const { return checksums_of(device_, at(set).c, bytes_.c); }
  Verdict strayed(size_t slab) const;
  std::string place(size_t offset, const std::byte* seen, const std::byte* again) const;
  Facts facts_of_winner(const Candidate& winner, const std::vector<Candidate>& all) const;

  GemmProblem problem_;
  OperationSettings settings_;
  GemmTypes types_;
  const Device& device_;
  GemmBytes bytes_;
  CudaArena::Place borrowed_;  // of an arena: then no operands of its own
  int64_t sets_;
  DeviceMemory operands_;
  ExtraMemory extras_;
  GemmPlan plan_;
  TunedGemm tuned_;
  size_t offered_ = 0;  // candidates cuBLASLt had
  int64_t next_ = 0;
  int64_t last_ = 0;
  std::optional<Verdict> fresh_;    // of the winner, until verify() is asked for it
  std::vector<uint64_t> approved_;  // checksums of the product verify() found right; empty: none to hold others against
};

CudaArena::Place borrowed_from(const Arena* arena, const GemmBytes& bytes) {
  const auto* ours = dynamic_cast<const CudaArena*>(arena);
  return ours == nullptr ? CudaArena::Place{} : ours->place(aligned(bytes.a) + aligned(bytes.b), aligned(bytes.c));
}

GemmOperation::GemmOperation(const GemmRequest& request, const GemmTypes& types)
    : problem_(request.problem),
      settings_(request.settings),
      types_(types),
      device_(*request.device),
      bytes_(gemm_bytes(problem_, types)),
      borrowed_(borrowed_from(settings_.arena, bytes_)),
      sets_(borrowed_.read != nullptr ? 1 : rotation(bytes_.set(), settings_.cold, device_)),
      operands_(borrowed_.read != nullptr ? 0 : bytes_.set() * static_cast<size_t>(sets_)),
      extras_(problem_, types, settings_, device_),
      plan_(request.blas, problem_, types_, extras_.get()) {
  if (borrowed_.read == nullptr) fill_operands();
}

GemmPointers GemmOperation::at(int64_t set) const {
  std::byte* const own = operands_.get() + static_cast<size_t>(set) * bytes_.set();
  std::byte* const a = borrowed_.read != nullptr ? borrowed_.read : own;
  return {.a = a,
          .b = a + aligned(bytes_.a),
          .c = borrowed_.read != nullptr ? borrowed_.written : a + aligned(bytes_.a) + aligned(bytes_.b)};
}

// Every set holds the same numbers: only the addresses must be cold, and all products must come out the same.
void GemmOperation::fill_operands() {
  const FillTask a{.type = types_.a_type,
                   .data = settings_.data,
                   .seed = settings_.seed,
                   .to = at(0).a,
                   .count = problem_.m * problem_.k * problem_.batch};
  const FillTask b{.type = types_.b_type,
                   .data = settings_.data,
                   .seed = settings_.seed + 1,
                   .to = at(0).b,
                   .count = problem_.k * problem_.n * problem_.batch};
  FARSCALE_CALL(launch_fill(a, device_.work()));
  FARSCALE_CALL(launch_fill(b, device_.work()));
  device_.repeat(operands_.get(), bytes_.set(), sets_);
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
  offered_ = found.size();
  return first_that_is_right(candidates, tuned);
}

// Fastest first.
std::string GemmOperation::first_that_is_right(std::vector<Candidate>& candidates, TunedGemms& tuned) {
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
              {"candidates_timed", fmt::format("{} of {}", all.size(), offered_)},
              {"candidates_failed", fmt::format("{}", failed)},
              {"host_cost", format_seconds(winner.host_cost_s)},
              {"timed_as", winner.graph ? "graph" : "eager"},
              {"launch_bound", winner.host_cost_s > 0.9 * winner.time_s ? "yes" : "no"}};
  if (first->failure.empty()) facts["gain_over_heuristic"] = fmt::format("{:.3f}", first->time_s / winner.time_s);
  for (const Candidate& candidate : all) {
    if (!candidate.failure.empty()) facts.try_emplace("first_failure", candidate.failure);
    if (!candidate.graph_failure.empty()) facts.try_emplace("graph_failure", candidate.graph_failure);
  }
  return facts;
}

// ---- Is it right? ----

Verdict GemmOperation::verify() {
  Verdict verdict = fresh_ ? *std::exchange(fresh_, std::nullopt) : check_product();
  approved_.clear();
  if (verdict.correct && borrowed_.read == nullptr) approve();
  return verdict;
}

void GemmOperation::multiply_here(int64_t set) const {
  multiply(at(set), workspace(device_.workspace()), device_.work());
}

Verdict GemmOperation::check_product() {
  device_.poison(at(0).c, bytes_.c);
  multiply_here(0);
  FARSCALE_CALL(cudaStreamSynchronize(device_.work()));
  return compare(at(0));
}

Verdict GemmOperation::compare(const GemmPointers& pointers) const {
  if (gemm_is_small(problem_)) return compare_on_host(pointers);
  DeviceSight sight(problem_, stored_product(problem_, types_, pointers, extras_.get()), device_);
  Verdict verdict = check_large_gemm(problem_, gemm_rounding(problem_), settings_.seed, extras_.bias(device_), sight);
  verdict.detail += ", on the device";
  return verdict;
}

// A matrix of a block format in fp32, which holds number times scale exactly.
Bytes GemmOperation::expanded(const StoredMatrix& matrix, size_t bytes) const {
  const Bytes narrow = device_.to_host(matrix.data, bytes);
  const ScaledShape shape{matrix.block, matrix.rows, matrix.columns};
  const Bytes scales = device_.to_host(matrix.scales, static_cast<size_t>(shape.bytes()));
  std::vector<double> values(static_cast<size_t>(matrix.rows * matrix.columns));
  decoder(matrix.type)(narrow.data(), 0, static_cast<int64_t>(values.size()), values.data());
  for (int64_t i = 0; i < matrix.rows * matrix.columns; ++i) {
    values[static_cast<size_t>(i)] *= factor_of(shape, scales.data(), i / matrix.columns, i % matrix.columns);
  }
  Bytes wide(values.size() * sizeof(float));
  encode(NumberType::kFp32, values.data(), static_cast<int64_t>(values.size()), wide.data(), 0);
  return wide;
}

Verdict GemmOperation::compare_on_host(const GemmPointers& pointers) const {
  const bool blocks = types_.block_scaled();
  const StoredProduct product = stored_product(problem_, types_, pointers, extras_.get());
  const Bytes a = blocks ? expanded(product.a, bytes_.a) : device_.to_host(pointers.a, bytes_.a);
  const Bytes b = blocks ? expanded(product.b, bytes_.b) : device_.to_host(pointers.b, bytes_.b);
  const Bytes c = device_.to_host(pointers.c, bytes_.c);
  const GemmOperands operands{.a = a.data(),
                              .b = b.data(),
                              .c = c.data(),
                              .decode_inputs = decoder(blocks ? NumberType::kFp32 : types_.a_type),
                              .decode_output = types_.int32 ? decode_int32 : decoder(types_.c_type),
                              .decode_b = decoder(blocks ? NumberType::kFp32 : types_.b_type),
                              .scale = types_.scale(),
                              .bias = extras_.bias(device_)};
  return check_gemm(problem_, operands, gemm_rounding(problem_), settings_.seed);
}

// ---- Is it still right? ----

// The checksums that later products must have; only where the algorithm gives the same bits every time and everywhere.
void GemmOperation::approve() {
  const std::vector<uint64_t> seen = sums(0);
  multiply_here(sets_ - 1);
  if (sums(sets_ - 1) == seen) approved_ = seen;
}

std::optional<Verdict> GemmOperation::recheck() {
  if (approved_.empty()) return std::nullopt;
  const std::vector<uint64_t> seen = sums(last_);
  const auto [was, is] = std::mismatch(approved_.begin(), approved_.end(), seen.begin());
  if (was != approved_.end()) return strayed(static_cast<size_t>(was - approved_.begin()));
  return Verdict{.correct = true, .worst_error = 0, .bound = 0, .detail = "the bytes of the verified product"};
}

// Multiplies again to find the place.
Verdict GemmOperation::strayed(size_t slab) const {
  const size_t first = slab * slab_bytes(bytes_.c);
  const size_t bytes = std::min(slab_bytes(bytes_.c), bytes_.c - first);
  const Bytes seen = device_.to_host(at(last_).c + first, bytes);
  multiply_here(last_);
  const Bytes again = device_.to_host(at(last_).c + first, bytes);
  const auto [here, there] = std::mismatch(seen.begin(), seen.end(), again.begin());
  const auto each = static_cast<size_t>(types_.c_bytes());
  const auto offset = static_cast<size_t>(here - seen.begin()) / each * each;
  const std::string where = here == seen.end()
                                ? fmt::format("bytes {} to {} of C, again and again", first, first + bytes - 1)
                                : place(first + offset, &seen[offset], &again[offset]);
  return {.correct = false,
          .worst_error = 1,
          .bound = 0,
          .detail = "a product that was right before has changed: " + where};
}

std::string GemmOperation::place(size_t offset, const std::byte* seen, const std::byte* again) const {
  const Decode decode = types_.int32 ? decode_int32 : decoder(types_.c_type);
  double was = 0;
  double is = 0;
  decode(seen, 0, 1, &was);
  decode(again, 0, 1, &is);
  const auto element = static_cast<int64_t>(static_cast<double>(offset) / types_.c_bytes());
  const int64_t row = element / problem_.n;
  return fmt::format("C[{},{}]{} was {:.9g}, multiplied again {:.9g}", row % problem_.m, element % problem_.n,
                     row >= problem_.m ? fmt::format(" of batch item {}", row / problem_.m) : "", was, is);
}

std::string scaling_text(const GemmTypes& types) {
  switch (types.a_block) {
    case BlockScale::kUe8m0:
      return "ue8m0 for every 32 elements along k";
    case BlockScale::kUe4m3:
      return "ue4m3 for every 16 elements along k";
    case BlockScale::kVector128:
      return "fp32 for every 128 elements along k of A, for 128 x 128 of B";
    case BlockScale::kRow:
      return "fp32 for every row of A and column of B";
    default:
      return types.tensor_scales ? "one fp32 factor a tensor" : "none";
  }
}

Facts GemmOperation::details() const {
  Facts facts = tuned_.facts;
  facts["library"] = plan_.blas().version();
  facts["workspace"] = format_bytes(static_cast<double>(device_.workspace_bytes()));
  const bool rotated = settings_.cold && borrowed_.read == nullptr;
  facts["buffers_rotated"] = rotation_text(sets_, bytes_.set(), rotated, device_);
  facts["types"] = fmt::format("A {}, B {}, C {}", name(types_.a_type), name(types_.b_type),
                               types_.int32 ? "int32" : name(types_.c_type));
  if (types_.fp8 || types_.block_scaled()) facts["scaling"] = scaling_text(types_);
  if (types_.fp8) facts["fast_accumulation"] = problem_.fast_accumulation ? "on" : "off";
  facts["rechecked"] = approved_.empty() ? "no" : "checksums of C";
  return facts;
}

}  // namespace

Prepared prepare_gemm(const GemmRequest& request) {
  const GemmProblem& problem = request.problem;
  const auto types = gemm_types(problem, request.device->capability());
  if (!types) return Prepared::absent(types.reason());
  const GemmBytes bytes = gemm_bytes(problem, *types);
  const size_t operands = borrowed_from(request.settings.arena, bytes).read != nullptr ? 0 : bytes.set();
  const size_t vectors = 32 * static_cast<size_t>(problem.m + problem.n + problem.k);  // of the check
  const size_t needed = operands + vectors + request.device->workspace_bytes();
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
