// DType: what the elements of a tensor are. The list is dtype_list.def.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace rill {

enum class DType : uint8_t {
#define DTYPE(Name, name, weights, bytes, gguf) k##Name,
#include "tensor/dtype_list.def"
#undef DTYPE
};

struct DTypeTraits {
  std::string_view name;  // "q4_0"
  int32_t block_weights;  // elements per block; 1 for plain types
  int32_t block_bytes;    // bytes per block
  int32_t gguf_type;      // id in GGUF files, -1 when it has none
};

inline constexpr DTypeTraits kDTypeTraits[] = {
#define DTYPE(Name, name, weights, bytes, gguf) {name, weights, bytes, gguf},
#include "tensor/dtype_list.def"
#undef DTYPE
};
inline constexpr int kNumDTypes = sizeof(kDTypeTraits) / sizeof(kDTypeTraits[0]);

constexpr const DTypeTraits& Traits(DType dtype) {
  return kDTypeTraits[static_cast<int>(dtype)];
}
constexpr std::string_view DTypeName(DType dtype) {
  return Traits(dtype).name;
}
constexpr bool IsQuantBlock(DType dtype) {
  return Traits(dtype).block_weights > 1;
}

constexpr std::optional<DType> DTypeFromGguf(int64_t gguf_type) {
  for (int i = 0; i < kNumDTypes; ++i) {
    if (gguf_type >= 0 && kDTypeTraits[i].gguf_type == gguf_type) return static_cast<DType>(i);
  }
  return std::nullopt;
}

constexpr std::optional<DType> DTypeFromName(std::string_view name) {
  for (int i = 0; i < kNumDTypes; ++i) {
    if (kDTypeTraits[i].name == name) return static_cast<DType>(i);
  }
  return std::nullopt;
}

// Bytes of one row of `num_elements`, or nothing when it is not a whole number of blocks or does
// not fit int64.
constexpr std::optional<int64_t> RowBytes(DType dtype, int64_t num_elements) {
  const DTypeTraits& traits = Traits(dtype);
  if (num_elements < 0 || num_elements % traits.block_weights != 0) return std::nullopt;
  int64_t bytes = 0;
  if (__builtin_mul_overflow(num_elements / traits.block_weights,
                             static_cast<int64_t>(traits.block_bytes), &bytes)) {
    return std::nullopt;
  }
  return bytes;
}

}  // namespace rill
