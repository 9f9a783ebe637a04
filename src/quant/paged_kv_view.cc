#include "quant/paged_kv_view.h"

#include <cstring>

namespace rill {
namespace {

template <typename Code>
void ScatterCodes(const uint8_t* codes, int64_t dim, const KvLayout& layout, std::byte* lane) {
  const int64_t group = layout.traits().group;
  int64_t begin = 0;
  // int8 keys, the default, without a loop inside.
  for (; sizeof(Code) == 1 && group == 8 && begin + 8 <= dim; begin += 8) {
    std::byte* to = lane + layout.k_group_param_bytes();
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) to[16 * i] = static_cast<std::byte>(codes[begin + i]);
    lane += layout.k_group_bytes();
  }
  for (; begin < dim; begin += group) {
    std::byte* to = lane + layout.k_group_param_bytes();
    for (int64_t i = begin; i < dim && i < begin + group; ++i) {
      std::memcpy(to, codes + i * int64_t{sizeof(Code)}, sizeof(Code));
      to += 16 * sizeof(Code);
    }
    lane += layout.k_group_bytes();
  }
}

template <typename Code>
void GatherCodes(const std::byte* lane, int64_t dim, const KvLayout& layout, uint8_t* codes) {
  const int64_t group = layout.traits().group;
  for (int64_t begin = 0; begin < dim; begin += group) {
    const std::byte* from = lane + layout.k_group_param_bytes();
    for (int64_t i = begin; i < dim && i < begin + group; ++i) {
      std::memcpy(codes + i * int64_t{sizeof(Code)}, from, sizeof(Code));
      from += 16 * sizeof(Code);
    }
    lane += layout.k_group_bytes();
  }
}

// Nibble i of a stored vector.
uint8_t Nibble(const uint8_t* codes, int64_t i) {
  return codes[i / 32 * 16 + i % 16] >> (i % 32 / 16 * 4) & 15;
}

std::byte* StripOf(const KvLayout& layout, std::byte* slab, int64_t slot) {
  return slab + slot / 16 * layout.k_strip_bytes();
}

// Address of parameter `p` of group `g` in the lane of `slot`.
std::byte* KeyParam(const KvLayout& layout, std::byte* strip, int64_t slot, int64_t g, int32_t p) {
  return strip + g * layout.k_group_bytes() + p * 32 + slot % 16 * 2;
}

// Address of elements 2 i and 2 i + 1 of a 4-bit strip.
std::byte* NibblePair(const KvLayout& layout, std::byte* strip, int64_t slot, int64_t i) {
  const int64_t pairs = layout.traits().group / 2;
  return strip + i / pairs * layout.k_group_bytes() + layout.k_group_param_bytes() +
         i % pairs * 16 + slot % 16;
}

}  // namespace

void StoreKey(const KvLayout& layout, std::byte* slab, int64_t slot, const uint8_t* stored) {
  const quant::KvFormatTraits& traits = layout.traits();
  const int64_t dim = layout.k_dim;
  std::byte* strip = StripOf(layout, slab, slot);
  switch (traits.code_bits) {
    case 32: ScatterCodes<uint32_t>(stored, dim, layout, strip + slot % 16 * 4); break;
    case 16: ScatterCodes<uint16_t>(stored, dim, layout, strip + slot % 16 * 2); break;
    case 8: ScatterCodes<uint8_t>(stored, dim, layout, strip + slot % 16); break;
    default:
      for (int64_t i = 0; 2 * i < dim; ++i) {
        // An odd last element has its neighbour's nibble 0: codes beyond dim are.
        const int both = Nibble(stored, 2 * i) | Nibble(stored, 2 * i + 1) << 4;
        *NibblePair(layout, strip, slot, i) = static_cast<std::byte>(both);
      }
  }
  const uint8_t* params = stored + traits.code_bytes(dim);
  for (int64_t g = 0; g < traits.num_groups(dim); ++g) {
    for (int32_t p = 0; p < traits.num_params; ++p, params += 2) {
      std::memcpy(KeyParam(layout, strip, slot, g, p), params, 2);
    }
  }
}

void LoadKey(const KvLayout& layout, const std::byte* slab, int64_t slot, uint8_t* stored) {
  const quant::KvFormatTraits& traits = layout.traits();
  const int64_t dim = layout.k_dim;
  std::byte* strip = StripOf(layout, const_cast<std::byte*>(slab), slot);
  switch (traits.code_bits) {
    case 32: GatherCodes<uint32_t>(strip + slot % 16 * 4, dim, layout, stored); break;
    case 16: GatherCodes<uint16_t>(strip + slot % 16 * 2, dim, layout, stored); break;
    case 8: GatherCodes<uint8_t>(strip + slot % 16, dim, layout, stored); break;
    default:
      std::memset(stored, 0, static_cast<size_t>(traits.code_bytes(dim)));
      for (int64_t i = 0; i < dim; ++i) {
        const int both = static_cast<int>(*NibblePair(layout, strip, slot, i / 2));
        const int code = both >> (i % 2 * 4) & 15;
        stored[i / 32 * 16 + i % 16] |= static_cast<uint8_t>(code << (i % 32 / 16 * 4));
      }
  }
  uint8_t* params = stored + traits.code_bytes(dim);
  for (int64_t g = 0; g < traits.num_groups(dim); ++g) {
    for (int32_t p = 0; p < traits.num_params; ++p, params += 2) {
      std::memcpy(params, KeyParam(layout, strip, slot, g, p), 2);
    }
  }
}

void StoreValue(const KvLayout& layout, std::byte* slab, int64_t slot, const uint8_t* stored) {
  const quant::KvFormatTraits& traits = layout.traits();
  std::byte* row = slab + layout.v_offset_bytes() + slot * layout.v_row_bytes();
  const int64_t code_bytes = traits.code_bytes(layout.v_dim);
  std::memcpy(row, stored, static_cast<size_t>(code_bytes));
  std::memcpy(row + traits.code_bytes(layout.v_stride()), stored + code_bytes,
              static_cast<size_t>(traits.param_bytes(layout.v_dim)));
}

void LoadValue(const KvLayout& layout, const std::byte* slab, int64_t slot, uint8_t* stored) {
  const quant::KvFormatTraits& traits = layout.traits();
  const std::byte* row = slab + layout.v_offset_bytes() + slot * layout.v_row_bytes();
  const int64_t code_bytes = traits.code_bytes(layout.v_dim);
  std::memcpy(stored, row, static_cast<size_t>(code_bytes));
  std::memcpy(stored + code_bytes, row + traits.code_bytes(layout.v_stride()),
              static_cast<size_t>(traits.param_bytes(layout.v_dim)));
}

}  // namespace rill
