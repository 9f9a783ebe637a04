// Where the floating-point numbers are in a quantised block. Everything else in it is integers, so
// a block decodes to NaN or Inf exactly when one of these is NaN or Inf, or so large that a product
// overflows (f32 and E8M0 scales only).
#pragma once

#include <cstdint>
#include <span>

#include "tensor/dtype.h"

namespace rill::quant {

enum class ScaleType : uint8_t {
  kF16,
  kF32,
  kE8M0,  // 2^(e - 127); of 253 and 254 products may overflow, 255 is a NaN
};
struct ScaleField {
  int32_t offset = 0;  // bytes into the block
  ScaleType type = ScaleType::kF16;
};

// The scale first, then the minimum's. Empty for plain types and for formats not listed.
std::span<const ScaleField> ScaleFieldsOf(DType dtype);

// Weights of [data, data + num_elements) in whole blocks, looked at every `stride_blocks` blocks
// (elements, for plain floats): how many of those looked at hold a NaN or an Inf. `first`: index of
// the first such element's block, -1 when none. Types without floats have none.
struct NonFinite {
  int64_t looked_at = 0, bad = 0, first = -1;  // blocks, or elements of a plain type
};
NonFinite FindNonFinite(DType dtype, const void* data, int64_t num_elements,
                        int64_t stride_blocks = 1);

// For what was decoded of whole blocks of `dtype` at `data`: sets to NaN the values of those whose
// scale is a NaN by its standard and decodes to numbers all the same. MXFP4's 255 (quant/mxfp4.h).
void MarkNanScales(DType dtype, const void* data, int64_t num_elements, float* values);

}  // namespace rill::quant
