// What keeps ranks together: every decision that could differ between ranks passes through here, so that all ranks run
// the same cases, the same number of runs and samples, and skip or fail the same cases.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "kernels/error.h"
#include "kernels/world.h"

namespace farscale {

// An error that every rank throws at the same place: the front door may close the world in good order.
struct AgreedError : Error {
  using Error::Error;
};

// All methods are collective: every rank calls them in the same order.
class Agreement {
 public:
  explicit Agreement(const World& world) : world_(world) {}

  const World& world() const { return world_; }
  bool first() const { return world_.rank() == 0; }

  double slowest(double value) const;          // the largest of all ranks' values
  double fastest(double value) const;          // the smallest
  bool all(bool own) const;                    // true when it is true on every rank
  bool decide(bool on_rank0) const;            // rank 0's decision
  int64_t count(int64_t on_rank0) const;       // rank 0's count
  double number(double on_rank0) const;        // rank 0's number, exactly
  std::vector<double> each(double own) const;  // every rank's value, in rank order

  // The lowest rank's non-empty reason, with its rank unless all ranks say the same; "" when no rank has one.
  std::string reason(const std::string& own) const;

  // Runs `work` on rank 0 only; when it throws there, throws AgreedError with its message on all.
  void on_first(const std::function<void()>& work) const;

  // Runs `work` on every rank; when it throws on any, throws AgreedError with the lowest such rank's message on all.
  void together(const std::function<void()>& work) const;

 private:
  const World& world_;
};

}  // namespace farscale
