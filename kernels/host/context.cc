// Buffers, operand sets and their inputs.
#include "kernels/host/context.h"

#include <fmt/format.h>
#include <sys/mman.h>

#include <algorithm>
#include <cmath>
#include <new>

#include "kernels/elements.h"
#include "kernels/format.h"
#include "kernels/host/buffer.h"

namespace farscale {

Buffer::Buffer(int64_t bytes) : bytes_(bytes) {
  constexpr size_t kPage = 4096, kHugePage = size_t{2} << 20;
  const size_t alignment = static_cast<size_t>(bytes) >= 2 * kHugePage ? kHugePage : kPage;
  const size_t rounded = (static_cast<size_t>(std::max<int64_t>(bytes, 1)) + alignment - 1) / alignment * alignment;
  data_.reset(static_cast<std::byte*>(std::aligned_alloc(alignment, rounded)));
  if (data_ == nullptr) throw std::bad_alloc();
  if (alignment == kHugePage) ::madvise(data_.get(), rounded, MADV_HUGEPAGE);  // advice: without it, small pages
}

int64_t operand_sets(const HostContext& context, const OperationSettings& settings, double bytes_per_set) {
  if (!settings.cold) return 1;
  const double wanted = std::ceil(2 * context.cache_bytes / bytes_per_set) + 1;
  const double allowed = std::floor(context.rotation_bytes / bytes_per_set);
  return static_cast<int64_t>(std::clamp(std::min(wanted, allowed), 1.0, 4096.0));
}

std::string does_not_fit(const HostContext& context, double bytes) {
  if (bytes <= context.memory_bytes) return "";
  return fmt::format("needs {} of memory, {} are there for this rank", format_bytes(bytes),
                     format_bytes(context.memory_bytes));
}

void fill_parallel(const HostContext& context, const OperationSettings& settings, NumberType type, void* data,
                   int64_t elements, uint64_t stream) {
  const int64_t slice = (elements / context.threads + 2) / 2 * 2;  // even: see fill()
#pragma omp parallel for num_threads(context.threads) schedule(static, 1)
  for (int t = 0; t < context.threads; ++t) {
    const int64_t first = std::min(elements, t * slice);
    const int64_t last = t + 1 == context.threads ? elements : std::min(elements, first + slice);
    fill(type, data, {.first = first, .count = last - first}, settings.data, mixed(settings.seed, stream));
  }
}

Facts operation_facts(const HostContext& context, int64_t sets, double bytes_per_set) {
  return {{"threads", fmt::format("{}", context.threads)},
          {"operand_sets", fmt::format("{}", sets)},
          {"operand_bytes", fmt::format("{:.0f}", double(sets) * bytes_per_set)}};
}

}  // namespace farscale
