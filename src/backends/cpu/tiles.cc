#include "backends/cpu/tiles.h"

#include "base/cpu_features.h"

namespace rill::cpu {
namespace {

// Products of that many tokens or less whose panels are decoded in registers have a tile that is as
// wide as they are many.
constexpr int64_t kNarrowTokens = 3;
// Elements that are packed by the caller alone.
constexpr int64_t kPackElements = 4096;
// No kernel takes wider tiles.
constexpr int kMaxWidth = 64;

// Into how many ranges of k a tile is cut, so that each thread has something to do.
int64_t SplitsOf(const Context& c, const Tiles& tiles) {
  const int64_t units = (tiles.k + kUnit - 1) / kUnit;
  if (tiles.num_tokens * tiles.k < kPackElements) return 1;
  if (tiles.num_tiles >= 2 * c.pool.num_workers()) return 1;
  return std::min<int64_t>(c.pool.num_workers(),
                           (units + tiles.group_units - 1) / tiles.group_units);
}

// fn(rows, i, unit0, unit1) over all tiles; few tiles are split along k. rows: of tile i, normed.
template <typename Fn>
void ForTiles(Context& c, const Tiles& tiles, const float* const* x, const RowNorm& norm, Fn&& fn) {
  const int64_t units = (tiles.k + kUnit - 1) / kUnit;
  const int64_t splits = SplitsOf(c, tiles);
  const auto tile = [&](int worker, int64_t i, int64_t unit0, int64_t unit1) {
    const float* const* rows = x + i * tiles.width;
    if (norm.kind == ops::InputNorm::kNone) return fn(rows, i, unit0, unit1);
    // A tile's rows stay in this core's cache until they are packed.
    const float* normed[kMaxWidth];
    float* memory = c.worker[static_cast<size_t>(worker)].Array<float>(tiles.width * tiles.k);
    for (int t = 0; t < tiles.WidthOf(i); ++t) {
      norm.Apply(c.k, rows[t], memory + t * tiles.k, tiles.k);
      normed[t] = memory + t * tiles.k;
    }
    fn(normed, i, unit0, unit1);
  };
  // A few rows are packed sooner than another thread could be told to.
  if (tiles.num_tokens * tiles.k < kPackElements) {
    for (int64_t i = 0; i < tiles.num_tiles; ++i) tile(0, i, 0, units);
    return;
  }
  const int64_t group = tiles.group_units;
  c.ForPieces(tiles.num_tiles * splits, 1, [&](int worker, int64_t i, int64_t) {
    const int64_t part = i % splits;
    const int64_t steps = (units + group - 1) / group;
    tile(worker, i / splits, std::min(units, steps * part / splits * group),
         std::min(units, steps * (part + 1) / splits * group));
  });
}

Tiles PlanF32(const Context& c, const CpuWeight& w, int64_t num_tokens, Scratch& memory) {
  Tiles t;
  t.num_tokens = num_tokens;
  t.k = w.cols();
  // Tiles that share a panel's decoding at most: as many as half of L2 holds (Cut of
  // ops_linear.cc).
  const int64_t sharing = L2Bytes() / 2 / (t.k * c.k.tile_f32 * 4);
  t.few = true;
  int64_t width = c.k.tile_f32;
  for (const CpuWeight::Segment& s : w.segments()) {
    if (s.q8 || num_tokens == 1) continue;
    const FewKernel few = c.Few(s);
    t.few = t.few && few.run != nullptr &&
            (num_tokens <= few.most_tokens || sharing <= few.most_tokens / few.tile);
    width = std::min<int64_t>(width, few.tile);
  }
  t.width = t.few ? static_cast<int>(width) : c.k.tile_f32;
  t.step = t.few && num_tokens <= kNarrowTokens ? 1 : c.k.tile_f32_step;
  t.num_tiles = (num_tokens + t.width - 1) / t.width;
  t.tile_bytes = (t.k * t.width * 4 + 63) / 64 * 64;
  t.memory = memory.Get(t.tile_bytes * t.num_tiles);
  return t;
}

void Fill(Context& c, const Tiles& t, const float* const* x, const RowNorm& norm) {
  ForTiles(c, t, x, norm,
           [&](const float* const* rows, int64_t tile, int64_t unit0, int64_t unit1) {
             if (t.q8) {
               c.k.quantize(rows, t.WidthOf(tile), t.StrideOf(tile), unit0, unit1, t.group_units,
                            t.layout, t.Q8(tile));
             } else {
               c.k.pack_f32(rows, t.WidthOf(tile), t.StrideOf(tile), unit0 * kUnit,
                            std::min(t.k, unit1 * kUnit), const_cast<float*>(t.F32(tile)));
             }
           });
}

// num_tokens rows of k elements in `scratch`, each made by fn(t, row).
template <typename Fn>
const float* const* MakeRows(Context& c, Scratch& scratch, int64_t num_tokens, int64_t k, Fn&& fn) {
  const int64_t pointer_bytes = num_tokens * int64_t{sizeof(const float*)};
  uint8_t* memory = scratch.Get(pointer_bytes + num_tokens * k * 4);
  auto** rows = reinterpret_cast<const float**>(memory);
  auto* values = reinterpret_cast<float*>(memory + pointer_bytes);
  ForRows(c, num_tokens, k, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      fn(t, values + t * k);
      rows[t] = values + t * k;
    }
  });
  return rows;
}

}  // namespace

int64_t L2Bytes() {
  static const int64_t bytes =
      std::max<int64_t>(256 << 10, static_cast<int64_t>(GetCpuFeatures().l2_bytes));
  return bytes;
}

void RowNorm::Apply(const Kernels& k, const float* x, float* y, int64_t n) const {
  if (kind == ops::InputNorm::kRms) {
    k.rms_norm(x, weight, eps, weight_bias, y, n);
  } else {
    k.layer_norm(x, weight, bias, eps, y, n);
  }
}

Tiles PlanQ8(const Context& c, const CpuWeight& w, int64_t group_units, int64_t num_tokens,
             Scratch& memory) {
  Tiles t;
  t.q8 = true;
  t.num_tokens = num_tokens;
  t.k = w.cols();
  t.group_units = group_units;
  t.groups = (t.k / kUnit + group_units - 1) / group_units;
  t.half_sums = w.any_half_groups();
  t.direct = num_tokens <= c.k.gemv_q8_width || c.k.tile_q8 == 1;
  t.packed_step = std::max(1, c.k.packed_q8_step);
  t.packed = !t.direct && c.k.packed_q8_step > 0 && (c.k.packed_halves || !t.half_sums);
  t.width = t.direct ? c.k.gemv_q8_width : c.k.tile_q8;
  t.step = c.k.tile_q8_step;
  t.layout = t.direct ? TileLayout::kQuads : c.k.layout_q8;
  t.num_tiles = (num_tokens + t.width - 1) / t.width;
  const int64_t per_token = t.k + t.groups * 12 + (t.half_sums ? t.k / 16 * 8 : 0);
  t.tile_bytes = (per_token * t.width + 63) / 64 * 64;
  t.memory = memory.Get(t.tile_bytes * t.num_tiles);
  return t;
}

int64_t OnlyGroupUnits(const CpuWeight& w) {
  if (w.Order(0) != nullptr || w.segments().empty()) return 0;
  const CpuWeight::Segment& first = w.segments().front();
  for (const CpuWeight::Segment& s : w.segments()) {
    if (!s.q8 || s.group_units != first.group_units) return 0;
  }
  return first.group_units;
}

Inputs PackInputs(Context& c, const CpuWeight& w, int64_t expert, const float* const* x,
                  int64_t num_tokens, const RowNorm& given) {
  RowNorm norm = given;
  Inputs in;
  for (const CpuWeight::Segment& s : w.segments()) {
    const int64_t group = s.q8 ? s.group_units : 0;
    bool known = false;
    for (const Inputs::Entry& e : in.entries) known |= e.q8 == s.q8 && e.group_units == group;
    if (known) continue;
    const size_t i = in.entries.size();
    if (i == c.activations.size()) c.activations.emplace_back();
    Scratch& memory = c.activations[i];
    in.entries.push_back(
        {s.q8, group,
         s.q8 ? PlanQ8(c, w, group, num_tokens, memory) : PlanF32(c, w, num_tokens, memory)});
  }
  const int64_t k = w.cols();
  const int32_t* order = w.Order(expert);
  // Each row is normed once: on the way into its tile, or, where several threads or several kinds
  // of tiles read it, before.
  if (norm.kind != ops::InputNorm::kNone &&
      (order != nullptr || in.entries.size() > 1 || SplitsOf(c, in.entries[0].tiles) > 1)) {
    x = MakeRows(c, c.normed, num_tokens, k,
                 [&](int64_t t, float* row) { norm.Apply(c.k, x[t], row, k); });
    norm = {};
  }
  if (order != nullptr) {
    x = MakeRows(c, c.reordered, num_tokens, k, [&](int64_t t, float* row) {
      for (int64_t i = 0; i < k; ++i) row[i] = x[t][order[i]];
    });
  }
  for (const Inputs::Entry& e : in.entries) Fill(c, e.tiles, x, norm);
  return in;
}

}  // namespace rill::cpu
