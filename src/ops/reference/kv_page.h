// Element access inside KV pages, spelled out from tensor/paged_kv_view.h.
#pragma once

#include <cstring>

#include "base/check.h"
#include "base/float_types.h"
#include "tensor/paged_kv_view.h"

namespace rill::ops::reference {

// One position of one KV head.
struct KvPlace {
  std::byte* slab;
  int32_t slot;  // position inside the page
};

inline KvPlace FindPlace(const PagedKvView& kv, int32_t seq, int32_t position, int32_t layer,
                         int32_t kv_head) {
  const int32_t page_size = kv.layout.page_size;
  const int32_t page = kv.page_table[int64_t{seq} * kv.max_pages + position / page_size];
  CHECK(page >= 0 && page < kv.num_pages) << "sequence " << seq << ", position " << position
                                          << ": page " << page << " of " << kv.num_pages;
  return {kv.Slab(page, layer, kv_head), position % page_size};
}

inline std::byte* KAddress(const KvLayout& layout, KvPlace place, int32_t d) {
  const int64_t index = int64_t{place.slot / 16} * layout.k_dim * 16 + d * 16 + place.slot % 16;
  return place.slab + index * layout.element_bytes();
}

inline std::byte* VAddress(const KvLayout& layout, KvPlace place, int32_t d) {
  return place.slab + layout.v_offset_bytes() +
         (place.slot * layout.v_stride() + d) * layout.element_bytes();
}

inline float LoadElement(const KvLayout& layout, const std::byte* address) {
  if (layout.dtype == DType::kF32) {
    float value;
    std::memcpy(&value, address, sizeof value);
    return value;
  }
  uint16_t bits;
  std::memcpy(&bits, address, sizeof bits);
  return layout.dtype == DType::kF16 ? F16ToF32(bits) : Bf16ToF32(bits);
}

inline void StoreElement(const KvLayout& layout, std::byte* address, float value) {
  if (layout.dtype == DType::kF32) {
    std::memcpy(address, &value, sizeof value);
    return;
  }
  const uint16_t bits = layout.dtype == DType::kF16 ? F32ToF16(value) : F32ToBf16(value);
  std::memcpy(address, &bits, sizeof bits);
}

}  // namespace rill::ops::reference
