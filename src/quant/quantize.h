// From f32 to the block formats of quantize_list.def: for --weights, quality tables and tests.
#pragma once

#include <cmath>
#include <cstdint>

#include "rill/status.h"
#include "tensor/dtype.h"

namespace rill::quant {

// How a format's scales are found (quantize_list.def). Rounded ones are block for block the bytes
// that the Python package `gguf` writes (gguf.quants.quantize), where it knows the format.
enum class Encoding : uint8_t { kNone, kRounded, kSearched };
Encoding EncodingOf(DType dtype);
inline bool CanQuantize(DType dtype) {
  return EncodingOf(dtype) != Encoding::kNone;
}

// Encodes `num_elements` (a multiple of the block size) into `out`, which has
// RowBytes(dtype, num_elements) bytes.
// Errors: kInvalidArgument on a partial block or a value that is not finite (or above 1e30),
// kUnsupported when
// there is no encoder.
Status QuantizeRow(DType dtype, const float* x, int64_t num_elements, void* out);

// Encode<Name>(x, num_blocks, blocks): |x| <= 1e30.
#define QUANTIZE(Name, how) void Encode##Name(const float* x, int64_t num_blocks, uint8_t* blocks);
#include "quant/quantize_list.def"
#undef QUANTIZE

// int8 with one scale (encode_rows.h): codes[i] in [-127, 127], the scale is returned.
float QuantizeRowI8(const float* x, int64_t num_elements, int8_t* codes);

// For encoders: the first of the values with the largest magnitude, with its sign.
inline float LargestMagnitude(const float* x, int count) {
  float best = x[0];
  for (int i = 1; i < count; ++i) {
    if (std::fabs(x[i]) > std::fabs(best)) best = x[i];
  }
  return best;
}

// For encoders: 1 / scale, and 0 for a scale so small that its inverse overflows (its f16 is 0).
inline float InverseScale(float scale) {
  const float inverse = 1.0f / scale;
  return std::isfinite(inverse) ? inverse : 0.0f;
}

}  // namespace rill::quant
