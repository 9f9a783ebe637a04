#include "quant/dequant.h"

#include <string>

namespace rill::quant {
namespace {

using DecodeFn = void (*)(const uint8_t* blocks, int64_t num_blocks, float* out);

constexpr DecodeFn kDecoders[] = {
#define DTYPE(Name, name, weights, bytes, gguf) &Decode##Name,
#include "tensor/dtype_list.def"
#undef DTYPE
};

}  // namespace

bool CanDequantize(DType dtype) {
  const auto index = static_cast<size_t>(dtype);
  return index < std::size(kDecoders) && kDecoders[index] != nullptr;
}

Status DequantizeRow(DType dtype, const void* src, int64_t num_elements, float* out) {
  const DTypeTraits& traits = Traits(dtype);
  if (num_elements < 0 || num_elements % traits.block_weights != 0) {
    return InvalidArgument("dequantize: " + std::to_string(num_elements) + " elements of " +
                           std::string(traits.name) + ", expected a multiple of " +
                           std::to_string(traits.block_weights));
  }
  kDecoders[static_cast<size_t>(dtype)](static_cast<const uint8_t*>(src),
                                        num_elements / traits.block_weights, out);
  return OkStatus();
}

}  // namespace rill::quant
