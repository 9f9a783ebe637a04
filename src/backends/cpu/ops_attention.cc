// rope, kv_append, rope_kv_append and paged_attention.
#include <algorithm>
#include <cstring>

#include "backends/cpu/context.h"
#include "base/float_types.h"

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

void ToKv(const Kernels& k, DType dtype, const float* x, int64_t n, void* out) {
  if (dtype == DType::kF16) {
    k.to_f16(x, static_cast<uint16_t*>(out), n);
  } else if (dtype == DType::kBF16) {
    for (int64_t i = 0; i < n; ++i) static_cast<uint16_t*>(out)[i] = F32ToBf16(x[i]);
  } else {
    std::memcpy(out, x, static_cast<size_t>(n) * 4);
  }
}

// One position of one KV head. `buffer` holds k_dim elements.
void AppendRow(const Kernels& kernels, const PagedKvView& kv, int32_t layer, int32_t seq,
               int32_t position, int32_t head, const float* k, const float* v, void* buffer) {
  const KvLayout& layout = kv.layout;
  const int32_t page = kv.page_table[int64_t{seq} * kv.max_pages + position / layout.page_size];
  std::byte* slab = kv.Slab(page, layer, head);
  const int64_t in_page = position % layout.page_size;
  const int64_t bytes = layout.element_bytes();
  ToKv(kernels, layout.dtype, k, layout.k_dim, buffer);
  std::byte* strip = slab + (in_page / 16 * layout.k_dim * 16 + in_page % 16) * bytes;
  if (bytes == 2) {
    const auto* from = static_cast<const uint16_t*>(buffer);
    auto* to = reinterpret_cast<uint16_t*>(strip);
    for (int32_t d = 0; d < layout.k_dim; ++d) to[int64_t{d} * 16] = from[d];
  } else {
    const auto* from = static_cast<const uint32_t*>(buffer);
    auto* to = reinterpret_cast<uint32_t*>(strip);
    for (int32_t d = 0; d < layout.k_dim; ++d) to[int64_t{d} * 16] = from[d];
  }
  ToKv(kernels, layout.dtype, v, layout.v_dim,
       slab + layout.v_offset_bytes() + in_page * layout.v_stride() * bytes);
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
  uint8_t* buffers = c.more_rows.Get(int64_t{layout.num_kv_heads} * layout.k_dim * 4);
  ForHeads(c, args.k.dim(0), layout.num_kv_heads, layout.k_dim, [&](int64_t begin, int64_t end) {
    for (int64_t h = begin; h < end; ++h) {
      ForStepRows(*args.kv, [&](int64_t t, int32_t seq, int32_t position) {
        AppendRow(c.k, *args.kv, args.layer, seq, position, static_cast<int32_t>(h),
                  Head(args.k, t, h), Head(args.v, t, h), buffers + h * layout.k_dim * 4);
      });
    }
  });
}

void RopeKvAppendOp(const ops::RopeKvAppendArgs& args, ops::Stream& stream) {
  Context& c = ContextOf(stream);
  const KvLayout& layout = args.kv->layout;
  const int64_t n = args.q.dim(0), heads = args.q.dim(1), kv_heads = layout.num_kv_heads;
  uint8_t* buffers = c.more_rows.Get(kv_heads * layout.k_dim * 4);
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
        AppendRow(c.k, *args.kv, args.layer, seq, position, static_cast<int32_t>(kv_head), k,
                  Head(args.v, t, kv_head), buffers + kv_head * layout.k_dim * 4);
      });
    }
  });
}

// Rows of work are (sequence, KV head, query, head of the group), in this order; each thread takes
// a contiguous part of about the same number of visible positions, in blocks that share a KV head.
void PagedAttentionOp(const ops::PagedAttentionArgs& args, ops::Stream& stream) {
  Context& c = ContextOf(stream);
  const PagedKvView& kv = *args.kv;
  const KvLayout& layout = kv.layout;
  const int64_t heads = args.q.dim(1);
  const int64_t group = heads / layout.num_kv_heads;
  struct Range {
    int32_t begin, end;
  };
  const auto visible = [&](int32_t kv_len, int32_t position) {
    Range range{0, args.causal ? position + 1 : kv_len};
    if (args.window > 0) range.begin = std::max(0, position - args.window + 1);
    return range;
  };
  const auto cost = [](Range r) { return int64_t{r.end} - r.begin + 32; };
  int64_t total = 0;
  ForStepRows(kv, [&](int64_t, int32_t seq, int32_t position) {
    total += cost(visible(kv.kv_lens[seq], position)) * heads;
  });
  const auto run = [&](int worker, int num_workers) {
    const int64_t from = total * worker / num_workers;
    const int64_t to = total * (worker + 1) / num_workers;
    float* scratch = c.worker[static_cast<size_t>(worker)].Array<float>(
        AttentionScratchFloats(layout.k_dim, layout.v_dim));
    AttentionBlock b;
    b.has_sinks = !args.sinks.empty();
    b.has_alibi = !args.alibi_slopes.empty();
    b.score_scale = args.score_scale;
    b.softcap = args.softcap;
    b.kv_dtype = layout.dtype;
    b.k_dim = layout.k_dim;
    b.v_dim = layout.v_dim;
    b.v_stride = layout.v_stride();
    b.v_offset_bytes = layout.v_offset_bytes();
    b.page_size = layout.page_size;
    b.page_bytes = layout.page_bytes();
    b.scratch = scratch;
    const auto flush = [&] {
      if (b.num_rows > 0) c.k.attention(b);
      b.num_rows = 0;
    };
    int64_t done = 0;  // cost of the rows before this one: rows that begin in [from, to) are ours
    for (int32_t s = 0; s < kv.num_seqs; ++s) {
      const int32_t q_len = kv.q_offsets[s + 1] - kv.q_offsets[s];
      b.pages = kv.page_table + int64_t{s} * kv.max_pages;
      for (int32_t h = 0; h < layout.num_kv_heads; ++h) {
        b.slab0 = kv.Slab(0, args.layer, h);
        for (int32_t i = 0; i < q_len; ++i) {
          const int64_t t = kv.q_offsets[s] + i;
          const int32_t position = kv.kv_lens[s] - q_len + i;
          const Range range = visible(kv.kv_lens[s], position);
          for (int64_t g = 0; g < group; ++g, done += cost(range)) {
            if (done < from || done >= to) continue;
            const int64_t head = h * group + g;
            const int r = b.num_rows++;
            b.q[r] = Head(args.q, t, head);
            b.y[r] = Head(args.y, t, head);
            b.begin[r] = range.begin;
            b.end[r] = range.end;
            b.position[r] = position;
            b.slope[r] = b.has_alibi ? args.alibi_slopes.As<float>()[head] : 0.0f;
            b.sink[r] = b.has_sinks ? args.sinks.As<float>()[head] : 0.0f;
            if (b.num_rows == AttentionBlock::kMaxRows) flush();
          }
        }
        flush();
      }
    }
  };
  // A short context is attended to sooner than another thread could be told to.
  if (total * layout.k_dim < 8192) return run(0, 1);
  c.pool.Run(run);
}

}  // namespace rill::cpu
