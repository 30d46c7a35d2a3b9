// The communicators of a run: one for each limit of CTAs over the run's world, made when first needed; and what keeps
// this rank from having one.
#pragma once

#include <map>
#include <memory>

#include "kernels/cuda/communicator.h"
#include "kernels/error.h"
#include "kernels/world.h"

namespace farscale::cuda {

// NCCL from this release on lets ranks share a GPU (NCCL_MULTI_RANK_GPU_ENABLE; its release notes).
inline constexpr int kSharedGpus = NCCL_VERSION(2, 30, 3);

class Communicators {
 public:
  Communicators(const World& world, int devices, Deadlines deadlines);
  ~Communicators();  // finalises them: collective; aborts instead while an error is on its way up
  Communicators(const Communicators&) = delete;
  Communicators& operator=(const Communicators&) = delete;

  // Collective, and every rank comes back the same way: with a communicator, or with a reason. A world other than the
  // run's gets one of its own, which ends with the last operation on it.
  Maybe<std::shared_ptr<Communicator>> connect(const World& world, const Maybe<std::shared_ptr<const Nccl>>& nccl,
                                               int most_ctas);

  // True when ranks share GPUs: results can be checked, and no timing means anything.
  bool shared_gpus() const { return shared_gpus_; }

 private:
  std::string obstacle(const World& world, const Maybe<std::shared_ptr<const Nccl>>& nccl) const;

  const World& world_;
  int devices_;
  Deadlines deadlines_;
  bool shared_gpus_ = false;
  std::map<int, std::shared_ptr<Communicator>> of_limit_;
};

}  // namespace farscale::cuda
