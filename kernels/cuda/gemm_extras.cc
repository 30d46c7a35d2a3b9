// Laying out and filling scales and bias.
#include "kernels/cuda/gemm_extras.h"

#include "kernels/cuda/call.h"
#include "kernels/cuda/launch.h"

namespace farscale::cuda {
namespace {

size_t block_bytes(int64_t rows, int64_t k, BlockScale block) {
  if (block == BlockScale::kNone) return 0;
  const int64_t each = block_elements(block);
  return static_cast<size_t>(scale_bytes(rows, (k + each - 1) / each));
}

}  // namespace

ExtraMemory::ExtraMemory(const GemmProblem& problem, const GemmTypes& types, const OperationSettings& settings,
                         const Device& device)
    : bias_type_(types.c_type) {
  const bool biased = problem.epilogue != Epilogue::kNone;
  columns_ = biased ? problem.n : 0;
  const auto bias_bytes = static_cast<size_t>(double(columns_) * bytes_per_element(bias_type_));
  const size_t a = block_bytes(problem.m, problem.k, types.block), b = block_bytes(problem.n, problem.k, types.block);
  memory_ = DeviceMemory(aligned(2 * sizeof(float)) + aligned(bias_bytes) + a + b);
  std::byte* const start = memory_.get();
  std::byte* const blocks = start + aligned(2 * sizeof(float)) + aligned(bias_bytes);
  if (types.tensor_scales) {
    const float scales[] = {GemmTypes::kTensorScaleA, GemmTypes::kTensorScaleB};
    device.to_device(start, scales, sizeof scales);
    extras_.a_scale = reinterpret_cast<const float*>(start);
    extras_.b_scale = extras_.a_scale + 1;
  }
  if (biased) {
    extras_.bias = start + aligned(2 * sizeof(float));
    FARSCALE_CALL(launch_fill({.type = bias_type_,
                               .data = settings.data,
                               .seed = settings.seed + 2,
                               .to = start + aligned(2 * sizeof(float)),
                               .count = columns_},
                              device.work()));
  }
  if (types.block == BlockScale::kNone) return;
  extras_.a_blocks = reinterpret_cast<const uint8_t*>(blocks);
  extras_.b_blocks = extras_.a_blocks + a;
  fill_blocks(reinterpret_cast<uint8_t*>(blocks), a, types.block, settings.seed + 3, device);
  fill_blocks(reinterpret_cast<uint8_t*>(blocks + a), b, types.block, settings.seed + 4, device);
}

void ExtraMemory::fill_blocks(uint8_t* to, size_t bytes, BlockScale block, uint64_t seed, const Device& device) const {
  std::vector<uint8_t> scales(bytes);
  for (size_t i = 0; i < bytes; ++i) scales[i] = scale_byte(block, mixed(seed, i));
  device.to_device(to, scales.data(), bytes);
}

std::vector<double> ExtraMemory::bias(const Device& device) const {
  std::vector<double> values(static_cast<size_t>(columns_));
  if (values.empty()) return values;
  const auto bytes = static_cast<size_t>(double(columns_) * bytes_per_element(bias_type_));
  decoder(bias_type_)(device.to_host(extras_.bias, bytes).data(), 0, columns_, values.data());
  return values;
}

}  // namespace farscale::cuda
