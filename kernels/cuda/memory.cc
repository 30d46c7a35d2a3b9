// Arrays, launches and checks of the memory kernels.
#include "kernels/cuda/memory.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "kernels/cuda/call.h"
#include "kernels/cuda/launch.h"
#include "kernels/format.h"
#include "kernels/reference.h"

namespace farscale::cuda {
namespace {

using Prepared = Maybe<std::unique_ptr<Operation>>;

// Which arrays of a kernel are read and which are written. v of AdamW must not be negative: it starts at one.
struct Arrays {
  int count = 0;
  std::vector<int> before;  // as kernels/reference.h orders them
  std::vector<int> after;
};

Arrays arrays_of(MemoryKind kind) {
  switch (kind) {
    case MemoryKind::kCopy:
      return {2, {0}, {1}};
    case MemoryKind::kTriad:
      return {3, {0, 1}, {2}};
    case MemoryKind::kAdamW:
      return {4, {0, 1, 2, 3}, {0, 1, 2}};  // p m v g
    default:
      break;
  }
  return {};
}

std::string unsupported(const MemoryProblem& problem) {
  if (arrays_of(problem.kind).count == 0) return fmt::format("{} is not implemented", name(problem.kind));
  if (problem.type == NumberType::kFp4) return "fp4 has no memory kernels in the cuda module";
  const bool wide = problem.type == NumberType::kFp32 || problem.type == NumberType::kFp64;
  if (problem.kind == MemoryKind::kCopy || wide) return "";
  return fmt::format("{} runs in fp32 and fp64, not in {}", name(problem.kind), name(problem.type));
}

class MemoryOperation final : public CudaOperation {
 public:
  MemoryOperation(const MemoryProblem& problem, const OperationSettings& settings, const Device& device)
      : problem_(problem),
        settings_(settings),
        device_(device),
        arrays_(arrays_of(problem.kind)),
        array_bytes_(static_cast<size_t>(problem.elements) * static_cast<size_t>(bytes_per_element(problem.type))),
        sets_(rotation(set_bytes(), settings.cold, device)),
        memory_(set_bytes() * static_cast<size_t>(sets_)) {
    for (int64_t set = 0; set < sets_; ++set) fill_set(set);
    FARSCALE_CALL(cudaStreamSynchronize(device_.work()));
  }

  Verdict verify() override;
  Facts details() const override {
    return {{"buffers_rotated", fmt::format("{}", sets_)}, {"access", "16 bytes a thread"}};
  }

 protected:
  void enqueue(CudaQueue& queue) override { launch(next_++ % sets_, queue.stream()); }

 private:
  size_t set_bytes() const { return static_cast<size_t>(arrays_.count) * aligned(array_bytes_); }
  std::byte* at(int64_t set, int array) const {
    return memory_.get() + static_cast<size_t>(set) * set_bytes() + static_cast<size_t>(array) * aligned(array_bytes_);
  }
  void fill_set(int64_t set) const;
  void launch(int64_t set, cudaStream_t stream) const;
  Verdict compare(int64_t first, int64_t count, const std::vector<std::vector<std::byte>>& before) const;
  std::vector<std::byte> part(int array, int64_t first, int64_t count) const;

  MemoryProblem problem_;
  OperationSettings settings_;
  const Device& device_;
  Arrays arrays_;
  size_t array_bytes_;
  int64_t sets_;
  DeviceMemory memory_;
  int64_t next_ = 0;
};

void MemoryOperation::fill_set(int64_t set) const {
  for (int array = 0; array < arrays_.count; ++array) {
    const bool second_moment = problem_.kind == MemoryKind::kAdamW && array == 2;
    const FillTask task{.type = problem_.type,
                        .data = second_moment ? InputData::kConstant : settings_.data,
                        .seed = settings_.seed + static_cast<uint64_t>(set * arrays_.count + array),
                        .to = at(set, array),
                        .count = problem_.elements};
    FARSCALE_CALL(launch_fill(task, device_.work()));
  }
}

void MemoryOperation::launch(int64_t set, cudaStream_t stream) const {
  switch (problem_.kind) {
    case MemoryKind::kCopy:
      FARSCALE_CALL(launch_copy(at(set, 0), at(set, 1), static_cast<int64_t>(array_bytes_), stream));
      return;
    case MemoryKind::kTriad:
      FARSCALE_CALL(launch_triad({.type = problem_.type,
                                  .x = at(set, 0),
                                  .y = at(set, 1),
                                  .z = at(set, 2),
                                  .scale = kTriadScale,
                                  .count = problem_.elements},
                                 stream));
      return;
    case MemoryKind::kAdamW:
      FARSCALE_CALL(launch_adamw({.type = problem_.type,
                                  .p = at(set, 0),
                                  .m = at(set, 1),
                                  .v = at(set, 2),
                                  .g = at(set, 3),
                                  .count = problem_.elements},
                                 stream));
      return;
    default:
      return;
  }
}

std::vector<std::byte> MemoryOperation::part(int array, int64_t first, int64_t count) const {
  const auto bytes = static_cast<size_t>(bytes_per_element(problem_.type));
  return device_.to_host(at(0, array) + static_cast<size_t>(first) * bytes, static_cast<size_t>(count) * bytes);
}

Verdict MemoryOperation::compare(int64_t first, int64_t count,
                                 const std::vector<std::vector<std::byte>>& before) const {
  MemoryProblem slice = problem_;
  slice.elements = count;
  std::vector<std::vector<std::byte>> after;
  for (const int array : arrays_.after) after.push_back(part(array, first, count));
  MemoryArrays arrays;
  for (const auto& bytes : before) arrays.before.push_back(bytes.data());
  for (const auto& bytes : after) arrays.after.push_back(bytes.data());
  Verdict verdict = check_memory(slice, arrays);
  if (first > 0) verdict.detail += fmt::format(" from element {} on", first);
  return verdict;
}

// Everything up to 16 Mi elements; above, the first, middle and last 4 Mi.
Verdict MemoryOperation::verify() {
  constexpr int64_t kWhole = int64_t{1} << 24;
  constexpr int64_t kPart = int64_t{1} << 22;
  std::vector<int64_t> starts{0};
  int64_t count = problem_.elements;
  if (count > kWhole) {
    count = kPart;
    starts = {0, (problem_.elements - kPart) / 2, problem_.elements - kPart};
  }
  std::vector<std::vector<std::vector<std::byte>>> before(starts.size());
  for (size_t i = 0; i < starts.size(); ++i) {
    for (const int array : arrays_.before) before[i].push_back(part(array, starts[i], count));
  }
  if (problem_.kind != MemoryKind::kAdamW) device_.poison(at(0, arrays_.after.front()), array_bytes_);
  launch(0, device_.work());
  Verdict worst;
  for (size_t i = 0; i < starts.size(); ++i) {
    Verdict verdict = compare(starts[i], count, before[i]);
    if (!verdict.correct) return verdict;
    if (i == 0 || verdict.worst_error > worst.worst_error) worst = std::move(verdict);
  }
  if (starts.size() > 1)
    worst.detail = fmt::format("{} in each of {} parts of {}", worst.detail, starts.size(), problem_.elements);
  return worst;
}

}  // namespace

Prepared prepare_memory(const MemoryProblem& problem, const OperationSettings& settings, const Device& device) {
  const std::string reason = unsupported(problem);
  if (!reason.empty()) return Prepared::absent(reason);
  const double needed = arrays_of(problem.kind).count * double(problem.elements) * bytes_per_element(problem.type);
  const auto free = static_cast<double>(device.free_bytes());
  if (needed + 1024 > free) {
    return Prepared::absent(
        fmt::format("does not fit: {} of device memory needed, {} free", format_bytes(needed), format_bytes(free)));
  }
  return std::unique_ptr<Operation>(std::make_unique<MemoryOperation>(problem, settings, device));
}

}  // namespace farscale::cuda
