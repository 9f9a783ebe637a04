// The table of inner kernels that each instruction set provides, and how one is chosen.
//
// Everything here has plain pointers and sizes: the code behind it is compiled once per ISA inside
// a target region (isa/<isa>.cc), from the same .inl files, and gives the same bits on each.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "backends/cpu/exec_format.h"
#include "ops/activation.h"
#include "quant/kv_format.h"
#include "rill/status.h"

namespace rill::cpu {

// Query rows that share a KV head of one sequence (attention.inl).
struct AttentionBlock {
  static constexpr int kMaxRows = 96;
  static constexpr int kPaddedRows = kMaxRows + 8;  // kernels repeat the last row to fill a tile
  // Positions that are computed as one and then merged: part of the arithmetic.
  static constexpr int32_t kSpan = 256;
  // Per row: query vector, output vector, its position, first visible position.
  int num_rows = 0;
  const float* q[kPaddedRows];
  float* y[kPaddedRows];
  int32_t begin[kPaddedRows];  // visible positions [begin, end)
  int32_t end[kPaddedRows];
  int32_t position[kPaddedRows];  // of the query: ALiBi distance
  float slope[kPaddedRows];       // ALiBi; 0: none
  float sink[kPaddedRows];        // joins the denominator when has_sinks
  bool has_sinks = false;
  bool has_alibi = false;
  float score_scale = 1.0f;
  float softcap = 0.0f;
  // KV memory of this sequence, layer and head.
  quant::KvFormat format = quant::KvFormat::kF16;
  int32_t k_dim = 0;
  int32_t v_dim = 0;
  int64_t v_stride = 0;  // elements
  int64_t k_strip_bytes = 0;
  int64_t v_row_bytes = 0;
  int64_t v_code_bytes = 0;  // of a row: its parameters follow
  int64_t v_offset_bytes = 0;
  int32_t page_size = 0;
  int64_t page_bytes = 0;
  const std::byte* slab0 = nullptr;  // slab of page 0
  const int32_t* pages = nullptr;    // page table row
  // The first strips of 16 positions that will be read after all of this block's, in reading order,
  // to be asked for in time (attention.inl); null: none.
  static constexpr int kStripsAhead = 4;
  const std::byte* next_k[kStripsAhead] = {};
  const std::byte* next_v[kStripsAhead] = {};
  float* scratch = nullptr;  // AttentionScratchFloats(k_dim, v_stride)
};

constexpr int64_t AttentionScratchFloats(int64_t k_dim, int64_t v_stride) {
  // queries, accumulators of a span and of all, a tile of probabilities, a tile of f32 keys and
  // values, alignment
  return AttentionBlock::kPaddedRows * (k_dim + 2 * v_stride) + 8 * 64 + 64 * (k_dim + v_stride) +
         8 * 16;
}
// One span of a block on its own: per row its accumulators, maximum and sum.
constexpr int64_t AttentionPartialFloats(int64_t num_rows, int64_t v_stride) {
  return num_rows * (v_stride + 2);
}

// Units [unit0, unit1) of `num_panels` panels in work form (exec_format.h) times one tile; out
// [width][16] a panel, added to unless unit0 == 0. unit0 and unit1 lie on group boundaries.
struct WorkGemm {
  const uint8_t* panels = nullptr;
  int64_t panel_stride = 0;  // bytes
  int num_panels = 1;
  int64_t k = 0;
  int64_t unit0 = 0, unit1 = 0;
  int64_t group_units = 1;  // units that share a scale (1 when the group is 16 or 32)
  int64_t num_groups = 0;   // WorkGroups()
  QuantTile x;
  int width = 0;  // stride of the tile
  float* out = nullptr;
  int64_t out_stride = 0;  // floats between panels
};
// `num_panels` packed panels times one tile of layout_q8, packed_q8_step to tile_q8 wide; out
// [width][16] a panel.
struct PackedGemm {
  const uint8_t* panels = nullptr;
  int64_t panel_bytes = 0, num_panels = 1;
  int64_t k = 0;
  int64_t group_units = 1;
  QuantTile x;
  int width = 0;
  float* out = nullptr;
  int64_t out_stride = 0;  // floats between panels
  // Where the panels' work forms are left, for gemm_work of further tiles (width tile_q8); null:
  // nowhere.
  uint8_t* work = nullptr;
  int64_t work_stride = 0;  // bytes between panels
};
using GemmPackedFn = void (*)(const PackedGemm& args);
using GemmWorkFn = void (*)(const WorkGemm& args);
using ExpandFn = void (*)(const uint8_t* panel, int64_t k, int64_t group_units, uint8_t* work);
using DecodeFn = void (*)(const uint8_t* panel, int64_t k, int64_t group_units, float* out);
// `num_panels` packed panels times `width` tokens; out [num_panels][width][16].
using GemvQ8Fn = void (*)(const uint8_t* panels, int64_t panel_bytes, int64_t num_panels, int64_t k,
                          int64_t group_units, const QuantTile& x, int width, float* out);
// `num_panels` packed panels times one tile [k][width], decode and gemm_f32 in one: the panels are
// decoded in registers, for each tile again. out [num_panels][width][16].
using FewFn = void (*)(const uint8_t* panels, int64_t panel_bytes, int64_t num_panels, int64_t k,
                       int64_t group_units, const float* x, int width, float* out);
struct FewKernel {
  FewFn run = nullptr;      // nullptr: none
  int tile = 0;             // widths: 1 to 3, or by whole tile_f32_step up to this
  int64_t most_tokens = 0;  // of all tiles that share L2: with more, decode and gemm_f32 are faster
};

// Matrix kernels of one quantised layout.
struct ExecKernels {
  GemvQ8Fn gemv_q8;  // width 1 or gemv_q8_width
  ExpandFn expand;   // panel -> work form; nullptr on scalar, with gemm_work
  GemmWorkFn gemm_work;
  DecodeFn decode;  // panel -> f32 [k][16]
  FewKernel few;
  // expand and gemm_work of one tile in one; nullptr: none, as for groups of 16 where
  // packed_halves says no
  GemmPackedFn gemm_packed;
};

struct Kernels {
  const char* name;  // namespace: "scalar_fma"
  const char* isa;   // what users say: "scalar"
  // Integer tiles: up to gemv_q8_width tokens go to gemv_q8 (a tile of 1 or that many, kQuads),
  // more to gemm_work in tiles of `tile_q8`, or less by whole steps, of layout_q8; the first of
  // them to gemm_packed where there is one.
  int gemv_q8_width;
  int packed_q8_step;  // of the widths of gemm_packed; 0: there is none
  bool packed_halves;  // it takes groups of 16
  int tile_q8, tile_q8_step;
  TileLayout layout_q8;
  // f32 tiles: 1 token, or up to tile_f32 by whole steps (FewKernel: 2 and 3, too); panels that
  // gemm_f32 takes at once.
  int tile_f32, tile_f32_step, panels_f32;
  int lane_tokens;  // ops::LaneLimits::min_tokens

  // Elementwise; n elements, any n.
  void (*activation)(ops::ActivationKind kind, const float* x, float* y, int64_t n);
  void (*glu)(ops::ActivationKind kind, const float* gate, const float* up, float* y, int64_t n);
  void (*add)(const float* a, const float* b, float b_scale, float* y, int64_t n);
  void (*scale)(const float* x, float factor, float* y, int64_t n);
  void (*clamp)(const float* x, float limit, float* y, int64_t n);
  void (*softcap)(const float* x, float cap, float* y, int64_t n);
  void (*softmax)(const float* x, float* y, int64_t n);
  void (*exp)(const float* x, float* y, int64_t n);
  void (*exp_normal)(const float* x, float* y, int64_t n);  // |x| <= 87 or NaN; for tests
  void (*tanh)(const float* x, float* y, int64_t n);
  void (*erf)(const float* x, float* y, int64_t n);
  // y = a * x + y, one fma an element.
  void (*axpy)(float a, const float* x, float* y, int64_t n);
  // weight (and bias) may be null.
  void (*rms_norm)(const float* x, const float* weight, float eps, float weight_bias, float* y,
                   int64_t n);
  void (*layer_norm)(const float* x, const float* weight, const float* bias, float eps, float* y,
                     int64_t n);
  // One head, in place. Halves: elements i and i + rotary_dim / 2 turn by angle i; cos and sin have
  // rotary_dim / 2 elements each. Pairs: elements 2 i and 2 i + 1 do, cos_sin is [cos, sin] of
  // each.
  void (*rope_halves)(float* x, const float* cos, const float* sin, int64_t rotary_dim);
  void (*rope_pairs)(float* x, const float* cos_sin, int64_t rotary_dim);
  // f32 -> f16 / bf16, to nearest even.
  void (*to_f16)(const float* x, uint16_t* y, int64_t n);

  ExecKernels exec[kNumExecs];
  DecodeFn decode_f16, decode_bf16;
  FewKernel few_f16, few_bf16;
  // Panels f32 [k][16], `stride` floats apart, times one tile [k][width]; out
  // [num_panels][width][16].
  void (*gemm_f32)(const float* panels, int64_t stride, int64_t num_panels, int64_t k,
                   const float* x, int width, float* out);
  // Rows of `width` tokens to a tile that is `stride` >= width wide: k in [k0, k1), or units in
  // [unit0, unit1), which lie on group boundaries.
  void (*pack_f32)(const float* const* rows, int width, int stride, int64_t k0, int64_t k1,
                   float* out);
  void (*quantize)(const float* const* rows, int width, int stride, int64_t unit0, int64_t unit1,
                   int64_t group_units, TileLayout layout, const QuantTile& out);

  // Epilogues of one tile: `width` tokens x n <= 16 output rows (epilogue.inl).
  void (*finish)(const float* acc, int width, int n, const float* bias, float scale,
                 const float* residual, int64_t residual_stride, float* y, int64_t y_stride);
  // finish past the caches, for outputs too large to stay in them until they are read. y and
  // y_stride are multiples of 64 bytes; call end_past before another thread is told that they are
  // written.
  decltype(finish) finish_past;
  void (*end_past)();
  // Bit t of `width` <= 64 rows of y, `stride` apart: not every element of [n] is surely finite and
  // below limit[t].
  uint64_t (*rows_not_below)(const float* y, int64_t stride, int width, int64_t n,
                             const float* limit);
  void (*finish_glu)(ops::ActivationKind kind, const float* gate, const float* up, int width, int n,
                     const float* gate_bias, const float* up_bias, float* y, int64_t y_stride);

  // One key or value of `dim` elements as its format stores it (quant/kv_format.h).
  void (*kv_encode[quant::kNumKvFormats])(const float* x, int64_t dim, uint8_t* out);
  // Spans [span_begin, span_end) of a block. With partials null these must be all it sees, and y is
  // written; otherwise each span's result goes to partials (AttentionPartialFloats apart).
  void (*attention)(AttentionBlock& block, int32_t span_begin, int32_t span_end, float* partials);
  // y from the partial results of all spans of a block, in order.
  void (*attention_merge)(AttentionBlock& block, int32_t num_spans, const float* partials);
};

// The instruction set that somebody asked for: `isa`, else $RILL_CPU_ISA, else "".
std::string_view ChosenIsa(std::string_view isa);
// Kernels for `isa` ("" = $RILL_CPU_ISA, or the best present). Errors: kInvalidArgument naming the
// ISAs there are; kUnsupported when this CPU lacks it.
Result<const Kernels*> SelectKernels(std::string_view isa);
// All tables that this CPU can run, best first (scalar last).
std::vector<const Kernels*> AvailableKernels();

}  // namespace rill::cpu
