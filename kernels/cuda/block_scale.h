// The scale factors of block formats: what they cover, where they lie and what they mean (cuBLAS documentation, "Narrow
// Precision Data Types Usage"). All are halves, ones and twos here: exact factors that a wrong place would show.
#pragma once

#include <cstdint>

#ifdef __CUDACC__
#define FARSCALE_BOTH __host__ __device__
#else
#define FARSCALE_BOTH
#endif

namespace farscale::cuda {

// kUe8m0      a power of two for 32 elements along k (OCP Microscaling Formats 1.0, for fp8)
// kUe4m3      an e4m3 number without sign for 16 elements along k (NVIDIA's fp4)
// kVector128  an fp32 number for 128 elements along k, kSquare128 one for 128 rows of as many, kRow one for a whole row
//             along k (fp8 on Hopper)
enum class BlockScale : uint8_t { kNone, kUe8m0, kUe4m3, kVector128, kSquare128, kRow };

FARSCALE_BOTH constexpr bool is_fp32(BlockScale scale) { return scale >= BlockScale::kVector128; }

// Along k.
FARSCALE_BOTH constexpr int64_t block_elements(BlockScale scale) {
  return is_fp32(scale) ? 128 : scale == BlockScale::kUe4m3 ? 16 : 32;
}

// The factors of 128 rows x 4 blocks make a tile of 512, tiles lie row by row.
FARSCALE_BOTH constexpr int64_t tiled_place(int64_t row, int64_t block, int64_t blocks) {
  const int64_t tiles = (blocks + 3) / 4;  // in a row of tiles
  const int64_t tile = row / 128 * tiles + block / 4;
  return tile * 512 + row % 32 * 16 + row % 128 / 32 * 4 + block % 4;
}

// A matrix whose rows are `k` long.
struct ScaledShape {
  BlockScale scale = BlockScale::kNone;
  int64_t rows = 0;
  int64_t k = 0;

  FARSCALE_BOTH constexpr int64_t blocks() const { return (k + block_elements(scale) - 1) / block_elements(scale); }

  // Which factor belongs to an element. Vectors lie row after row for each block, squares block after block for each
  // row of squares, those starting at multiples of four.
  FARSCALE_BOTH constexpr int64_t place(int64_t row, int64_t column) const {
    const int64_t block = column / block_elements(scale);
    if (scale == BlockScale::kRow) return row;
    if (scale == BlockScale::kVector128) return block * rows + row;
    if (scale == BlockScale::kSquare128) return row / 128 * ((blocks() + 3) / 4 * 4) + block;
    return tiled_place(row, block, blocks());
  }

  FARSCALE_BOTH constexpr int64_t factors() const {
    if (scale == BlockScale::kNone) return 0;
    if (scale == BlockScale::kRow) return rows;
    if (scale == BlockScale::kVector128) return rows * blocks();
    const int64_t padded = (blocks() + 3) / 4 * 4;
    return (rows + 127) / 128 * padded * (scale == BlockScale::kSquare128 ? 1 : 128);
  }

  FARSCALE_BOTH constexpr int64_t bytes() const { return factors() * (is_fp32(scale) ? 4 : 1); }
};

// A half, one or two in a format of one byte.
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

// The factor of an element; 1 where there are none.
FARSCALE_BOTH inline double factor_of(const ScaledShape& shape, const void* factors, int64_t row, int64_t column) {
  if (shape.scale == BlockScale::kNone) return 1;
  const int64_t at = shape.place(row, column);
  if (is_fp32(shape.scale)) return static_cast<const float*>(factors)[at];
  return scale_value(shape.scale, static_cast<const uint8_t*>(factors)[at]);
}

}  // namespace farscale::cuda
