// f16: IEEE binary16, rounded to nearest even.
#include "base/float_types.h"
#include "quant/block_io.h"
#include "quant/kv_format.h"

namespace rill::quant {

void KvEncodeF16(const float* x, int64_t dim, uint8_t* out) {
  for (int64_t i = 0; i < dim; ++i) StoreBlock(F32ToF16(x[i]), out, i);
}

void KvDecodeF16(const uint8_t* in, int64_t dim, float* out) {
  for (int64_t i = 0; i < dim; ++i) out[i] = F16ToF32(LoadBlock<uint16_t>(in, i));
}

}  // namespace rill::quant
