// What every operation of the host module is built with: the threads and memory it may use, and the ranks around it.
#pragma once

#include <cstdint>
#include <functional>

#include "kernels/backend.h"

namespace farscale {

struct HostContext {
  int threads = 1;
  double cache_bytes = 0;        // last-level cache: cold operands rotate through more than twice this
  double memory_bytes = 0;       // what one operation may hold
  double rotation_bytes = 0;     // what a cold operation may spend on rotating
  const World* world = nullptr;  // the ranks the backend was opened for

  // For tests: called with a result before it is checked, so that a wrong one can be made.
  std::function<void(void* result, int64_t bytes)> tamper;
};

// How many operand sets of `bytes_per_set` a case rotates through: 1 when warm; cold, so many that a set has left the
// last-level cache when its turn comes again, within the memory allowed.
int64_t operand_sets(const HostContext& context, const OperationSettings& settings, double bytes_per_set);

// The reason why `bytes` do not fit, or "".
std::string does_not_fit(const HostContext& context, double bytes);

// Fills a buffer with all threads; the pages are first touched by the threads that will use them.
void fill_parallel(const HostContext& context, const OperationSettings& settings, NumberType type, void* data,
                   int64_t elements, uint64_t stream);

// The facts every operation tells: threads, operand sets.
Facts operation_facts(const HostContext& context, int64_t sets, double bytes_per_set);

}  // namespace farscale
