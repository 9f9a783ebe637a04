#include "quant/mxfp4.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "quant/block_io.h"
#include "quant/dequant.h"
#include "quant/quantize.h"
#include "quant/scale_search.h"

namespace rill::quant {
namespace {

// 2^(exponent - 128); below 2^-126 a subnormal f32.
float HalfE8m0(uint8_t exponent) {
  const uint32_t bits =
      exponent < 2 ? 0x00200000u << exponent : static_cast<uint32_t>(exponent - 1) << 23;
  return std::bit_cast<float>(bits);
}

}  // namespace

void DecodeMXFP4(const uint8_t* blocks, int64_t num_blocks, float* out) {
  for (int64_t b = 0; b < num_blocks; ++b, out += BlockMXFP4::kWeights) {
    const auto block = LoadBlock<BlockMXFP4>(blocks, b);
    const float scale = HalfE8m0(block.exponent);
    for (int j = 0; j < 16; ++j) {
      out[j] = scale * static_cast<float>(kE2m1Doubled[block.q[j] & 0xF]);
      out[j + 16] = scale * static_cast<float>(kE2m1Doubled[block.q[j] >> 4]);
    }
  }
}

// The exponent of least squared error among the one at which the largest magnitude lies between
// the table's two largest values (4 and 6; 2^e <= largest < 2^(e + 1) has e - 2), and those beside.
void EncodeMXFP4(const float* x, int64_t num_blocks, uint8_t* blocks) {
  static constexpr CodeTable kTable(kE2m1Doubled);
  float y[BlockMXFP4::kWeights];
  uint8_t codes[BlockMXFP4::kWeights];
  for (int64_t b = 0; b < num_blocks; ++b, x += BlockMXFP4::kWeights) {
    float largest = std::fabs(LargestMagnitude(x, BlockMXFP4::kWeights));
    BlockMXFP4 block = {};
    int e = 0;
    if (largest > 0) std::frexp(largest, &e);  // largest < 2^e
    // By a power of two to [0.5, 1) first, so that no square underflows.
    for (int i = 0; i < BlockMXFP4::kWeights; ++i) y[i] = std::ldexp(x[i], -e);
    float least = INFINITY;
    for (int shift = -4; shift <= -2 && largest > 0; ++shift) {
      // 2^(exponent - 128) = 2^(e + shift)
      const int exponent = std::clamp(e + shift + 128, 0, 254);
      const float scale = std::ldexp(1.0f, exponent - 128 - e);
      const float error = RoundToTable(y, BlockMXFP4::kWeights, scale, kTable, nullptr);
      if (error < least) {
        least = error;
        block.exponent = static_cast<uint8_t>(exponent);
      }
    }
    RoundToTable(y, BlockMXFP4::kWeights, std::ldexp(1.0f, block.exponent - 128 - e), kTable,
                 codes);
    for (int j = 0; j < 16; ++j) {
      block.q[j] = static_cast<uint8_t>(codes[j] | codes[j + 16] << 4);
    }
    StoreBlock(block, blocks, b);
  }
}

}  // namespace rill::quant
