// int4: 4-bit codes with an f16 scale and an f16 minimum per group of 32: 5 bits per element.
//   minimum = f16(min x),  scale = f16(max((max x - minimum) / 15, 1e-5))
//   code = clamp(round((x - minimum) / scale), 0, 15)
//   x'   = fma(scale, code, minimum)
// round is to nearest even, every other step is one IEEE f32 operation.
#include <algorithm>
#include <cmath>

#include "base/float_types.h"
#include "quant/block_io.h"
#include "quant/kv_format.h"

namespace rill::quant {
namespace {

constexpr int64_t kGroup = Traits(KvFormat::kInt4).group;
constexpr uint16_t kNanF16 = 0x7E00;

// Code i of a stored vector: byte j of a unit of 32 holds elements j and j + 16.
uint8_t& CodeByte(uint8_t* codes, int64_t i) {
  return codes[i / 32 * 16 + i % 16];
}

}  // namespace

void KvEncodeInt4(const float* x, int64_t dim, uint8_t* out) {
  const KvFormatTraits& traits = Traits(KvFormat::kInt4);
  std::fill_n(out, traits.code_bytes(dim), uint8_t{0});
  uint8_t* params = out + traits.code_bytes(dim);
  for (int64_t begin = 0; begin < dim; begin += kGroup) {
    const int64_t end = std::min(begin + kGroup, dim);
    float min = x[begin], max = x[begin];
    bool finite = true;
    for (int64_t i = begin; i < end; ++i) {
      min = std::min(min, x[i]);
      max = std::max(max, x[i]);
      finite = finite && std::isfinite(x[i]);
    }
    uint16_t min_bits = F32ToF16(min + 0.0f);  // -0 becomes 0
    const float minimum = F16ToF32(min_bits);
    uint16_t scale_bits = F32ToF16(std::max((max - minimum) / 15, 1e-5f));
    const float scale = F16ToF32(scale_bits);
    finite = finite && std::isfinite(minimum) && std::isfinite(scale);
    if (!finite) min_bits = scale_bits = kNanF16;
    StoreBlock(scale_bits, params, begin / kGroup * 2);
    StoreBlock(min_bits, params, begin / kGroup * 2 + 1);
    for (int64_t i = begin; i < end && finite; ++i) {
      const float code = std::clamp(std::nearbyint((x[i] - minimum) / scale), 0.0f, 15.0f);
      CodeByte(out, i) |= static_cast<uint8_t>(static_cast<int>(code) << (i % 32 / 16 * 4));
    }
  }
}

void KvDecodeInt4(const uint8_t* in, int64_t dim, float* out) {
  const uint8_t* params = in + Traits(KvFormat::kInt4).code_bytes(dim);
  for (int64_t i = 0; i < dim; ++i) {
    const float scale = F16ToF32(LoadBlock<uint16_t>(params, i / kGroup * 2));
    const float minimum = F16ToF32(LoadBlock<uint16_t>(params, i / kGroup * 2 + 1));
    const int code = in[i / 32 * 16 + i % 16] >> (i % 32 / 16 * 4) & 15;
    out[i] = std::fma(scale, static_cast<float>(code), minimum);
  }
}

}  // namespace rill::quant
