// PagedKvView: what an attention op sees of the KV memory in one step.
//
// KV memory is one allocation of num_pages pages. A page holds `page_size` consecutive positions of
// one sequence, for all layers and KV heads. Inside a page, layer l and KV head h own a slab:
//
//   slab(page, l, h) = base + page * page_bytes + (l * num_kv_heads + h) * slab_bytes   [bytes]
//     K: page_size / 16 strips of k_strip_bytes; lane = position in the strip, so one strip's q·k
//        puts 16 positions in 16 vector lanes. A strip is its groups of elements in order:
//          [num_params][16] f16, then the codes of the group's elements: [group][16];
//          with 4-bit codes [group / 2][16] bytes, element 2 i in the low nibble, 2 i + 1 in the
//          high
//     V: at v_offset_bytes: page_size rows of v_row_bytes, each a stored vector (quant/kv_format.h)
//        of v_stride elements: codes of v_stride elements, then the parameters of its groups
//
// Formats without parameters (f32, f16, bf16) are groups of one: K strips [k_dim][16], V rows
// [v_stride]. v_stride is v_dim rounded up to 16 (4-bit codes: 32). page_size is a multiple of 16.
// Codes and parameters of elements beyond k_dim or v_dim, and whatever belongs to unwritten
// positions, may hold anything: kernels mask by kv_len and never use a score beyond it.
//
// Sequence s owns step rows [q_offsets[s], q_offsets[s + 1]); after the step's tokens are appended
// it has kv_lens[s] positions, so its row i stands at position kv_lens[s] - q_len + i. The page of
// position p is page_table[s * max_pages + p / page_size].
#pragma once

#include <cstddef>
#include <cstdint>

#include "quant/kv_format.h"

namespace rill {

struct KvLayout {
  quant::KvFormat format = quant::KvFormat::kF16;
  int32_t num_layers = 0;
  int32_t num_kv_heads = 0;
  int32_t k_dim = 0;       // per head
  int32_t v_dim = 0;       // per head
  int32_t page_size = 64;  // positions, multiple of 16

  const quant::KvFormatTraits& traits() const { return quant::Traits(format); }
  // Parameters and codes of one group of a K strip.
  int64_t k_group_param_bytes() const { return int64_t{traits().num_params} * 32; }
  int64_t k_group_bytes() const {
    return k_group_param_bytes() + int64_t{traits().group} * traits().code_bits * 2;
  }
  int64_t k_strip_bytes() const { return traits().num_groups(k_dim) * k_group_bytes(); }
  int64_t v_stride() const {
    const int64_t unit = traits().code_bits == 4 ? 32 : 16;
    return (v_dim + unit - 1) / unit * unit;
  }
  int64_t v_row_bytes() const { return traits().bytes(v_stride()); }
  int64_t v_offset_bytes() const { return page_size / 16 * k_strip_bytes(); }
  int64_t slab_bytes() const { return v_offset_bytes() + page_size * v_row_bytes(); }
  int64_t page_bytes() const { return slab_bytes() * num_kv_heads * num_layers; }
};

struct PagedKvView {
  KvLayout layout;
  std::byte* base = nullptr;  // num_pages * layout.page_bytes()
  int32_t num_pages = 0;
  int32_t num_seqs = 0;
  int32_t max_pages = 0;                // row length of page_table
  const int32_t* page_table = nullptr;  // [num_seqs, max_pages]
  const int32_t* q_offsets = nullptr;   // [num_seqs + 1]
  const int32_t* kv_lens = nullptr;     // [num_seqs]

  std::byte* Slab(int32_t page, int32_t layer, int32_t kv_head) const {
    return base + page * layout.page_bytes() +
           (int64_t{layer} * layout.num_kv_heads + kv_head) * layout.slab_bytes();
  }
};

// Puts a stored vector (quant/kv_format.h) of k_dim or v_dim elements at position `slot` of a slab,
// and takes it out again. No other byte of the slab is touched.
void StoreKey(const KvLayout& layout, std::byte* slab, int64_t slot, const uint8_t* stored);
void StoreValue(const KvLayout& layout, std::byte* slab, int64_t slot, const uint8_t* stored);
void LoadKey(const KvLayout& layout, const std::byte* slab, int64_t slot, uint8_t* stored);
void LoadValue(const KvLayout& layout, const std::byte* slab, int64_t slot, uint8_t* stored);

}  // namespace rill
