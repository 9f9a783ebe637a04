#include "quant/grouped.h"

#include <algorithm>

#include "base/check.h"
#include "base/float_types.h"
#include "quant/block_io.h"
#include "quant/dequant.h"
#include "quant/quantize.h"

namespace rill::quant {
namespace {

template <typename Block>
void Decode(const uint8_t* blocks, int64_t num_blocks, float* out) {
  for (int64_t b = 0; b < num_blocks; ++b, out += Block::kWeights) {
    const auto block = LoadBlock<Block>(blocks, b);
    const float scale = F16ToF32(block.scale);
    for (int i = 0; i < Block::kWeights; ++i) {
      out[i] = scale * static_cast<float>(GroupedCode<Block::kBits>(block.q, i) - block.zero);
    }
  }
}

// Symmetric, zero point 8: scale = (the value of largest magnitude) / -8, so that this value gets
// the one code, 0, that has no positive counterpart.
template <typename Block>
void Encode(const float* x, int64_t num_blocks, uint8_t* blocks) {
  for (int64_t b = 0; b < num_blocks; ++b, x += Block::kWeights) {
    const float scale = LargestMagnitude(x, Block::kWeights) / -8.0f;
    const float inverse = InverseScale(scale);
    Block block{.scale = F32ToF16(scale), .zero = 8, .q = {}};
    for (int i = 0; i < Block::kWeights; ++i) {
      const int q = std::min(15, static_cast<int>(x[i] * inverse + 8.5f));
      block.q[i / 2] |= static_cast<uint8_t>(q << (i % 2 * 4));
    }
    StoreBlock(block, blocks, b);
  }
}

}  // namespace

DType GroupedDType(int bits, int group) {
  const GroupedFormat format{bits, group};
#define DTYPE(Name, name, weights, bytes, gguf)
#define DTYPE_GROUPED(Name, name, weights, bytes, gguf) \
  if (format == GroupedFormatOf(DType::k##Name)) return DType::k##Name;
#include "tensor/dtype_list.def"
#undef DTYPE_GROUPED
#undef DTYPE
  CHECK(false) << bits << " bits in groups of " << group;
  return DType::kF32;
}

void EncodeU4G32(const float* x, int64_t num_blocks, uint8_t* blocks) {
  Encode<BlockU4G32>(x, num_blocks, blocks);
}
void EncodeU4G64(const float* x, int64_t num_blocks, uint8_t* blocks) {
  Encode<BlockU4G64>(x, num_blocks, blocks);
}
void EncodeU4G128(const float* x, int64_t num_blocks, uint8_t* blocks) {
  Encode<BlockU4G128>(x, num_blocks, blocks);
}
#define DTYPE(Name, name, weights, bytes, gguf)
#define DTYPE_GROUPED(Name, name, weights, bytes, gguf)                                    \
  void Decode##Name(const uint8_t* blocks, int64_t num_blocks, float* out) {               \
    Decode<BlockGrouped<((bytes) - 4) * 8 / (weights), weights>>(blocks, num_blocks, out); \
  }
#include "tensor/dtype_list.def"
#undef DTYPE_GROUPED
#undef DTYPE

}  // namespace rill::quant
