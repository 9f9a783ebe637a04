#include "quant/scale_fields.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "quant/dequant.h"
#include "quant/mxfp4.h"
#include "quant/q8_k.h"

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

// A number is bad when all its exponent bits are set (NaN or Inf): then adding the lowest of them
// carries into kTop. The carries of many numbers, or-ed, need one look.
template <typename T, T kExponent, T kLowest>
struct FloatTest {
  using Word = T;
  static constexpr Word kTop = static_cast<Word>(T{1} << (sizeof(T) * 8 - 1));
  static Word Carry(const uint8_t* p) {
    T bits;
    std::memcpy(&bits, p, sizeof bits);
    return static_cast<Word>((bits & kExponent) + kLowest);
  }
};
// From 2^127 on a f64 may be beyond f32, which weights become: those are looked at.
using F64Test = FloatTest<uint64_t, 0x7FF0000000000000u, 0x3820000000000000u>;
// From 2^121 on a f32 times a code of 8 bits may be.
using Q8KTest = FloatTest<uint32_t, 0x7F800000u, 0x04000000u>;
using F32Test = FloatTest<uint32_t, 0x7F800000u, 0x00800000u>;
using F16Test = FloatTest<uint16_t, 0x7C00u, 0x0400u>;
using BF16Test = FloatTest<uint16_t, 0x7F80u, 0x0080u>;
using F8E5M2Test = FloatTest<uint8_t, 0x7Cu, 0x04u>;
using F8E4M3Test = FloatTest<uint8_t, 0x7Fu, 0x01u>;  // no Inf; one NaN, all bits set
// From 2^126 (253) on the largest codes, 12 halves, are beyond f32: those blocks are looked at.
struct E8M0Test {
  using Word = uint16_t;
  static constexpr Word kTop = 256;
  static Word Carry(const uint8_t* p) { return static_cast<Word>(*p + (256 - 253)); }
};

// kBytes: the block size when it is known to the compiler, which then makes vectors of plain types.
template <typename Test, int64_t kBytes = 0>
bool AnyBad(const uint8_t* data, int64_t count, int64_t block_bytes) {
  const int64_t bytes = kBytes > 0 ? kBytes : block_bytes;
  typename Test::Word any = 0;
  for (int64_t i = 0; i < count; ++i) any |= Test::Carry(data + i * bytes);
  return (any & Test::kTop) != 0;
}

template <typename Test>
bool IsBad(const uint8_t* p) {
  return (Test::Carry(p) & Test::kTop) != 0;
}

// is_bad(p): of the element or block at p.
template <typename IsBadFn>
void Count(const uint8_t* data, int64_t count, int64_t stride, int64_t block_bytes,
           IsBadFn&& is_bad, NonFinite& out) {
  for (int64_t i = 0; i < count; i += stride) {
    if (!is_bad(data + i * block_bytes)) continue;
    ++out.bad;
    if (out.first < 0) out.first = i;
  }
}

bool IsBadF64(const uint8_t* p) {
  double value;
  std::memcpy(&value, p, sizeof value);
  return !std::isfinite(static_cast<float>(value));
}

void ScanF64(const uint8_t* data, int64_t count, int64_t stride, NonFinite& out) {
  if (stride == 1 && !AnyBad<F64Test, 8>(data, count, 8)) return;
  Count(data, count, stride, 8, IsBadF64, out);
}

template <typename Test>
void ScanPlain(const uint8_t* data, int64_t count, int64_t stride, NonFinite& out) {
  constexpr int64_t kBytes = sizeof(typename Test::Word);
  // Nearly always nothing is found.
  if (stride == 1 && !AnyBad<Test, kBytes>(data, count, kBytes)) return;
  Count(data, count, stride, kBytes, IsBad<Test>, out);
}

bool AnyBadScale(const ScaleField& field, const uint8_t* data, int64_t count, int64_t block_bytes) {
  switch (field.type) {
    case ScaleType::kF16: return AnyBad<F16Test>(data + field.offset, count, block_bytes);
    case ScaleType::kF32: return AnyBad<F32Test>(data + field.offset, count, block_bytes);
    case ScaleType::kE8M0: return AnyBad<E8M0Test>(data + field.offset, count, block_bytes);
  }
  return false;
}

bool IsBadQ8K(const uint8_t* data) {
  BlockQ8_K block;
  std::memcpy(&block, data, sizeof block);
  return std::any_of(block.q, block.q + BlockQ8_K::kWeights,
                     [&](int8_t code) { return !std::isfinite(block.scale * code); });
}

bool IsBadMXFP4(const uint8_t* block) {
  if (!IsBad<E8M0Test>(block)) return false;
  if (block[0] == kNanE8M0) return true;
  float values[BlockMXFP4::kWeights];
  DecodeMXFP4(block, 1, values);
  return std::any_of(values, values + BlockMXFP4::kWeights,
                     [](float value) { return !std::isfinite(value); });
}

}  // namespace

std::span<const ScaleField> ScaleFieldsOf(DType dtype) {
  switch (dtype) {
    case DType::kQ4_0:
    case DType::kQ5_0:
    case DType::kQ8_0:
    case DType::kIQ4_NL:
    case DType::kIQ4_XS:
#define DTYPE(Name, name, weights, bytes, gguf)
#define DTYPE_GROUPED(Name, name, weights, bytes, gguf) case DType::k##Name:
#include "tensor/dtype_list.def"
#undef DTYPE_GROUPED
#undef DTYPE
      return kD0;
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
    case DType::kF64: ScanF64(bytes, count, stride_blocks, out); return out;
    case DType::kF32: ScanPlain<F32Test>(bytes, count, stride_blocks, out); return out;
    case DType::kF16: ScanPlain<F16Test>(bytes, count, stride_blocks, out); return out;
    case DType::kBF16: ScanPlain<BF16Test>(bytes, count, stride_blocks, out); return out;
    case DType::kF8E4M3: ScanPlain<F8E4M3Test>(bytes, count, stride_blocks, out); return out;
    case DType::kF8E5M2: ScanPlain<F8E5M2Test>(bytes, count, stride_blocks, out); return out;
    default: break;
  }
  if (dtype == DType::kQ8_K) {
    if (stride_blocks == 1 && !AnyBad<Q8KTest>(bytes, count, traits.block_bytes)) return out;
    Count(bytes, count, stride_blocks, traits.block_bytes, IsBadQ8K, out);
    return out;
  }
  const auto fields = ScaleFieldsOf(dtype);
  if (fields.empty()) out.looked_at = 0;
  if (stride_blocks == 1 &&
      std::none_of(fields.begin(), fields.end(), [&](const ScaleField& field) {
        return AnyBadScale(field, bytes, count, traits.block_bytes);
      })) {
    return out;
  }
  const auto any_field = [&](const uint8_t* block) {
    return std::any_of(fields.begin(), fields.end(), [&](const ScaleField& field) {
      return AnyBadScale(field, block, 1, traits.block_bytes);
    });
  };
  if (dtype == DType::kMXFP4) {
    Count(bytes, count, stride_blocks, traits.block_bytes, IsBadMXFP4, out);
  } else {
    Count(bytes, count, stride_blocks, traits.block_bytes, any_field, out);
  }
  return out;
}

void MarkNanScales(DType dtype, const void* data, int64_t num_elements, float* values) {
  if (dtype != DType::kMXFP4) return;
  const auto* block = static_cast<const uint8_t*>(data);
  for (int64_t i = 0; i < num_elements; i += BlockMXFP4::kWeights, block += sizeof(BlockMXFP4)) {
    if (block[0] != kNanE8M0) continue;
    std::fill_n(values + i, BlockMXFP4::kWeights, std::numeric_limits<float>::quiet_NaN());
  }
}

}  // namespace rill::quant
