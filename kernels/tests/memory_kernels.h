// What the tests of every module that moves memory go through.
#pragma once

#include <vector>

#include "kernels/problem.h"
#include "kernels/reference.h"

namespace farscale {

// Every kernel in every pair of types it comes in.
inline std::vector<MemoryProblem> memory_kernels() {
  std::vector<MemoryProblem> all;
  for (const MemoryKind kind : kMemoryKinds) {
    const bool two = kind == MemoryKind::kPack || kind == MemoryKind::kUnpack || kind == MemoryKind::kConvert;
    for (const NumberType type : kNumberTypes) {
      for (const NumberType to : kNumberTypes) {
        const MemoryProblem problem{.kind = kind, .elements = 1, .type = type, .to = two ? to : NumberType::kFp32};
        if ((two || to == NumberType::kFp32) && no_memory_kernel(problem).empty()) all.push_back(problem);
      }
    }
  }
  return all;
}

}  // namespace farscale
