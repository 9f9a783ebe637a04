#include "ops/op_cost.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "ops/dim_solver.h"
#include "ops/moe_ffn.h"
#include "ops/paged_attention.h"

namespace rill::ops {
namespace {

template <typename T>
const T& At(const OpParam& param, const void* args) {
  return *reinterpret_cast<const T*>(static_cast<const std::byte*>(args) + param.offset);
}

bool IsTensor(const OpParam& param) {
  return param.kind == ParamKind::kTensor || param.kind == ParamKind::kMutableTensor;
}

// The same member layout for both kinds.
const TensorView& TensorOf(const OpParam& param, const void* args) {
  static_assert(sizeof(TensorView) == sizeof(MutableTensorView));
  return At<TensorView>(param, args);
}

// Named sizes from the shapes and attributes; what cannot be found stays unknown.
DimSolver Sizes(const OpSchema& schema, const void* args) {
  DimSolver sizes;
  for (const OpParam& param : schema.params) {
    if (param.kind == ParamKind::kI32) sizes.Set(param.name, At<int32_t>(param, args));
    if (param.kind == ParamKind::kBool) sizes.Set(param.name, At<bool>(param, args) ? 1 : 0);
  }
  for (const bool plain : {true, false}) {
    for (const OpParam& param : schema.params) {
      Shape shape;
      if (IsTensor(param)) {
        shape = TensorOf(param, args).shape;
      } else if (param.kind == ParamKind::kWeight) {
        const auto* w = At<const PackedWeight*>(param, args);
        if (w == nullptr) continue;
        shape = {w->num_experts(), w->rows(), w->cols()};
        if (SplitTrimmed(param.dims, ',').size() == 2) shape = {w->rows(), w->cols()};
      }
      for (std::string_view alternative : SplitTrimmed(param.dims, '|')) {
        const auto dims = SplitTrimmed(alternative, ',');
        if (static_cast<int>(dims.size()) != shape.rank) continue;
        for (int i = 0; i < shape.rank; ++i) {
          const std::string_view dim = dims[static_cast<size_t>(i)];
          const bool is_plain = dim.find_first_of("*/(") == std::string_view::npos;
          if (is_plain == plain && !sizes.Evaluate(dim)) (void)sizes.Solve(dim, shape[i]);
        }
      }
    }
  }
  return sizes;
}

double DistinctExperts(const MoeFfnArgs& args) {
  const TensorView& ids = args.expert_ids;
  const double experts = static_cast<double>(args.gate_up->num_experts());
  if (ids.rank() != 2) return experts;
  if (ids.empty()) {
    return ExpectedExperts(experts, static_cast<double>(ids.dim(1)),
                           static_cast<double>(ids.dim(0)));
  }
  std::vector<bool> used(static_cast<size_t>(args.gate_up->num_experts()));
  for (int64_t t = 0; t < ids.dim(0); ++t) {
    for (int64_t j = 0; j < ids.dim(1); ++j) {
      const int32_t id = ids.Row<int32_t>(t)[j];
      if (id >= 0 && static_cast<size_t>(id) < used.size()) used[static_cast<size_t>(id)] = true;
    }
  }
  return static_cast<double>(std::count(used.begin(), used.end(), true));
}

}  // namespace

double ExpectedExperts(double num_experts, double top_k, double num_tokens) {
  if (num_experts <= 0) return 0;
  return num_experts * (1 - std::pow(1 - std::min(1.0, top_k / num_experts), num_tokens));
}

AttentionWork AttentionWorkOf(int32_t num_seqs, const int32_t* q_offsets, const int32_t* kv_lens,
                              int32_t window, bool causal) {
  AttentionWork work;
  if (q_offsets == nullptr || kv_lens == nullptr) return work;
  for (int32_t s = 0; s < num_seqs; ++s) {
    const double kv_len = kv_lens[s];
    const double q_len = q_offsets[s + 1] - q_offsets[s];
    if (q_len <= 0) continue;
    const double first = kv_len - q_len + 1;  // positions that the first query sees, causal
    if (window <= 0) {
      work.pairs += causal ? q_len * (first + kv_len) / 2 : q_len * kv_len;
      work.positions += kv_len;
      continue;
    }
    for (int32_t i = 0; i < static_cast<int32_t>(q_len); ++i) {
      const double visible = causal ? first + i : kv_len;
      work.pairs += std::min<double>(visible, window);
    }
    work.positions += std::min(kv_len, q_len - 1 + window);
  }
  return work;
}

StepCost CostOf(const OpSchema& schema, const void* args) {
  StepCost cost;
  const DimSolver sizes = Sizes(schema, args);
  const double rows = static_cast<double>(sizes.Get("num_tokens").value_or(0));
  double macs = static_cast<double>(sizes.Evaluate(schema.macs).value_or(0));
  if (schema.macs.empty()) macs = 0;
  // A product's multiply-adds go to its weights by their sizes: each row of x meets each element of
  // each of them once, or of as many experts of each.
  double elements = 0, integer_elements = 0;
  for (const OpParam& param : schema.params) {
    if (IsTensor(param)) {
      const TensorView& view = TensorOf(param, args);
      if (view.rank() == 0) continue;
      const double bytes = static_cast<double>(view.SizeBytes());
      cost.activation_bytes += param.role == ParamRole::kInOut ? 2 * bytes : bytes;
    } else if (param.kind == ParamKind::kWeight) {
      const auto* w = At<const PackedWeight*>(param, args);
      if (w == nullptr) continue;
      double share = 1;
      if (schema.macs.empty()) {
        share = std::min(1.0, rows / static_cast<double>(w->rows()));
      } else if (schema.id == OpId::kMoeFfn) {
        share = DistinctExperts(*static_cast<const MoeFfnArgs*>(args)) /
                static_cast<double>(w->num_experts());
      }
      if (rows > 0) cost.weight_bytes += share * static_cast<double>(w->read_bytes());
      elements += static_cast<double>(w->rows()) * static_cast<double>(w->cols());
      integer_elements += static_cast<double>(w->integer_rows()) * static_cast<double>(w->cols());
    } else if (param.kind == ParamKind::kKv) {
      const auto* kv = At<const PagedKvView*>(param, args);
      if (kv == nullptr || kv->layout.page_size <= 0) continue;
      const double position_bytes = static_cast<double>(kv->layout.slab_bytes()) *
                                    kv->layout.num_kv_heads / kv->layout.page_size;
      if (schema.id == OpId::kPagedAttention) {
        const auto& a = *static_cast<const PagedAttentionArgs*>(args);
        const AttentionWork work =
            AttentionWorkOf(kv->num_seqs, kv->q_offsets, kv->kv_lens, a.window, a.causal);
        cost.kv_bytes += work.positions * position_bytes;
        macs *= rows > 0 ? work.pairs / rows : 0;  // the schema's formula is per pair
      } else {
        cost.kv_bytes += rows * position_bytes;
      }
    }
  }
  const double share = elements > 0 ? integer_elements / elements : 0;
  cost.int8_macs = std::round(macs * share);
  cost.f32_macs = macs - cost.int8_macs;
  return cost;
}

}  // namespace rill::ops

namespace rill {

HardwareLimit LimitOf(const StepCost& cost, const Ceilings& ceilings, double num_steps) {
  const double bytes = cost.memory_bytes();
  const double step_bytes = bytes / std::max(num_steps, 1.0);  // what a cache would have to hold
  double gbs = ceilings.dram_read_gbs;
  if (gbs <= 0 && ceilings.int8_dot_gmacs <= 0 && ceilings.f32_fma_gflops <= 0) {
    return {"none", 0};
  }
  HardwareLimit read{"dram_read", 0};
  for (const Ceilings::ReadRate& rate : ceilings.reads) {
    if (step_bytes > rate.size_bytes) continue;
    // Clearly above DRAM: a cache holds it all.
    if (rate.gbs > 1.2 * gbs) read.name = "cache_read";
    gbs = std::max(gbs, rate.gbs);
    break;
  }
  if (gbs > 0) read.seconds = bytes / (gbs * 1e9);
  double int8_s = 0, f32_s = 0;
  if (ceilings.int8_dot_gmacs > 0) int8_s = cost.int8_macs / (ceilings.int8_dot_gmacs * 1e9);
  if (ceilings.f32_fma_gflops > 0) f32_s = 2 * cost.f32_macs / (ceilings.f32_fma_gflops * 1e9);
  const HardwareLimit compute{int8_s >= f32_s ? "int8_dot" : "f32_fma", int8_s + f32_s};
  return compute.seconds > read.seconds ? compute : read;
}

}  // namespace rill
