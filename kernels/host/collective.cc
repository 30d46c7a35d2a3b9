// The collective operation: buffers, runs on its own world or the queue's, and the check with exact sums.
#include "kernels/host/collective.h"

#include <fmt/format.h>

#include <cstring>
#include <vector>

#include "kernels/host/buffer.h"
#include "kernels/host/queue.h"
#include "kernels/reference.h"

namespace farscale {
namespace {

// In place: send and receive are one buffer of S bytes. all_gather: a rank's own part lies at rank x part before and
// after; reduce_scatter: its result lies at the start.
struct CollectiveSet {
  Buffer first, second;
  void* send() const { return first.data(); }
  void* receive() const { return second.bytes() > 0 ? second.data() : first.data(); }
};

class CollectiveOperation final : public HostOperation {
 public:
  CollectiveOperation(const CollectiveProblem& problem, const OperationSettings& settings, const HostContext& context)
      : problem_(problem),
        settings_(settings),
        context_(context),
        pattern_(problem),
        world_(settings.world != nullptr ? *settings.world : *context.world) {
    const auto element = static_cast<int64_t>(bytes_per_element(problem.type));
    const bool single = problem.in_place || problem.kind == CollectiveKind::kBroadcast;
    const int64_t send = single ? problem.bytes : pattern_.send_elements() * element;
    const int64_t receive = single ? 0 : pattern_.receive_elements() * element;
    set_bytes_ = double(send + receive);
    const int64_t sets = operand_sets(context, settings, set_bytes_);
    for (int64_t s = 0; s < sets; ++s) {
      CollectiveSet& set = sets_.emplace_back();
      set.first = Buffer(send);
      if (receive > 0) set.second = Buffer(receive);
      load(set);
    }
  }

  void execute(const World* ranks) override {
    const CollectiveSet& set = sets_[next_];
    (ranks != nullptr ? *ranks : world_).collective(problem_, set.send(), set.receive());
    if (++next_ == sets_.size()) next_ = 0;
  }

  Verdict verify() override;

  Facts details() const override {
    Facts facts = operation_facts(context_, static_cast<int64_t>(sets_.size()), set_bytes_);
    facts.erase("threads");
    facts["library"] = world_.library();
    return facts;
  }

 private:
  void load(const CollectiveSet& set) const {
    const auto element = static_cast<int64_t>(bytes_per_element(problem_.type));
    fill_parallel(context_, settings_, problem_.type, set.first.data(), set.first.bytes() / element,
                  static_cast<uint64_t>(world_.rank()) + 1);
  }

  CollectiveProblem problem_;
  OperationSettings settings_;
  HostContext context_;
  CollectivePattern pattern_;
  const World& world_;
  std::vector<CollectiveSet> sets_;
  size_t next_ = 0;
  double set_bytes_ = 0;
};

Verdict CollectiveOperation::verify() {
  const CollectiveSet& set = sets_[0];
  const int rank = world_.rank();
  if (set.second.bytes() > 0) std::memset(set.second.data(), 0xFF, static_cast<size_t>(set.second.bytes()));
  const bool own_part = problem_.in_place && problem_.kind == CollectiveKind::kAllGather;
  if (problem_.in_place || problem_.kind == CollectiveKind::kBroadcast) {
    std::memset(set.first.data(), 0xFF, static_cast<size_t>(set.first.bytes()));
  }
  std::byte* send = set.first.as<std::byte>() + (own_part ? rank * (problem_.bytes / problem_.ranks) : 0);
  if (problem_.kind != CollectiveKind::kBroadcast || rank == 0) pattern_.write(rank, send);
  world_.collective(problem_, set.send(), set.receive());
  const auto element = static_cast<int64_t>(bytes_per_element(problem_.type));
  if (context_.tamper) context_.tamper(set.receive(), pattern_.receive_elements() * element);
  Verdict verdict = pattern_.check(rank, set.receive());
  load(set);
  return verdict;
}

}  // namespace

Maybe<std::unique_ptr<Operation>> make_collective(const CollectiveProblem& problem, const OperationSettings& settings,
                                                  const HostContext& context) {
  using Result = Maybe<std::unique_ptr<Operation>>;
  const World& world = settings.world != nullptr ? *settings.world : *context.world;
  if (problem.ranks != world.size()) {
    return Result::absent(fmt::format("is for {} ranks, and {} are here", problem.ranks, world.size()));
  }
  if (settings.graph || settings.registered || settings.most_ctas > 0) {
    return Result::absent("collectives on the host have no graphs, registered buffers or limits of SMs");
  }
  const NumberType type = problem.type;
  if (type != NumberType::kFp64 && type != NumberType::kFp32 && type != NumberType::kBf16 &&
      type != NumberType::kInt8) {
    return Result::absent(
        fmt::format("{} has no collectives on the host (fp64, fp32, bf16 and int8 have)", name(type)));
  }
  const std::string too_big = does_not_fit(context, 2 * double(problem.bytes));
  if (!too_big.empty()) return Result::absent(too_big);
  return Result(std::make_unique<CollectiveOperation>(problem, settings, context));
}

}  // namespace farscale
