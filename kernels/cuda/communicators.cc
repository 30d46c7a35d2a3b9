// Making communicators together, and ending them.
#include "kernels/cuda/communicators.h"

#include <fmt/format.h>

#include <cstdlib>
#include <exception>

#include "kernels/cuda/nccl_choice.h"

namespace farscale::cuda {
namespace {

using Connected = Maybe<std::shared_ptr<Communicator>>;

// FARSCALE_NCCL_RANKS_PER_ID replaces the default.
CommunicatorSettings settings_of(Deadlines deadlines, int most_ctas) {
  CommunicatorSettings settings{.deadlines = deadlines, .most_ctas = most_ctas};
  const char* text = std::getenv("FARSCALE_NCCL_RANKS_PER_ID");
  if (text == nullptr) return settings;
  settings.ranks_per_id = std::atoi(text);
  if (settings.ranks_per_id >= 1) return settings;
  throw InputError(fmt::format("FARSCALE_NCCL_RANKS_PER_ID is '{}': expected a whole number from 1 on", text));
}

// Leaving in good order needs all ranks; when an error is on its way up they may be gone, and aborting needs nobody.
void end(Communicator& communicator) noexcept {
  try {
    if (std::uncaught_exceptions() == 0) communicator.finalize();
  } catch (const Error&) {  // finalize() has aborted
  }
}

}  // namespace

Communicators::Communicators(const World& world, int devices, Deadlines deadlines)
    : world_(world), devices_(devices), deadlines_(deadlines) {}

Communicators::~Communicators() {
  for (auto& [limit, communicator] : of_limit_) {
    if (communicator) end(*communicator);
  }
}

// Every rank takes the same way through here, whatever it lacks: a rank alone in NCCL would wait for the others.
Connected Communicators::connect(const World& world, const Maybe<std::shared_ptr<const Nccl>>& nccl, int most_ctas) {
  const std::string mine = obstacle(world, nccl);
  const bool own = &world == &world_;
  std::shared_ptr<Communicator> made = own ? of_limit_[most_ctas] : nullptr;
  const bool usable = made && made->get() != nullptr;
  const bool crowded = world.local_rank() >= devices_;
  const auto agreed =
      world.reduce({mine.empty() ? 1.0 : 0.0, usable ? 1.0 : 0.0, crowded ? 0.0 : 1.0}, Reduction::kMin);
  shared_gpus_ = agreed[2] < 1;
  if (!mine.empty()) return Connected::absent(mine);
  if (agreed[0] < 1) return Connected::absent("another rank cannot take part in NCCL collectives (it says why)");
  if (agreed[1] == 1) return made;
  offer_nccl_plugin();
  if (shared_gpus_) ::setenv("NCCL_MULTI_RANK_GPU_ENABLE", "1", 0);
  const CommunicatorSettings settings = settings_of(deadlines_, most_ctas);
  if (own) {
    of_limit_[most_ctas].reset();
    return of_limit_[most_ctas] = std::make_shared<Communicator>(*nccl, world, settings);
  }
  return std::shared_ptr<Communicator>(new Communicator(*nccl, world, settings), [](Communicator* communicator) {
    end(*communicator);
    delete communicator;
  });
}

// What keeps this rank from joining a communicator, as a value even where a call failed: the ranks must still agree.
std::string Communicators::obstacle(const World& world, const Maybe<std::shared_ptr<const Nccl>>& nccl) const {
  if (!nccl) return nccl.reason();
  if (world.local_rank() < devices_ || (*nccl)->version_code() >= kSharedGpus) return "";
  return fmt::format("rank {} has no GPU of its own ({} on its host), and {} cannot let ranks share one (2.30.3 can)",
                     world.rank(), devices_, (*nccl)->version());
}

}  // namespace farscale::cuda
