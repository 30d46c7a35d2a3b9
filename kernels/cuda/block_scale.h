// The scale factors of block formats: where they lie and what they mean. One factor for a block of elements along k;
// the factors of 128 rows x 4 blocks make a tile of 512 bytes, tiles lie row by row (cuBLAS documentation, "1D block
// scaling factors layout").
#pragma once

#include <cstdint>

#ifdef __CUDACC__
#define FARSCALE_BOTH __host__ __device__
#else
#define FARSCALE_BOTH
#endif

namespace farscale::cuda {

// ue8m0: a power of two for 32 elements (OCP Microscaling Formats 1.0, for fp8); ue4m3: an e4m3 number without sign for
// 16 elements (NVIDIA's fp4).
enum class BlockScale : uint8_t { kNone, kUe8m0, kUe4m3 };

FARSCALE_BOTH constexpr int64_t block_elements(BlockScale scale) { return scale == BlockScale::kUe4m3 ? 16 : 32; }

FARSCALE_BOTH constexpr int64_t scale_offset(int64_t row, int64_t block, int64_t blocks) {
  const int64_t tiles = (blocks + 3) / 4;  // in a row of tiles
  const int64_t tile = row / 128 * tiles + block / 4;
  return tile * 512 + row % 32 * 16 + row % 128 / 32 * 4 + block % 4;
}

FARSCALE_BOTH constexpr int64_t scale_bytes(int64_t rows, int64_t blocks) {
  return (rows + 127) / 128 * ((blocks + 3) / 4) * 512;
}

// A half, one or two in either format: exact factors that a wrong place would show.
FARSCALE_BOTH constexpr uint8_t scale_byte(BlockScale scale, uint64_t random) {
  const auto step = static_cast<int>(random % 3) - 1;
  return static_cast<uint8_t>(scale == BlockScale::kUe8m0 ? 127 + step : 0x38 + 8 * step);
}

FARSCALE_BOTH constexpr double scale_value(BlockScale scale, uint8_t byte) {
  const int exponent = scale == BlockScale::kUe8m0 ? byte - 127 : (byte >> 3) - 7;
  double value = scale == BlockScale::kUe8m0 ? 1 : 1 + (byte & 7) / 8.0;  // normal numbers alone are used
  for (int e = 0; e < exponent; ++e) value *= 2;
  for (int e = 0; e > exponent; --e) value /= 2;
  return value;
}

}  // namespace farscale::cuda
