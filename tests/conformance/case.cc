#include "conformance/case.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>

#include "base/float_types.h"
#include "ops/op_schema.h"
#include "quant/dequant.h"
#include "quant/encode_rows.h"
#include "quant/grouped.h"
#include "quant/quantize.h"
#include "quant/view_rows.h"

namespace rill::conformance {
namespace {

// The rows of another reader, called stored in an order that differs by expert.
class OrderedRows final : public quant::RowReader {
 public:
  explicit OrderedRows(std::shared_ptr<const quant::RowReader> rows)
      : RowReader(rows->dtype(), rows->num_experts(), rows->rows(), rows->cols()),
        rows_(std::move(rows)) {
    for (int64_t e = 0; e < num_experts(); ++e) {
      std::vector<int32_t> order(static_cast<size_t>(cols()));
      std::iota(order.begin(), order.end(), 0);
      std::rotate(order.begin(), order.begin() + (e + 3) % cols(), order.end());
      std::reverse(order.begin(), order.begin() + cols() / 2);
      orders_.push_back(std::move(order));
    }
  }
  void Read(int64_t expert, int64_t begin, int64_t count, uint8_t* out,
            float* scales) const override {
    rows_->Read(expert, begin, count, out, scales);
  }
  std::span<const int32_t> Order(int64_t expert) const override {
    return orders_[static_cast<size_t>(expert)];
  }

 private:
  std::shared_ptr<const quant::RowReader> rows_;
  std::vector<std::vector<int32_t>> orders_;
};

// splitmix64: the same numbers on every machine.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t Next() {
    uint64_t z = (state_ += 0x9E3779B97F4A7C15u);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
  }
  float Uniform() { return static_cast<float>(static_cast<int64_t>(Next() >> 40)) * 0x1p-23f - 1; }

 private:
  uint64_t state_;
};

uint64_t Seed(const std::string& text) {
  uint64_t hash = 14695981039346656037u;
  for (unsigned char c : text) hash = (hash ^ c) * 1099511628211u;
  return hash;
}

float Draw(Random& random, Fill fill, int64_t row, int64_t column, int64_t index) {
  const float u = random.Uniform();
  const float inf = std::numeric_limits<float>::infinity();
  switch (fill) {
    case Fill::kUniform: return u;
    case Fill::kLarge: return u * 1e4f;
    case Fill::kTiny: return u * 1e-38f;
    case Fill::kZero: return 0;
    case Fill::kOutliers: return random.Next() % 37 == 0 ? 100 * u : u;
    case Fill::kSpecials:
      if (row == 1 && column == 3) return std::numeric_limits<float>::quiet_NaN();
      if (row == 2 && column == 1) return inf;
      if (row == 3 && column == 2) return -inf;
      return u;
    case Fill::kSpread: return static_cast<float>((index * 7919 + 13) % 1009) * 0.01f - 5.0f;
  }
  return u;
}

// Calls fn(offset in elements) for every element in logical order.
template <typename Fn>
void ForEach(const Shape& shape, const std::array<int64_t, kMaxDims>& strides, Fn fn) {
  const int64_t count = shape.NumElements();
  for (int64_t i = 0; i < count; ++i) {
    int64_t rest = i, offset = 0;
    for (int d = shape.rank - 1; d >= 0; --d) {
      offset += rest % shape[d] * strides[static_cast<size_t>(d)];
      rest /= shape[d];
    }
    fn(i, offset);
  }
}

Shape ToShape(const std::vector<int64_t>& dims) {
  Shape shape;
  for (int64_t dim : dims) shape[shape.rank++] = dim;
  return shape;
}

bool StartsWithTokens(const ops::OpParam& param) {
  return param.dims.starts_with("num_tokens");
}

}  // namespace

Case& Case::T(const std::string& param, std::vector<int64_t> shape, Fill fill, int64_t pad) {
  tensors[param] = {std::move(shape), fill, {}, pad, false, {}};
  return *this;
}

Case& Case::I(const std::string& param, std::vector<int64_t> shape, std::vector<int32_t> values) {
  tensors[param] = {std::move(shape), Fill::kZero, std::move(values), 0, false, {}};
  return *this;
}

Case& Case::Alias(const std::string& out, const std::string& in) {
  tensors[out] = tensors[in];
  tensors[out].same_as = in;
  return *this;
}

int64_t Case::NumTokens() const {
  for (const ops::OpParam& param : ops::SchemaOf(op).params) {
    const auto found = tensors.find(std::string(param.name));
    if (StartsWithTokens(param) && found != tensors.end()) return found->second.shape[0];
  }
  return -1;
}

std::string Case::FullName() const {
  return std::string(ops::SchemaOf(op).name) + "/" + name +
         (activations == ops::ActivationMode::kQ8 ? "/q8" : "");
}

Result<std::unique_ptr<Instance>> Instance::Make(const Case& test_case, ops::Backend& backend) {
  auto instance = std::make_unique<Instance>();
  instance->case_ = &test_case;
  instance->backend_ = &backend;
  const ops::OpSchema& schema = ops::SchemaOf(test_case.op);
  instance->args_.resize(schema.args_size);
  // Aliases come after what they alias.
  for (const bool aliases : {false, true}) {
    for (const ops::OpParam& param : schema.params) {
      const auto found = test_case.tensors.find(std::string(param.name));
      if (found == test_case.tensors.end() || found->second.same_as.empty() == aliases) continue;
      RILL_RETURN_IF_ERROR(instance->MakeTensor(param, found->second));
    }
  }
  for (const auto& [name, spec] : test_case.weights) {
    RILL_RETURN_IF_ERROR(instance->MakeWeight(*schema.FindParam(name), spec));
  }
  for (const auto& [name, spec] : test_case.kv) instance->MakeKv(spec);
  return instance;
}

Status Instance::MakeTensor(const ops::OpParam& param, const TensorSpec& spec) {
  const std::string name(param.name);
  if (!spec.same_as.empty()) {
    tensors_[name] = tensors_.at(spec.same_as);
    return OkStatus();
  }
  auto storage = std::make_shared<Storage>();
  MutableTensorView view(nullptr, param.dtypes[0], ToShape(spec.shape));
  int64_t elements = view.shape.NumElements();
  if (view.rank() > 1) {
    if (spec.broadcast) view.strides[1] = 0;
    view.strides[0] += spec.pad;
    elements = view.dim(0) * view.strides[0];
  }
  // Four guard elements at both ends.
  storage->bytes.assign(static_cast<size_t>(elements + 8) * 4, std::byte{0xFF});
  view.data = storage->bytes.data() + 16;
  storage->view = view;
  std::vector<float>& values = inputs_[name];
  Random random(Seed(case_->name + name));
  const int64_t row_size =
      view.rank() > 0 && view.dim(0) > 0 ? view.shape.NumElements() / view.dim(0) : 1;
  ForEach(view.shape, view.strides, [&](int64_t i, int64_t offset) {
    std::byte* element = view.data + offset * 4;
    if (view.dtype == DType::kI32) {
      const int32_t value = spec.ints.empty() ? -1 : spec.ints[static_cast<size_t>(i)];
      std::memcpy(element, &value, 4);
      values.push_back(static_cast<float>(value));
      return;
    }
    const float value = param.role == ops::ParamRole::kOut
                            ? std::numeric_limits<float>::quiet_NaN()
                            : Draw(random, spec.fill, i / row_size, i % row_size, i);
    std::memcpy(element, &value, 4);
    values.push_back(value);
  });
  tensors_[name] = std::move(storage);
  return OkStatus();
}

Status Instance::MakeWeight(const ops::OpParam& param, const WeightSpec& spec) {
  const std::string name(param.name);
  ops::WeightSource& source = sources_[name];
  source.name = name;
  source.paired = spec.paired;
  source.row_access = spec.row_access;
  source.matmul = spec.matmul;
  source.activations = case_->activations;
  Random random(Seed(case_->name + name));
  for (const WeightSpec::Part& part : spec.parts) {
    const int64_t rows = part.rows * std::max<int64_t>(spec.num_experts, 1);
    // int8 rows are made from f32 ones.
    const DType dtype = part.dtype == DType::kI8 ? DType::kF32 : part.dtype;
    const auto row_bytes = RowBytes(dtype, spec.cols);
    CHECK(row_bytes.has_value()) << name;
    weight_bytes_.emplace_back(static_cast<size_t>(rows * *row_bytes));
    std::byte* bytes = weight_bytes_.back().data();
    std::vector<float> row(static_cast<size_t>(spec.cols));
    for (int64_t r = 0; r < rows; ++r) {
      for (size_t k = 0; k < row.size(); ++k) {
        row[k] = Draw(random, spec.fill, r, static_cast<int64_t>(k), r * spec.cols) * 0.5f;
      }
      std::byte* out = bytes + r * *row_bytes;
      for (size_t k = 0; k < row.size() && !IsQuantBlock(dtype); ++k) {
        const uint16_t bits = dtype == DType::kF16 ? F32ToF16(row[k]) : F32ToBf16(row[k]);
        if (dtype == DType::kF32)
          std::memcpy(out + 4 * k, &row[k], 4);
        else
          std::memcpy(out + 2 * k, &bits, 2);
      }
      if (!IsQuantBlock(part.dtype)) continue;
      if (quant::EncodingOf(part.dtype) == quant::Encoding::kRounded) {
        RILL_RETURN_IF_ERROR(quant::QuantizeRow(part.dtype, row.data(), spec.cols, out));
        // The encoder's zero points are all 8; a checkpoint's are not.
        const bool grouped = quant::GroupedFormatOf(part.dtype).bits > 0;
        for (int64_t at = 2; grouped && at < *row_bytes; at += Traits(part.dtype).block_bytes) {
          const auto zero = static_cast<int16_t>(random.Next() & 15);
          std::memcpy(out + at, &zero, 2);
        }
        continue;
      }
      // No plain encoder: random blocks, drawn again until they decode to moderate numbers.
      const DTypeTraits& traits = Traits(part.dtype);
      std::vector<float> decoded(static_cast<size_t>(traits.block_weights));
      for (int64_t b = 0; b < spec.cols / traits.block_weights; ++b) {
        std::byte* block = out + b * traits.block_bytes;
        for (bool good = false; !good;) {
          for (int i = 0; i < traits.block_bytes; ++i) {
            block[i] = static_cast<std::byte>(random.Next() & 0xFF);
          }
          if (const int bits = quant::GroupedFormatOf(part.dtype).bits) {  // a zero point
            block[2] &= static_cast<std::byte>((1 << bits) - 1);
            block[3] = std::byte{0};
          }
          RILL_RETURN_IF_ERROR(
              quant::DequantizeRow(part.dtype, block, traits.block_weights, decoded.data()));
          float largest = 0;
          for (float w : decoded) largest = w == w ? std::max(largest, std::fabs(w)) : 1e30f;
          good = largest > 1e-3f && largest < 1e3f;
          for (float w : decoded) good = good && std::isfinite(w);
        }
      }
    }
    const Shape shape = spec.num_experts > 0 ? Shape{spec.num_experts, part.rows, spec.cols}
                                             : Shape{part.rows, spec.cols};
    std::shared_ptr<const quant::RowReader> reader;
    if (part.dtype == DType::kI8 || spec.act_order) {
      std::vector<TensorView> experts;
      for (int64_t e = 0; e < std::max<int64_t>(spec.num_experts, 1); ++e) {
        experts.emplace_back(bytes + e * part.rows * *row_bytes, dtype,
                             Shape{part.rows, spec.cols});
      }
      reader = quant::MakeViewRows(std::move(experts));
    }
    if (part.dtype == DType::kI8) {
      RILL_ASSIGN_OR_RETURN(reader, quant::MakeW8Rows(reader));
    }
    if (spec.act_order) reader = std::make_shared<OrderedRows>(reader);
    source.parts.emplace_back(reader ? nullptr : bytes, part.dtype, shape);
    source.readers.push_back(std::move(reader));
  }
  auto packed = backend_->PackWeight(source);
  if (!packed.ok()) return packed.status();
  packed_[name] = std::move(packed).value();
  return OkStatus();
}

void Instance::MakeKv(const KvSpec& spec) {
  const int32_t num_seqs = static_cast<int32_t>(spec.sequences.size());
  int32_t max_pages = 1, num_pages = 1;
  q_offsets_ = {0};
  for (const KvSpec::Sequence& sequence : spec.sequences) {
    const int32_t pages = (sequence.kv_len + spec.layout.page_size - 1) / spec.layout.page_size;
    max_pages = std::max(max_pages, pages);
    num_pages += pages;
    q_offsets_.push_back(q_offsets_.back() + sequence.q_len);
    kv_lens_.push_back(sequence.kv_len);
  }
  // Pages of all sequences interleaved and backwards: nothing is contiguous by luck. Page 0 unused.
  page_table_.assign(static_cast<size_t>(num_seqs) * static_cast<size_t>(max_pages), 0);
  int32_t next = num_pages - 1;
  for (int32_t i = 0; i < max_pages; ++i) {
    for (int32_t s = 0; s < num_seqs; ++s) {
      if (i * spec.layout.page_size < kv_lens_[static_cast<size_t>(s)]) {
        page_table_[static_cast<size_t>(s * max_pages + i)] = next--;
      }
    }
  }
  kv_bytes_.assign(static_cast<size_t>(num_pages * spec.layout.page_bytes()), std::byte{0xFF});
  kv_view_.layout = spec.layout;
  kv_view_.base = kv_bytes_.data();
  kv_view_.num_pages = num_pages;
  kv_view_.num_seqs = num_seqs;
  kv_view_.max_pages = max_pages;
  kv_view_.page_table = page_table_.data();
  kv_view_.q_offsets = q_offsets_.data();
  kv_view_.kv_lens = kv_lens_.data();
  if (spec.filled) {
    // Only through the op under contract: append all positions of all layers, by the reference.
    const auto reference = ops::MakeReferenceBackend();
    std::vector<int32_t> offsets = {0};
    for (int32_t len : kv_lens_) offsets.push_back(offsets.back() + len);
    PagedKvView all = kv_view_;
    all.q_offsets = offsets.data();
    const int64_t tokens = offsets.back();
    const int64_t heads = spec.layout.num_kv_heads;
    Random random(Seed(case_->name + "kv"));
    std::vector<float> k(static_cast<size_t>(tokens * heads * spec.layout.k_dim));
    std::vector<float> v(static_cast<size_t>(tokens * heads * spec.layout.v_dim));
    for (int32_t layer = 0; layer < spec.layout.num_layers; ++layer) {
      for (float& x : k) x = random.Uniform();
      for (float& x : v) x = random.Uniform();
      ops::KvAppendArgs args;
      args.k = TensorView(k.data(), DType::kF32, {tokens, heads, spec.layout.k_dim});
      args.v = TensorView(v.data(), DType::kF32, {tokens, heads, spec.layout.v_dim});
      args.kv = &all;
      args.layer = layer;
      reference->ops().kv_append(args, reference->stream());
    }
  }
  kv_before_ = kv_bytes_;
}

bool Instance::HasKernel() const {
  switch (case_->op) {
#define OP(file, Name) \
  case ops::OpId::k##Name: return backend_->ops().file != nullptr;
#include "ops/op_list.def"
#undef OP
  }
  return false;
}

Status Instance::Run(int64_t begin, int64_t end) {
  const ops::OpSchema& schema = ops::SchemaOf(case_->op);
  step_view_ = kv_view_;
  if (kv_view_.base != nullptr) {
    step_table_.clear();
    step_offsets_ = {0};
    step_lens_.clear();
    for (int32_t s = 0; s < kv_view_.num_seqs; ++s) {
      const int32_t q_begin = q_offsets_[static_cast<size_t>(s)];
      const int32_t q_end = q_offsets_[static_cast<size_t>(s) + 1];
      const int32_t from = std::max(q_begin, static_cast<int32_t>(begin));
      const int32_t to = std::min(q_end, static_cast<int32_t>(end));
      if (from >= to && q_begin != q_end) continue;
      const int32_t len = kv_lens_[static_cast<size_t>(s)];
      step_offsets_.push_back(step_offsets_.back() + std::max(0, to - from));
      step_lens_.push_back(q_begin == q_end ? len : len - (q_end - to));
      const auto row = page_table_.begin() + s * kv_view_.max_pages;
      step_table_.insert(step_table_.end(), row, row + kv_view_.max_pages);
    }
    step_view_.num_seqs = static_cast<int32_t>(step_lens_.size());
    step_view_.page_table = step_table_.data();
    step_view_.q_offsets = step_offsets_.data();
    step_view_.kv_lens = step_lens_.data();
  }
  for (const ops::OpParam& param : schema.params) {
    const std::string name(param.name);
    std::byte* place = args_.data() + param.offset;
    const auto attribute = case_->attributes.find(name);
    const double value = attribute == case_->attributes.end() ? 0 : attribute->second;
    switch (param.kind) {
      case ops::ParamKind::kTensor:
      case ops::ParamKind::kMutableTensor: {
        MutableTensorView view;
        const auto found = tensors_.find(name);
        if (found != tensors_.end()) {
          view = found->second->view;
          if (StartsWithTokens(param)) {
            view.data += begin * view.stride(0) * 4;
            view.shape[0] = end - begin;
          }
        }
        const TensorView constant = view;
        if (param.kind == ops::ParamKind::kTensor)
          std::memcpy(place, &constant, sizeof constant);
        else
          std::memcpy(place, &view, sizeof view);
        break;
      }
      case ops::ParamKind::kWeight: {
        const ops::PackedWeight* weight = packed_.count(name) ? packed_.at(name).get() : nullptr;
        std::memcpy(place, &weight, sizeof weight);
        break;
      }
      case ops::ParamKind::kKv: {
        const PagedKvView* kv = &step_view_;
        std::memcpy(place, &kv, sizeof kv);
        break;
      }
      case ops::ParamKind::kF32: {
        const float f32 = static_cast<float>(value);
        std::memcpy(place, &f32, sizeof f32);
        break;
      }
      case ops::ParamKind::kI32:
      case ops::ParamKind::kEnum: {
        const int32_t i32 = static_cast<int32_t>(value);
        std::memcpy(place, &i32, sizeof i32);
        break;
      }
      case ops::ParamKind::kBool: {
        const bool flag = value != 0;
        std::memcpy(place, &flag, sizeof flag);
        break;
      }
    }
  }
  RILL_RETURN_IF_ERROR(ops::CheckArgs(schema, args_.data()));
  ops::CallOp(backend_->ops(), case_->op, args_.data(), backend_->stream());
  return backend_->stream().Synchronize();
}

std::vector<Output> Instance::Outputs() const {
  std::vector<Output> outputs;
  for (const ops::OpParam& param : ops::SchemaOf(case_->op).params) {
    const auto found = tensors_.find(std::string(param.name));
    // rope_kv_append leaves k unspecified; its pages are compared below.
    const bool unspecified = case_->op == ops::OpId::kRopeKvAppend && param.name == "k";
    if (found == tensors_.end() || param.role == ops::ParamRole::kIn || unspecified) continue;
    const MutableTensorView& view = found->second->view;
    Output output{std::string(param.name), {}};
    ForEach(view.shape, view.strides, [&](int64_t, int64_t offset) {
      int32_t bits;
      std::memcpy(&bits, view.data + offset * 4, 4);
      float value = static_cast<float>(bits);
      if (view.dtype == DType::kF32) std::memcpy(&value, &bits, 4);
      output.values.push_back(value);
    });
    outputs.push_back(std::move(output));
  }
  if (kv_view_.base != nullptr && case_->op != ops::OpId::kPagedAttention) {
    // Page bytes as numbers 0..65535, so that every bit counts.
    Output pages{"kv", {}};
    for (size_t i = 0; i + 1 < kv_bytes_.size(); i += 2) {
      pages.values.push_back(static_cast<float>(static_cast<int>(kv_bytes_[i]) +
                                                256 * static_cast<int>(kv_bytes_[i + 1])));
    }
    outputs.push_back(std::move(pages));
  }
  return outputs;
}

std::vector<float> Instance::Decoded(const std::string& param) const {
  std::vector<float> out;
  const ops::WeightSource& source = sources_.at(param);
  const int64_t num_experts = source.parts[0].rank() == 3 ? source.parts[0].dim(0) : 1;
  for (int64_t e = 0; e < num_experts; ++e) {
    for (size_t i = 0; i < source.parts.size(); ++i) {
      const TensorView& part = source.parts[i];
      const quant::RowReader* reader = source.readers[i].get();
      const int64_t rows = part.dim(part.rank() - 2), cols = part.dim(part.rank() - 1);
      const int64_t row_bytes = *RowBytes(part.dtype, cols);
      for (int64_t r = 0; r < rows; ++r) {
        std::vector<float> row(static_cast<size_t>(cols));
        if (reader != nullptr) {
          std::vector<float> stored(row.size());
          quant::DecodeRow(*reader, e, r, stored.data());
          const auto order = reader->Order(e);
          for (size_t k = 0; k < row.size(); ++k) {
            row[order.empty() ? k : static_cast<size_t>(order[k])] = stored[k];
          }
          out.insert(out.end(), row.begin(), row.end());
          continue;
        }
        const Status status = quant::DequantizeRow(
            part.dtype, part.data + (e * rows + r) * row_bytes, cols, row.data());
        CHECK(status.ok()) << status.message();
        out.insert(out.end(), row.begin(), row.end());
      }
    }
  }
  return out;
}

bool Instance::PaddingIsIntact() const {
  for (const auto& [name, storage] : tensors_) {
    std::vector<bool> used(storage->bytes.size() / 4, false);
    ForEach(storage->view.shape, storage->view.strides,
            [&](int64_t, int64_t offset) { used[static_cast<size_t>(offset + 4)] = true; });
    for (size_t i = 0; i < used.size(); ++i) {
      uint32_t bits;
      std::memcpy(&bits, &storage->bytes[4 * i], 4);
      if (!used[i] && bits != 0xFFFFFFFFu) return false;
    }
  }
  return true;
}

std::vector<Case> AllCases() {
  std::vector<Case> all;
#define OP(file, Name) \
  for (Case & c : Name##Cases()) all.push_back(std::move(c));
#include "ops/op_list.def"
#undef OP
  // Weights that quantise activations run in both modes.
  std::vector<Case> both;
  for (const Case& c : all) {
    both.push_back(c);
    bool quantised = false;
    for (const auto& [name, weight] : c.weights) {
      for (const auto& part : weight.parts) {
        const bool codes = IsQuantBlock(part.dtype) || part.dtype == DType::kI8;
        quantised = quantised || (codes && weight.matmul);
      }
    }
    if (!quantised) continue;
    both.push_back(c);
    both.back().activations = ops::ActivationMode::kQ8;
  }
  return both;
}

std::vector<Case> RowCases(ops::OpId op, const std::string& attribute, double value, Fill fill,
                           double extreme_value) {
  struct Size {
    int64_t tokens, size, pad;
  };
  constexpr Size kSizes[] = {{0, 8, 0},  {1, 1, 0},  {1, 15, 0}, {3, 16, 0},
                             {2, 17, 5}, {5, 63, 1}, {4, 129, 0}};
  std::vector<Case> cases;
  for (const Size& s : kSizes) {
    const std::string name =
        std::to_string(s.tokens) + "x" + std::to_string(s.size) + "+" + std::to_string(s.pad);
    cases.push_back(Case(op, name)
                        .T("x", {s.tokens, s.size}, fill, s.pad)
                        .T("y", {s.tokens, s.size}, Fill::kZero, 1)
                        .A(attribute, value));
  }
  for (Fill extreme : {Fill::kTiny, Fill::kLarge, Fill::kSpecials}) {
    cases.push_back(Case(op, "fill" + std::to_string(static_cast<int>(extreme)))
                        .T("x", {4, 35}, extreme)
                        .Alias("y", "x")
                        .A(attribute, extreme_value));
  }
  return cases;
}

}  // namespace rill::conformance
