// Laying out and filling scales and bias.
#include "kernels/cuda/gemm_extras.h"

#include "kernels/cuda/call.h"
#include "kernels/cuda/launch.h"

namespace farscale::cuda {
namespace {

// Factors of rows and of every 128 elements may end anywhere, and the next must start at a multiple of 16 bytes.
size_t block_bytes(const ScaledShape& shape) { return aligned(static_cast<size_t>(shape.bytes())); }

}  // namespace

ExtraMemory::ExtraMemory(const GemmProblem& problem, const GemmTypes& types, const OperationSettings& settings,
                         const Device& device)
    : bias_type_(types.c_type) {
  const bool biased = problem.epilogue != Epilogue::kNone;
  columns_ = biased ? problem.n : 0;
  const auto bias_bytes = static_cast<size_t>(double(columns_) * bytes_per_element(bias_type_));
  const size_t a = block_bytes({types.a_block, problem.m, problem.k});
  const size_t b = block_bytes({types.b_block, problem.n, problem.k});
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
  if (!types.block_scaled()) return;
  extras_.a_blocks = blocks;
  extras_.b_blocks = blocks + a;
  fill_blocks(blocks, a, types.a_block, settings.seed + 3, device);
  fill_blocks(blocks + a, b, types.b_block, settings.seed + 4, device);
}

void ExtraMemory::fill_blocks(std::byte* to, size_t bytes, BlockScale block, uint64_t seed,
                              const Device& device) const {
  if (is_fp32(block)) {
    std::vector<float> scales(bytes / sizeof(float));
    for (size_t i = 0; i < scales.size(); ++i) scales[i] = 0.5F * static_cast<float>(1U << mixed(seed, i) % 3);
    return device.to_device(to, scales.data(), bytes);
  }
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
