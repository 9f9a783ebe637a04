// linear and linear_glu: activations are packed (and quantised) once, then every thread runs its
// panels over all token tiles.
#include <algorithm>
#include <cstring>

#include "backends/cpu/context.h"

namespace rill::cpu {
namespace {

// Activations of one product, cut into tiles of `width` tokens (the last one narrower).
struct Tiles {
  int64_t num_tokens = 0, k = 0;
  int width = 1;
  int64_t num_tiles = 0;
  uint8_t* q8 = nullptr;  // [num_tiles][q8_stride bytes]
  int64_t q8_stride = 0;
  float* f32 = nullptr;  // [num_tiles][f32_stride floats]
  int64_t f32_stride = 0;

  int WidthOf(int64_t tile) const {
    return static_cast<int>(std::min<int64_t>(width, num_tokens - tile * width));
  }
  QuantTile Q8(int64_t tile) const {
    const int64_t units = k / kUnit;
    QuantTile t;
    uint8_t* p = q8 + tile * q8_stride;
    t.codes = reinterpret_cast<int8_t*>(p);
    t.scale = reinterpret_cast<float*>(p + k * width);
    t.scaled_sum = t.scale + units * width;
    t.sums = reinterpret_cast<int32_t*>(t.scaled_sum + units * width);
    return t;
  }
  const float* F32(int64_t tile) const { return f32 + tile * f32_stride; }
};

Tiles PackActivations(Context& c, const CpuWeight& w, const float* const* x, int64_t num_tokens) {
  Tiles tiles;
  tiles.num_tokens = num_tokens;
  tiles.k = w.cols();
  tiles.width = c.k.tile;
  tiles.num_tiles = (num_tokens + tiles.width - 1) / tiles.width;
  int64_t bytes = 0;
  if (w.any_q8()) {
    tiles.q8_stride = (tiles.k * tiles.width + tiles.k / kUnit * tiles.width * 20 + 63) / 64 * 64;
    bytes += tiles.q8_stride * tiles.num_tiles;
  }
  if (w.any_f32()) {
    tiles.f32_stride = (tiles.k * tiles.width + 15) / 16 * 16;
    bytes += tiles.f32_stride * tiles.num_tiles * 4;
  }
  uint8_t* memory = c.activations.Get(bytes);
  if (w.any_q8()) {
    tiles.q8 = memory;
    memory += tiles.q8_stride * tiles.num_tiles;
  }
  if (w.any_f32()) tiles.f32 = reinterpret_cast<float*>(memory);
  const auto pack = [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const float* const* rows = x + i * tiles.width;
      if (w.any_q8()) c.k.quantize(rows, tiles.WidthOf(i), tiles.k, tiles.Q8(i));
      if (w.any_f32()) {
        c.k.pack_f32(rows, tiles.WidthOf(i), tiles.k, tiles.f32 + i * tiles.f32_stride);
      }
    }
  };
  // A few rows are quantised sooner than another thread could be told to.
  if (num_tokens * tiles.k < kParallelElements) {
    pack(0, tiles.num_tiles);
  } else {
    c.pool.ParallelFor(tiles.num_tiles, 1, pack);
  }
  return tiles;
}

// Tokens whose activations stay in L2 while the panels stream past: bytes of tiles per block.
constexpr int64_t kBlockBytes = 192 << 10;

// Sums of one call of a kernel: a tile of one panel, or of a few panels for a few tokens.
constexpr int64_t kOutFloats = 16 * 16;
static_assert(kOutFloats >= kGemvPanels * kMaxGemvWidth * kPanelRows);

// Panels [begin, end) of one segment times the tiles; emit(panel, tile, out [width][16]).
template <typename Emit>
void SegmentTiles(Context& c, const CpuWeight::Segment& s, int64_t expert, const Tiles& tiles,
                  int64_t begin, int64_t end, float* scratch, Emit&& emit) {
  float* out = scratch;  // [tile][16]
  const int64_t k = tiles.k;
  if (s.q8) {
    const GemmQ8Fn gemm = c.k.gemm_q8[static_cast<int>(s.dtype)];
    const int64_t block = std::max<int64_t>(1, kBlockBytes / tiles.q8_stride);
    for (int64_t t0 = 0; t0 < tiles.num_tiles; t0 += block) {
      const int64_t t1 = std::min(tiles.num_tiles, t0 + block);
      for (int64_t panel = begin; panel < end; ++panel) {
        const uint8_t* data = s.Panel(expert, panel);
        for (int64_t tile = t0; tile < t1; ++tile) {
          gemm(data, k, tiles.Q8(tile), tiles.WidthOf(tile), out);
          emit(panel, tile, out);
        }
      }
    }
    return;
  }
  const DecodeFn decode = c.k.decode[static_cast<int>(s.dtype)];
  float* decoded = scratch + kOutFloats;
  int64_t panel = begin;
  const GemvFn gemv = c.k.gemv[static_cast<int>(s.dtype)];
  if (gemv != nullptr && tiles.num_tokens <= kMaxGemvWidth) {
    const int width = tiles.WidthOf(0);
    for (; panel < end; panel += kGemvPanels) {
      const int64_t n = std::min<int64_t>(kGemvPanels, end - panel);
      gemv(s.Panel(expert, panel), s.panel_bytes, n, k, tiles.F32(0), width, out);
      for (int64_t i = 0; i < n; ++i) emit(panel + i, 0, out + i * width * kPanelRows);
    }
    return;
  }
  if (tiles.num_tokens == 1) {
    for (; panel + 4 <= end; panel += 4) {
      const float* panels = reinterpret_cast<const float*>(s.Panel(expert, panel));
      int64_t stride = s.panel_bytes / 4;
      if (decode != nullptr) {
        for (int64_t i = 0; i < 4; ++i) {
          decode(s.Panel(expert, panel + i), k, decoded + i * k * kPanelRows);
        }
        panels = decoded;
        stride = k * kPanelRows;
      }
      c.k.gemv4_f32(panels, stride, k, tiles.F32(0), out);
      for (int64_t i = 0; i < 4; ++i) emit(panel + i, 0, out + 16 * i);
    }
  }
  for (; panel < end; ++panel) {
    const float* data = reinterpret_cast<const float*>(s.Panel(expert, panel));
    if (decode != nullptr) {
      decode(s.Panel(expert, panel), k, decoded);
      data = decoded;
    }
    for (int64_t tile = 0; tile < tiles.num_tiles; ++tile) {
      c.k.gemm_f32(data, k, tiles.F32(tile), tiles.WidthOf(tile), out);
      emit(panel, tile, out);
    }
  }
}

float* WorkerScratch(Context& c, int worker, const Tiles& tiles) {
  const int64_t floats = kOutFloats + 4 * tiles.k * kPanelRows;
  return c.worker[static_cast<size_t>(worker)].Array<float>(floats);
}

}  // namespace

void MatMul(Context& c, const CpuWeight& w, int64_t expert, const float* const* x,
            int64_t num_tokens, const Epilogue& e, float* y, int64_t y_stride) {
  if (num_tokens == 0) return;
  const Tiles tiles = PackActivations(c, w, x, num_tokens);
  c.pool.Run([&](int worker, int num_workers) {
    float* scratch = WorkerScratch(c, worker, tiles);
    const int64_t begin = w.num_panels() * worker / num_workers;
    const int64_t end = w.num_panels() * (worker + 1) / num_workers;
    int64_t segment_begin = 0;
    for (const CpuWeight::Segment& s : w.segments()) {
      const int64_t p0 = std::max(begin, segment_begin) - segment_begin;
      const int64_t p1 = std::min(end, segment_begin + s.num_panels) - segment_begin;
      segment_begin += s.num_panels;
      if (p0 >= p1) continue;
      SegmentTiles(
          c, s, expert, tiles, p0, p1, scratch, [&](int64_t panel, int64_t tile, const float* out) {
            const int n =
                static_cast<int>(std::min<int64_t>(kPanelRows, s.rows - panel * kPanelRows));
            const int64_t row = s.row0 + panel * kPanelRows;
            const int64_t t = tile * tiles.width;
            c.k.finish(out, tiles.WidthOf(tile), n, e.bias ? e.bias + row : nullptr, e.scale,
                       e.residual ? e.residual + t * e.residual_stride + row : nullptr,
                       e.residual_stride, y + t * y_stride + row, y_stride);
          });
    }
  });
}

void MatMulGlu(Context& c, const CpuWeight& w, int64_t expert, const float* const* x,
               int64_t num_tokens, const float* bias, ops::ActivationKind kind, float* y,
               int64_t y_stride) {
  if (num_tokens == 0) return;
  const Tiles tiles = PackActivations(c, w, x, num_tokens);
  const CpuWeight::Segment& gate = w.segments()[0];
  const CpuWeight::Segment& up = w.segments()[1];
  // Gate tiles of a few panels wait in a buffer for their up tiles.
  const int64_t group = 4;
  const int64_t gate_floats = group * tiles.num_tiles * tiles.width * kPanelRows;
  float* gates = c.more_rows.Array<float>(gate_floats * c.pool.num_workers());
  c.pool.Run([&](int worker, int num_workers) {
    float* scratch = WorkerScratch(c, worker, tiles);
    float* mine = gates + worker * gate_floats;
    const int64_t begin = gate.num_panels * worker / num_workers;
    const int64_t end = gate.num_panels * (worker + 1) / num_workers;
    for (int64_t p0 = begin; p0 < end; p0 += group) {
      const int64_t p1 = std::min(end, p0 + group);
      const auto slot = [&](int64_t panel, int64_t tile) {
        return mine + ((panel - p0) * tiles.num_tiles + tile) * tiles.width * kPanelRows;
      };
      SegmentTiles(c, gate, expert, tiles, p0, p1, scratch,
                   [&](int64_t panel, int64_t tile, const float* out) {
                     std::memcpy(slot(panel, tile), out,
                                 static_cast<size_t>(tiles.WidthOf(tile)) * kPanelRows * 4);
                   });
      SegmentTiles(c, up, expert, tiles, p0, p1, scratch,
                   [&](int64_t panel, int64_t tile, const float* out) {
                     const int64_t row = panel * kPanelRows;
                     const int n = static_cast<int>(std::min<int64_t>(kPanelRows, gate.rows - row));
                     c.k.finish_glu(kind, slot(panel, tile), out, tiles.WidthOf(tile), n,
                                    bias ? bias + row : nullptr,
                                    bias ? bias + gate.rows + row : nullptr,
                                    y + tile * tiles.width * y_stride + row, y_stride);
                   });
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
