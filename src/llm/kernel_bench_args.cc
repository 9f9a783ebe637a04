// Arguments of each operator for a kernel benchmark. Sizes are those of KernelBenchOptions:
// `tokens` rows of `cols` elements; `rows` output features.

#include "llm/kernel_bench_args.h"

namespace rill {
namespace {

// One weight of `rows` output features, twice as many in a paired one.
template <typename Args>
Status MakeProduct(KernelBenchData& b, Args args, bool paired, std::vector<KernelCall>& calls) {
  const KernelBenchOptions& o = b.options;
  args.x = b.Tensor({o.tokens, o.cols});
  args.y = b.Tensor({o.tokens, o.rows});
  return b.AddSets({{.rows = paired ? 2 * o.rows : o.rows, .cols = o.cols, .paired = paired}},
                   [&](size_t i) {
                     args.w = b.weights[i].get();
                     calls.push_back(KernelCall::Of(args));
                   });
}

// One call: no weight whose copies take turns.
template <typename Args>
Status Once(const Args& args, std::vector<KernelCall>& calls) {
  calls.push_back(KernelCall::Of(args));
  return OkStatus();
}

MutableTensorView Rows(KernelBenchData& b) {
  return b.Tensor({b.options.tokens, b.options.cols});
}

// x and y of [tokens, cols].
template <typename Args>
Status MakeRows(KernelBenchData& b, Args args, std::vector<KernelCall>& calls) {
  args.x = Rows(b);
  args.y = Rows(b);
  return Once(args, calls);
}

// i32 zeros, to be written.
MutableTensorView MutableIds(KernelBenchData& b, Shape shape) {
  const TensorView ids = b.Ids(shape, [](int64_t) { return 0; });
  return {const_cast<std::byte*>(ids.data), DType::kI32, ids.shape};
}

}  // namespace

Status MakeLinearCalls(KernelBenchData& b, std::vector<KernelCall>& calls) {
  return MakeProduct(b, ops::LinearArgs{}, false, calls);
}

// Greedy: of no row all logits are wanted.
Status MakeLogitsCalls(KernelBenchData& b, std::vector<KernelCall>& calls) {
  ops::LogitsArgs args;
  args.wanted = b.Ids({b.options.tokens}, [](int64_t) { return 0; });
  args.best_id = MutableIds(b, {b.options.tokens});
  args.best = b.Tensor({b.options.tokens});
  return MakeProduct(b, args, false, calls);
}

Status MakeLinearGluCalls(KernelBenchData& b, std::vector<KernelCall>& calls) {
  return MakeProduct(b, ops::LinearGluArgs{}, true, calls);
}

Status MakeNormLinearCalls(KernelBenchData& b, std::vector<KernelCall>& calls) {
  ops::NormLinearArgs args;
  args.norm_weight = b.Tensor({b.options.cols});
  return MakeProduct(b, args, false, calls);
}

// `rows` is the intermediate size; half of the matrices are gate and up, half down.
Status MakeGatedFfnCalls(KernelBenchData& b, std::vector<KernelCall>& calls) {
  const KernelBenchOptions& o = b.options;
  ops::GatedFfnArgs args;
  args.x = Rows(b);
  args.norm_weight = b.Tensor({o.cols});
  args.norm = ops::InputNorm::kRms;
  args.y = Rows(b);
  return b.AddSets(
      {{.rows = 2 * o.rows, .cols = o.cols, .paired = true}, {.rows = o.cols, .cols = o.rows}},
      [&](size_t i) {
        args.gate_up = b.weights[i].get();
        args.down = b.weights[i + 1].get();
        calls.push_back(KernelCall::Of(args));
      });
}

// Eight experts, two for a token in turn; `rows` is the intermediate size.
Status MakeMoeFfnCalls(KernelBenchData& b, std::vector<KernelCall>& calls) {
  const KernelBenchOptions& o = b.options;
  constexpr int64_t kExperts = 8, kTop = 2;
  ops::MoeFfnArgs args;
  args.x = Rows(b);
  args.expert_ids = b.Ids({o.tokens, kTop}, [](int64_t i) { return i % kExperts; });
  args.expert_weights = b.Tensor({o.tokens, kTop});
  args.y = Rows(b);
  return b.AddSets({{.rows = 2 * o.rows, .cols = o.cols, .paired = true, .num_experts = kExperts},
                    {.rows = o.cols, .cols = o.rows, .num_experts = kExperts}},
                   [&](size_t i) {
                     args.gate_up = b.weights[i].get();
                     args.down = b.weights[i + 1].get();
                     calls.push_back(KernelCall::Of(args));
                   });
}

// `rows` is the size of the vocabulary.
Status MakeEmbeddingCalls(KernelBenchData& b, std::vector<KernelCall>& calls) {
  const KernelBenchOptions& o = b.options;
  ops::EmbeddingArgs args;
  args.token_ids = b.Ids({o.tokens}, [&](int64_t i) { return i * 7919 % o.rows; });
  args.y = Rows(b);
  return b.AddSets({{.rows = o.rows, .cols = o.cols, .is_table = true}}, [&](size_t i) {
    args.table = b.weights[i].get();
    calls.push_back(KernelCall::Of(args));
  });
}

Status MakeRmsNormCalls(KernelBenchData& b, std::vector<KernelCall>& calls) {
  ops::RmsNormArgs args;
  args.x = b.Tensor({b.options.tokens, 1, b.options.cols});
  args.weight = b.Tensor({b.options.cols});
  args.y = b.Tensor({b.options.tokens, 1, b.options.cols});
  return Once(args, calls);
}

Status MakeSkipRmsNormCalls(KernelBenchData& b, std::vector<KernelCall>& calls) {
  const KernelBenchOptions& o = b.options;
  ops::SkipRmsNormArgs args;
  args.x = Rows(b);
  args.skip = Rows(b);
  args.weight = b.Tensor({o.cols});
  args.h = Rows(b);
  args.y = Rows(b);
  return Once(args, calls);
}

Status MakeGluCalls(KernelBenchData& b, std::vector<KernelCall>& calls) {
  ops::GluArgs args;
  args.gate = Rows(b);
  args.up = Rows(b);
  args.y = Rows(b);
  return Once(args, calls);
}

Status MakePagedAttentionCalls(KernelBenchData& b, std::vector<KernelCall>& calls) {
  RILL_RETURN_IF_ERROR(b.AddKv());
  ops::PagedAttentionArgs args;
  args.q = b.Tensor({b.options.tokens, b.num_heads(), KernelBenchData::kHead});
  args.y = b.Tensor({b.options.tokens, b.num_heads(), KernelBenchData::kHead});
  args.kv = &b.kv;
  args.score_scale = 0.125f;
  return Once(args, calls);
}

Status MakeRopeKvAppendCalls(KernelBenchData& b, std::vector<KernelCall>& calls) {
  RILL_RETURN_IF_ERROR(b.AddKv());
  const int64_t tokens = b.options.tokens, kv_heads = b.kv.layout.num_kv_heads;
  ops::RopeKvAppendArgs args;
  args.q = b.Tensor({tokens, b.num_heads(), KernelBenchData::kHead});
  args.k = b.Tensor({tokens, kv_heads, KernelBenchData::kHead});
  args.v = b.Tensor({tokens, kv_heads, KernelBenchData::kHead});
  args.cos_sin = b.CosSin();
  args.kv = &b.kv;
  return Once(args, calls);
}

Status MakeActivationCalls(KernelBenchData& b, std::vector<KernelCall>& calls) {
  return MakeRows(b, ops::ActivationArgs{}, calls);
}

Status MakeClampCalls(KernelBenchData& b, std::vector<KernelCall>& calls) {
  ops::ClampArgs args;
  args.limit = 0.5f;
  return MakeRows(b, args, calls);
}

Status MakeScaleCalls(KernelBenchData& b, std::vector<KernelCall>& calls) {
  ops::ScaleArgs args;
  args.factor = 0.5f;
  return MakeRows(b, args, calls);
}

Status MakeSoftcapCalls(KernelBenchData& b, std::vector<KernelCall>& calls) {
  return MakeRows(b, ops::SoftcapArgs{}, calls);
}

Status MakeAddCalls(KernelBenchData& b, std::vector<KernelCall>& calls) {
  ops::AddArgs args;
  args.a = Rows(b);
  args.b = Rows(b);
  args.y = Rows(b);
  return Once(args, calls);
}

Status MakeCopyCalls(KernelBenchData& b, std::vector<KernelCall>& calls) {
  const KernelBenchOptions& o = b.options;
  ops::CopyArgs args;
  args.x = b.Tensor({o.tokens, 1, o.cols});
  args.y = b.Tensor({o.tokens, 1, o.cols});
  return Once(args, calls);
}

// Every row, the last one first.
Status MakeGatherRowsCalls(KernelBenchData& b, std::vector<KernelCall>& calls) {
  const KernelBenchOptions& o = b.options;
  ops::GatherRowsArgs args;
  args.rows = b.Ids({o.tokens}, [&](int64_t i) { return o.tokens - 1 - i; });
  args.x = Rows(b);
  args.y = Rows(b);
  return Once(args, calls);
}

Status MakeLayerNormCalls(KernelBenchData& b, std::vector<KernelCall>& calls) {
  const KernelBenchOptions& o = b.options;
  ops::LayerNormArgs args;
  args.x = b.Tensor({o.tokens, 1, o.cols});
  args.weight = b.Tensor({o.cols});
  args.bias = b.Tensor({o.cols});
  args.y = b.Tensor({o.tokens, 1, o.cols});
  return Once(args, calls);
}

Status MakeSkipLayerNormCalls(KernelBenchData& b, std::vector<KernelCall>& calls) {
  const KernelBenchOptions& o = b.options;
  ops::SkipLayerNormArgs args;
  args.x = Rows(b);
  args.skip = Rows(b);
  args.weight = b.Tensor({o.cols});
  args.bias = b.Tensor({o.cols});
  args.h = Rows(b);
  args.y = Rows(b);
  return Once(args, calls);
}

// `cols` experts, the best eight of them.
Status MakeMoeRouteCalls(KernelBenchData& b, std::vector<KernelCall>& calls) {
  const KernelBenchOptions& o = b.options;
  const int64_t top = std::min(8, o.cols);
  ops::MoeRouteArgs args;
  args.logits = Rows(b);
  args.expert_weights = b.Tensor({o.tokens, top});
  args.expert_ids = MutableIds(b, {o.tokens, top});
  args.normalize = true;
  return Once(args, calls);
}

// `rows` positions are in the table.
Status MakePositionEmbeddingCalls(KernelBenchData& b, std::vector<KernelCall>& calls) {
  const KernelBenchOptions& o = b.options;
  ops::PositionEmbeddingArgs args;
  args.x = Rows(b);
  args.positions = b.Ids({o.tokens}, [&](int64_t i) { return i * 7919 % o.rows; });
  args.y = Rows(b);
  return b.AddSets({{.rows = o.rows, .cols = o.cols, .is_table = true}}, [&](size_t i) {
    args.table = b.weights[i].get();
    calls.push_back(KernelCall::Of(args));
  });
}

Status MakeRopeCalls(KernelBenchData& b, std::vector<KernelCall>& calls) {
  ops::RopeArgs args;
  args.x = b.Tensor({b.options.tokens, b.num_heads(), KernelBenchData::kHead});
  args.cos_sin = b.CosSin();
  return Once(args, calls);
}

Status MakeRopeAnglesCalls(KernelBenchData& b, std::vector<KernelCall>& calls) {
  const KernelBenchOptions& o = b.options;
  if (o.cols % 2 != 0) {
    return InvalidArgument("rope_angles: cols: expected an even number, got " +
                           std::to_string(o.cols));
  }
  ops::RopeAnglesArgs args;
  args.positions = b.Ids({o.tokens}, [](int64_t i) { return i; });
  args.inv_freq = b.Tensor({o.cols / 2});
  args.cos_sin = Rows(b);
  return Once(args, calls);
}

Status MakeKvAppendCalls(KernelBenchData& b, std::vector<KernelCall>& calls) {
  RILL_RETURN_IF_ERROR(b.AddKv());
  const int64_t tokens = b.options.tokens, kv_heads = b.kv.layout.num_kv_heads;
  ops::KvAppendArgs args;
  args.k = b.Tensor({tokens, kv_heads, KernelBenchData::kHead});
  args.v = b.Tensor({tokens, kv_heads, KernelBenchData::kHead});
  args.kv = &b.kv;
  return Once(args, calls);
}

}  // namespace rill
