// rope, kv_append and rope_kv_append.
#include <algorithm>

#include "backends/cpu/context.h"

namespace rill::cpu {
namespace {

// Calls fn(row, sequence, position) for the rows of a step, in order.
template <typename Fn>
void ForStepRows(const PagedKvView& kv, Fn&& fn) {
  for (int32_t s = 0; s < kv.num_seqs; ++s) {
    const int32_t q_len = kv.q_offsets[s + 1] - kv.q_offsets[s];
    for (int32_t i = 0; i < q_len; ++i) {
      fn(kv.q_offsets[s] + i, s, kv.kv_lens[s] - q_len + i);
    }
  }
}

template <typename View>
auto* Head(const View& x, int64_t t, int64_t h) {
  return x.template Row<float>(t) + h * x.stride(1);
}

// [cos][sin] of each row, from pairs.
struct Angles {
  Angles(const TensorView& cos_sin, float* memory) : half(cos_sin.dim(1) / 2), values(memory) {
    for (int64_t t = 0; t < cos_sin.dim(0); ++t) {
      const float* pairs = cos_sin.Row<float>(t);
      float* out = values + t * 2 * half;
      for (int64_t i = 0; i < half; ++i) {
        out[i] = pairs[2 * i];
        out[half + i] = pairs[2 * i + 1];
      }
    }
  }
  void Rotate(const Kernels& k, float* x, int64_t t, bool interleaved) const {
    const float* cos = values + t * 2 * half;
    k.rope(x, cos, cos + half, 2 * half, interleaved);
  }
  int64_t half;
  float* values;
};

// One position of one KV head. `buffer` holds a stored key or value (KvBufferBytes).
void AppendRow(const Kernels& kernels, const PagedKvView& kv, int32_t layer, int32_t seq,
               int32_t position, int64_t head, const float* k, const float* v, uint8_t* buffer) {
  const KvLayout& layout = kv.layout;
  const int32_t page = kv.page_table[int64_t{seq} * kv.max_pages + position / layout.page_size];
  std::byte* slab = kv.Slab(page, layer, static_cast<int32_t>(head));
  const int32_t slot = position % layout.page_size;
  const auto encode = kernels.kv_encode[static_cast<int>(layout.format)];
  encode(k, layout.k_dim, buffer);
  StoreKey(layout, slab, slot, buffer);
  encode(v, layout.v_dim, buffer);
  StoreValue(layout, slab, slot, buffer);
}

// Of one thread's stored key or value, in whole cache lines.
int64_t KvBufferBytes(const KvLayout& layout) {
  const int64_t bytes = layout.traits().bytes(std::max(layout.k_dim, layout.v_dim));
  return (bytes + 63) / 64 * 64;
}

// Splits heads over threads when there are rows enough: lanes of a strip share cache lines, heads
// do not.
template <typename Fn>
void ForHeads(Context& c, int64_t rows, int64_t heads, int64_t size, Fn&& fn) {
  if (rows * heads * size < kParallelElements) return fn(int64_t{0}, heads);
  c.pool.ParallelFor(heads, 1, fn);
}

}  // namespace

void RopeOp(const ops::RopeArgs& args, ops::Stream& stream) {
  Context& c = ContextOf(stream);
  const int64_t n = args.x.dim(0), heads = args.x.dim(1);
  const Angles angles(args.cos_sin, c.rows.Array<float>(n * args.cos_sin.dim(1)));
  ForRows(c, n, heads * args.x.dim(2), [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      for (int64_t h = 0; h < heads; ++h) {
        angles.Rotate(c.k, Head(args.x, t, h), t, args.interleaved);
      }
    }
  });
}

void KvAppendOp(const ops::KvAppendArgs& args, ops::Stream& stream) {
  Context& c = ContextOf(stream);
  const KvLayout& layout = args.kv->layout;
  const int64_t buffer_bytes = KvBufferBytes(layout);
  uint8_t* buffers = c.pointers.Get(layout.num_kv_heads * buffer_bytes);
  ForHeads(c, args.k.dim(0), layout.num_kv_heads, layout.k_dim, [&](int64_t begin, int64_t end) {
    for (int64_t h = begin; h < end; ++h) {
      ForStepRows(*args.kv, [&](int64_t t, int32_t seq, int32_t position) {
        AppendRow(c.k, *args.kv, args.layer, seq, position, h, Head(args.k, t, h),
                  Head(args.v, t, h), buffers + h * buffer_bytes);
      });
    }
  });
}

void RopeKvAppendOp(const ops::RopeKvAppendArgs& args, ops::Stream& stream) {
  Context& c = ContextOf(stream);
  const KvLayout& layout = args.kv->layout;
  const int64_t n = args.q.dim(0), heads = args.q.dim(1), kv_heads = layout.num_kv_heads;
  const int64_t buffer_bytes = KvBufferBytes(layout);
  uint8_t* buffers = c.pointers.Get(kv_heads * buffer_bytes);
  const Angles angles(args.cos_sin, c.rows.Array<float>(n * args.cos_sin.dim(1)));
  ForHeads(c, n, heads + kv_heads, layout.k_dim, [&](int64_t begin, int64_t end) {
    for (int64_t h = begin; h < end; ++h) {
      if (h < heads) {
        for (int64_t t = 0; t < n; ++t) {
          angles.Rotate(c.k, Head(args.q, t, h), t, args.interleaved);
        }
        continue;
      }
      const int64_t kv_head = h - heads;
      ForStepRows(*args.kv, [&](int64_t t, int32_t seq, int32_t position) {
        float* k = Head(args.k, t, kv_head);
        angles.Rotate(c.k, k, t, args.interleaved);
        AppendRow(c.k, *args.kv, args.layer, seq, position, kv_head, k, Head(args.v, t, kv_head),
                  buffers + kv_head * buffer_bytes);
      });
    }
  });
}

}  // namespace rill::cpu
