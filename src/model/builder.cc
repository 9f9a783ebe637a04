#include "model/builder.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <numeric>

#include "base/checked_math.h"

namespace rill::model {
namespace {

constexpr int64_t kAlignment = 64;  // bytes; a cache line, and what vector kernels like

// The view of `value` with `rows` rows at `data` (null before the arena exists).
MutableTensorView MakeView(const Value& value, int64_t rows, std::byte* data) {
  MutableTensorView view;
  view.data = data;
  view.dtype = value.dtype;
  if (value.size == 0) {  // a vector of ids
    view.shape = Shape{rows};
    view.strides[0] = 1;
    return view;
  }
  if (value.heads == 0) {
    view.shape = Shape{rows, value.size};
    view.strides = {value.row_stride, 1};
  } else {
    view.shape = Shape{rows, value.heads, value.size};
    view.strides = {value.row_stride, value.head_stride, 1};
  }
  return view;
}

Value AsGroups(Value x) {
  return x.heads == 0 ? x.Heads(1) : x;
}

}  // namespace

Value Value::Columns(int64_t begin, int64_t count) const {
  CHECK(begin >= 0 && count > 0 && begin + count <= size)
      << "columns [" << begin << ", " << begin + count << ") of " << size;
  Value out = *this;
  out.offset += begin;
  out.size = count;
  return out;
}

Value Value::Heads(int64_t num_heads) const {
  CHECK(heads == 0 && size % num_heads == 0) << size << " columns as " << num_heads << " heads";
  Value out = *this;
  out.heads = num_heads;
  out.size = size / num_heads;
  out.head_stride = out.size;
  return out;
}

Value Value::Flat() const {
  if (heads == 0) return *this;
  CHECK(heads == 1 || head_stride == size) << "heads are not contiguous";
  Value out = *this;
  out.size = heads * size;
  out.heads = 0;
  out.head_stride = 0;
  return out;
}

Value Value::Broadcast(int64_t num_heads) const {
  CHECK(heads == 1);
  Value out = *this;
  out.heads = num_heads;
  out.head_stride = 0;
  return out;
}

Builder::Scope::Scope(Builder& builder, std::string name)
    : builder_(builder), old_size_(builder.scope_.size()) {
  builder_.scope_ += name + ".";
}
Builder::Scope::~Scope() {
  builder_.scope_.resize(old_size_);
}

Builder::Builder(ops::Backend& backend, int32_t max_tokens, int32_t max_rows)
    : backend_(backend),
      program_(std::make_unique<Program>()),
      max_tokens_(max_tokens),
      max_rows_(max_rows) {
  program_->backend_ = &backend;
  program_->max_tokens_ = max_tokens;
  program_->max_rows_ = max_rows;
}

void Builder::SetKvLayout(const KvLayout& layout) {
  program_->kv_->layout = layout;
}

Value Builder::NewBuffer(RowsOf rows, int64_t size, DType dtype) {
  BufferInfo info;
  info.rows = rows;
  info.dtype = dtype;
  info.size = size;
  buffers_.push_back(info);
  Value value;
  value.buffer = static_cast<int32_t>(buffers_.size()) - 1;
  value.rows = rows;
  value.dtype = dtype;
  value.size = size;
  value.row_stride = std::max<int64_t>(size, 1);
  return value;
}

namespace {
// A vector that the step brings, or leaves to its caller; made on first use.
Value Input(Builder& builder, int32_t& id, RowsOf rows, DType dtype = DType::kI32) {
  if (id < 0) id = builder.NewBuffer(rows, 0, dtype).buffer;
  Value value;
  value.buffer = id;
  value.rows = rows;
  value.dtype = dtype;
  value.row_stride = 1;
  return value;
}
}  // namespace

Value Builder::TokenIds() {
  return Input(*this, token_ids_, RowsOf::kTokens);
}
Value Builder::Positions() {
  return Input(*this, positions_, RowsOf::kTokens);
}
Value Builder::TokenTypes() {
  return Input(*this, token_types_, RowsOf::kTokens);
}
Value Builder::LogitRows() {
  return Input(*this, logit_rows_, RowsOf::kLogitRows);
}

Value Builder::LogitsBuffer(int64_t size) {
  if (logits_ >= 0) {
    Value value;
    value.buffer = logits_;
    value.rows = RowsOf::kLogitRows;
    value.size = value.row_stride = size;
    return value;
  }
  const Value value = NewBuffer(RowsOf::kLogitRows, size);
  logits_ = value.buffer;
  buffers_.back().is_logits = true;
  return value;
}

template <typename Args>
void Builder::Record(ops::OpId op, std::string_view place, const Args& args,
                     std::vector<Binding> bindings) {
  static_assert(std::is_trivially_copyable_v<Args>);
  ProgramNode node;
  node.place = scope_ + std::string(place);
  node.op = op;
  node.args = std::make_unique<std::byte[]>(sizeof(Args));
  new (node.args.get()) Args(args);
  std::erase_if(bindings, [](const Binding& b) { return b.value.empty(); });
  const auto index = static_cast<int32_t>(program_->nodes_.size());
  for (const Binding& binding : bindings) {
    BufferInfo& buffer = buffers_[static_cast<size_t>(binding.value.buffer)];
    if (buffer.first < 0) buffer.first = index;
    buffer.last = index;
    const int64_t rows = binding.value.rows == RowsOf::kTokens ? max_tokens_ : max_rows_;
    // MutableTensorView and TensorView are one template: same layout, const aside.
    const MutableTensorView view = MakeView(binding.value, rows, nullptr);
    std::memcpy(node.args.get() + binding.offset, &view, sizeof(view));
  }
  program_->nodes_.push_back(std::move(node));
  bindings_.push_back(std::move(bindings));
}

#define IN(member, value)                \
  Binding {                              \
    offsetof(Args, member), false, value \
  }
#define OUT(member, value)              \
  Binding {                             \
    offsetof(Args, member), true, value \
  }

Value Builder::Embedding(std::string_view place, const ops::PackedWeight& table, Value ids,
                         float scale) {
  using Args = ops::EmbeddingArgs;
  const Value y = NewBuffer(ids.rows, table.cols());
  Args args;
  args.table = &table;
  args.scale = scale;
  Record(ops::OpId::kEmbedding, place, args, {IN(token_ids, ids), OUT(y, y)});
  return y;
}

Value Builder::PositionEmbedding(std::string_view place, Value x, const ops::PackedWeight& table,
                                 Value positions, int32_t offset) {
  using Args = ops::PositionEmbeddingArgs;
  const Value y = NewBuffer(x.rows, x.size);
  Args args;
  args.table = &table;
  args.offset = offset;
  Record(ops::OpId::kPositionEmbedding, place, args,
         {IN(x, x), IN(positions, positions), OUT(y, y)});
  return y;
}

Value Builder::RmsNorm(std::string_view place, Value x, const NormWeights& w, float eps,
                       float weight_bias) {
  using Args = ops::RmsNormArgs;
  const Value y = NewBuffer(x.rows, x.width());
  Args args;
  args.weight = w.weight;
  args.eps = eps;
  args.weight_bias = weight_bias;
  const Value groups = AsGroups(x);
  Record(ops::OpId::kRmsNorm, place, args, {IN(x, groups), OUT(y, y.Heads(groups.heads))});
  return y;
}

void Builder::RmsNormInPlace(std::string_view place, Value x, const NormWeights& w, float eps,
                             float weight_bias) {
  using Args = ops::RmsNormArgs;
  Args args;
  args.weight = w.weight;
  args.eps = eps;
  args.weight_bias = weight_bias;
  Record(ops::OpId::kRmsNorm, place, args, {IN(x, AsGroups(x)), OUT(y, AsGroups(x))});
}

Value Builder::LayerNorm(std::string_view place, Value x, const NormWeights& w, float eps) {
  using Args = ops::LayerNormArgs;
  const Value y = NewBuffer(x.rows, x.width());
  Args args;
  args.weight = w.weight;
  args.bias = w.bias;
  args.eps = eps;
  const Value groups = AsGroups(x);
  Record(ops::OpId::kLayerNorm, place, args, {IN(x, groups), OUT(y, y.Heads(groups.heads))});
  return y;
}

void Builder::LayerNormInPlace(std::string_view place, Value x, const NormWeights& w, float eps) {
  using Args = ops::LayerNormArgs;
  Args args;
  args.weight = w.weight;
  args.bias = w.bias;
  args.eps = eps;
  Record(ops::OpId::kLayerNorm, place, args, {IN(x, AsGroups(x)), OUT(y, AsGroups(x))});
}

Builder::Skip Builder::SkipRmsNorm(std::string_view place, Value x, Value skip,
                                   const NormWeights& w, float eps, float weight_bias) {
  using Args = ops::SkipRmsNormArgs;
  const Skip out{NewBuffer(x.rows, x.size), NewBuffer(x.rows, x.size)};
  Args args;
  args.weight = w.weight;
  args.eps = eps;
  args.weight_bias = weight_bias;
  Record(ops::OpId::kSkipRmsNorm, place, args,
         {IN(x, x), IN(skip, skip), OUT(h, out.h), OUT(y, out.y)});
  return out;
}

Builder::Skip Builder::SkipLayerNorm(std::string_view place, Value x, Value skip,
                                     const NormWeights& w, float eps) {
  using Args = ops::SkipLayerNormArgs;
  const Skip out{NewBuffer(x.rows, x.size), NewBuffer(x.rows, x.size)};
  Args args;
  args.weight = w.weight;
  args.bias = w.bias;
  args.eps = eps;
  Record(ops::OpId::kSkipLayerNorm, place, args,
         {IN(x, x), IN(skip, skip), OUT(h, out.h), OUT(y, out.y)});
  return out;
}

Value Builder::Linear(std::string_view place, Value x, const LinearWeights& w, float scale,
                      Value residual) {
  using Args = ops::LinearArgs;
  const Value y = NewBuffer(x.rows, w.w->rows());
  Args args;
  args.w = w.w;
  args.bias = w.bias;
  args.scale = scale;
  Record(ops::OpId::kLinear, place, args, {IN(x, x), IN(residual, residual), OUT(y, y)});
  return y;
}

Value Builder::Normed(Value x, const InputNorm& norm) {
  switch (norm.kind) {
    case ops::InputNorm::kNone: return x;
    case ops::InputNorm::kRms: return RmsNorm("norm", x, *norm.weights, norm.eps, norm.weight_bias);
    case ops::InputNorm::kLayer: return LayerNorm("norm", x, *norm.weights, norm.eps);
  }
  return x;
}

namespace {
template <typename Args>
void SetNorm(const Builder::InputNorm& norm, Args& args) {
  args.norm = norm.kind;
  if (norm.kind == ops::InputNorm::kNone) return;
  args.norm_weight = norm.weights->weight;
  args.norm_bias = norm.weights->bias;
  args.eps = norm.eps;
  args.weight_bias = norm.weight_bias;
}
}  // namespace

Value Builder::NormLinear(std::string_view place, Value x, const InputNorm& norm,
                          const LinearWeights& w) {
  if (norm.kind == ops::InputNorm::kNone || !HasKernel(backend_.ops(), ops::OpId::kNormLinear)) {
    return Linear(place, Normed(x, norm), w);
  }
  using Args = ops::NormLinearArgs;
  const Value y = NewBuffer(x.rows, w.w->rows());
  Args args;
  SetNorm(norm, args);
  args.w = w.w;
  args.bias = w.bias;
  Record(ops::OpId::kNormLinear, place, args, {IN(x, x), OUT(y, y)});
  return y;
}

Value Builder::GatedFfn(Value x, const InputNorm& norm, const LinearWeights& gate_up,
                        const LinearWeights& down, ops::ActivationKind kind, float scale,
                        Value residual) {
  if (!HasKernel(backend_.ops(), ops::OpId::kGatedFfn) ||
      !backend_.FusesGatedFfn(*gate_up.w, *down.w)) {
    return Linear("down", LinearGlu("gate_up", x, gate_up, kind, norm), down, scale, residual);
  }
  using Args = ops::GatedFfnArgs;
  const Value y = NewBuffer(x.rows, down.w->rows());
  Args args;
  SetNorm(norm, args);
  args.gate_up = gate_up.w;
  args.gate_up_bias = gate_up.bias;
  args.down = down.w;
  args.down_bias = down.bias;
  args.kind = kind;
  args.scale = scale;
  Record(ops::OpId::kGatedFfn, "mlp", args, {IN(x, x), IN(residual, residual), OUT(y, y)});
  return y;
}

Value Builder::LogitsLinear(std::string_view place, Value x, const LinearWeights& w, float scale,
                            bool is_last) {
  const Value y = LogitsBuffer(w.w->rows());
  if (is_last && HasKernel(backend_.ops(), ops::OpId::kLogits)) {
    using Args = ops::LogitsArgs;
    const Value wanted = Input(*this, wanted_, RowsOf::kLogitRows);
    const Value best_id = Input(*this, best_id_, RowsOf::kLogitRows);
    const Value best = Input(*this, best_, RowsOf::kLogitRows, DType::kF32);
    Args args;
    args.w = w.w;
    args.bias = w.bias;
    args.scale = scale;
    Record(ops::OpId::kLogits, place, args,
           {IN(x, x), IN(wanted, wanted), OUT(y, y), OUT(best_id, best_id), OUT(best, best)});
    return y;
  }
  using Args = ops::LinearArgs;
  Args args;
  args.w = w.w;
  args.bias = w.bias;
  args.scale = scale;
  Record(ops::OpId::kLinear, place, args, {IN(x, x), OUT(y, y)});
  return y;
}

Value Builder::LinearGlu(std::string_view place, Value x, const LinearWeights& w,
                         ops::ActivationKind kind, const InputNorm& norm) {
  using Args = ops::LinearGluArgs;
  const Value y = NewBuffer(x.rows, w.w->rows() / 2);
  Args args;
  SetNorm(norm, args);
  args.w = w.w;
  args.bias = w.bias;
  args.kind = kind;
  Record(ops::OpId::kLinearGlu, place, args, {IN(x, x), OUT(y, y)});
  return y;
}

Value Builder::Activation(std::string_view place, Value x, ops::ActivationKind kind) {
  using Args = ops::ActivationArgs;
  const Value y = NewBuffer(x.rows, x.size);
  Args args;
  args.kind = kind;
  Record(ops::OpId::kActivation, place, args, {IN(x, x), OUT(y, y)});
  return y;
}

Value Builder::Add(std::string_view place, Value a, Value b, float b_scale) {
  using Args = ops::AddArgs;
  const Value y = NewBuffer(a.rows, a.size);
  Args args;
  args.b_scale = b_scale;
  Record(ops::OpId::kAdd, place, args, {IN(a, a), IN(b, b), OUT(y, y)});
  return y;
}

void Builder::Copy(std::string_view place, Value from, Value to) {
  using Args = ops::CopyArgs;
  Record(ops::OpId::kCopy, place, Args{}, {IN(x, from), OUT(y, to)});
}

Value Builder::GatherRows(std::string_view place, Value x, Value rows) {
  using Args = ops::GatherRowsArgs;
  const Value y = NewBuffer(rows.rows, x.size);
  Record(ops::OpId::kGatherRows, place, Args{}, {IN(x, x), IN(rows, rows), OUT(y, y)});
  return y;
}

void Builder::GatherToLogits(std::string_view place, Value x, Value rows) {
  using Args = ops::GatherRowsArgs;
  const Value y = LogitsBuffer(x.size);
  Record(ops::OpId::kGatherRows, place, Args{}, {IN(x, x), IN(rows, rows), OUT(y, y)});
}

void Builder::ClampInPlace(std::string_view place, Value x, float limit) {
  using Args = ops::ClampArgs;
  Args args;
  args.limit = limit;
  Record(ops::OpId::kClamp, place, args, {IN(x, x), OUT(y, x)});
}

void Builder::SoftcapInPlace(std::string_view place, Value x, float cap) {
  using Args = ops::SoftcapArgs;
  Args args;
  args.cap = cap;
  Record(ops::OpId::kSoftcap, place, args, {IN(x, x), OUT(y, x)});
}

Value Builder::RopeAngles(std::string_view place, Value positions, TensorView inv_freq,
                          float magnitude) {
  using Args = ops::RopeAnglesArgs;
  const Value cos_sin = NewBuffer(positions.rows, inv_freq.dim(0) * 2);
  Args args;
  args.inv_freq = inv_freq;
  args.magnitude = magnitude;
  Record(ops::OpId::kRopeAngles, place, args, {IN(positions, positions), OUT(cos_sin, cos_sin)});
  return cos_sin;
}

void Builder::RopeInPlace(std::string_view place, Value x, Value cos_sin, bool interleaved) {
  using Args = ops::RopeArgs;
  Args args;
  args.interleaved = interleaved;
  Record(ops::OpId::kRope, place, args, {OUT(x, x), IN(cos_sin, cos_sin)});
}

void Builder::KvAppend(std::string_view place, Value k, Value v, int32_t layer) {
  using Args = ops::KvAppendArgs;
  Args args;
  args.kv = program_->kv_.get();
  args.layer = layer;
  Record(ops::OpId::kKvAppend, place, args, {IN(k, k), IN(v, v)});
}

void Builder::RopeKvAppend(std::string_view place, Value q, Value k, Value v, Value cos_sin,
                           int32_t layer, bool interleaved) {
  using Args = ops::RopeKvAppendArgs;
  Args args;
  args.kv = program_->kv_.get();
  args.layer = layer;
  args.interleaved = interleaved;
  Record(ops::OpId::kRopeKvAppend, place, args,
         {OUT(q, q), OUT(k, k), IN(v, v), IN(cos_sin, cos_sin)});
}

Value Builder::PagedAttention(std::string_view place, Value q, int64_t v_dim,
                              const AttentionOptions& options) {
  using Args = ops::PagedAttentionArgs;
  const Value y = NewBuffer(q.rows, q.heads * v_dim);
  Args args;
  args.kv = program_->kv_.get();
  args.alibi_slopes = options.alibi_slopes;
  args.sinks = options.sinks;
  args.layer = options.layer;
  args.score_scale = options.score_scale;
  args.softcap = options.softcap;
  args.window = options.window;
  args.causal = options.causal;
  Record(ops::OpId::kPagedAttention, place, args, {IN(q, q), OUT(y, y.Heads(q.heads))});
  return y;
}

Builder::Routing Builder::MoeRoute(std::string_view place, Value logits, int64_t top_k,
                                   const ops::MoeRouteArgs& options) {
  using Args = ops::MoeRouteArgs;
  const Routing out{NewBuffer(logits.rows, top_k, DType::kI32), NewBuffer(logits.rows, top_k)};
  Record(ops::OpId::kMoeRoute, place, options,
         {IN(logits, logits), OUT(expert_ids, out.ids), OUT(expert_weights, out.weights)});
  return out;
}

Value Builder::MoeFfn(std::string_view place, Value x, Routing routing,
                      const ops::PackedWeight& gate_up, const ops::PackedWeight& down,
                      ops::ActivationKind kind, bool ungated, Value residual) {
  using Args = ops::MoeFfnArgs;
  const Value y = NewBuffer(x.rows, x.size);
  Args args;
  args.gate_up = &gate_up;
  args.down = &down;
  args.kind = kind;
  args.ungated = ungated;
  Record(ops::OpId::kMoeFfn, place, args,
         {IN(x, x), IN(expert_ids, routing.ids), IN(expert_weights, routing.weights),
          IN(residual, residual), OUT(y, y)});
  return y;
}

#undef IN
#undef OUT

int64_t Builder::Bytes(const BufferInfo& buffer) const {
  const int64_t rows = buffer.rows == RowsOf::kTokens ? max_tokens_ : max_rows_;
  const int64_t bytes = rows * std::max<int64_t>(buffer.size, 1) * Traits(buffer.dtype).block_bytes;
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

// Where an output may be its input's memory and the input is used for the last time, it is. Both
// must be whole buffers of the same size: then no other element can be in the way.
void Builder::ShareInPlace() {
  for (BufferInfo& buffer : buffers_) buffer.end_of_use = buffer.last;
  auto whole = [&](const Value& v) {
    return v.offset == 0 && v.width() == buffers_[static_cast<size_t>(v.buffer)].size;
  };
  for (size_t n = 0; n < bindings_.size(); ++n) {
    const ops::OpSchema& schema = program_->nodes_[n].schema();
    for (const Binding& out : bindings_[n]) {
      BufferInfo& target = buffers_[static_cast<size_t>(out.value.buffer)];
      if (!out.is_output || target.first != static_cast<int32_t>(n) || target.is_logits ||
          !whole(out.value)) {
        continue;
      }
      for (const ops::OpParam& param : schema.params) {
        if (param.offset != out.offset || target.shares >= 0) continue;
        for (std::string_view name : param.may_alias) {
          const ops::OpParam* input = schema.FindParam(name);
          if (input == nullptr || target.shares >= 0) continue;
          for (const Binding& in : bindings_[n]) {
            if (in.offset != input->offset || in.is_output) continue;
            BufferInfo& source = buffers_[static_cast<size_t>(in.value.buffer)];
            const bool dies =
                source.last == static_cast<int32_t>(n) && source.end_of_use == source.last;
            if (dies && !source.is_input && !source.is_logits && whole(in.value) &&
                in.value.dtype == out.value.dtype && source.rows == target.rows &&
                source.size == target.size) {
              target.shares = in.value.buffer;
              source.end_of_use = target.last;  // taken: nobody else may
            }
          }
        }
      }
    }
  }
}

// First fit, largest first: each buffer at the lowest address where no buffer with an overlapping
// lifetime lies. Returns the arena's size.
int64_t Builder::PlaceBuffers() {
  const auto num_nodes = static_cast<int32_t>(program_->nodes_.size());
  auto root = [&](size_t b) {
    while (buffers_[b].shares >= 0) b = static_cast<size_t>(buffers_[b].shares);
    return b;
  };
  struct Block {
    size_t buffer;
    int64_t bytes;
    int32_t first, last;
  };
  std::vector<Block> blocks;
  std::vector<int64_t> block_of(buffers_.size(), -1);
  for (size_t b = 0; b < buffers_.size(); ++b) {
    const BufferInfo& buffer = buffers_[b];
    program_->unshared_bytes_ += buffer.is_logits ? 0 : Bytes(buffer);
    if (buffer.is_logits || buffer.first < 0) continue;
    const size_t r = root(b);
    if (block_of[r] < 0) {
      block_of[r] = static_cast<int64_t>(blocks.size());
      blocks.push_back({r, Bytes(buffers_[r]), buffers_[r].first, buffers_[r].last});
      if (buffers_[r].is_input) {
        blocks.back().first = 0;
        blocks.back().last = num_nodes;
      }
    }
    Block& block = blocks[static_cast<size_t>(block_of[r])];
    block.last = std::max(block.last, buffer.last);
  }
  std::stable_sort(blocks.begin(), blocks.end(),
                   [](const Block& a, const Block& b) { return a.bytes > b.bytes; });
  int64_t arena = 0;
  std::vector<const Block*> placed;  // by address
  for (const Block& block : blocks) {
    int64_t address = 0;
    for (const Block* other : placed) {
      if (other->last < block.first || block.last < other->first) continue;
      const int64_t begin = buffers_[other->buffer].address;
      if (address + block.bytes <= begin) break;
      address = std::max(address, begin + other->bytes);
    }
    buffers_[block.buffer].address = address;
    arena = std::max(arena, address + block.bytes);
    const auto at = std::upper_bound(
        placed.begin(), placed.end(), address,
        [&](int64_t a, const Block* other) { return a < buffers_[other->buffer].address; });
    placed.insert(at, &block);
  }
  for (size_t b = 0; b < buffers_.size(); ++b) {
    buffers_[b].address = buffers_[root(b)].address;
  }
  return arena;
}

Result<int64_t> Builder::PlanBytes() {
  if (planned_) return arena_bytes_;
  for (int32_t id : {token_ids_, positions_, token_types_, logit_rows_, wanted_, best_id_, best_}) {
    if (id >= 0) buffers_[static_cast<size_t>(id)].is_input = true;
  }
  for (const BufferInfo& buffer : buffers_) {
    const int64_t rows = std::max(max_tokens_, max_rows_);
    const auto elements = CheckedMul(rows, std::max<int64_t>(buffer.size, 1));
    const auto bytes = elements ? CheckedMul(*elements, int64_t{8}) : std::nullopt;
    if (!bytes || *bytes > (int64_t{1} << 50)) {
      return ResourceExhausted(fmt::format(
          "activation buffer of {} rows x {} does not fit in memory", rows, buffer.size));
    }
  }
  ShareInPlace();
  arena_bytes_ = PlaceBuffers();
  planned_ = true;
  return arena_bytes_;
}

Status Builder::CheckKernels() const {
  std::vector<std::string> missing;
  for (const ProgramNode& node : program_->nodes_) {
    if (HasKernel(backend_.ops(), node.op)) continue;
    const std::string name(node.schema().name);
    if (std::find(missing.begin(), missing.end(), name) == missing.end()) missing.push_back(name);
  }
  if (missing.empty()) return OkStatus();
  std::string list;
  for (const std::string& name : missing) list += (list.empty() ? "" : ", ") + name;
  return Unsupported(fmt::format("backend '{}' has no kernel for: {}", backend_.name(), list));
}

Result<std::unique_ptr<Program>> Builder::Finish() {
  RILL_RETURN_IF_ERROR(CheckKernels());
  RILL_ASSIGN_OR_RETURN(program_->arena_bytes_, PlanBytes());
  RILL_ASSIGN_OR_RETURN(std::unique_ptr<ops::Buffer> arena,
                        backend_.Allocate(std::max<int64_t>(program_->arena_bytes_, 1)));
  std::byte* base = arena->data();
  program_->memory_.push_back(std::move(arena));

  // The caller's logits do not exist yet; check with an address that no memory has (beyond the
  // 48 bits of user space), so that they overlap nothing. It is never touched.
  std::byte* const logits_stand_in = reinterpret_cast<std::byte*>(uintptr_t{1} << 62);
  auto address = [&](int32_t buffer) {
    const BufferInfo& info = buffers_[static_cast<size_t>(buffer)];
    return info.is_logits ? logits_stand_in : base + info.address;
  };
  for (size_t n = 0; n < bindings_.size(); ++n) {
    ProgramNode& node = program_->nodes_[n];
    for (const Binding& binding : bindings_[n]) {
      const Value& value = binding.value;
      auto* view = reinterpret_cast<MutableTensorView*>(node.args.get() + binding.offset);
      view->data = address(value.buffer) + value.offset * Traits(value.dtype).block_bytes;
      program_->patches_.push_back({&view->shape.dims[0], value.rows});
      if (value.buffer == logits_) program_->logits_.push_back(view);
    }
    const Status status = ops::CheckArgs(node.schema(), node.args.get());
    if (!status.ok()) return status.WithPrefix(node.place);
  }
  auto input = [&](int32_t buffer) {
    return buffer < 0 ? nullptr : reinterpret_cast<int32_t*>(address(buffer));
  };
  program_->token_ids_ = input(token_ids_);
  program_->positions_ = input(positions_);
  program_->token_types_ = input(token_types_);
  program_->logit_rows_ = input(logit_rows_);
  program_->wanted_ = input(wanted_);
  program_->best_id_ = input(best_id_);
  program_->best_ = best_ < 0 ? nullptr : reinterpret_cast<float*>(address(best_));
  if (program_->positions_ == nullptr || program_->logit_rows_ == nullptr) {
    // A network without rotation reads no positions; give the copy somewhere to go.
    const int64_t spare = int64_t{4} * std::max(max_tokens_, max_rows_);
    RILL_ASSIGN_OR_RETURN(std::unique_ptr<ops::Buffer> memory, backend_.Allocate(spare));
    auto* at = reinterpret_cast<int32_t*>(memory->data());
    if (program_->positions_ == nullptr) program_->positions_ = at;
    if (program_->logit_rows_ == nullptr) program_->logit_rows_ = at;
    program_->memory_.push_back(std::move(memory));
  }
  return std::move(program_);
}

}  // namespace rill::model
