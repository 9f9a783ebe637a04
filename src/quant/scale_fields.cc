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
using F64Test = FloatTest<uint64_t, 0x7FF0000000000000u, 0x0010000000000000u>;
using F32Test = FloatTest<uint32_t, 0x7F800000u, 0x00800000u>;
using F16Test = FloatTest<uint16_t, 0x7C00u, 0x0400u>;
using BF16Test = FloatTest<uint16_t, 0x7F80u, 0x0080u>;
using F8E5M2Test = FloatTest<uint8_t, 0x7Cu, 0x04u>;
using F8E4M3Test = FloatTest<uint8_t, 0x7Fu, 0x01u>;  // no Inf; one NaN, all bits set
// Above 2^124 the largest codes, 12 halves, are beyond f32.
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

template <typename Test, int64_t kBytes = 0>
void Scan(const uint8_t* data, int64_t count, int64_t stride, int64_t block_bytes, int32_t offset,
          NonFinite& out) {
  data += offset;
  // Nearly always nothing is found.
  if (stride == 1 && !AnyBad<Test, kBytes>(data, count, block_bytes)) return;
  for (int64_t i = 0; i < count; i += stride) {
    if ((Test::Carry(data + i * block_bytes) & Test::kTop) == 0) continue;
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
    case DType::kF64: Scan<F64Test, 8>(bytes, count, stride_blocks, 8, 0, out); return out;
    case DType::kF32: Scan<F32Test, 4>(bytes, count, stride_blocks, 4, 0, out); return out;
    case DType::kF16: Scan<F16Test, 2>(bytes, count, stride_blocks, 2, 0, out); return out;
    case DType::kBF16: Scan<BF16Test, 2>(bytes, count, stride_blocks, 2, 0, out); return out;
    case DType::kF8E4M3: Scan<F8E4M3Test, 1>(bytes, count, stride_blocks, 1, 0, out); return out;
    case DType::kF8E5M2: Scan<F8E5M2Test, 1>(bytes, count, stride_blocks, 1, 0, out); return out;
    default: break;
  }
  const auto fields = ScaleFieldsOf(dtype);
  if (fields.empty()) out.looked_at = 0;
  for (const ScaleField& field : fields) {
    const auto scan = field.type == ScaleType::kF16   ? Scan<F16Test>
                      : field.type == ScaleType::kF32 ? Scan<F32Test>
                                                      : Scan<E8M0Test>;
    scan(bytes, count, stride_blocks, traits.block_bytes, field.offset, out);
  }
  return out;
}

}  // namespace rill::quant
