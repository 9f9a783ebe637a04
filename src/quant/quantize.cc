#include "quant/quantize.h"

#include <string>

namespace rill::quant {
namespace {

using EncodeFn = void (*)(const float* x, int64_t num_blocks, uint8_t* blocks);

EncodeFn FindEncoder(DType dtype) {
#define QUANTIZE(Name) \
  if (dtype == DType::k##Name) return &Encode##Name;
#include "quant/quantize_list.def"
#undef QUANTIZE
  return nullptr;
}

}  // namespace

bool CanQuantize(DType dtype) {
  return FindEncoder(dtype) != nullptr;
}

Status QuantizeRow(DType dtype, const float* x, int64_t num_elements, void* out) {
  const DTypeTraits& traits = Traits(dtype);
  const EncodeFn encode = FindEncoder(dtype);
  if (!encode) {
    std::string list;
#define QUANTIZE(Name) list += " " + std::string(DTypeName(DType::k##Name));
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

}  // namespace rill::quant
