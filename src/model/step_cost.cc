#include "model/step_cost.h"

#include "base/check.h"
#include "ops/op_cost.h"

namespace rill::model {
namespace {

// Rows of the activations that a product reads; every operator with products calls them x.
int64_t RowsOfX(const ProgramNode& node) {
  const ops::OpParam* x = node.schema().FindParam("x");
  CHECK(x != nullptr && x->kind == ops::ParamKind::kTensor) << node.schema().name << ": no x";
  return reinterpret_cast<const TensorView*>(node.args.get() + x->offset)->dim(0);
}

}  // namespace

StepCostModel::StepCostModel(const Program& program, const KvLayout& layout) {
  position_bytes_ =
      static_cast<double>(layout.slab_bytes()) * layout.num_kv_heads / layout.page_size;
  Rows* rows = &tokens_;
  for (const ProgramNode& node : program.nodes()) {
    const void* args = node.args.get();
    if (node.op == ops::OpId::kGatherRows) rows = &logits_;
    if (node.op == ops::OpId::kKvAppend || node.op == ops::OpId::kRopeKvAppend) ++num_appends_;
    if (node.schema().macs.empty()) continue;
    if (node.op == ops::OpId::kPagedAttention) {
      const auto& a = *static_cast<const ops::PagedAttentionArgs*>(args);
      const double macs = static_cast<double>(a.q.dim(1) * (a.q.dim(2) + a.y.dim(2)));
      Attention* same = nullptr;
      for (Attention& other : attention_) {
        if (other.window == a.window && other.causal == a.causal) same = &other;
      }
      if (same == nullptr) {
        attention_.push_back({a.window, a.causal, 0, 0});
        same = &attention_.back();
      }
      same->macs_per_pair += macs;
      ++same->num_layers;
      continue;
    }
    const StepCost cost = ops::CostOf(node.schema(), args);
    int64_t num_rows = 0;
    if (node.op == ops::OpId::kMoeFfn) {
      const auto& a = *static_cast<const ops::MoeFfnArgs*>(args);
      num_rows = a.x.dim(0);
      mixtures_.push_back({static_cast<double>(a.gate_up->read_bytes() + a.down->read_bytes()),
                           static_cast<double>(a.gate_up->num_experts()),
                           static_cast<double>(a.expert_ids.dim(1)), rows == &logits_});
    } else {
      num_rows = RowsOfX(node);
      rows->weight_bytes += cost.weight_bytes;
    }
    if (num_rows == 0) continue;
    rows->int8_macs += cost.int8_macs / static_cast<double>(num_rows);
    rows->f32_macs += cost.f32_macs / static_cast<double>(num_rows);
  }
}

StepCost StepCostModel::Of(int64_t num_tokens, int64_t num_logit_rows, int32_t num_seqs,
                           const int32_t* q_offsets, const int32_t* kv_lens) const {
  StepCost cost;
  const auto add = [&cost](const Rows& rows, double count) {
    if (count <= 0) return;
    cost.weight_bytes += rows.weight_bytes;
    cost.int8_macs += count * rows.int8_macs;
    cost.f32_macs += count * rows.f32_macs;
  };
  const auto tokens = static_cast<double>(num_tokens);
  const auto logit_rows = static_cast<double>(num_logit_rows);
  add(tokens_, tokens);
  add(logits_, logit_rows);
  for (const Mixture& m : mixtures_) {
    const double rows = m.of_logits ? logit_rows : tokens;
    cost.weight_bytes +=
        m.weight_bytes * ops::ExpectedExperts(m.num_experts, m.top_k, rows) / m.num_experts;
  }
  for (const Attention& a : attention_) {
    const ops::AttentionWork work =
        ops::AttentionWorkOf(num_seqs, q_offsets, kv_lens, a.window, a.causal);
    cost.f32_macs += work.pairs * a.macs_per_pair;
    cost.kv_bytes += work.positions * position_bytes_ * a.num_layers;
  }
  cost.kv_bytes += tokens * position_bytes_ * num_appends_;
  return cost;
}

double StepCostModel::weight_bytes() const {
  double bytes = tokens_.weight_bytes + logits_.weight_bytes;
  for (const Mixture& m : mixtures_) bytes += m.weight_bytes;
  return bytes;
}

}  // namespace rill::model
