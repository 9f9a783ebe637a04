// The table of one ISA. Included last; RILL_ISA_NAME and RILL_ISA_USER_NAME are its names.

// Scalar code has one token at a time and no registers to decode into.
template <ExecFormat F>
constexpr ExecKernels MakeExecKernels() {
  ExecKernels e{};
  e.gemv_q8 = GemvQ8<F>;
  e.decode = DecodePanel<F>;
  if constexpr (kTileQ8 > 1) {
    e.expand = Expand<F>;
    e.gemm_work = GemmWorkOf<WorkOf(F)>();
    e.few = {Few<F>, kFewTile<F>, kFewTiles * kFewTile<F>};
#if !RILL_I8MM
    if constexpr (kPackedStep > 0 && (WorkOf(F).group == 32 || kPackedHalves)) {
      e.gemm_packed = GemmPacked<F>;
    }
#endif
  }
  return e;
}

constexpr Kernels MakeKernels() {
  Kernels k{};
  k.name = RILL_ISA_NAME;
  k.isa = RILL_ISA_USER_NAME;
  k.gemv_q8_width = kGemvQ8Width;
  k.packed_q8_step = kPackedStep;
  k.packed_halves = kPackedHalves;
  k.tile_q8 = kTileQ8;
  k.tile_q8_step = kTileQ8 > 1 ? kTileQ8 / kTileSteps : 1;
  k.layout_q8 = kIntegerDot == IntegerDot::kTiles      ? TileLayout::kUnits
                : kIntegerDot == IntegerDot::kRowPairs ? TileLayout::kEights
                                                       : TileLayout::kQuads;
  k.tile_f32 = kTileF32;
  k.tile_f32_step = kTileF32 > 1 ? kTileF32 / 3 : 1;
  k.panels_f32 = kTileF32Panels;
  k.lane_tokens = kLaneTokens;
  k.activation = ActivationRow;
  k.glu = GluRow;
  k.add = AddRow;
  k.scale = ScaleRow;
  k.clamp = ClampRow;
  k.softcap = SoftcapRow;
  k.softmax = SoftmaxRow;
  k.exp = ExpRow;
  k.exp_normal = ExpNormalRow;
  k.tanh = TanhRow;
  k.erf = ErfRow;
  k.axpy = AxpyRow;
  k.rms_norm = RmsNormRow;
  k.layer_norm = LayerNormRow;
  k.rope_halves = RopeHalves;
  k.rope_pairs = RopePairs;
  k.to_f16 = ToF16Row;
#define EXEC(Name, bits, code, offset, group, scale) \
  k.exec[static_cast<int>(ExecId::k##Name)] = MakeExecKernels<FormatOf(ExecId::k##Name)>();
#include "backends/cpu/exec_list.def"
#undef EXEC
  k.decode_f16 = DecodeF16;
  k.decode_bf16 = DecodeBf16;
  if constexpr (kTileQ8 > 1) {
    k.few_f16 = {FewPlain<F16Elements>, kFewPlainTile, kFewPlainTokens};
    k.few_bf16 = {FewPlain<Bf16Elements>, kFewPlainTile, kFewPlainTokens};
  }
  k.gemm_f32 = GemmF32;
  k.pack_f32 = PackF32;
  k.quantize = Quantize;
  k.finish = FinishTile<false>;
  k.finish_past = FinishTile<true>;
  k.end_past = EndStoresPast;
  k.rows_not_below = RowsNotBelow;
  k.finish_glu = FinishGlu;
  {
    // What kv_quantize.inl has, and of the other formats what quant/kv_<name>.cc has: names of this
    // namespace hide those that the using-directive brings.
    using namespace quant;
#define KV_FORMAT(Name, name, code_bits, group, num_params, error) \
  k.kv_encode[static_cast<int>(KvFormat::k##Name)] = KvEncode##Name;
#include "quant/kv_format_list.def"
#undef KV_FORMAT
  }
  k.attention = AttentionSpans;
  k.attention_merge = AttentionMerge;
  return k;
}
extern const Kernels kKernels;
constexpr Kernels kKernels = MakeKernels();
