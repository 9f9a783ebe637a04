// rope, kv_append and rope_kv_append.
#include <algorithm>

#include "backends/cpu/context.h"

namespace rill::cpu {
namespace {

// fn(worker, begin, end) over the rows of a step, of `row_size` elements each.
template <typename Fn>
void ForWorkersRows(Context& c, int64_t num_rows, int64_t row_size, Fn&& fn) {
  const int64_t pieces = num_rows * row_size < kParallelElements ? 1 : 4 * c.pool.num_workers();
  c.ForPieces(num_rows, (num_rows + pieces - 1) / pieces, fn);
}

// Calls fn(row, sequence, position) for rows [begin, end) of a step, in order.
template <typename Fn>
void ForStepRows(const PagedKvView& kv, int64_t begin, int64_t end, Fn&& fn) {
  const int32_t* last = kv.q_offsets + kv.num_seqs;
  auto s = static_cast<int32_t>(std::upper_bound(kv.q_offsets, last, begin) - kv.q_offsets) - 1;
  for (int64_t t = begin; t < end; ++t) {
    while (t >= kv.q_offsets[s + 1]) ++s;  // sequences may have no rows
    const int64_t left = kv.q_offsets[s + 1] - t;
    fn(t, s, static_cast<int32_t>(kv.kv_lens[s] - left));
  }
}

template <typename View>
auto* Head(const View& x, int64_t t, int64_t h) {
  return x.template Row<float>(t) + h * x.stride(1);
}

// The rotation of each row. Halves want [cos][sin] of a row, which are made from the pairs once.
class Rotation {
 public:
  Rotation(const TensorView& cos_sin, bool interleaved, Context& c)
      : k_(c.k), cos_sin_(cos_sin), dim_(cos_sin.dim(1)) {
    if (interleaved) return;
    halves_ = c.rows.Array<float>(cos_sin.dim(0) * dim_);
    for (int64_t t = 0; t < cos_sin.dim(0); ++t) {
      const float* pairs = cos_sin.Row<float>(t);
      float* out = halves_ + t * dim_;
      for (int64_t i = 0; i < dim_ / 2; ++i) {
        out[i] = pairs[2 * i];
        out[dim_ / 2 + i] = pairs[2 * i + 1];
      }
    }
  }
  void Rotate(float* x, int64_t t) const {
    if (halves_ == nullptr) return k_.rope_pairs(x, cos_sin_.Row<float>(t), dim_);
    const float* cos = halves_ + t * dim_;
    k_.rope_halves(x, cos, cos + dim_ / 2, dim_);
  }

 private:
  const Kernels& k_;
  const TensorView& cos_sin_;
  int64_t dim_;
  float* halves_ = nullptr;
};

// What it takes to store an element of a key and a value, in rotated elements.
constexpr int64_t kAppendWork = 8;

// Of a stored key or value, in whole cache lines.
int64_t StoredBytes(const KvLayout& layout) {
  const int64_t bytes = layout.traits().bytes(std::max(layout.k_dim, layout.v_dim));
  return (bytes + 63) / 64 * 64;
}
int64_t AppendBufferBytes(const KvLayout& layout) {
  return 2 * layout.num_kv_heads * StoredBytes(layout);
}

// Asks for the lines that a key and a value go to, which a decode touched a step ago. A key has
// elements in every line of its strip: the rows after the first of a strip find it in the cache.
void AskForRow(const KvLayout& layout, const std::byte* slab, int64_t slot, bool and_strip) {
  const std::byte* value = slab + layout.v_offset_bytes() + slot * layout.v_row_bytes();
  for (int64_t i = 0; i < layout.v_row_bytes(); i += 64) __builtin_prefetch(value + i);
  __builtin_prefetch(value + layout.v_row_bytes() - 1);
  if (!and_strip) return;
  const std::byte* strip = slab + slot / 16 * layout.k_strip_bytes();
  for (int64_t i = 0; i < layout.k_strip_bytes(); i += 64) __builtin_prefetch(strip + i);
}

// Row `t` of a step, one position of all KV heads: keys and values of head h at k + h * k_stride,
// v + h * v_stride. `buffer`: AppendBufferBytes. All vectors are encoded before the first is
// stored: several encodings, chains of latencies each, fit into the time of one, and copying what
// was just encoded, in loads wider than its stores, would wait for all stores before it.
void AppendRow(const Kernels& kernels, const PagedKvView& kv, int32_t layer, int64_t t, int32_t seq,
               int32_t position, const float* k, int64_t k_stride, const float* v, int64_t v_stride,
               uint8_t* buffer) {
  const KvLayout& layout = kv.layout;
  const int32_t page = kv.page_table[int64_t{seq} * kv.max_pages + position / layout.page_size];
  const int32_t slot = position % layout.page_size;
  const int64_t stored = StoredBytes(layout);
  const auto encode = kernels.kv_encode[static_cast<int>(layout.format)];
  const bool new_strip = slot % 16 == 0 || t == kv.q_offsets[seq];
  for (int32_t h = 0; h < layout.num_kv_heads; ++h) {
    AskForRow(layout, kv.Slab(page, layer, h), slot, new_strip);
  }
  for (int32_t h = 0; h < layout.num_kv_heads; ++h) {
    encode(k + h * k_stride, layout.k_dim, buffer + 2 * h * stored);
    encode(v + h * v_stride, layout.v_dim, buffer + (2 * h + 1) * stored);
  }
  for (int32_t h = 0; h < layout.num_kv_heads; ++h) {
    std::byte* slab = kv.Slab(page, layer, h);
    StoreKey(layout, slab, slot, buffer + 2 * h * stored);
    StoreValue(layout, slab, slot, buffer + (2 * h + 1) * stored);
  }
}

}  // namespace

void RopeOp(const ops::RopeArgs& args, ops::Stream& stream) {
  Context& c = ContextOf(stream);
  const int64_t n = args.x.dim(0), heads = args.x.dim(1);
  const Rotation rotation(args.cos_sin, args.interleaved, c);
  ForRows(c, n, heads * args.x.dim(2), [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      for (int64_t h = 0; h < heads; ++h) {
        rotation.Rotate(Head(args.x, t, h), t);
      }
    }
  });
}

void KvAppendOp(const ops::KvAppendArgs& args, ops::Stream& stream) {
  Context& c = ContextOf(stream);
  const KvLayout& layout = args.kv->layout;
  const int64_t kv_heads = layout.num_kv_heads;
  ForWorkersRows(c, args.k.dim(0), kv_heads * layout.k_dim * kAppendWork,
                 [&](int worker, int64_t begin, int64_t end) {
                   uint8_t* buffer =
                       c.worker[static_cast<size_t>(worker)].Get(AppendBufferBytes(layout));
                   ForStepRows(*args.kv, begin, end, [&](int64_t t, int32_t seq, int32_t position) {
                     AppendRow(c.k, *args.kv, args.layer, t, seq, position, Head(args.k, t, 0),
                               args.k.stride(1), Head(args.v, t, 0), args.v.stride(1), buffer);
                   });
                 });
}

void RopeKvAppendOp(const ops::RopeKvAppendArgs& args, ops::Stream& stream) {
  Context& c = ContextOf(stream);
  const KvLayout& layout = args.kv->layout;
  const int64_t n = args.q.dim(0), heads = args.q.dim(1), kv_heads = layout.num_kv_heads;
  const Rotation rotation(args.cos_sin, args.interleaved, c);
  ForWorkersRows(c, n, (heads + kv_heads * kAppendWork) * layout.k_dim,
                 [&](int worker, int64_t begin, int64_t end) {
                   uint8_t* buffer =
                       c.worker[static_cast<size_t>(worker)].Get(AppendBufferBytes(layout));
                   ForStepRows(*args.kv, begin, end, [&](int64_t t, int32_t seq, int32_t position) {
                     for (int64_t h = 0; h < heads; ++h) rotation.Rotate(Head(args.q, t, h), t);
                     for (int64_t h = 0; h < kv_heads; ++h) rotation.Rotate(Head(args.k, t, h), t);
                     AppendRow(c.k, *args.kv, args.layer, t, seq, position, Head(args.k, t, 0),
                               args.k.stride(1), Head(args.v, t, 0), args.v.stride(1), buffer);
                   });
                 });
}

}  // namespace rill::cpu
