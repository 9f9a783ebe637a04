// The table of one ISA. Included last; RILL_ISA_NAME and RILL_ISA_USER_NAME are its names.

constexpr Kernels MakeKernels() {
  Kernels k{};
  k.name = RILL_ISA_NAME;
  k.isa = RILL_ISA_USER_NAME;
  k.tile = kTile;
  k.activation = ActivationRow;
  k.glu = GluRow;
  k.add = AddRow;
  k.scale = ScaleRow;
  k.softcap = SoftcapRow;
  k.softmax = SoftmaxRow;
  k.exp = ExpRow;
  k.tanh = TanhRow;
  k.erf = ErfRow;
  k.axpy = AxpyRow;
  k.rms_norm = RmsNormRow;
  k.layer_norm = LayerNormRow;
  k.rope = RopeRow;
  k.to_f16 = ToF16Row;
#define DTYPE(Name, name, weights, bytes, gguf)
#define DTYPE_BLOCK(Name, name, weights, bytes, gguf)                          \
  k.gemm_q8[static_cast<int>(DType::k##Name)] = GemmQ8<FormatOf(DType::k##Name)>; \
  k.decode[static_cast<int>(DType::k##Name)] = DecodePanel<FormatOf(DType::k##Name)>; \
  k.gemv[static_cast<int>(DType::k##Name)] = GemvOf<FormatOf(DType::k##Name), kTile>();
#include "tensor/dtype_list.def"
#undef DTYPE
#undef DTYPE_BLOCK
  k.decode[static_cast<int>(DType::kF16)] = DecodeF16;
  k.decode[static_cast<int>(DType::kBF16)] = DecodeBf16;
  k.gemm_f32 = GemmF32;
  k.gemv4_f32 = Gemv4F32;
  k.pack_f32 = PackF32;
  k.quantize = Quantize;
  k.finish = FinishTile;
  k.finish_glu = FinishGlu;
  k.attention = AttentionRows;
  return k;
}
extern const Kernels kKernels;
constexpr Kernels kKernels = MakeKernels();
