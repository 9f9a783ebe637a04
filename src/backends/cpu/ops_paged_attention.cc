// paged_attention: which rows are computed together, and by which thread.
//
// A unit is query rows that share a KV head of a sequence; it is computed in spans of
// AttentionBlock::kSpan absolute positions. (unit, span) pairs in order, weighted by their cost,
// are cut into a few contiguous parts for each thread. A unit of one part is merged as it goes; the
// spans of a cut one are kept apart and merged, in order, by whoever finishes last. Spans and their
// order of merging are part of the arithmetic, so neither the units nor the threads change a bit.
#include <algorithm>
#include <atomic>
#include <new>

#include "backends/cpu/context.h"
#include "quant/paged_kv_view.h"

namespace rill::cpu {
namespace {

struct Range {
  int32_t begin, end;
};

struct Unit {
  int32_t seq, kv_head;
  int32_t first_token, num_tokens;  // rows of the step
  int32_t first_head, num_heads;    // of the group that shares the KV head
  int32_t span_begin, span_end;
  Range visible;  // of any row
  int64_t cost;   // of all units before this one
  int64_t partials;
  bool is_cut;
  std::atomic<int32_t> spans_left;

  int32_t num_rows() const { return num_tokens * num_heads; }
  // Keys and values are read once for all rows; a span has its setup and its merge.
  int64_t CostOfSpan(int32_t span) const {
    const int64_t begin = std::max(span * AttentionBlock::kSpan, visible.begin);
    const int64_t end = std::min((span + 1) * AttentionBlock::kSpan, visible.end);
    return (end - begin) * (num_rows() + 2) + 16 * num_rows() + 32;
  }
};

class PagedAttention {
 public:
  PagedAttention(Context& c, const ops::PagedAttentionArgs& args)
      : c_(c), args_(args), kv_(*args.kv), group_(args.q.dim(1) / kv_.layout.num_kv_heads) {}

  void Run() {
    Plan();
    if (num_units_ == 0) return;
    // A short context is attended to sooner than another thread could be told to.
    constexpr int64_t kAlone = 32768;
    const bool alone =
        cost_ * kv_.layout.k_dim < kAlone || (c_.pool.num_workers() == 1 && !c_.has_helpers());
    num_parts_ = alone ? 1 : 4 * c_.pool.num_workers();
    Cut();
    if (alone) return Work(0, 0);
    c_.ForPieces(num_parts_, 1, [this](int worker, int64_t part, int64_t) { Work(worker, part); });
  }

 private:
  Range Visible(int32_t kv_len, int32_t position) const {
    Range range{0, args_.causal ? position + 1 : kv_len};
    if (args_.window > 0) range.begin = std::max(0, position - args_.window + 1);
    return range;
  }

  void Plan() {
    constexpr int64_t kMaxRows = AttentionBlock::kMaxRows;
    const KvLayout& layout = kv_.layout;
    const int64_t total_rows = args_.q.dim(0) * args_.q.dim(1);
    // Large enough to share converted keys and values, small enough to give each thread several.
    const int64_t rows =
        std::clamp<int64_t>(total_rows / (4 * c_.pool.num_workers()), 24, kMaxRows);
    const int64_t tokens = std::max<int64_t>(1, rows / group_);
    const int64_t heads = std::min(group_, kMaxRows);
    int64_t count = 0;
    for (int32_t s = 0; s < kv_.num_seqs; ++s) {
      const int64_t q_len = kv_.q_offsets[s + 1] - kv_.q_offsets[s];
      count += (q_len + tokens - 1) / tokens;
    }
    count *= layout.num_kv_heads * ((group_ + heads - 1) / heads);
    units_ = c_.pointers.Array<Unit>(count);
    for (int32_t s = 0; s < kv_.num_seqs; ++s) {
      const int32_t begin = kv_.q_offsets[s], end = kv_.q_offsets[s + 1];
      for (int32_t h = 0; h < layout.num_kv_heads; ++h) {
        for (int64_t t = begin; t < end; t += tokens) {
          for (int64_t g = 0; g < group_; g += heads) {
            Unit& unit = *new (units_ + num_units_++) Unit;
            unit.seq = s;
            unit.kv_head = h;
            unit.first_token = static_cast<int32_t>(t);
            unit.num_tokens = static_cast<int32_t>(std::min(tokens, end - t));
            unit.first_head = static_cast<int32_t>(h * group_ + g);
            unit.num_heads = static_cast<int32_t>(std::min(heads, group_ - g));
            const int32_t position = PositionOf(s, unit.first_token);
            unit.visible = {Visible(kv_.kv_lens[s], position).begin,
                            Visible(kv_.kv_lens[s], position + unit.num_tokens - 1).end};
            unit.span_begin = unit.visible.begin / AttentionBlock::kSpan;
            unit.span_end = (unit.visible.end + AttentionBlock::kSpan - 1) / AttentionBlock::kSpan;
            unit.cost = cost_;
            for (int32_t span = unit.span_begin; span < unit.span_end; ++span) {
              cost_ += unit.CostOfSpan(span);
            }
          }
        }
      }
    }
  }

  int32_t PositionOf(int32_t seq, int32_t token) const {
    return kv_.kv_lens[seq] - (kv_.q_offsets[seq + 1] - token);
  }

  // The part of what begins after `cost`.
  int64_t PartOf(int64_t cost) const { return cost * num_parts_ / cost_; }

  void Cut() {
    int64_t floats = 0;
    first_unit_.clear();
    for (int64_t i = 0; i < num_units_; ++i) {
      Unit& unit = units_[i];
      const int64_t end = i + 1 < num_units_ ? units_[i + 1].cost : cost_;
      const int64_t last = end - unit.CostOfSpan(unit.span_end - 1);
      const int64_t last_part = PartOf(last);
      while (static_cast<int64_t>(first_unit_.size()) <= last_part) first_unit_.push_back(i);
      unit.is_cut = PartOf(unit.cost) != last_part;
      if (!unit.is_cut) continue;
      const int32_t spans = unit.span_end - unit.span_begin;
      unit.spans_left.store(spans, std::memory_order_relaxed);
      unit.partials = floats;
      floats += spans * AttentionPartialFloats(unit.num_rows(), kv_.layout.v_stride());
    }
    first_unit_.resize(static_cast<size_t>(num_parts_), num_units_);
    partials_ = floats > 0 ? c_.rows.Array<float>(floats) : nullptr;
  }

  void Work(int worker, int64_t part) {
    const KvLayout& layout = kv_.layout;
    AttentionBlock b;
    b.has_sinks = !args_.sinks.empty();
    b.has_alibi = !args_.alibi_slopes.empty();
    b.score_scale = args_.score_scale;
    b.softcap = args_.softcap;
    b.format = layout.format;
    b.k_dim = layout.k_dim;
    b.v_dim = layout.v_dim;
    b.v_stride = layout.v_stride();
    b.k_strip_bytes = layout.k_strip_bytes();
    b.v_row_bytes = layout.v_row_bytes();
    b.v_code_bytes = layout.traits().code_bytes(b.v_stride);
    b.v_offset_bytes = layout.v_offset_bytes();
    b.page_size = layout.page_size;
    b.page_bytes = layout.page_bytes();
    b.scratch = c_.worker[static_cast<size_t>(worker)].Array<float>(
        AttentionScratchFloats(b.k_dim, b.v_stride));
    const int64_t partial = layout.v_stride() + 2;
    for (int64_t i = first_unit_[static_cast<size_t>(part)]; i < num_units_; ++i) {
      Unit& unit = units_[i];
      if (PartOf(unit.cost) > part) break;
      if (!unit.is_cut) {
        SetRows(unit, b);
        SetNext(i + 1, b);
        c_.k.attention(b, unit.span_begin, unit.span_end, nullptr);
        continue;
      }
      int32_t begin = unit.span_end, end = unit.span_begin;  // spans of this part
      int64_t cost = unit.cost;
      for (int32_t span = unit.span_begin; span < unit.span_end; ++span) {
        if (PartOf(cost) == part) {
          begin = std::min(begin, span);
          end = span + 1;
        }
        cost += unit.CostOfSpan(span);
      }
      if (begin >= end) continue;
      SetRows(unit, b);
      SetNext(i + 1, b);  // for whoever computes the end
      float* partials = partials_ + unit.partials;
      c_.k.attention(b, begin, end,
                     partials + (begin - unit.span_begin) * unit.num_rows() * partial);
      const int32_t done = end - begin;
      if (unit.spans_left.fetch_sub(done, std::memory_order_acq_rel) == done) {
        c_.k.attention_merge(b, unit.span_end - unit.span_begin, partials);
      }
    }
  }

  // The first strips of the units from `unit` on, in the order in which they are read.
  void SetNext(int64_t unit, AttentionBlock& b) const {
    int n = 0;
    for (; unit < num_units_ && n < AttentionBlock::kStripsAhead; ++unit) {
      const Unit& next = units_[unit];
      const int32_t* pages = kv_.page_table + int64_t{next.seq} * kv_.max_pages;
      int32_t position = next.visible.begin / 16 * 16;
      for (; position < next.visible.end && n < AttentionBlock::kStripsAhead; position += 16, ++n) {
        const std::byte* slab = kv_.Slab(pages[position / b.page_size], args_.layer, next.kv_head);
        const int64_t in_page = position % b.page_size;
        b.next_k[n] = slab + in_page / 16 * b.k_strip_bytes;
        b.next_v[n] = slab + b.v_offset_bytes + in_page * b.v_row_bytes;
      }
    }
    for (; n < AttentionBlock::kStripsAhead; ++n) b.next_k[n] = b.next_v[n] = nullptr;
  }

  void SetRows(const Unit& unit, AttentionBlock& b) const {
    b.slab0 = kv_.Slab(0, args_.layer, unit.kv_head);
    b.pages = kv_.page_table + int64_t{unit.seq} * kv_.max_pages;
    b.num_rows = unit.num_rows();
    int r = 0;
    for (int32_t i = 0; i < unit.num_tokens; ++i) {
      const int32_t t = unit.first_token + i;
      const int32_t position = PositionOf(unit.seq, t);
      const Range range = Visible(kv_.kv_lens[unit.seq], position);
      for (int32_t g = 0; g < unit.num_heads; ++g, ++r) {
        const int64_t head = unit.first_head + g;
        b.q[r] = args_.q.Row<float>(t) + head * args_.q.stride(1);
        b.y[r] = args_.y.Row<float>(t) + head * args_.y.stride(1);
        b.begin[r] = range.begin;
        b.end[r] = range.end;
        b.position[r] = position;
        b.slope[r] = b.has_alibi ? args_.alibi_slopes.As<float>()[head] : 0.0f;
        b.sink[r] = b.has_sinks ? args_.sinks.As<float>()[head] : 0.0f;
      }
    }
  }

  Context& c_;
  const ops::PagedAttentionArgs& args_;
  const PagedKvView& kv_;
  const int64_t group_;
  Unit* units_ = nullptr;
  int64_t num_units_ = 0;
  int64_t cost_ = 0;
  int64_t num_parts_ = 1;
  std::vector<int64_t> first_unit_;  // of each part
  float* partials_ = nullptr;
};

}  // namespace

void PagedAttentionOp(const ops::PagedAttentionArgs& args, ops::Stream& stream) {
  PagedAttention(ContextOf(stream), args).Run();
}

}  // namespace rill::cpu
