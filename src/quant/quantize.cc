#include "quant/quantize.h"

#include <algorithm>
#include <bit>
#include <limits>
#include <string>

namespace rill::quant {
namespace {

using EncodeFn = void (*)(const float* x, int64_t num_blocks, uint8_t* blocks);

EncodeFn FindEncoder(DType dtype) {
#define QUANTIZE(Name, how) \
  if (dtype == DType::k##Name) return &Encode##Name;
#include "quant/quantize_list.def"
#undef QUANTIZE
  return nullptr;
}

}  // namespace

Encoding EncodingOf(DType dtype) {
#define QUANTIZE(Name, how) \
  if (dtype == DType::k##Name) return Encoding::how;
#include "quant/quantize_list.def"
#undef QUANTIZE
  return Encoding::kNone;
}

Status QuantizeRow(DType dtype, const float* x, int64_t num_elements, void* out) {
  const DTypeTraits& traits = Traits(dtype);
  const EncodeFn encode = FindEncoder(dtype);
  if (!encode) {
    std::string list;
#define QUANTIZE(Name, how) list += " " + std::string(DTypeName(DType::k##Name));
#include "quant/quantize_list.def"
#undef QUANTIZE
    return Unsupported("quantize: no encoder for " + std::string(traits.name) +
                       "; there are:" + list);
  }
  if (num_elements < 0 || num_elements % traits.block_weights != 0) {
    return InvalidArgument("quantize: " + std::to_string(num_elements) + " elements to " +
                           std::string(traits.name) + ", expected a multiple of " +
                           std::to_string(traits.block_weights));
  }
  for (int64_t i = 0; i < num_elements; ++i) {
    // The scale is an f16, so nothing near this limit could be represented; below it, no
    // difference of two values overflows.
    if (!(std::fabs(x[i]) <= 1e30f)) {
      return InvalidArgument("quantize: element " + std::to_string(i) + ": expected a magnitude " +
                             "up to 1e30, got " + std::to_string(x[i]));
    }
  }
  encode(x, num_elements / traits.block_weights, static_cast<uint8_t*>(out));
  return OkStatus();
}

// Written so that the compiler vectorises all three loops: a model's every weight passes here.
float QuantizeRowI8(const float* x, int64_t num_elements, int8_t* codes) {
  int32_t bits = 0;  // of max |x|: as integers, so that Inf and NaN win
  for (int64_t i = 0; i < num_elements; ++i) {
    bits = std::max(bits, std::bit_cast<int32_t>(std::fabs(x[i])));
  }
  const float largest = std::bit_cast<float>(bits);
  const bool finite = bits < 0x7F800000;
  if (!finite || largest < 0x1p-100f) {
    std::fill_n(codes, num_elements, int8_t{0});
    return finite ? 0.0f : std::numeric_limits<float>::quiet_NaN();
  }
  const float inverse = 127.0f / largest;
  for (int64_t i = 0; i < num_elements; ++i) {
    // Adding and taking off 1.5 * 2^23 rounds to the nearest even integer; |x| inverse stays below
    // 127.5, so the result is in [-127, 127].
    codes[i] = static_cast<int8_t>(static_cast<int32_t>((x[i] * inverse + 0x1.8p23f) - 0x1.8p23f));
  }
  return largest / 127.0f;
}

}  // namespace rill::quant
