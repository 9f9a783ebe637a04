// One key or value of a page as f32, by quant/paged_kv_view.h.
#pragma once

#include <vector>

#include "base/check.h"
#include "quant/paged_kv_view.h"

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

// k [k_dim] and v [v_dim], converted to the layout's format.
inline void WriteKeyValue(const KvLayout& layout, KvPlace place, const float* k, const float* v) {
  const quant::KvFormatTraits& traits = layout.traits();
  std::vector<uint8_t> stored(static_cast<size_t>(traits.bytes(layout.k_dim)));
  traits.encode(k, layout.k_dim, stored.data());
  StoreKey(layout, place.slab, place.slot, stored.data());
  stored.resize(static_cast<size_t>(traits.bytes(layout.v_dim)));
  traits.encode(v, layout.v_dim, stored.data());
  StoreValue(layout, place.slab, place.slot, stored.data());
}

inline std::vector<float> ReadKey(const KvLayout& layout, KvPlace place) {
  std::vector<uint8_t> stored(static_cast<size_t>(layout.traits().bytes(layout.k_dim)));
  LoadKey(layout, place.slab, place.slot, stored.data());
  std::vector<float> out(static_cast<size_t>(layout.k_dim));
  layout.traits().decode(stored.data(), layout.k_dim, out.data());
  return out;
}

inline std::vector<float> ReadValue(const KvLayout& layout, KvPlace place) {
  std::vector<uint8_t> stored(static_cast<size_t>(layout.traits().bytes(layout.v_dim)));
  LoadValue(layout, place.slab, place.slot, stored.data());
  std::vector<float> out(static_cast<size_t>(layout.v_dim));
  layout.traits().decode(stored.data(), layout.v_dim, out.data());
  return out;
}

}  // namespace rill::ops::reference
