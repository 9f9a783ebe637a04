// KvFormat: how one vector (a key or a value of one head at one position) is stored, as a formula.
// Where the vectors lie in a page is tensor/paged_kv_view.h's matter.
//
// For a format <Name>, quant/kv_<name>.cc has
//   KvBytes<Name>(dim)            bytes of one stored vector of `dim` elements
//   KvEncode<Name>(x, dim, out)   f32 -> stored; at any alignment
//   KvDecode<Name>(in, dim, out)  stored -> f32
// NaN stays NaN, Inf stays Inf; f16 turns magnitudes of 65520 and more into Inf.
#pragma once

#include <cstdint>
#include <iterator>
#include <optional>
#include <string_view>

namespace rill::quant {

enum class KvFormat : uint8_t {
#define KV_FORMAT(Name, name, error) k##Name,
#include "quant/kv_format_list.def"
#undef KV_FORMAT
};

#define KV_FORMAT(Name, name, error)                              \
  int64_t KvBytes##Name(int64_t dim);                             \
  void KvEncode##Name(const float* x, int64_t dim, uint8_t* out); \
  void KvDecode##Name(const uint8_t* in, int64_t dim, float* out);
#include "quant/kv_format_list.def"
#undef KV_FORMAT

struct KvFormatTraits {
  std::string_view name;
  double relative_error;
  int64_t (*bytes)(int64_t dim);
  void (*encode)(const float* x, int64_t dim, uint8_t* out);
  void (*decode)(const uint8_t* in, int64_t dim, float* out);
};

inline constexpr KvFormatTraits kKvFormats[] = {
#define KV_FORMAT(Name, name, error) \
  {name, error, &KvBytes##Name, &KvEncode##Name, &KvDecode##Name},
#include "quant/kv_format_list.def"
#undef KV_FORMAT
};

constexpr const KvFormatTraits& Traits(KvFormat format) {
  return kKvFormats[static_cast<int>(format)];
}

// nullopt when there is no such format.
constexpr std::optional<KvFormat> KvFormatFromName(std::string_view name) {
  for (size_t i = 0; i < std::size(kKvFormats); ++i) {
    if (kKvFormats[i].name == name) return static_cast<KvFormat>(i);
  }
  return std::nullopt;
}

// Bytes of keys and values of one token over all layers.
inline int64_t KvBytesPerToken(KvFormat format, int64_t num_layers, int64_t num_kv_heads,
                               int64_t k_dim, int64_t v_dim) {
  const KvFormatTraits& traits = Traits(format);
  return num_layers * num_kv_heads * (traits.bytes(k_dim) + traits.bytes(v_dim));
}

}  // namespace rill::quant
