#include "quant/tq1_0.h"

#include "base/float_types.h"
#include "quant/block_io.h"
#include "quant/dequant.h"

namespace rill::quant {
namespace {

// Digits 0..num_digits - 1 of num_bytes bytes, digit by digit.
float* DecodeDigits(const uint8_t* bytes, int num_bytes, int num_digits, float scale, float* out) {
  int power = 1;
  for (int k = 0; k < num_digits; ++k, power *= 3) {
    for (int j = 0; j < num_bytes; ++j) {
      const int fraction = (bytes[j] * power) & 0xFF;
      *out++ = scale * static_cast<float>((fraction * 3 >> 8) - 1);
    }
  }
  return out;
}

}  // namespace

void DecodeTQ1_0(const uint8_t* blocks, int64_t num_blocks, float* out) {
  for (int64_t b = 0; b < num_blocks; ++b) {
    const auto block = LoadBlock<BlockTQ1_0>(blocks, b);
    const float scale = F16ToF32(block.scale);
    out = DecodeDigits(block.q, 32, 5, scale, out);
    out = DecodeDigits(block.q + 32, 16, 5, scale, out);
    out = DecodeDigits(block.q_last, 4, 4, scale, out);
  }
}

}  // namespace rill::quant
