// Arrays, launches and checks of the memory kernels.
#include "kernels/cuda/memory.h"

#include <fmt/format.h>

#include <algorithm>

#include "kernels/cuda/call.h"
#include "kernels/cuda/launch.h"
#include "kernels/format.h"
#include "kernels/reference.h"

namespace farscale::cuda {
namespace {

using Prepared = Maybe<std::unique_ptr<Operation>>;
using Bytes = std::vector<std::byte>;

size_t element_bytes(const MemoryArray& array) { return static_cast<size_t>(bytes_per_element(array.type)); }
size_t bytes_of(const MemoryArray& array) { return static_cast<size_t>(array.elements) * element_bytes(array); }

size_t bytes_of(const std::vector<MemoryArray>& arrays) {
  size_t bytes = 0;
  for (const MemoryArray& array : arrays) bytes += aligned(bytes_of(array));
  return bytes;
}

// The runs cut into pieces of at most `most` elements.
std::vector<MemoryRun> cut(const std::vector<MemoryRun>& runs, int64_t most) {
  std::vector<MemoryRun> pieces;
  for (const MemoryRun& run : runs) {
    for (int64_t first = 0; first < run.count; first += most) {
      pieces.push_back({.before = run.before + first,
                        .after = run.after + first,
                        .count = std::min(most, run.count - first),
                        .place = run.place + first});
    }
  }
  return pieces;
}

// What is compared on the host: everything up to 16 Mi elements; above, about 4 Mi each of the beginning, middle and
// end.
std::vector<MemoryRun> checked_runs(const MemoryProblem& problem) {
  constexpr int64_t kWhole = int64_t{1} << 24;
  constexpr int64_t kPart = int64_t{1} << 22;
  constexpr int64_t kPiece = int64_t{1} << 20;
  std::vector<MemoryRun> pieces = cut(memory_runs(problem), kPiece);
  if (problem.elements <= kWhole) return pieces;
  const int64_t middle = problem.elements / 2;
  std::erase_if(pieces, [&](const MemoryRun& piece) {
    const int64_t end = piece.place + piece.count;
    return end > kPart && (end <= middle || piece.place > middle + kPart) && piece.place < problem.elements - kPart;
  });
  return pieces;
}

std::vector<TensorPiece> tensor_pieces(const MemoryProblem& problem) {
  std::vector<TensorPiece> pieces;
  for (const MemoryRun& run : cut(memory_runs(problem), kPieceElements)) {
    pieces.push_back({.before = run.before, .after = run.after, .count = run.count});
  }
  return pieces;
}

bool has_table(MemoryKind kind) {
  return kind == MemoryKind::kAdamWMulti || kind == MemoryKind::kPack || kind == MemoryKind::kUnpack;
}

class MemoryOperation final : public CudaOperation {
 public:
  MemoryOperation(const MemoryProblem& problem, const OperationSettings& settings, const Device& device)
      : problem_(problem),
        settings_(settings),
        device_(device),
        arrays_(memory_arrays(problem)),
        set_bytes_(bytes_of(arrays_)),
        sets_(rotation(set_bytes_, settings.cold, device)),
        memory_(set_bytes_ * static_cast<size_t>(sets_)) {
    fill();
    FARSCALE_CALL(cudaStreamSynchronize(device_.work()));
    if (!has_table(problem.kind)) return;
    const std::vector<TensorPiece> pieces = tensor_pieces(problem);
    pieces_ = static_cast<int64_t>(pieces.size());
    table_ = DeviceMemory(pieces.size() * sizeof(TensorPiece));
    device_.to_device(table_.get(), pieces.data(), table_.bytes());
  }

  Verdict verify() override;
  Facts details() const override;

 protected:
  void enqueue(CudaQueue& queue) override { launch(next_++ % sets_, queue.stream()); }

 private:
  std::byte* at(int64_t set, size_t array) const;
  void fill() const;
  void launch(int64_t set, cudaStream_t stream) const;
  void launch_converted(int64_t set, cudaStream_t stream) const;
  void launch_update(int64_t set, cudaStream_t stream) const;
  const TensorPiece* pieces() const { return reinterpret_cast<const TensorPiece*>(table_.get()); }
  Bytes gathered(size_t array, int64_t MemoryRun::*first, const std::vector<MemoryRun>& runs) const;
  std::vector<Bytes> gathered(bool MemoryArray::*which, int64_t MemoryRun::*first,
                              const std::vector<MemoryRun>& runs) const;

  MemoryProblem problem_;
  OperationSettings settings_;
  const Device& device_;
  std::vector<MemoryArray> arrays_;
  size_t set_bytes_;
  int64_t sets_;
  DeviceMemory memory_;
  DeviceMemory table_;
  int64_t pieces_ = 0;
  int64_t next_ = 0;
};

std::byte* MemoryOperation::at(int64_t set, size_t array) const {
  size_t offset = static_cast<size_t>(set) * set_bytes_;
  for (size_t a = 0; a < array; ++a) offset += aligned(bytes_of(arrays_[a]));
  return memory_.get() + offset;
}

// Every set begins with the same numbers: only the addresses must be cold.
void MemoryOperation::fill() const {
  for (size_t a = 0; a < arrays_.size(); ++a) {
    const FillTask task{.type = arrays_[a].type,
                        .data = arrays_[a].ones ? InputData::kConstant : settings_.data,
                        .seed = settings_.seed + a,
                        .to = at(0, a),
                        .count = arrays_[a].elements};
    FARSCALE_CALL(launch_fill(task, device_.work()));
  }
  device_.repeat(memory_.get(), set_bytes_, sets_);
}

void MemoryOperation::launch_converted(int64_t set, cudaStream_t stream) const {
  FARSCALE_CALL(launch_convert({.type = problem_.type,
                                .to = problem_.to,
                                .x = at(set, 0),
                                .y = at(set, 1),
                                .factor = has_table(problem_.kind) ? static_cast<float>(kBucketFactor) : 1,
                                .count = problem_.elements,
                                .pieces = pieces(),
                                .piece_count = pieces_},
                               stream));
}

void MemoryOperation::launch_update(int64_t set, cudaStream_t stream) const {
  FARSCALE_CALL(launch_adamw({.type = problem_.type,
                              .p = at(set, 0),
                              .m = at(set, 1),
                              .v = at(set, 2),
                              .g = at(set, 3),
                              .count = problem_.elements,
                              .pieces = pieces(),
                              .piece_count = pieces_},
                             stream));
}

void MemoryOperation::launch(int64_t set, cudaStream_t stream) const {
  const int64_t rows = problem_.elements / kMemoryRow;
  switch (problem_.kind) {
    case MemoryKind::kCopy:
      FARSCALE_CALL(launch_copy(at(set, 0), at(set, 1), static_cast<int64_t>(bytes_of(arrays_[0])), stream));
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
    case MemoryKind::kBiasGelu:
      FARSCALE_CALL(launch_bias_gelu(
          {.type = problem_.type, .x = at(set, 0), .b = at(set, 1), .y = at(set, 2), .rows = rows}, stream));
      return;
    case MemoryKind::kLayerNorm:
      FARSCALE_CALL(launch_layer_norm(
          {.type = problem_.type, .x = at(set, 0), .g = at(set, 1), .b = at(set, 2), .y = at(set, 3), .rows = rows},
          stream));
      return;
    case MemoryKind::kAdamW:
    case MemoryKind::kAdamWMulti:
      return launch_update(set, stream);
    case MemoryKind::kPack:
    case MemoryKind::kUnpack:
    case MemoryKind::kConvert:
      return launch_converted(set, stream);
  }
}

// The runs' elements of one array, one run after the other.
Bytes MemoryOperation::gathered(size_t array, int64_t MemoryRun::*first, const std::vector<MemoryRun>& runs) const {
  const size_t bytes = element_bytes(arrays_[array]);
  if (arrays_[array].elements == kMemoryRow && problem_.elements > kMemoryRow) {  // parameters of every row
    return device_.to_host(at(0, array), bytes_of(arrays_[array]));
  }
  Bytes all;
  for (const MemoryRun& run : runs) {
    const Bytes part =
        device_.to_host(at(0, array) + static_cast<size_t>(run.*first) * bytes, static_cast<size_t>(run.count) * bytes);
    all.insert(all.end(), part.begin(), part.end());
  }
  return all;
}

std::vector<Bytes> MemoryOperation::gathered(bool MemoryArray::*which, int64_t MemoryRun::*first,
                                             const std::vector<MemoryRun>& runs) const {
  std::vector<Bytes> all;
  for (size_t a = 0; a < arrays_.size(); ++a) {
    if (arrays_[a].*which) all.push_back(gathered(a, first, runs));
  }
  return all;
}

Verdict MemoryOperation::verify() {
  std::vector<MemoryRun> runs = checked_runs(problem_);
  const std::vector<Bytes> before = gathered(&MemoryArray::read, &MemoryRun::before, runs);
  for (size_t a = 0; a < arrays_.size(); ++a) {
    if (arrays_[a].written && !arrays_[a].read) device_.poison(at(0, a), bytes_of(arrays_[a]));
  }
  launch(0, device_.work());
  const std::vector<Bytes> after = gathered(&MemoryArray::written, &MemoryRun::after, runs);
  MemoryData data;
  for (const Bytes& bytes : before) data.before.push_back(bytes.data());
  for (const Bytes& bytes : after) data.after.push_back(bytes.data());
  int64_t offset = 0;  // gathered, the runs follow each other
  for (MemoryRun& run : runs) {
    run.before = run.after = offset;
    offset += run.count;
  }
  return check_memory(problem_, data, runs);
}

Facts MemoryOperation::details() const {
  Facts facts{{"buffers_rotated", rotation_text(sets_, set_bytes_, settings_.cold, device_)},
              {"access", "16 bytes a thread"}};
  if (has_table(problem_.kind)) facts["tensors"] = fmt::format("{}", memory_runs(problem_).size());
  return facts;
}

}  // namespace

Prepared prepare_memory(const MemoryProblem& problem, const OperationSettings& settings, const Device& device) {
  const std::string reason = no_memory_kernel(problem);
  if (!reason.empty()) return Prepared::absent(reason);
  const auto needed = static_cast<double>(bytes_of(memory_arrays(problem)));
  const auto free = static_cast<double>(device.free_bytes());
  if (needed + 1024 > free) {
    return Prepared::absent(
        fmt::format("does not fit: {} of device memory needed, {} free", format_bytes(needed), format_bytes(free)));
  }
  return std::unique_ptr<Operation>(std::make_unique<MemoryOperation>(problem, settings, device));
}

}  // namespace farscale::cuda
