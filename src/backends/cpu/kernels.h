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
#include "rill/status.h"

namespace rill::cpu {

// One block of query rows that share a KV head (attention.inl).
struct AttentionBlock {
  // Per row: query vector, output vector, its position, first visible position.
  static constexpr int kMaxRows = 24;
  int num_rows = 0;
  const float* q[kMaxRows];
  float* y[kMaxRows];
  int32_t begin[kMaxRows];  // visible positions [begin, end)
  int32_t end[kMaxRows];
  int32_t position[kMaxRows];  // of the query: ALiBi distance
  float slope[kMaxRows];       // ALiBi; 0: none
  float sink[kMaxRows];        // joins the denominator when has_sinks
  bool has_sinks = false;
  bool has_alibi = false;
  float score_scale = 1.0f;
  float softcap = 0.0f;
  // KV memory of this sequence, layer and head.
  DType kv_dtype = DType::kF16;
  int32_t k_dim = 0;
  int32_t v_dim = 0;
  int64_t v_stride = 0;  // elements
  int64_t v_offset_bytes = 0;
  int32_t page_size = 0;
  int64_t page_bytes = 0;
  const std::byte* slab0 = nullptr;  // slab of page 0
  const int32_t* pages = nullptr;    // page table row
  float* scratch = nullptr;          // AttentionScratchFloats(k_dim, v_dim)
};

constexpr int64_t AttentionScratchFloats(int64_t k_dim, int64_t v_dim) {
  // queries, accumulators, probabilities of one 64-position tile
  return AttentionBlock::kMaxRows * (k_dim + (v_dim + 15) / 16 * 16 + 64) + 64;
}

using GemmQ8Fn = void (*)(const uint8_t* panel, int64_t k, const QuantTile& x, int width,
                          float* out);
using DecodeFn = void (*)(const uint8_t* panel, int64_t k, float* out);
// `num_panels` quantised panels times `width` <= kMaxGemvWidth tokens; out [num_panels][width][16].
using GemvFn = void (*)(const uint8_t* panels, int64_t panel_bytes, int64_t num_panels, int64_t k,
                        const float* x, int width, float* out);
inline constexpr int kMaxGemvWidth = 3;
inline constexpr int kGemvPanels = 4;  // that callers had better offer at once

struct Kernels {
  const char* name;  // namespace: "scalar_fma"
  const char* isa;   // what users say: "scalar"
  int tile;          // widest token tile of the matrix kernels

  // Elementwise; n elements, any n.
  void (*activation)(ops::ActivationKind kind, const float* x, float* y, int64_t n);
  void (*glu)(ops::ActivationKind kind, const float* gate, const float* up, float* y, int64_t n);
  void (*add)(const float* a, const float* b, float b_scale, float* y, int64_t n);
  void (*scale)(const float* x, float factor, float* y, int64_t n);
  void (*softcap)(const float* x, float cap, float* y, int64_t n);
  void (*softmax)(const float* x, float* y, int64_t n);
  void (*exp)(const float* x, float* y, int64_t n);
  void (*tanh)(const float* x, float* y, int64_t n);
  void (*erf)(const float* x, float* y, int64_t n);
  // y = a * x + y, one fma an element.
  void (*axpy)(float a, const float* x, float* y, int64_t n);
  // weight (and bias) may be null.
  void (*rms_norm)(const float* x, const float* weight, float eps, float weight_bias, float* y,
                   int64_t n);
  void (*layer_norm)(const float* x, const float* weight, const float* bias, float eps, float* y,
                     int64_t n);
  // One head, in place; cos and sin have rotary_dim / 2 elements each.
  void (*rope)(float* x, const float* cos, const float* sin, int64_t rotary_dim, bool interleaved);
  // f32 -> f16 / bf16, to nearest even.
  void (*to_f16)(const float* x, uint16_t* y, int64_t n);

  // Matrix products. out is [width][16]; x tiles as packed by the two functions below.
  GemmQ8Fn gemm_q8[kNumDTypes];  // nullptr: no integer form
  DecodeFn decode[kNumDTypes];   // panel -> f32 [k][16]; nullptr for f32 itself
  GemvFn gemv[kNumDTypes];       // decode and gemm_f32 in one, same bits; nullptr: none
  void (*gemm_f32)(const float* panel, int64_t k, const float* x, int width, float* out);
  // 4 panels (f32, [k][16] each, `panel_stride` floats apart) times one token; out [4][16].
  void (*gemv4_f32)(const float* panels, int64_t panel_stride, int64_t k, const float* x,
                    float* out);
  void (*pack_f32)(const float* const* rows, int width, int64_t k, float* out);  // [k][width]
  void (*quantize)(const float* const* rows, int width, int64_t k, const QuantTile& out);

  // Epilogues of one tile: `width` tokens x n <= 16 output rows (linear.inl).
  void (*finish)(const float* acc, int width, int n, const float* bias, float scale,
                 const float* residual, int64_t residual_stride, float* y, int64_t y_stride);
  void (*finish_glu)(ops::ActivationKind kind, const float* gate, const float* up, int width, int n,
                     const float* gate_bias, const float* up_bias, float* y, int64_t y_stride);

  void (*attention)(const AttentionBlock& block);
};

// Kernels for `isa` ("" = $RILL_CPU_ISA, or the best present). Errors: kInvalidArgument naming the
// ISAs there are; kUnsupported when this CPU lacks it.
Result<const Kernels*> SelectKernels(std::string_view isa);
// All tables that this CPU can run, best first (scalar last).
std::vector<const Kernels*> AvailableKernels();

}  // namespace rill::cpu
