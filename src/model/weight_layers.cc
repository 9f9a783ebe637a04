// WeightSet: the matrices of one layer.
#include <fmt/format.h>

#include "model/weight_resolve.h"
#include "model/weights.h"
#include "quant/view_rows.h"

namespace rill::model {
namespace {

struct RowRange {
  int64_t begin, count;
};

// Row ranges of a fused q, k, v matrix in the order q, k, v.
std::vector<RowRange> QkvRanges(const DecoderSpec& spec, QkvLayout layout) {
  const int64_t heads = spec.num_heads, kv_heads = spec.num_kv_heads;
  const int64_t k_dim = spec.k_dim, v_dim = spec.v_dim;
  if (layout == QkvLayout::kConcatenated) {
    return {{0, heads * k_dim + kv_heads * (k_dim + v_dim)}};
  }
  const int64_t per_group = layout == QkvLayout::kPerHead ? 1 : heads / kv_heads;
  const int64_t groups = heads / per_group;
  const int64_t group_rows = per_group * k_dim + k_dim + v_dim;
  std::vector<RowRange> out;
  for (int64_t g = 0; g < groups; ++g) out.push_back({g * group_rows, per_group * k_dim});
  for (int64_t g = 0; g < groups; ++g) {
    out.push_back({g * group_rows + per_group * k_dim, k_dim});
  }
  for (int64_t g = 0; g < groups; ++g) {
    out.push_back({g * group_rows + (per_group + 1) * k_dim, v_dim});
  }
  return out;
}

}  // namespace

Status WeightSet::ResolveQkv(const std::string& prefix, LayerWeights& w) {
  const int64_t q_rows = int64_t{spec_.num_heads} * spec_.k_dim;
  const int64_t k_rows = int64_t{spec_.num_kv_heads} * spec_.k_dim;
  const int64_t v_rows = int64_t{spec_.num_kv_heads} * spec_.v_dim;
  const int64_t hidden = spec_.hidden_size;
  const bool fused = !names_.qkv.empty() && (names_.q.empty() || HasMatrix(prefix + names_.qkv));
  Matrix matrix;
  matrix.target = &w.qkv.w;
  if (!fused) {
    const std::string q = prefix + names_.q, k = prefix + names_.k, v = prefix + names_.v;
    RILL_ASSIGN_OR_RETURN(const Part q_part, GetMatrix(q, q_rows, hidden));
    RILL_ASSIGN_OR_RETURN(const Part k_part, GetMatrix(k, k_rows, hidden));
    RILL_ASSIGN_OR_RETURN(const Part v_part, GetMatrix(v, v_rows, hidden));
    matrix.name = prefix + "qkv";
    matrix.parts = {q_part, k_part, v_part};
    matrices_.push_back(std::move(matrix));
    return AddBias({q, k, v}, {q_rows, k_rows, v_rows}, spec_.qkv_bias, w.qkv.bias);
  }
  const int64_t rows = q_rows + k_rows + v_rows;
  const std::string base = prefix + names_.qkv;
  RILL_ASSIGN_OR_RETURN(const Part part, GetMatrix(base, rows, hidden));
  const std::vector<RowRange> ranges = QkvRanges(spec_, names_.qkv_layout);
  matrix.name = base;
  if (ranges.size() == 1) {
    matrix.parts = {part};
  } else {
    for (const RowRange& r : ranges) matrix.parts.push_back(SliceOf(part, r.begin, r.count));
  }
  matrices_.push_back(std::move(matrix));
  const size_t before = vectors_.size();
  RILL_RETURN_IF_ERROR(AddBias({base}, {rows}, spec_.qkv_bias, w.qkv.bias));
  if (vectors_.size() == before || ranges.size() == 1) return OkStatus();
  Vector& bias = vectors_.back();
  const TensorView whole = bias.parts[0];
  bias.parts.clear();
  bias.zeros.assign(ranges.size(), 0);
  for (const RowRange& r : ranges) bias.parts.push_back(FlatSlice(whole, r.begin, r.count));
  return OkStatus();
}

Status WeightSet::ResolveMla(const std::string& prefix, LayerWeights& w) {
  const MlaSpec& mla = spec_.mla;
  const int64_t heads = spec_.num_heads, hidden = spec_.hidden_size;
  const int64_t q_rows = heads * spec_.k_dim;
  if (mla.q_lora_rank > 0) {
    RILL_RETURN_IF_ERROR(
        AddLinear(prefix + names_.q_a, mla.q_lora_rank, hidden, spec_.qkv_bias, w.q_a));
    RILL_RETURN_IF_ERROR(
        AddNorm(prefix + names_.q_a_norm, spec_.norm, Shape{mla.q_lora_rank}, w.q_a_norm));
    RILL_RETURN_IF_ERROR(AddLinear(prefix + names_.q_b, q_rows, mla.q_lora_rank, false, w.q));
  } else {
    RILL_RETURN_IF_ERROR(AddLinear(prefix + names_.q, q_rows, hidden, false, w.q));
  }
  RILL_RETURN_IF_ERROR(AddLinear(prefix + names_.kv_a, mla.kv_lora_rank + mla.rope_dim, hidden,
                                 spec_.qkv_bias, w.kv_a));
  RILL_RETURN_IF_ERROR(
      AddNorm(prefix + names_.kv_a_norm, spec_.norm, Shape{mla.kv_lora_rank}, w.kv_a_norm));
  const int64_t nope = mla.nope_dim, v_dim = spec_.v_dim, rank = mla.kv_lora_rank;
  Matrix matrix;
  matrix.name = prefix + names_.kv_b;
  matrix.target = &w.kv_b.w;
  if (names_.k_b.empty() || HasMatrix(matrix.name)) {
    RILL_ASSIGN_OR_RETURN(const Part part, GetMatrix(matrix.name, heads * (nope + v_dim), rank));
    matrix.parts = {part};
  } else {
    w.kv_b_by_head = false;
    RILL_ASSIGN_OR_RETURN(const TensorView k,
                          Get(prefix + names_.k_b + ".weight", Shape{heads, rank, nope}));
    if (!RowBytes(k.dtype, nope)) {
      return InvalidArgument(fmt::format(
          "{}: tensor '{}{}.weight': expected rows of whole blocks, the file has {} of {}; "
          "supported: that shape in {}",
          culprit_, prefix, names_.k_b, k.shape.ToString(), DTypeName(k.dtype), SupportedTypes()));
    }
    RILL_ASSIGN_OR_RETURN(const TensorView v,
                          Get(prefix + names_.v_b + ".weight", Shape{heads, v_dim, rank}));
    matrix.parts = {Part(quant::MakeTurnedRows(k), k.SizeBytes(), {prefix + names_.k_b + ".weight"},
                         {prefix + names_.k_b + ".weight"}),
                    Part(TensorView(v.data, v.dtype, Shape{heads * v_dim, rank}),
                         prefix + names_.v_b + ".weight")};
  }
  matrices_.push_back(std::move(matrix));
  return OkStatus();
}

Status WeightSet::AddGateUp(const std::string& prefix, const std::string& gate,
                            const std::string& up, const std::string& fused, int64_t size,
                            bool bias, LinearWeights& out) {
  const int64_t hidden = spec_.hidden_size;
  if (spec_.mlp == MlpKind::kPlain) return AddLinear(prefix + up, size, hidden, bias, out);
  Matrix matrix;
  matrix.paired = true;
  matrix.target = &out.w;
  const bool use_fused = !fused.empty() && (gate.empty() || !HasMatrix(prefix + gate));
  if (use_fused) {
    RILL_ASSIGN_OR_RETURN(const Part part, GetMatrix(prefix + fused, 2 * size, hidden));
    matrix.name = prefix + fused;
    matrix.parts = {SliceOf(part, 0, size), SliceOf(part, size, size)};
    matrices_.push_back(std::move(matrix));
    return AddBias({prefix + fused}, {2 * size}, bias, out.bias);
  }
  RILL_ASSIGN_OR_RETURN(const Part gate_part, GetMatrix(prefix + gate, size, hidden));
  RILL_ASSIGN_OR_RETURN(const Part up_part, GetMatrix(prefix + up, size, hidden));
  matrix.name = prefix + "gate_up";
  matrix.parts = {gate_part, up_part};
  matrices_.push_back(std::move(matrix));
  return AddBias({prefix + gate, prefix + up}, {size, size}, bias, out.bias);
}

Status WeightSet::ResolveMlp(const std::string& prefix, LayerWeights& w) {
  const int64_t size = spec_.intermediate_size;
  RILL_RETURN_IF_ERROR(
      AddGateUp(prefix, names_.gate, names_.up, names_.gate_up, size, spec_.mlp_bias, w.gate_up));
  return AddLinear(prefix + names_.down, spec_.hidden_size, size, spec_.mlp_bias, w.down);
}

Status WeightSet::AddExperts(const std::string& prefix, LayerWeights& w) {
  const MoeSpec& moe = spec_.moe;
  const int64_t experts = moe.num_experts, size = moe.intermediate_size, hidden = spec_.hidden_size;
  const std::string& probe = names_.expert_down;
  const bool stacked = probe.find("{}") == std::string::npos;
  Matrix gate_up, down;
  gate_up.name = prefix + "experts.gate_up";
  gate_up.paired = true;
  gate_up.target = &w.expert_gate_up.w;
  down.name = prefix + "experts.down";
  down.target = &w.expert_down.w;
  if (stacked) {
    const bool fused = !names_.expert_gate_up.empty() &&
                       tensors_.Find(prefix + names_.expert_gate_up + ".weight") != nullptr;
    if (fused) {
      const std::string tensor = prefix + names_.expert_gate_up + ".weight";
      RILL_ASSIGN_OR_RETURN(const TensorView view, Get(tensor, Shape{experts, 2 * size, hidden}));
      const Part both(view, tensor);
      gate_up.parts = {SliceOf(both, 0, size), SliceOf(both, size, size)};
    } else {
      for (const std::string& name : {names_.expert_gate, names_.expert_up}) {
        const std::string tensor = prefix + name + ".weight";
        RILL_ASSIGN_OR_RETURN(const TensorView view, Get(tensor, Shape{experts, size, hidden}));
        gate_up.parts.emplace_back(view, tensor);
      }
    }
    const std::string tensor = prefix + names_.expert_down + ".weight";
    RILL_ASSIGN_OR_RETURN(const TensorView view, Get(tensor, Shape{experts, hidden, size}));
    down.parts = {Part(view, tensor)};
  } else {
    std::vector<Part> gates, ups, downs;
    for (int64_t e = 0; e < experts; ++e) {
      auto get = [&](const std::string& pattern, int64_t rows, int64_t cols) {
        return GetMatrix(prefix + WithIndex(pattern, e), rows, cols);
      };
      RILL_ASSIGN_OR_RETURN(Part g, get(names_.expert_gate, size, hidden));
      RILL_ASSIGN_OR_RETURN(Part u, get(names_.expert_up, size, hidden));
      RILL_ASSIGN_OR_RETURN(Part d, get(names_.expert_down, hidden, size));
      gates.push_back(std::move(g));
      ups.push_back(std::move(u));
      downs.push_back(std::move(d));
    }
    for (const std::vector<Part>* stack : {&gates, &ups}) {
      RILL_ASSIGN_OR_RETURN(Part part, Stacked(gate_up.name, *stack));
      gate_up.parts.push_back(std::move(part));
    }
    RILL_ASSIGN_OR_RETURN(Part part, Stacked(down.name, downs));
    down.parts.push_back(std::move(part));
  }
  matrices_.push_back(std::move(gate_up));
  matrices_.push_back(std::move(down));
  return OkStatus();
}

Status WeightSet::ResolveMoe(const std::string& prefix, LayerWeights& w) {
  const MoeSpec& moe = spec_.moe;
  RILL_RETURN_IF_ERROR(
      AddLinear(prefix + names_.router, moe.num_experts, spec_.hidden_size, false, w.router));
  matrices_.back().encode = false;  // a few rows that decide everything after them
  if (moe.correction_bias) {
    Vector vector;
    const Shape shape{moe.num_experts};
    RILL_ASSIGN_OR_RETURN(const TensorView view, Get(prefix + names_.router_correction, shape));
    vector.parts = {view};
    vector.zeros = {0};
    vector.shape = shape;
    vector.target = &w.router_correction;
    vectors_.push_back(std::move(vector));
  }
  RILL_RETURN_IF_ERROR(AddExperts(prefix, w));
  if (moe.shared_intermediate_size == 0) return OkStatus();
  RILL_RETURN_IF_ERROR(AddGateUp(prefix, names_.shared_gate, names_.shared_up, "",
                                 moe.shared_intermediate_size, false, w.shared_gate_up));
  RILL_RETURN_IF_ERROR(AddLinear(prefix + names_.shared_down, spec_.hidden_size,
                                 moe.shared_intermediate_size, false, w.shared_down));
  if (!moe.shared_gate) return OkStatus();
  // GGUF stores the gate's one row as a vector.
  const std::string name = prefix + names_.shared_router + ".weight";
  const io::TensorEntry* entry = tensors_.Find(name);
  const bool flat = entry != nullptr && entry->view.rank() == 1;
  RILL_ASSIGN_OR_RETURN(TensorView view,
                        Get(name, flat ? Shape{spec_.hidden_size} : Shape{1, spec_.hidden_size}));
  view = TensorView(view.data, view.dtype, Shape{1, spec_.hidden_size});
  Matrix matrix;
  matrix.name = prefix + names_.shared_router;
  matrix.parts = {Part(view, name)};
  matrix.encode = false;
  matrix.target = &w.shared_router.w;
  matrices_.push_back(std::move(matrix));
  return OkStatus();
}

Status WeightSet::ResolveLayer(int32_t index) {
  LayerWeights& w = weights_.layers[static_cast<size_t>(index)];
  const std::string prefix = WithIndex(names_.layer, index);
  const Shape hidden{spec_.hidden_size};
  if (spec_.pre_norm || spec_.residual == Residual::kPostNorm) {
    RILL_RETURN_IF_ERROR(AddNorm(prefix + names_.attn_norm, spec_.norm, hidden, w.attn_norm));
    if (!spec_.shared_norm) {
      RILL_RETURN_IF_ERROR(AddNorm(prefix + names_.ffn_norm, spec_.norm, hidden, w.ffn_norm));
    }
  }
  if (spec_.branch_norm) {
    RILL_RETURN_IF_ERROR(
        AddNorm(prefix + names_.post_attn_norm, spec_.norm, hidden, w.post_attn_norm));
    RILL_RETURN_IF_ERROR(
        AddNorm(prefix + names_.post_ffn_norm, spec_.norm, hidden, w.post_ffn_norm));
  }
  if (spec_.mla.kv_lora_rank > 0) {
    RILL_RETURN_IF_ERROR(ResolveMla(prefix, w));
  } else {
    RILL_RETURN_IF_ERROR(ResolveQkv(prefix, w));
    const int64_t heads = spec_.num_heads, kv_heads = spec_.num_kv_heads, dim = spec_.k_dim;
    auto add = [&](const std::string& name, const std::string& per_head, int64_t count,
                   NormWeights& out) -> Status {
      switch (spec_.qk_norm) {
        case QkNorm::kNone: return OkStatus();
        case QkNorm::kPerHead: return AddNorm(prefix + name, spec_.qk_norm_spec, Shape{dim}, out);
        case QkNorm::kPerHeadOwn:
          if (!per_head.empty()) return AddHeadNorms(prefix + per_head, count, out);
          return AddNorm(prefix + name, spec_.qk_norm_spec, Shape{count, dim}, out);
        case QkNorm::kWholeRow:
          return AddNorm(prefix + name, spec_.qk_norm_spec, Shape{count * dim}, out);
      }
      return OkStatus();
    };
    RILL_RETURN_IF_ERROR(add(names_.q_norm, names_.q_norm_head, heads, w.q_norm));
    RILL_RETURN_IF_ERROR(add(names_.k_norm, names_.k_norm_head, kv_heads, w.k_norm));
  }
  RILL_RETURN_IF_ERROR(AddLinear(prefix + names_.o, spec_.hidden_size,
                                 int64_t{spec_.num_heads} * spec_.v_dim, spec_.o_bias, w.o));
  if (spec_.layers[static_cast<size_t>(index)].moe) return ResolveMoe(prefix, w);
  return ResolveMlp(prefix, w);
}

}  // namespace rill::model
