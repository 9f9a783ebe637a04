#include "quant/scale_fields.h"

#include <cstring>

namespace rill::quant {
namespace {

constexpr ScaleField kD0[] = {{0, ScaleType::kF16}};
constexpr ScaleField kD0Min2[] = {{0, ScaleType::kF16}, {2, ScaleType::kF16}};
constexpr ScaleField kQ2K[] = {{80, ScaleType::kF16}, {82, ScaleType::kF16}};
constexpr ScaleField kQ3K[] = {{108, ScaleType::kF16}};
constexpr ScaleField kQ6K[] = {{208, ScaleType::kF16}};
constexpr ScaleField kQ8K[] = {{0, ScaleType::kF32}};
constexpr ScaleField kTQ1[] = {{52, ScaleType::kF16}};
constexpr ScaleField kTQ2[] = {{64, ScaleType::kF16}};
constexpr ScaleField kMXFP4[] = {{0, ScaleType::kE8M0}};

template <typename T>
T ReadAt(const uint8_t* p) {
  T value;
  std::memcpy(&value, p, sizeof value);
  return value;
}

// All exponent bits set: NaN or Inf.
bool BadF16(const uint8_t* p) {
  return (ReadAt<uint16_t>(p) & 0x7C00) == 0x7C00;
}
bool BadBf16(const uint8_t* p) {
  return (ReadAt<uint16_t>(p) & 0x7F80) == 0x7F80;
}
bool BadF32(const uint8_t* p) {
  return (ReadAt<uint32_t>(p) & 0x7F800000) == 0x7F800000;
}
// Above 2^124 the largest codes, 12 halves, are beyond f32.
bool BadE8M0(const uint8_t* p) {
  return *p >= 253;
}

// kBytes: the block size when it is known to the compiler, which then makes vectors of plain types.
template <bool (*kIsBad)(const uint8_t*), int64_t kBytes = 0>
void Scan(const uint8_t* data, int64_t count, int64_t stride, int64_t block_bytes, int32_t offset,
          NonFinite& out) {
  const int64_t bytes = kBytes > 0 ? kBytes : block_bytes;
  data += offset;
  if (stride == 1) {  // nearly always nothing is found, and a sum is quicker than a branch
    int64_t bad = 0;
    for (int64_t i = 0; i < count; ++i) bad += kIsBad(data + i * bytes);
    if (bad == 0) return;
  }
  for (int64_t i = 0; i < count; i += stride) {
    if (!kIsBad(data + i * bytes)) continue;
    ++out.bad;
    if (out.first < 0 || i < out.first) out.first = i;
  }
}

}  // namespace

std::span<const ScaleField> ScaleFieldsOf(DType dtype) {
  switch (dtype) {
    case DType::kQ4_0:
    case DType::kQ5_0:
    case DType::kQ8_0:
    case DType::kIQ4_NL:
    case DType::kIQ4_XS:
    case DType::kU4G32:
    case DType::kU4G64:
    case DType::kU4G128:
    case DType::kU8G32: return kD0;
    case DType::kQ4_1:
    case DType::kQ5_1:
    case DType::kQ4_K:
    case DType::kQ5_K: return kD0Min2;
    case DType::kQ2_K: return kQ2K;
    case DType::kQ3_K: return kQ3K;
    case DType::kQ6_K: return kQ6K;
    case DType::kQ8_K: return kQ8K;
    case DType::kTQ1_0: return kTQ1;
    case DType::kTQ2_0: return kTQ2;
    case DType::kMXFP4: return kMXFP4;
    default: return {};
  }
}

NonFinite FindNonFinite(DType dtype, const void* data, int64_t num_elements,
                        int64_t stride_blocks) {
  const DTypeTraits& traits = Traits(dtype);
  const int64_t count = num_elements / traits.block_weights;
  const auto* bytes = static_cast<const uint8_t*>(data);
  NonFinite out;
  out.looked_at = (count + stride_blocks - 1) / stride_blocks;
  switch (dtype) {
    case DType::kF32: Scan<BadF32, 4>(bytes, count, stride_blocks, 4, 0, out); return out;
    case DType::kF16: Scan<BadF16, 2>(bytes, count, stride_blocks, 2, 0, out); return out;
    case DType::kBF16: Scan<BadBf16, 2>(bytes, count, stride_blocks, 2, 0, out); return out;
    default: break;
  }
  const auto fields = ScaleFieldsOf(dtype);
  if (fields.empty()) out.looked_at = 0;
  for (const ScaleField& field : fields) {
    const auto scan = field.type == ScaleType::kF16   ? Scan<BadF16>
                      : field.type == ScaleType::kF32 ? Scan<BadF32>
                                                      : Scan<BadE8M0>;
    scan(bytes, count, stride_blocks, traits.block_bytes, field.offset, out);
  }
  return out;
}

}  // namespace rill::quant
