#include "quant/mxfp4.h"

#include <bit>

#include "quant/block_io.h"
#include "quant/dequant.h"

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

}  // namespace rill::quant
