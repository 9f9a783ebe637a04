// linear and linear_glu: activations are packed (and quantised) once, then every thread runs its
// panels over all token tiles.
//
// Blocks: a few panels at a time are expanded (gemm_q8.inl) or decoded to f32, into memory that
// stays in L2; tokens go in blocks that stay there too; k goes in blocks of 1024. Threads split
// panels, never k.
//
// Lost: blocks of 256 k, so that panels and tile stay in L1 (290 against 340 GMAC/s on AMX at k =
// 2048: storing and loading sums costs more than L2); one panel at a time for few tokens.
#include <algorithm>
#include <cstring>

#include "backends/cpu/context.h"
#include "base/cpu_features.h"

namespace rill::cpu {
namespace {

// Elements that are packed by the caller alone.
constexpr int64_t kPackElements = 4096;

// Activations of one product, cut into tiles of `width` tokens (the last one narrower), each stored
// a whole number of steps wide.
struct Tiles {
  int64_t num_tokens = 0, k = 0, num_tiles = 0;
  int width = 1, step = 1;
  uint8_t* memory = nullptr;
  int64_t tile_bytes = 0;
  // Integer tiles
  bool q8 = false, half_sums = false;
  bool direct = false, packed = false;  // gemv_q8, gemm_packed: from packed panels
  TileLayout layout = TileLayout::kQuads;
  int64_t group_units = 1, groups = 0;

  int WidthOf(int64_t tile) const {
    return static_cast<int>(std::min<int64_t>(width, num_tokens - tile * width));
  }
  int StrideOf(int64_t tile) const {
    const int n = WidthOf(tile);
    if (direct) return n == 1 ? 1 : width;
    if (packed) return n <= 8 ? 8 : 16;
    if (!q8 && n == 1) return 1;
    return (n + step - 1) / step * step;
  }
  QuantTile Q8(int64_t tile) const {
    const int stride = StrideOf(tile);
    QuantTile t;
    uint8_t* p = memory + tile * tile_bytes;
    t.codes = reinterpret_cast<int8_t*>(p);
    t.scale = reinterpret_cast<float*>(p + k * stride);
    t.scaled_sum = t.scale + groups * stride;
    t.neg_sum = reinterpret_cast<int32_t*>(t.scaled_sum + groups * stride);
    t.neg_sum16 = half_sums ? t.neg_sum + groups * stride : nullptr;
    t.scaled_sum16 = half_sums ? reinterpret_cast<float*>(t.neg_sum16 + k / 16 * stride) : nullptr;
    return t;
  }
  const float* F32(int64_t tile) const {
    return reinterpret_cast<const float*>(memory + tile * tile_bytes);
  }
};

// fn(i, unit0, unit1) over all tiles; a single tile is split along k.
template <typename Fn>
void ForTiles(Context& c, const Tiles& tiles, Fn&& fn) {
  const int64_t units = (tiles.k + kUnit - 1) / kUnit;
  // A few rows are packed sooner than another thread could be told to.
  if (tiles.num_tokens * tiles.k < kPackElements) {
    for (int64_t i = 0; i < tiles.num_tiles; ++i) fn(i, int64_t{0}, units);
    return;
  }
  const int64_t group = tiles.group_units;
  const int64_t splits = tiles.num_tiles >= 2 * c.pool.num_workers()
                             ? 1
                             : std::min<int64_t>(c.pool.num_workers(), (units + group - 1) / group);
  c.ForPieces(tiles.num_tiles * splits, 1, [&](int, int64_t i, int64_t) {
    const int64_t part = i % splits;
    const int64_t steps = (units + group - 1) / group;
    fn(i / splits, std::min(units, steps * part / splits * group),
       std::min(units, steps * (part + 1) / splits * group));
  });
}

Tiles PackQ8(Context& c, const CpuWeight& w, int64_t group_units, const float* const* x,
             int64_t num_tokens, Scratch& memory) {
  Tiles t;
  t.q8 = true;
  t.num_tokens = num_tokens;
  t.k = w.cols();
  t.group_units = group_units;
  t.groups = (t.k / kUnit + group_units - 1) / group_units;
  t.half_sums = w.any_half_groups();
  t.direct = num_tokens <= c.k.gemv_q8_width || c.k.tile_q8 == 1;
  t.packed = !t.direct && num_tokens <= c.k.packed_q8 && !t.half_sums;
  t.width = t.direct ? c.k.gemv_q8_width : c.k.tile_q8;
  t.step = c.k.tile_q8_step;
  t.layout = t.direct ? TileLayout::kQuads : c.k.layout_q8;
  t.num_tiles = (num_tokens + t.width - 1) / t.width;
  const int64_t per_token = t.k + t.groups * 12 + (t.half_sums ? t.k / 16 * 8 : 0);
  t.tile_bytes = (per_token * t.width + 63) / 64 * 64;
  t.memory = memory.Get(t.tile_bytes * t.num_tiles);
  ForTiles(c, t, [&](int64_t tile, int64_t unit0, int64_t unit1) {
    c.k.quantize(x + tile * t.width, t.WidthOf(tile), t.StrideOf(tile), unit0, unit1, t.group_units,
                 t.layout, t.Q8(tile));
  });
  return t;
}

Tiles PackF32(Context& c, const CpuWeight& w, const float* const* x, int64_t num_tokens,
              Scratch& memory) {
  Tiles t;
  t.num_tokens = num_tokens;
  t.k = w.cols();
  t.width = c.k.tile_f32;
  t.step = c.k.tile_f32_step;
  t.num_tiles = (num_tokens + t.width - 1) / t.width;
  t.tile_bytes = (t.k * t.width * 4 + 63) / 64 * 64;
  t.memory = memory.Get(t.tile_bytes * t.num_tiles);
  ForTiles(c, t, [&](int64_t tile, int64_t unit0, int64_t unit1) {
    c.k.pack_f32(x + tile * t.width, t.WidthOf(tile), t.StrideOf(tile), unit0 * kUnit,
                 std::min(t.k, unit1 * kUnit), const_cast<float*>(t.F32(tile)));
  });
  return t;
}

// What a worker needs for `n` panels at a time: expanded or decoded panels, and their products.
constexpr int64_t kWorkBytes = 256 << 10;  // of panels in work form or f32: with the rest, L2
constexpr int64_t kMaxPanels = 4;
constexpr int64_t kUnitBlock = 32;  // k / 32 a pass

// A product cut into ranges of panels times ranges of tiles, what a worker does at a time: all
// panels with the first tiles, then with the next.
struct Pieces {
  struct Range {
    int64_t p0, p1, t0, t1;
  };
  int64_t num_panels = 0, num_tiles = 0;
  int64_t panels = 1, tiles = 1;  // of a piece

  int64_t panel_ranges() const { return (num_panels + panels - 1) / panels; }
  int64_t num_pieces() const { return panel_ranges() * ((num_tiles + tiles - 1) / tiles); }
  Range At(int64_t piece) const {
    const int64_t p = piece % panel_ranges() * panels, t = piece / panel_ranges() * tiles;
    return {p, std::min(num_panels, p + panels), t, std::min(num_tiles, t + tiles)};
  }
  // Room for the products of a piece.
  int64_t OutFloats(const Tiles& x) const { return panels * tiles * x.width * kPanelRows; }
};
Pieces Cut(const Tiles& tiles, int64_t num_panels) {
  Pieces b;
  b.num_panels = num_panels;
  b.num_tiles = tiles.num_tiles;
  const int64_t panel_bytes = tiles.k * (tiles.q8 ? 24 : 64);
  // The f32 kernel is fastest on two panels.
  b.panels = std::clamp<int64_t>(kWorkBytes / panel_bytes, tiles.q8 ? 1 : 2, kMaxPanels);
  // One panel at a time is 10 % slower for 8 tokens: the tile unit is set up for each call.
  if (tiles.num_tokens == 1 || tiles.direct || tiles.packed) b.panels = kMaxPanels;
  static const int64_t l2 =
      std::max<int64_t>(256 << 10, static_cast<int64_t>(GetCpuFeatures().l2_bytes));
  const int64_t most = std::clamp<int64_t>(l2 / 2 / tiles.tile_bytes, 1, tiles.num_tiles);
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
  if (s.q8 && !tiles.direct && !tiles.packed) {
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
    for (int64_t p = 0; p < n; ++p) {
      e.expand(s.Panel(expert, p0 + p), k, s.group_units, work + p * g.panel_stride);
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
    return {tiles, t0, out, g.out_stride, tile_floats};
  }
  const Sums sums{tiles, t0, out, 0, n * tile_floats};
  if (s.q8) {
    const ExecKernels& e = c.k.exec[static_cast<int>(s.exec)];
    const GemvQ8Fn gemv = tiles.packed ? e.gemm_packed : e.gemv_q8;
    for (int64_t t = t0; t < t1; ++t) {
      gemv(s.Panel(expert, p0), s.panel_bytes, n, k, s.group_units, tiles.Q8(t), tiles.StrideOf(t),
           out + (t - t0) * sums.tile_stride);
    }
    return sums;
  }
  if (s.exec != ExecId::kNone && tiles.num_tokens == 1) {
    if (const GemvFn gemv = c.k.exec[static_cast<int>(s.exec)].gemv) {
      gemv(s.Panel(expert, p0), s.panel_bytes, n, k, s.group_units, tiles.F32(0), out);
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

// The tiles of a weight's segments: one for each way that activations enter.
struct Inputs {
  struct Entry {
    bool q8;
    int64_t group_units;
    Tiles tiles;
  };
  std::vector<Entry> entries;
  const Tiles& Of(const CpuWeight::Segment& s) const {
    for (const Entry& e : entries) {
      if (e.q8 == s.q8 && (!s.q8 || e.group_units == s.group_units)) return e.tiles;
    }
    return entries.front().tiles;
  }
};
// Rows in the order in which the weight stores its columns.
const float* const* Reordered(Context& c, const CpuWeight& w, int64_t expert, const float* const* x,
                              int64_t num_tokens) {
  const int32_t* order = w.Order(expert);
  if (order == nullptr) return x;
  const int64_t k = w.cols();
  const int64_t pointer_bytes = num_tokens * int64_t{sizeof(const float*)};
  uint8_t* memory = c.reordered.Get(pointer_bytes + num_tokens * k * 4);
  auto** rows = reinterpret_cast<const float**>(memory);
  auto* values = reinterpret_cast<float*>(memory + pointer_bytes);
  ForRows(c, num_tokens, k, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      float* row = values + t * k;
      for (int64_t i = 0; i < k; ++i) row[i] = x[t][order[i]];
      rows[t] = row;
    }
  });
  return rows;
}

Inputs Pack(Context& c, const CpuWeight& w, int64_t expert, const float* const* x,
            int64_t num_tokens) {
  x = Reordered(c, w, expert, x, num_tokens);
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
         s.q8 ? PackQ8(c, w, group, x, num_tokens, memory) : PackF32(c, w, x, num_tokens, memory)});
  }
  return in;
}

}  // namespace

void MatMul(Context& c, const CpuWeight& w, int64_t expert, const float* const* x,
            int64_t num_tokens, const Epilogue& e, float* y, int64_t y_stride) {
  if (num_tokens == 0) return;
  const Inputs inputs = Pack(c, w, expert, x, num_tokens);
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
    const Pieces pieces = Cut(tiles, s.num_panels);
    parts.push_back({s, tiles, pieces, pieces.num_pieces()});
    num_pieces += parts.back().count;
  }
  c.ForPieces(num_pieces, 1, [&](int worker, int64_t piece, int64_t) {
    const Part* part = parts.data();
    for (; piece >= part->count; ++part) piece -= part->count;
    const CpuWeight::Segment& s = part->segment;
    const Tiles& tiles = part->tiles;
    const Pieces& pieces = part->pieces;
    const Pieces::Range r = pieces.At(piece);
    const int64_t out_floats = pieces.OutFloats(tiles);
    uint8_t* work =
        c.worker[static_cast<size_t>(worker)].Get(WorkBytesOf(tiles, pieces) + out_floats * 4);
    auto* out = reinterpret_cast<float*>(work);
    work += out_floats * 4;
    const Sums sums = Multiply(c, s, expert, tiles, r.p0, r.p1 - r.p0, r.t0, r.t1, work, out);
    for (int64_t tile = r.t0; tile < r.t1; ++tile) {
      const int64_t t = tile * tiles.width;
      for (int64_t p = r.p0; p < r.p1; ++p) {
        const int64_t first = p * kPanelRows;
        const int rows = static_cast<int>(std::min<int64_t>(kPanelRows, s.rows - first));
        const int64_t row = s.row0 + first;
        c.k.finish(sums.At(p - r.p0, tile), tiles.WidthOf(tile), rows,
                   e.bias ? e.bias + row : nullptr, e.scale,
                   e.residual ? e.residual + t * e.residual_stride + row : nullptr,
                   e.residual_stride, y + t * y_stride + row, y_stride);
      }
    }
  });
}

void MatMulGlu(Context& c, const CpuWeight& w, int64_t expert, const float* const* x,
               int64_t num_tokens, const float* bias, ops::ActivationKind kind, float* y,
               int64_t y_stride) {
  if (num_tokens == 0) return;
  const Inputs inputs = Pack(c, w, expert, x, num_tokens);
  const CpuWeight::Segment& gate = w.segments()[0];
  const CpuWeight::Segment& up = w.segments()[1];
  const Tiles& gate_tiles = inputs.Of(gate);
  const Tiles& up_tiles = inputs.Of(up);
  const Tiles& tiles = gate_tiles.tile_bytes > up_tiles.tile_bytes ? gate_tiles : up_tiles;
  Pieces pieces = Cut(tiles, gate.num_panels);
  // Tiles of different kinds: one range of tiles is one of tokens only if they are equally wide.
  const bool same = gate_tiles.width == up_tiles.width;
  if (!same) {
    pieces.num_tiles = pieces.tiles = std::max(gate_tiles.num_tiles, up_tiles.num_tiles);
  }
  const int64_t out_floats = std::max(pieces.OutFloats(gate_tiles), pieces.OutFloats(up_tiles));
  const int64_t work_bytes =
      std::max(WorkBytesOf(gate_tiles, pieces), WorkBytesOf(up_tiles, pieces));
  c.ForPieces(pieces.num_pieces(), 1, [&](int worker, int64_t piece, int64_t) {
    const Pieces::Range r = pieces.At(piece);
    uint8_t* work = c.worker[static_cast<size_t>(worker)].Get(work_bytes + 2 * out_floats * 4);
    auto* out = reinterpret_cast<float*>(work);
    work += 2 * out_floats * 4;
    const int64_t n = r.p1 - r.p0;
    const Sums g = Multiply(c, gate, expert, gate_tiles, r.p0, n, r.t0,
                            same ? r.t1 : gate_tiles.num_tiles, work, out);
    const Sums u = Multiply(c, up, expert, up_tiles, r.p0, n, r.t0,
                            same ? r.t1 : up_tiles.num_tiles, work, out + out_floats);
    const int64_t token0 = same ? r.t0 * tiles.width : 0;
    const int64_t token1 = same ? std::min(num_tokens, r.t1 * tiles.width) : num_tokens;
    for (int64_t p = 0; p < n; ++p) {
      const int64_t row = (r.p0 + p) * kPanelRows;
      const int rows = static_cast<int>(std::min<int64_t>(kPanelRows, gate.rows - row));
      const float* gate_bias = bias ? bias + row : nullptr;
      const float* up_bias = bias ? bias + gate.rows + row : nullptr;
      for (int64_t t = token0; t < token1;) {
        const int64_t gt = t / gate_tiles.width, ut = t / up_tiles.width;
        const int64_t gi = t % gate_tiles.width, ui = t % up_tiles.width;
        const int64_t count = std::min(gate_tiles.WidthOf(gt) - gi, up_tiles.WidthOf(ut) - ui);
        c.k.finish_glu(kind, g.At(p, gt) + gi * kPanelRows, u.At(p, ut) + ui * kPanelRows,
                       static_cast<int>(count), rows, gate_bias, up_bias, y + t * y_stride + row,
                       y_stride);
        t += count;
      }
    }
  });
}

namespace {
const float* const* RowPointers(Context& c, const TensorView& x) {
  const float** rows = c.pointers.Array<const float*>(x.dim(0));
  for (int64_t t = 0; t < x.dim(0); ++t) rows[t] = x.Row<float>(t);
  return rows;
}
}  // namespace

void LinearOp(const ops::LinearArgs& args, ops::Stream& stream) {
  Context& c = ContextOf(stream);
  Epilogue e;
  if (!args.bias.empty()) e.bias = args.bias.As<float>();
  if (!args.residual.empty()) {
    e.residual = args.residual.As<float>();
    e.residual_stride = args.residual.stride(0);
  }
  e.scale = args.scale;
  MatMul(c, AsCpu(args.w), 0, RowPointers(c, args.x), args.x.dim(0), e, args.y.As<float>(),
         args.y.stride(0));
}

void LinearGluOp(const ops::LinearGluArgs& args, ops::Stream& stream) {
  Context& c = ContextOf(stream);
  MatMulGlu(c, AsCpu(args.w), 0, RowPointers(c, args.x), args.x.dim(0),
            args.bias.empty() ? nullptr : args.bias.As<float>(), args.kind, args.y.As<float>(),
            args.y.stride(0));
}

}  // namespace rill::cpu
