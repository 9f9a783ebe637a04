// Activations as the matrix kernels take them: rows, normed where the op says so, cut into tiles
// and quantised once; every panel of a weight is then multiplied with all of them.
//
// Owner thread: the thread that runs steps; what is made lies in the Context's scratch memory until
// the next product.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "backends/cpu/context.h"

namespace rill::cpu {

// Activations of one product, cut into tiles of `width` tokens (the last one narrower), each stored
// a whole number of steps wide.
struct Tiles {
  int64_t num_tokens = 0, k = 0, num_tiles = 0;
  int width = 1, step = 1;
  uint8_t* memory = nullptr;
  int64_t tile_bytes = 0;
  bool few = false;  // f32: panels are decoded in registers for each tile
  // Integer tiles
  bool q8 = false, half_sums = false;
  bool direct = false;  // gemv_q8: from packed panels
  bool packed = false;  // the first of several tiles, too: gemm_packed
  int packed_step = 1;
  TileLayout layout = TileLayout::kQuads;
  int64_t group_units = 1, groups = 0;

  int WidthOf(int64_t tile) const {
    return static_cast<int>(std::min<int64_t>(width, num_tokens - tile * width));
  }
  int StrideOf(int64_t tile) const {
    const int n = WidthOf(tile);
    if (direct) return n == 1 ? 1 : width;
    if (packed && num_tiles == 1) return (n + packed_step - 1) / packed_step * packed_step;
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

// Of a core's second cache, 256 KiB at least.
int64_t L2Bytes();

// Integer tiles for products of `num_tokens` rows with the segments of `w` that have groups of
// `group_units`, in `memory`; nothing is written yet.
Tiles PlanQ8(const Context& c, const CpuWeight& w, int64_t group_units, int64_t num_tokens,
             Scratch& memory);

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

// x: num_tokens rows of w.cols() elements.
Inputs PackInputs(Context& c, const CpuWeight& w, int64_t expert, const float* const* x,
                  int64_t num_tokens, const RowNorm& norm = {});

// The one form in which all of `w` takes activations: integer tiles with groups of this many units;
// 0: there are several, f32 ones, or an order of columns of its own.
int64_t OnlyGroupUnits(const CpuWeight& w);

}  // namespace rill::cpu
