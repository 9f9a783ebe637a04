// int8: symmetric 8-bit codes with one f16 scale per group of 8: 10 bits per element.
//   scale = f16(max(max|x| / 127, 1e-5)),  code = clamp(round(x / scale), -127, 127)
//   x'    = scale * code                   exact in f32
// round is to nearest even, division is IEEE f32. Source: the KV cache of PPL's LLM engine (group
// 8, eps 1e-5, clamp 127).
#include <algorithm>
#include <cmath>

#include "base/float_types.h"
#include "quant/block_io.h"
#include "quant/kv_format.h"

namespace rill::quant {
namespace {

constexpr int64_t kGroup = Traits(KvFormat::kInt8).group;
constexpr uint16_t kNanF16 = 0x7E00;

}  // namespace

void KvEncodeInt8(const float* x, int64_t dim, uint8_t* out) {
  uint8_t* params = out + Traits(KvFormat::kInt8).code_bytes(dim);
  for (int64_t begin = 0; begin < dim; begin += kGroup) {
    const int64_t end = std::min(begin + kGroup, dim);
    float max = 0;
    bool finite = true;
    for (int64_t i = begin; i < end; ++i) {
      max = std::max(max, std::fabs(x[i]));
      finite = finite && std::isfinite(x[i]);
    }
    uint16_t scale_bits = F32ToF16(std::max(max / 127, 1e-5f));
    finite = finite && std::isfinite(F16ToF32(scale_bits));
    if (!finite) scale_bits = kNanF16;
    const float scale = F16ToF32(scale_bits);
    for (int64_t i = begin; i < end; ++i) {
      const float code = finite ? std::clamp(std::nearbyint(x[i] / scale), -127.0f, 127.0f) : 0.0f;
      out[i] = static_cast<uint8_t>(static_cast<int8_t>(code));
    }
    StoreBlock(scale_bits, params, begin / kGroup);
  }
}

void KvDecodeInt8(const uint8_t* in, int64_t dim, float* out) {
  const uint8_t* params = in + Traits(KvFormat::kInt8).code_bytes(dim);
  for (int64_t i = 0; i < dim; ++i) {
    const float scale = F16ToF32(LoadBlock<uint16_t>(params, i / kGroup));
    out[i] = scale * static_cast<float>(static_cast<int8_t>(in[i]));
  }
}

}  // namespace rill::quant
