// PagedKvView: what an attention op sees of the KV memory in one step.
//
// KV memory is one allocation of num_pages pages. A page holds `page_size` consecutive positions of
// one sequence, for all layers and KV heads. Inside a page, layer l and KV head h own a slab:
//
//   slab(page, l, h) = base + page * page_stride + (l * num_kv_heads + h) * slab_stride   [bytes]
//     K: page_size / 16 strips, each [k_dim][16]: lane = position in the strip, so one strip's q·k
//        puts 16 positions in 16 vector lanes
//     V: at v_offset bytes: [page_size][v_stride elements], v_stride = v_dim rounded up to 16
//
// page_size is a multiple of 16. Elements are f32, f16 or bf16 (quantised formats bring their own
// slab layout). Unwritten positions may hold anything: kernels mask by kv_len and never read a
// score beyond it.
//
// Sequence s owns step rows [q_offsets[s], q_offsets[s + 1]); after the step's tokens are appended
// it has kv_lens[s] positions, so its row i stands at position kv_lens[s] - q_len + i. The page of
// position p is page_table[s * max_pages + p / page_size].
#pragma once

#include <cstdint>

#include "tensor/dtype.h"

namespace rill {

struct KvLayout {
  DType dtype = DType::kF16;
  int32_t num_layers = 0;
  int32_t num_kv_heads = 0;
  int32_t k_dim = 0;       // per head
  int32_t v_dim = 0;       // per head
  int32_t page_size = 64;  // positions, multiple of 16

  int64_t v_stride() const { return (int64_t{v_dim} + 15) / 16 * 16; }
  int64_t element_bytes() const { return Traits(dtype).block_bytes; }
  int64_t v_offset_bytes() const { return int64_t{page_size} * k_dim * element_bytes(); }
  int64_t slab_bytes() const {
    return v_offset_bytes() + int64_t{page_size} * v_stride() * element_bytes();
  }
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

}  // namespace rill
