// CheckArgs: one generic checker, driven by the schema's data alone.
#include <cmath>
#include <sstream>

#include "ops/dim_solver.h"
#include "ops/op_schema.h"
#include "ops/overlap.h"

namespace rill::ops {
namespace {

bool IsTensor(const OpParam& param) {
  return param.kind == ParamKind::kTensor || param.kind == ParamKind::kMutableTensor;
}

class Checker {
 public:
  Checker(const OpSchema& schema, const void* args)
      : schema_(schema), args_(static_cast<const std::byte*>(args)) {}

  Status Run() {
    RILL_RETURN_IF_ERROR(CheckAttributes());
    RILL_RETURN_IF_ERROR(CheckPresence());
    BindDims();
    for (const OpParam& param : schema_.params) RILL_RETURN_IF_ERROR(CheckShape(param));
    for (std::string_view constraint : schema_.constraints) {
      if (!dims_.Holds(constraint)) {
        return InvalidArgument(std::string(schema_.name) + ": expected " + std::string(constraint) +
                               ", got " + dims_.DescribeNames(constraint));
      }
    }
    RILL_RETURN_IF_ERROR(CheckAliasing());
    for (const OpParam& param : schema_.params) {
      if (param.kind == ParamKind::kKv) RILL_RETURN_IF_ERROR(CheckKv(param));
    }
    return OkStatus();
  }

 private:
  template <typename T>
  const T& Value(const OpParam& param) const {
    return *reinterpret_cast<const T*>(args_ + param.offset);
  }
  TensorView Tensor(const OpParam& param) const {
    if (param.kind == ParamKind::kMutableTensor) return Value<MutableTensorView>(param);
    return Value<TensorView>(param);
  }
  const PackedWeight* Weight(const OpParam& param) const {
    return Value<const PackedWeight*>(param);
  }
  const PagedKvView* Kv(const OpParam& param) const { return Value<const PagedKvView*>(param); }

  // An empty step has tensors of no elements, whose address may be null.
  bool IsPresent(const OpParam& param) const {
    if (param.kind == ParamKind::kWeight) return Weight(param) != nullptr;
    if (param.kind == ParamKind::kKv) return Kv(param) != nullptr;
    if (!IsTensor(param)) return true;
    const TensorView view = Tensor(param);
    return !view.empty() || (view.rank() > 0 && view.shape.NumElements() == 0);
  }

  Status Fail(const OpParam& param, const std::string& what) const {
    return InvalidArgument(std::string(schema_.name) + ": " + std::string(param.name) + ": " +
                           what);
  }

  Status CheckAttributes() {
    for (const OpParam& param : schema_.params) {
      double value = 0;
      switch (param.kind) {
        case ParamKind::kF32: value = Value<float>(param); break;
        case ParamKind::kI32: value = Value<int32_t>(param); break;
        case ParamKind::kBool: value = Value<bool>(param); break;
        case ParamKind::kEnum: value = Value<int32_t>(param); break;
        default: continue;
      }
      std::ostringstream got;
      got << ", got " << value;
      if (param.kind == ParamKind::kEnum) {
        if (value < 0 || value >= static_cast<double>(param.enum_names.size())) {
          std::string names;
          for (std::string_view name : param.enum_names) {
            names += (names.empty() ? "" : ", ") + std::string(name);
          }
          return Fail(param, "expected one of " + names + got.str());
        }
      } else if (!std::isfinite(value)) {
        return Fail(param, "expected a finite number" + got.str());
      } else if ((param.min != 0 || param.max != 0) && (value < param.min || value > param.max)) {
        std::ostringstream range;
        range << "expected a value in [" << param.min << ", " << param.max << "]" << got.str();
        return Fail(param, range.str());
      }
      if (param.kind == ParamKind::kI32 || param.kind == ParamKind::kBool) {
        dims_.Set(param.name, static_cast<int64_t>(value));
      }
    }
    return OkStatus();
  }

  Status CheckPresence() const {
    for (const OpParam& param : schema_.params) {
      if (!param.optional && !IsPresent(param)) {
        return Fail(param, "missing, expected " + Expected(param));
      }
    }
    return OkStatus();
  }

  // The shape as given; a weight's is [rows, cols] or [num_experts, rows, cols].
  Shape ShapeOf(const OpParam& param) const {
    if (param.kind != ParamKind::kWeight) return Tensor(param).shape;
    const PackedWeight& weight = *Weight(param);
    const size_t rank = SplitTrimmed(param.dims, ',').size();
    if (rank == 2 && weight.num_experts() == 1) return {weight.rows(), weight.cols()};
    return {weight.num_experts(), weight.rows(), weight.cols()};
  }

  // Expressions of the alternative with this rank; nothing when there is none.
  static std::optional<std::vector<std::string_view>> Alternative(const OpParam& param, int rank) {
    for (std::string_view alternative : SplitTrimmed(param.dims, '|')) {
      auto dims = SplitTrimmed(alternative, ',');
      if (static_cast<int>(dims.size()) == rank) return dims;
    }
    return std::nullopt;
  }

  bool HasShape(const OpParam& param) const {
    return (IsTensor(param) || param.kind == ParamKind::kWeight) && IsPresent(param);
  }

  // Names get their sizes from whoever states them first, plain names before expressions.
  void BindDims() {
    for (const OpParam& param : schema_.params) {
      if (param.kind != ParamKind::kKv || !IsPresent(param)) continue;
      const KvLayout& layout = Kv(param)->layout;
      dims_.Set("num_layers", layout.num_layers);
      dims_.Set("num_kv_heads", layout.num_kv_heads);
      dims_.Set("k_dim", layout.k_dim);
      dims_.Set("v_dim", layout.v_dim);
    }
    for (const bool plain : {true, false}) {
      for (const OpParam& param : schema_.params) {
        if (!HasShape(param)) continue;
        const Shape shape = ShapeOf(param);
        const auto dims = Alternative(param, shape.rank);
        for (size_t i = 0; dims && i < dims->size(); ++i) {
          const std::string_view dim = (*dims)[i];
          const bool is_plain = dim.find_first_of("*/(") == std::string_view::npos;
          if (is_plain == plain && !dims_.Evaluate(dim)) {
            (void)dims_.Solve(dim, shape[static_cast<int>(i)]);
          }
        }
      }
    }
  }

  std::string Expected(const OpParam& param) const {
    std::string text;
    for (std::string_view alternative : SplitTrimmed(param.dims, '|')) {
      std::string shape;
      for (std::string_view dim : SplitTrimmed(alternative, ',')) {
        shape += (shape.empty() ? "" : ", ") + dims_.Describe(dim);
      }
      text += (text.empty() ? "[" : " or [") + shape + "]";
    }
    for (size_t i = 0; i < param.dtypes.size(); ++i) {
      text += (i ? "|" : " ") + std::string(DTypeName(param.dtypes[i]));
    }
    if (param.kind == ParamKind::kWeight) text += " weight";
    if (param.kind == ParamKind::kKv) text = "KV memory";
    return text;
  }

  std::string Got(const OpParam& param) const {
    std::string text = ShapeOf(param).ToString();
    if (param.kind == ParamKind::kWeight) return text + " weight '" + Weight(param)->name() + "'";
    return text + " " + std::string(DTypeName(Tensor(param).dtype));
  }

  Status CheckShape(const OpParam& param) const {
    if (!HasShape(param)) return OkStatus();
    const Shape shape = ShapeOf(param);
    const auto dims = Alternative(param, shape.rank);
    bool fits = dims.has_value();
    for (int i = 0; fits && i < shape.rank; ++i) {
      fits = shape[i] >= 0 && dims_.Evaluate((*dims)[static_cast<size_t>(i)]) == shape[i];
    }
    if (IsTensor(param)) {
      bool known = false;
      for (DType dtype : param.dtypes) known = known || dtype == Tensor(param).dtype;
      fits = fits && known;
    }
    if (!fits) return Fail(param, "expected " + Expected(param) + ", got " + Got(param));
    if (param.kind == ParamKind::kWeight) return CheckPairing(param);
    return CheckStrides(param);
  }

  Status CheckPairing(const OpParam& param) const {
    constexpr std::string_view kUnless = "paired unless ";
    bool paired = param.pairing == "paired";
    if (param.pairing.starts_with(kUnless)) {
      paired = dims_.Get(param.pairing.substr(kUnless.size())) == 0;
    }
    if (Weight(param)->paired() == paired) return OkStatus();
    return Fail(param, std::string("expected ") + (paired ? "paired" : "plain") +
                           " rows, got weight '" + Weight(param)->name() + "' with " +
                           (paired ? "plain" : "paired") + " rows");
  }

  Status CheckStrides(const OpParam& param) const {
    const TensorView view = Tensor(param);
    for (int i = 0; i < view.rank(); ++i) {
      const bool last = i == view.rank() - 1;
      if (view.dim(i) > 1 && (last ? view.stride(i) != 1 : view.stride(i) < 0)) {
        return Fail(param, std::string("expected ") +
                               (last ? "stride 1 in the last dimension"
                                     : "no negative stride in dimension " + std::to_string(i)) +
                               ", got " + std::to_string(view.stride(i)));
      }
    }
    if (param.role != ParamRole::kIn && SelfOverlap(view)) {
      return Fail(param, "expected distinct elements, got strides that overlap in " + Got(param));
    }
    return OkStatus();
  }

  // Every output against every other tensor: apart, or the very same view where that is allowed.
  Status CheckAliasing() const {
    for (const OpParam& out : schema_.params) {
      if (!IsTensor(out) || out.role == ParamRole::kIn || !IsPresent(out)) continue;
      for (const OpParam& other : schema_.params) {
        if (!IsTensor(other) || &other == &out || !IsPresent(other)) continue;
        if (other.role != ParamRole::kIn && other.offset < out.offset) continue;  // pair was seen
        const TensorView a = Tensor(out), b = Tensor(other);
        if (!Overlap(a, b)) continue;
        bool allowed = false;
        for (std::string_view name : out.may_alias) allowed = allowed || name == other.name;
        if (allowed && SameView(a, b)) continue;
        return Fail(out,
                    std::string("expected ") +
                        (allowed ? "to be " + std::string(other.name) + " itself or apart from it"
                                 : "memory apart from " + std::string(other.name)) +
                        ", got views that overlap");
      }
    }
    return OkStatus();
  }

  Status CheckKv(const OpParam& param) const {
    const PagedKvView& kv = *Kv(param);
    const KvLayout& layout = kv.layout;
    const auto fail = [&](const std::string& what) { return Fail(param, what); };
    if (static_cast<int>(layout.format) >= quant::kNumKvFormats) {
      return fail("expected " + quant::KvFormatNames() + ", got format " +
                  std::to_string(static_cast<int>(layout.format)));
    }
    if (layout.page_size <= 0 || layout.page_size % 16 != 0) {
      return fail("expected a page size that is a multiple of 16, got " +
                  std::to_string(layout.page_size));
    }
    if (layout.num_layers < 1 || layout.num_kv_heads < 1 || layout.k_dim < 1 || layout.v_dim < 1) {
      return fail("expected sizes of at least 1 in the layout");
    }
    // A program is recorded without a step: the tables come later.
    if (kv.q_offsets == nullptr || kv.kv_lens == nullptr || kv.page_table == nullptr) {
      return OkStatus();
    }
    const auto num_tokens = dims_.Get("num_tokens");
    if (kv.q_offsets[0] != 0 || (num_tokens && kv.q_offsets[kv.num_seqs] != *num_tokens)) {
      return fail("expected q_offsets from 0 to " + dims_.Describe("num_tokens") + ", got " +
                  std::to_string(kv.q_offsets[0]) + " to " +
                  std::to_string(kv.q_offsets[kv.num_seqs]));
    }
    for (int32_t s = 0; s < kv.num_seqs; ++s) {
      const std::string culprit = "sequence " + std::to_string(s) + ": ";
      const int64_t q_len = int64_t{kv.q_offsets[s + 1]} - kv.q_offsets[s];
      if (q_len < 0 || q_len > kv.kv_lens[s]) {
        return fail(culprit + "expected 0 <= q_len <= kv_len=" + std::to_string(kv.kv_lens[s]) +
                    ", got q_len=" + std::to_string(q_len));
      }
      const int64_t num_pages = (int64_t{kv.kv_lens[s]} + layout.page_size - 1) / layout.page_size;
      if (num_pages > kv.max_pages) {
        return fail(culprit + "expected at most max_pages=" + std::to_string(kv.max_pages) +
                    " pages, got kv_len=" + std::to_string(kv.kv_lens[s]));
      }
      for (int64_t i = 0; i < num_pages; ++i) {
        const int32_t page = kv.page_table[int64_t{s} * kv.max_pages + i];
        if (page < 0 || page >= kv.num_pages) {
          return fail(culprit + "expected pages in [0, " + std::to_string(kv.num_pages) +
                      "), got " + std::to_string(page));
        }
      }
    }
    return OkStatus();
  }

  const OpSchema& schema_;
  const std::byte* args_;
  DimSolver dims_;
};

}  // namespace

Status CheckArgs(const OpSchema& schema, const void* args) {
  return Checker(schema, args).Run();
}

}  // namespace rill::ops
