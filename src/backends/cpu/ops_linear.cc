// linear, linear_glu, norm_linear and gated_ffn: activations are packed (and quantised) once
// (tiles.h), then every thread runs its panels over all token tiles.
//
// Blocks: a few panels at a time are expanded (gemm_q8.inl) or decoded to f32, into memory that
// stays in L2, or decoded in registers for each tile (FewKernel); tokens go in blocks that
// stay there too; k goes in blocks of 1024. Threads split panels, never k.
//
// From 5 tokens on each thread has as many pieces, some of them smaller (36 panels for two threads:
// 8 pieces of 4 and 2 of 2; Zen 5, 64 tokens, q4_1 576 x 1536: 98 -> 90 us, 576 x 576 39 -> 36); a
// step of one token would take 5 % longer. Lost: reading the next piece's panels ahead while tiles
// multiply (0.93 of the rate with 16 tokens). Blocks of 256 k, so that panels and tile stay in L1
// (290 against 340 GMAC/s on AMX at k = 2048: storing and loading sums costs more than L2; on Zen 5
// 256, 512 and 768 k are as fast as 1024, 512 tokens of q4_0, 2048 x 2048, 2048 x 5632 and 5632 x
// 2048, and so are panels by twos with all tiles); pieces of one panel for few tokens.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <span>

#include "backends/cpu/context.h"
#include "backends/cpu/tiles.h"

namespace rill::cpu {
namespace {

// What a worker needs for `n` panels at a time: expanded or decoded panels, and their products.
constexpr int64_t kWorkBytes = 256 << 10;  // of panels in work form or f32: with the rest, L2
constexpr int64_t kMaxPanels = 4;
constexpr int64_t kUnitBlock = 32;  // k / 32 a pass
constexpr int64_t kEvenTokens = 5;

// A product cut into ranges of panels times ranges of tiles, what a worker does at a time: all
// panels with the first tiles, then with the next.
struct Pieces {
  struct Range {
    int64_t p0, p1, t0, t1;
  };
  int64_t num_panels = 0, num_tiles = 0;
  int64_t panels = 1, tiles = 1;        // of a piece, at most
  int64_t panel_ranges = 1, grain = 1;  // ranges begin at multiples of `grain` panels

  int64_t num_pieces() const { return panel_ranges * ((num_tiles + tiles - 1) / tiles); }
  Range At(int64_t piece) const {
    const int64_t p = piece % panel_ranges, t = piece / panel_ranges * tiles;
    return {Begin(p), Begin(p + 1), t, std::min(num_tiles, t + tiles)};
  }
  // As even as the grain allows: at most `panels` each, for that is a multiple of it.
  int64_t Begin(int64_t range) const {
    if (range == panel_ranges) return num_panels;
    return (range * num_panels + panel_ranges * grain / 2) / (panel_ranges * grain) * grain;
  }
  // Room for the products of a piece.
  int64_t OutFloats(const Tiles& x) const { return panels * tiles * x.width * kPanelRows; }
};
// Ranges of panels are multiples of `step`; as many for each worker, where tokens take their time.
Pieces Cut(const Context& c, const Tiles& tiles, int64_t num_panels, int64_t step = 1) {
  Pieces b;
  b.num_panels = num_panels;
  b.num_tiles = tiles.num_tiles;
  const int64_t panel_bytes = tiles.k * (tiles.q8 ? 24 : 64);
  // Two at least: the f32 kernel takes two at once, and at k > 5,000 the tiles come from L2 for
  // each panel (q4_0, 2048 x 5632, 512 tokens: 331 GMAC/s with one, 383 with two).
  b.panels = std::clamp<int64_t>(kWorkBytes / panel_bytes, 2, kMaxPanels);
  // What is decoded in registers is read for each tile as it is stored, at most 2 bytes a weight.
  // A last tile of one token takes kMaxPanels at once.
  if (tiles.few) {
    const bool fit = tiles.k * 32 * kMaxPanels <= kWorkBytes;
    b.panels = fit || tiles.num_tokens % tiles.width == 1 ? kMaxPanels : 2;
  }
  // One panel at a time is 10 % slower for 8 tokens: the tile unit is set up for each call.
  if (tiles.num_tokens == 1 || tiles.direct ||
      ((tiles.few || tiles.packed) && tiles.num_tiles == 1)) {
    b.panels = kMaxPanels;
  }
  b.panels = (b.panels + step - 1) / step * step;
  b.grain = step > 1 || b.panels % 2 != 0 ? step : 2;  // kernels take panels by twos
  b.panel_ranges = (num_panels + b.panels - 1) / b.panels;
  if (tiles.num_tokens >= kEvenTokens) {
    const int64_t workers = c.pool.num_workers();
    b.panel_ranges = std::min((b.panel_ranges + workers - 1) / workers * workers,
                              (num_panels + b.grain - 1) / b.grain);
  }
  const int64_t most = std::clamp<int64_t>(L2Bytes() / 2 / tiles.tile_bytes, 1, tiles.num_tiles);
  // Equal ranges: each of them expands every panel once.
  const int64_t ranges = (tiles.num_tiles + most - 1) / most;
  b.tiles = (tiles.num_tiles + ranges - 1) / ranges;
  return b;
}
int64_t WorkBytesOf(const Tiles& tiles, const Pieces& b) {
  // A k of a panel takes 24 bytes in work form (groups of 16 with minima), 64 in f32.
  return b.panels * (tiles.k * (tiles.q8 ? 24 : 64) + 64);
}

// Products of panels with tiles, one [width][16] array of sums each.
struct Sums {
  const Tiles& tiles;
  int64_t t0 = 0;
  float* data = nullptr;
  int64_t panel_stride = 0, tile_stride = 0;  // floats; panel_stride 0: as wide as the tile is
  const float* At(int64_t panel, int64_t tile) const {
    const int64_t step =
        panel_stride != 0 ? panel_stride : int64_t{tiles.StrideOf(tile)} * kPanelRows;
    return data + panel * step + (tile - t0) * tile_stride;
  }
};

// Panels [p0, p0 + n) of a segment times tiles [t0, t1).
Sums Multiply(Context& c, const CpuWeight::Segment& s, int64_t expert, const Tiles& tiles,
              int64_t p0, int64_t n, int64_t t0, int64_t t1, uint8_t* work, float* out) {
  const int64_t k = tiles.k;
  const int64_t tile_floats = int64_t{tiles.width} * kPanelRows;
  if (s.q8 && !tiles.direct) {
    const int64_t begin = t0;
    float* const sums = out;
    const ExecKernels& e = c.k.exec[static_cast<int>(s.exec)];
    const ExecFormat format = FormatOf(s.exec);
    WorkGemm g;
    g.panels = work;
    g.panel_stride = (WorkBytes(format, k, s.group_units) + 63) / 64 * 64;
    g.num_panels = static_cast<int>(n);
    g.k = k;
    g.group_units = s.group_units;
    g.num_groups = WorkGroups(format, k, s.group_units);
    g.out_stride = (t1 - t0) * tile_floats;
    // The last tile may be too narrow for gemm_packed.
    const int first = tiles.StrideOf(t0);
    const bool is_only = t1 - t0 == 1;
    const bool takes_apart = tiles.packed && e.gemm_packed &&
                             (first == tiles.width || (is_only && first % tiles.packed_step == 0));
    if (takes_apart) {
      PackedGemm packed;
      packed.panels = s.Panel(expert, p0);
      packed.panel_bytes = s.panel_bytes;
      packed.num_panels = n;
      packed.k = k;
      packed.group_units = s.group_units;
      packed.x = tiles.Q8(t0);
      packed.width = first;
      packed.out = out;
      packed.out_stride = g.out_stride;
      packed.work = is_only ? nullptr : work;
      packed.work_stride = g.panel_stride;
      e.gemm_packed(packed);
      ++t0;
      out += tile_floats;
    } else {
      for (int64_t p = 0; p < n; ++p) {
        e.expand(s.Panel(expert, p0 + p), k, s.group_units, work + p * g.panel_stride);
      }
    }
    const int64_t units = k / kUnit;
    const int64_t whole = (kUnitBlock + s.group_units - 1) / s.group_units * s.group_units;
    const int64_t block = t1 - t0 == 1 ? units : whole;
    for (g.unit0 = 0; g.unit0 < units; g.unit0 = g.unit1) {
      g.unit1 = std::min(units, g.unit0 + block);
      for (int64_t t = t0; t < t1; ++t) {
        g.x = tiles.Q8(t);
        g.width = tiles.StrideOf(t);
        g.out = out + (t - t0) * tile_floats;
        e.gemm_work(g);
      }
    }
    return {tiles, begin, sums, g.out_stride, tile_floats};
  }
  const Sums sums{tiles, t0, out, 0, n * tile_floats};
  if (s.q8) {
    const ExecKernels& e = c.k.exec[static_cast<int>(s.exec)];
    for (int64_t t = t0; t < t1; ++t) {
      e.gemv_q8(s.Panel(expert, p0), s.panel_bytes, n, k, s.group_units, tiles.Q8(t),
                tiles.StrideOf(t), out + (t - t0) * sums.tile_stride);
    }
    return sums;
  }
  if (tiles.few) {
    if (const FewFn few = c.Few(s).run) {
      for (int64_t t = t0; t < t1; ++t) {
        few(s.Panel(expert, p0), s.panel_bytes, n, k, s.group_units, tiles.F32(t),
            tiles.StrideOf(t), out + (t - t0) * sums.tile_stride);
      }
      return sums;
    }
  }
  const auto* panels = reinterpret_cast<const float*>(s.Panel(expert, p0));
  int64_t stride = s.panel_bytes / 4;
  if (const DecodeFn decode = c.Decoder(s)) {
    stride = k * kPanelRows;
    auto* decoded = reinterpret_cast<float*>(work);
    for (int64_t p = 0; p < n; ++p) {
      decode(s.Panel(expert, p0 + p), k, s.group_units, decoded + p * stride);
    }
    panels = decoded;
  }
  for (int64_t t = t0; t < t1; ++t) {
    c.k.gemm_f32(panels, stride, n, k, tiles.F32(t), tiles.StrideOf(t),
                 out + (t - t0) * sums.tile_stride);
  }
  return sums;
}

// Logits of many rows, which nothing reads before all are there: stored past the caches they push
// out nothing, and no line is read to be written (docs/performance.md, "Serving").
bool GoesPast(const CpuWeight& w, int64_t num_tokens, const Epilogue& e, const float* y,
              int64_t y_stride) {
  constexpr int64_t kLine = 64;
  if (!e.y_leaves || e.residual != nullptr || num_tokens * w.rows() * 4 < kLeastPastBytes) {
    return false;
  }
  for (const CpuWeight::Segment& s : w.segments()) {
    if (s.row0 % kPanelRows != 0) return false;
  }
  return y_stride * 4 % kLine == 0 && reinterpret_cast<uintptr_t>(y) % kLine == 0;
}

// Of rows whose largest logit alone is asked: rows [t0, t0 + width) of a panel range, `n` logits
// from `first` on, which lie at `values`, rows `stride` apart. Rows that are wanted go to y.
void TakeBest(const Context& c, const Epilogue& e, RowBest* best, const float* values,
              int64_t stride, int64_t t0, int width, int64_t first, int64_t n, float* y,
              int64_t y_stride) {
  float limit[64];
  for (int t = 0; t < width; ++t) limit[t] = best[t0 + t].best;
  // Few pieces hold a new largest: log(number of pieces) of random ones.
  const uint64_t rows = c.k.rows_not_below(values, stride, width, n, limit);
  for (int t = 0; t < width; ++t) {
    const float* row = values + t * stride;
    if (e.wanted[t0 + t] != 0) {
      std::copy_n(row, n, y + (t0 + t) * y_stride + first);
    } else if (rows >> t & 1) {
      for (int64_t i = 0; i < n; ++i) {
        best[t0 + t].Take(row[i], static_cast<int32_t>(first + i));
      }
    }
  }
}

void Products(Context& c, const CpuWeight& w, int64_t expert, const Inputs& inputs,
              const Epilogue& e, float* y, int64_t y_stride) {
  // Pieces of all segments, one after the other.
  struct Part {
    const CpuWeight::Segment& segment;
    const Tiles& tiles;
    Pieces pieces;
    int64_t count;
  };
  std::vector<Part> parts;
  parts.reserve(w.segments().size());
  int64_t num_pieces = 0;
  for (const CpuWeight::Segment& s : w.segments()) {
    const Tiles& tiles = inputs.Of(s);
    const Pieces pieces = Cut(c, tiles, s.num_panels);
    parts.push_back({s, tiles, pieces, pieces.num_pieces()});
    num_pieces += parts.back().count;
  }
  const bool past =
      e.best == nullptr && GoesPast(w, inputs.entries.front().tiles.num_tokens, e, y, y_stride);
  const auto finish = past ? c.k.finish_past : c.k.finish;
  c.ForPieces(num_pieces, 1, [&](int worker, int64_t piece, int64_t) {
    const Part* part = parts.data();
    for (; piece >= part->count; ++part) piece -= part->count;
    const CpuWeight::Segment& s = part->segment;
    const Tiles& tiles = part->tiles;
    const Pieces& pieces = part->pieces;
    const Pieces::Range r = pieces.At(piece);
    const int64_t out_floats = pieces.OutFloats(tiles);
    // Rows of which not all is kept: of one tile.
    const int64_t row_floats = e.best ? pieces.panels * kPanelRows : 0;
    const int64_t more_floats = out_floats + row_floats * tiles.width;
    uint8_t* work =
        c.worker[static_cast<size_t>(worker)].Get(WorkBytesOf(tiles, pieces) + more_floats * 4);
    auto* out = reinterpret_cast<float*>(work);
    float* const rows_of_tile = out + out_floats;
    work += more_floats * 4;
    const Sums sums = Multiply(c, s, expert, tiles, r.p0, r.p1 - r.p0, r.t0, r.t1, work, out);
    for (int64_t tile = r.t0; tile < r.t1; ++tile) {
      const int64_t t = tile * tiles.width;
      const int width = tiles.WidthOf(tile);
      // Element [t, first row of the piece] of what is finished.
      const int64_t row0 = s.row0 + r.p0 * kPanelRows;
      float* const to = e.best ? rows_of_tile : y + t * y_stride + row0;
      const int64_t to_stride = e.best ? row_floats : y_stride;
      for (int64_t p = r.p0; p < r.p1; ++p) {
        const int64_t first = p * kPanelRows;
        const int rows = static_cast<int>(std::min<int64_t>(kPanelRows, s.rows - first));
        const int64_t row = s.row0 + first;
        finish(sums.At(p - r.p0, tile), width, rows, e.bias ? e.bias + row : nullptr, e.scale,
               e.residual ? e.residual + t * e.residual_stride + row : nullptr, e.residual_stride,
               to + (row - row0), to_stride);
      }
      if (e.best) {
        const int64_t count = std::min(r.p1 * kPanelRows, s.rows) - r.p0 * kPanelRows;
        TakeBest(c, e, e.best + worker * tiles.num_tokens, to, to_stride, t, width, row0, count, y,
                 y_stride);
      }
    }
    if (past) c.k.end_past();
  });
}

// Where f(gate x) * (up x) goes: rows of f32, or, codes set, tiles of the product that reads them.
struct GluTarget {
  float* y = nullptr;
  int64_t y_stride = 0;
  const Tiles* codes = nullptr;
};

// The part of a tile that begins at `unit`, which lies on a group boundary.
QuantTile From(const Tiles& tiles, int64_t tile, int64_t unit) {
  QuantTile t = tiles.Q8(tile);
  const int64_t stride = tiles.StrideOf(tile);
  const int64_t group = unit / tiles.group_units * stride;
  t.codes += unit * kUnit * stride;
  t.scale += group;
  t.scaled_sum += group;
  t.neg_sum += group;
  if (t.neg_sum16 != nullptr) {
    t.neg_sum16 += 2 * unit * stride;
    t.scaled_sum16 += 2 * unit * stride;
  }
  return t;
}

// Quantises columns [first, first + count) of tiles [t0, t1), which lie row by row at `rows`.
void QuantizeColumns(Context& c, const Tiles& tiles, int64_t t0, int64_t t1, int64_t first,
                     int64_t count, const float* rows) {
  const float* pointers[64];
  for (int64_t tile = t0; tile < t1; ++tile) {
    const int width = tiles.WidthOf(tile);
    for (int i = 0; i < width; ++i) pointers[i] = rows + ((tile - t0) * tiles.width + i) * count;
    c.k.quantize(pointers, width, tiles.StrideOf(tile), 0, count / kUnit, tiles.group_units,
                 tiles.layout, From(tiles, tile, first / kUnit));
  }
}

void GluProducts(Context& c, const CpuWeight& w, int64_t expert, const Inputs& inputs,
                 const float* bias, ops::ActivationKind kind, const GluTarget& target) {
  const CpuWeight::Segment& gate = w.segments()[0];
  const CpuWeight::Segment& up = w.segments()[1];
  const Tiles& gate_tiles = inputs.Of(gate);
  const Tiles& up_tiles = inputs.Of(up);
  const Tiles& tiles = gate_tiles.tile_bytes > up_tiles.tile_bytes ? gate_tiles : up_tiles;
  const int64_t num_tokens = tiles.num_tokens;
  const bool quantised = target.codes != nullptr;
  Pieces pieces = Cut(c, tiles, gate.num_panels,
                      quantised ? target.codes->group_units * kUnit / kPanelRows : 1);
  // Tiles of different kinds: one range of tiles is one of tokens only if they are equally wide.
  const bool same = gate_tiles.width == up_tiles.width;
  if (!same) {
    pieces.num_tiles = pieces.tiles = std::max(gate_tiles.num_tiles, up_tiles.num_tiles);
  }
  const int64_t out_floats = std::max(pieces.OutFloats(gate_tiles), pieces.OutFloats(up_tiles));
  const int64_t work_bytes =
      std::max(WorkBytesOf(gate_tiles, pieces), WorkBytesOf(up_tiles, pieces));
  const int64_t all_floats = (quantised ? 3 : 2) * out_floats;
  c.ForPieces(pieces.num_pieces(), 1, [&](int worker, int64_t piece, int64_t) {
    const Pieces::Range r = pieces.At(piece);
    uint8_t* work = c.worker[static_cast<size_t>(worker)].Get(work_bytes + all_floats * 4);
    auto* out = reinterpret_cast<float*>(work);
    work += all_floats * 4;
    const int64_t n = r.p1 - r.p0;
    const Sums g = Multiply(c, gate, expert, gate_tiles, r.p0, n, r.t0,
                            same ? r.t1 : gate_tiles.num_tiles, work, out);
    const Sums u = Multiply(c, up, expert, up_tiles, r.p0, n, r.t0,
                            same ? r.t1 : up_tiles.num_tiles, work, out + out_floats);
    const int64_t token0 = same ? r.t0 * tiles.width : 0;
    const int64_t token1 = same ? std::min(num_tokens, r.t1 * tiles.width) : num_tokens;
    const int64_t first = r.p0 * kPanelRows;
    const int64_t count = std::min(r.p1 * kPanelRows, gate.rows) - first;
    // Element [token0, first] of the target.
    float* y = quantised ? out + 2 * out_floats : target.y + token0 * target.y_stride + first;
    const int64_t y_stride = quantised ? count : target.y_stride;
    for (int64_t p = 0; p < n; ++p) {
      const int64_t row = first + p * kPanelRows;
      const int rows = static_cast<int>(std::min<int64_t>(kPanelRows, gate.rows - row));
      const float* gate_bias = bias ? bias + row : nullptr;
      const float* up_bias = bias ? bias + gate.rows + row : nullptr;
      for (int64_t t = token0; t < token1;) {
        const int64_t gt = t / gate_tiles.width, ut = t / up_tiles.width;
        const int64_t gi = t % gate_tiles.width, ui = t % up_tiles.width;
        const int64_t tokens = std::min(gate_tiles.WidthOf(gt) - gi, up_tiles.WidthOf(ut) - ui);
        c.k.finish_glu(kind, g.At(p, gt) + gi * kPanelRows, u.At(p, ut) + ui * kPanelRows,
                       static_cast<int>(tokens), rows, gate_bias, up_bias,
                       y + (t - token0) * y_stride + p * kPanelRows, y_stride);
        t += tokens;
      }
    }
    if (quantised) QuantizeColumns(c, *target.codes, r.t0, r.t1, first, count, y);
  });
}

// Panels of a piece that hold whole groups, at most.
constexpr int64_t kMostFusedPanels = 8;

}  // namespace

void RowBest::Take(float value, int32_t id) {
  if (!std::isfinite(value)) {
    if (id < bad_id) bad = value, bad_id = id;
  } else if (value > best || (value == best && id < best_id)) {
    best = value, best_id = id;
  }
}

void RowBest::Take(const RowBest& other) {
  if (other.best_id != kNone) Take(other.best, other.best_id);
  if (other.bad_id != kNone) Take(other.bad, other.bad_id);
}

void MatMul(Context& c, const CpuWeight& w, int64_t expert, const float* const* x,
            int64_t num_tokens, const Epilogue& e, float* y, int64_t y_stride,
            const RowNorm& norm) {
  if (num_tokens == 0) return;
  Products(c, w, expert, PackInputs(c, w, expert, x, num_tokens, norm), e, y, y_stride);
}

void MatMulGlu(Context& c, const CpuWeight& w, int64_t expert, const float* const* x,
               int64_t num_tokens, const float* bias, ops::ActivationKind kind, float* y,
               int64_t y_stride, const RowNorm& norm) {
  if (num_tokens == 0) return;
  GluProducts(c, w, expert, PackInputs(c, w, expert, x, num_tokens, norm), bias, kind,
              {y, y_stride});
}

bool FusesInnerRows(const CpuWeight& gate_up, const CpuWeight& down) {
  const int64_t group = OnlyGroupUnits(down);
  return group > 0 && group * kUnit <= kMostFusedPanels * kPanelRows && OnlyGroupUnits(gate_up) > 0;
}

void GatedFfn(Context& c, const CpuWeight& gate_up, const CpuWeight& down, int64_t expert,
              const float* const* x, int64_t num_tokens, const RowNorm& norm,
              const float* gate_up_bias, ops::ActivationKind kind, const Epilogue& e, float* y,
              int64_t y_stride) {
  if (num_tokens == 0) return;
  const Inputs inputs = PackInputs(c, gate_up, expert, x, num_tokens, norm);
  const int64_t size = down.cols();
  if (FusesInnerRows(gate_up, down)) {
    const int64_t group = OnlyGroupUnits(down);
    const Inputs inner{{{true, group, PlanQ8(c, down, group, num_tokens, c.inner)}}};
    GluProducts(c, gate_up, expert, inputs, gate_up_bias, kind, {.codes = &inner.entries[0].tiles});
    Products(c, down, expert, inner, e, y, y_stride);
    return;
  }
  const int64_t pointer_bytes = num_tokens * int64_t{sizeof(const float*)};
  uint8_t* memory = c.inner.Get(pointer_bytes + num_tokens * size * 4);
  auto** rows = reinterpret_cast<const float**>(memory);
  auto* values = reinterpret_cast<float*>(memory + pointer_bytes);
  for (int64_t t = 0; t < num_tokens; ++t) rows[t] = values + t * size;
  GluProducts(c, gate_up, expert, inputs, gate_up_bias, kind, {values, size});
  MatMul(c, down, expert, rows, num_tokens, e, y, y_stride);
}

namespace {
const float* const* RowPointers(Context& c, const TensorView& x) {
  const float** rows = c.pointers.Array<const float*>(x.dim(0));
  for (int64_t t = 0; t < x.dim(0); ++t) rows[t] = x.Row<float>(t);
  return rows;
}
}  // namespace

namespace {
const float* DataOf(const TensorView& x) {
  return x.empty() ? nullptr : x.As<float>();
}

template <typename Args>
RowNorm NormOf(const Args& args) {
  return {args.norm, DataOf(args.norm_weight), DataOf(args.norm_bias), args.eps, args.weight_bias};
}

Epilogue EpilogueOf(const TensorView& bias, const TensorView& residual, float scale) {
  Epilogue e;
  e.bias = DataOf(bias);
  e.residual = DataOf(residual);
  if (e.residual != nullptr) e.residual_stride = residual.stride(0);
  e.scale = scale;
  return e;
}
}  // namespace

void LinearOp(const ops::LinearArgs& args, ops::Stream& stream) {
  Context& c = ContextOf(stream);
  MatMul(c, AsCpu(args.w), 0, RowPointers(c, args.x), args.x.dim(0),
         EpilogueOf(args.bias, args.residual, args.scale), args.y.As<float>(), args.y.stride(0));
}

void LogitsOp(const ops::LogitsArgs& args, ops::Stream& stream) {
  Context& c = ContextOf(stream);
  const int64_t num_tokens = args.x.dim(0);
  const std::span wanted(args.wanted.As<int32_t>(), static_cast<size_t>(num_tokens));
  const auto num_workers = static_cast<int64_t>(c.worker.size());
  Epilogue e = EpilogueOf(args.bias, {}, args.scale);
  e.y_leaves = true;
  if (std::find(wanted.begin(), wanted.end(), 0) != wanted.end()) {
    e.wanted = wanted.data();
    e.best = c.best.Array<RowBest>(num_workers * num_tokens);
    std::uninitialized_fill_n(e.best, num_workers * num_tokens, RowBest{});
  }
  MatMul(c, AsCpu(args.w), 0, RowPointers(c, args.x), num_tokens, e, args.y.As<float>(),
         args.y.stride(0));
  for (int64_t t = 0; t < num_tokens; ++t) {
    int32_t& id = args.best_id.As<int32_t>()[t];
    float& best = args.best.As<float>()[t];
    id = -1;
    best = 0;
    if (wanted[static_cast<size_t>(t)] != 0) continue;
    RowBest found;
    for (int64_t worker = 0; worker < num_workers; ++worker) {
      found.Take(e.best[worker * num_tokens + t]);
    }
    const bool is_bad = found.bad_id != RowBest::kNone;
    id = is_bad ? found.bad_id : found.best_id;
    best = is_bad ? found.bad : found.best;
  }
}

void NormLinearOp(const ops::NormLinearArgs& args, ops::Stream& stream) {
  Context& c = ContextOf(stream);
  MatMul(c, AsCpu(args.w), 0, RowPointers(c, args.x), args.x.dim(0), EpilogueOf(args.bias, {}, 1),
         args.y.As<float>(), args.y.stride(0), NormOf(args));
}

void GatedFfnOp(const ops::GatedFfnArgs& args, ops::Stream& stream) {
  Context& c = ContextOf(stream);
  GatedFfn(c, AsCpu(args.gate_up), AsCpu(args.down), 0, RowPointers(c, args.x), args.x.dim(0),
           NormOf(args), DataOf(args.gate_up_bias), args.kind,
           EpilogueOf(args.down_bias, args.residual, args.scale), args.y.As<float>(),
           args.y.stride(0));
}

void LinearGluOp(const ops::LinearGluArgs& args, ops::Stream& stream) {
  Context& c = ContextOf(stream);
  MatMulGlu(c, AsCpu(args.w), 0, RowPointers(c, args.x), args.x.dim(0), DataOf(args.bias),
            args.kind, args.y.As<float>(), args.y.stride(0), NormOf(args));
}

}  // namespace rill::cpu
