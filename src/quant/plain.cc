// Decoders of the plain types: one element, one conversion.
#include "base/float_types.h"
#include "quant/block_io.h"
#include "quant/dequant.h"

namespace rill::quant {
namespace {

template <typename T, typename Convert>
void DecodeEach(const uint8_t* src, int64_t num_elements, float* out, Convert convert) {
  for (int64_t i = 0; i < num_elements; ++i) out[i] = convert(LoadBlock<T>(src, i));
}

// Rounds to nearest even where f32 has too few digits.
constexpr auto kCast = [](auto value) { return static_cast<float>(value); };

}  // namespace

void DecodeF32(const uint8_t* src, int64_t n, float* out) {
  DecodeEach<float>(src, n, out, kCast);
}
void DecodeF64(const uint8_t* src, int64_t n, float* out) {
  DecodeEach<double>(src, n, out, kCast);
}
void DecodeF16(const uint8_t* src, int64_t n, float* out) {
  DecodeEach<uint16_t>(src, n, out, F16ToF32);
}
void DecodeBF16(const uint8_t* src, int64_t n, float* out) {
  DecodeEach<uint16_t>(src, n, out, Bf16ToF32);
}
void DecodeF8E4M3(const uint8_t* src, int64_t n, float* out) {
  DecodeEach<uint8_t>(src, n, out, F8E4M3ToF32);
}
void DecodeF8E5M2(const uint8_t* src, int64_t n, float* out) {
  DecodeEach<uint8_t>(src, n, out, F8E5M2ToF32);
}
void DecodeI8(const uint8_t* src, int64_t n, float* out) {
  DecodeEach<int8_t>(src, n, out, kCast);
}
void DecodeI16(const uint8_t* src, int64_t n, float* out) {
  DecodeEach<int16_t>(src, n, out, kCast);
}
void DecodeI32(const uint8_t* src, int64_t n, float* out) {
  DecodeEach<int32_t>(src, n, out, kCast);
}
void DecodeI64(const uint8_t* src, int64_t n, float* out) {
  DecodeEach<int64_t>(src, n, out, kCast);
}
void DecodeU8(const uint8_t* src, int64_t n, float* out) {
  DecodeEach<uint8_t>(src, n, out, kCast);
}
void DecodeBool(const uint8_t* src, int64_t n, float* out) {
  DecodeEach<uint8_t>(src, n, out, [](uint8_t value) { return value ? 1.0f : 0.0f; });
}

}  // namespace rill::quant
