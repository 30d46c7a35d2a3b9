// Test double: ranks as threads of one process. Every call is checked: when ranks call different methods, or one does
// not come within the deadline, all throw, where MPI would hang.
#pragma once

#include <exception>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "kernels/world.h"

namespace farscale {

// Runs `body` once for each of `ranks` ranks, each on a thread of its own; what each threw, null for nothing.
std::vector<std::exception_ptr> thrown_by_ranks(int ranks, const std::function<void(World& world)>& body);

// The same, rethrowing what the lowest rank threw.
void run_ranks(int ranks, const std::function<void(World& world)>& body);

// The same, giving each rank's result.
template <typename T>
std::vector<T> on_ranks(int ranks, const std::function<T(World& world)>& body) {
  std::vector<T> results(static_cast<size_t>(ranks));
  run_ranks(ranks, [&](World& world) { results[static_cast<size_t>(world.rank())] = body(world); });
  return results;
}

}  // namespace farscale
