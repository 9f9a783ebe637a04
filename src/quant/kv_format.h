// KvFormat: how one vector (a key or a value of one head at one position) is stored, as a formula.
// Where the vectors lie in a page is quant/paged_kv_view.h's matter.
//
// A stored vector is its codes, then its parameters:
//   codes   ceil(dim / code_unit) * code_unit elements of code_bits each; with 4 bits, byte j of a
//           unit of 32 holds elements j (low nibble) and j + 16 (high). Codes beyond dim are 0
//   params  for each group of `group` consecutive elements (the last one may be short)
//           num_params f16 numbers: [scale] or [scale, minimum]
// For a format <Name>, quant/kv_<name>.cc has
//   KvEncode<Name>(x, dim, out)   f32 -> stored; at any alignment
//   KvDecode<Name>(in, dim, out)  stored -> f32, exactly what kernels compute with
// Plain formats: NaN stays NaN, Inf stays Inf; f16 turns magnitudes of 65520 and more into Inf.
// Group formats: a group with a NaN, an Inf or a parameter beyond f16 reads as NaN, all of it.
#pragma once

#include <cstdint>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>

namespace rill::quant {

enum class KvFormat : uint8_t {
#define KV_FORMAT(Name, name, code_bits, group, num_params, error) k##Name,
#include "quant/kv_format_list.def"
#undef KV_FORMAT
};

#define KV_FORMAT(Name, name, code_bits, group, num_params, error) \
  void KvEncode##Name(const float* x, int64_t dim, uint8_t* out);  \
  void KvDecode##Name(const uint8_t* in, int64_t dim, float* out);
#include "quant/kv_format_list.def"
#undef KV_FORMAT

struct KvFormatTraits {
  std::string_view name;
  int32_t code_bits;   // 32, 16, 8 or 4
  int32_t group;       // elements that share parameters; 1: no parameters
  int32_t num_params;  // f16 numbers of a group
  double error;        // of an element that is stored and read, over the largest |x| of its group
  void (*encode)(const float* x, int64_t dim, uint8_t* out);
  void (*decode)(const uint8_t* in, int64_t dim, float* out);

  // Elements are stored in multiples of this many.
  constexpr int32_t code_unit() const { return code_bits == 4 ? 32 : 1; }
  constexpr int64_t num_groups(int64_t dim) const { return (dim + group - 1) / group; }
  constexpr int64_t code_bytes(int64_t dim) const {
    return (dim + code_unit() - 1) / code_unit() * code_unit() * code_bits / 8;
  }
  constexpr int64_t param_bytes(int64_t dim) const { return num_groups(dim) * num_params * 2; }
  // Of one stored vector.
  constexpr int64_t bytes(int64_t dim) const { return code_bytes(dim) + param_bytes(dim); }
};

inline constexpr KvFormatTraits kKvFormats[] = {
#define KV_FORMAT(Name, name, code_bits, group, num_params, error) \
  {name, code_bits, group, num_params, error, &KvEncode##Name, &KvDecode##Name},
#include "quant/kv_format_list.def"
#undef KV_FORMAT
};
inline constexpr int kNumKvFormats = static_cast<int>(std::size(kKvFormats));

constexpr const KvFormatTraits& Traits(KvFormat format) {
  return kKvFormats[static_cast<int>(format)];
}
constexpr std::string_view KvFormatName(KvFormat format) {
  return Traits(format).name;
}

// nullopt when there is no such format.
constexpr std::optional<KvFormat> KvFormatFromName(std::string_view name) {
  for (size_t i = 0; i < std::size(kKvFormats); ++i) {
    if (kKvFormats[i].name == name) return static_cast<KvFormat>(i);
  }
  return std::nullopt;
}

// "f32, f16, bf16, int8 or int4": for messages.
inline std::string KvFormatNames() {
  std::string names;
  for (size_t i = 0; i < std::size(kKvFormats); ++i) {
    if (i > 0) names += i + 1 == std::size(kKvFormats) ? " or " : ", ";
    names += kKvFormats[i].name;
  }
  return names;
}

}  // namespace rill::quant
