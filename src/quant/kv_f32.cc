// f32: stored as it is.
#include <cstring>

#include "quant/kv_format.h"

namespace rill::quant {

void KvEncodeF32(const float* x, int64_t dim, uint8_t* out) {
  std::memcpy(out, x, static_cast<size_t>(dim) * sizeof(float));
}

void KvDecodeF32(const uint8_t* in, int64_t dim, float* out) {
  std::memcpy(out, in, static_cast<size_t>(dim) * sizeof(float));
}

}  // namespace rill::quant
