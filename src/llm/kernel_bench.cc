// RunKernelBench (rill/bench.h): one op of a backend, alone, on random weights.

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <deque>
#include <numeric>

#include "backends/registry.h"
#include "ops/op_cost.h"
#include "quant/random_weights.h"
#include "rill/bench.h"

namespace rill {
namespace {

using Clock = std::chrono::steady_clock;

// Everything that a call's arguments point to.
struct Bench {
  const KernelBenchOptions& options;
  ops::Backend& backend;
  DType dtype = DType::kF32;
  std::deque<std::vector<std::byte>> memory = {};
  std::vector<std::unique_ptr<ops::PackedWeight>> weights = {};
  std::vector<std::unique_ptr<ops::Buffer>> buffers = {};
  PagedKvView kv = {};
  std::vector<int32_t> page_table = {}, q_offsets = {}, kv_lens = {};

  MutableTensorView Tensor(Shape shape) {
    memory.emplace_back(static_cast<size_t>(shape.NumElements()) * sizeof(float));
    auto* x = reinterpret_cast<float*>(memory.back().data());
    for (int64_t i = 0; i < shape.NumElements(); ++i) {
      x[i] = static_cast<float>(static_cast<int64_t>((i * 2654435761u) & 0xFFFF) - 32768) / 32768;
    }
    return MutableTensorView(x, DType::kF32, shape);
  }
  Status AddWeight(int64_t rows, int64_t cols, bool paired) {
    ops::WeightSource source;
    source.name = fmt::format("bench {} [{}, {}]", DTypeName(dtype), rows, cols);
    source.paired = paired;
    source.activations =
        options.activations == "f32" ? ops::ActivationMode::kF32 : ops::ActivationMode::kQ8;
    const auto row_bytes = RowBytes(dtype, cols);
    if (!row_bytes) {
      return InvalidArgument(source.name + ": rows are no whole blocks of this format");
    }
    memory.emplace_back(static_cast<size_t>(rows * *row_bytes));
    RILL_RETURN_IF_ERROR(quant::FillRandom(dtype, rows * cols, 1.0f / std::sqrt(float(cols)),
                                           weights.size() + 1, memory.back().data()));
    const TensorView all(memory.back().data(), dtype, Shape{rows, cols});
    if (paired) {
      source.parts = {TensorView(all.data, dtype, Shape{rows / 2, cols}),
                      TensorView(all.data + rows / 2 * *row_bytes, dtype, Shape{rows / 2, cols})};
    } else {
      source.parts = {all};
    }
    RILL_ASSIGN_OR_RETURN(auto weight, backend.PackWeight(source));
    weights.push_back(std::move(weight));
    if (weights.back()->packed_bytes() > 0) memory.pop_back();
    return OkStatus();
  }
  // As many as asked for, or as many as 256 MiB hold.
  Status AddWeights(int64_t rows, int64_t cols, bool paired) {
    const int64_t bytes = std::max<int64_t>(1, rows * RowBytes(dtype, cols).value_or(cols * 4));
    int64_t count = options.num_matrices;
    if (count == 0) count = std::clamp<int64_t>((int64_t{256} << 20) / bytes, 1, 4096);
    for (int64_t i = 0; i < count; ++i) RILL_RETURN_IF_ERROR(AddWeight(rows, cols, paired));
    return OkStatus();
  }
};

struct Call {
  std::unique_ptr<std::byte[]> args;
  template <typename Args>
  static Call Of(const Args& args) {
    Call call;
    call.args = std::make_unique<std::byte[]>(sizeof(Args));
    new (call.args.get()) Args(args);
    return call;
  }
};

using MakeCalls = Status (*)(Bench& b, std::vector<Call>& calls);

Status MakeLinear(Bench& b, std::vector<Call>& calls) {
  const KernelBenchOptions& o = b.options;
  RILL_RETURN_IF_ERROR(b.AddWeights(o.rows, o.cols, false));
  ops::LinearArgs args;
  args.x = b.Tensor({o.tokens, o.cols});
  args.y = b.Tensor({o.tokens, o.rows});
  for (const auto& w : b.weights) {
    args.w = w.get();
    calls.push_back(Call::Of(args));
  }
  return OkStatus();
}

Status MakeLinearGlu(Bench& b, std::vector<Call>& calls) {
  const KernelBenchOptions& o = b.options;
  RILL_RETURN_IF_ERROR(b.AddWeights(2 * o.rows, o.cols, true));
  ops::LinearGluArgs args;
  args.x = b.Tensor({o.tokens, o.cols});
  args.y = b.Tensor({o.tokens, o.rows});
  for (const auto& w : b.weights) {
    args.w = w.get();
    calls.push_back(Call::Of(args));
  }
  return OkStatus();
}

Status MakeNormLinear(Bench& b, std::vector<Call>& calls) {
  const KernelBenchOptions& o = b.options;
  RILL_RETURN_IF_ERROR(b.AddWeights(o.rows, o.cols, false));
  ops::NormLinearArgs args;
  args.x = b.Tensor({o.tokens, o.cols});
  args.norm_weight = b.Tensor({o.cols});
  args.y = b.Tensor({o.tokens, o.rows});
  for (const auto& w : b.weights) {
    args.w = w.get();
    calls.push_back(Call::Of(args));
  }
  return OkStatus();
}

// `rows` is the intermediate size; half of the matrices are gate and up, half down.
Status MakeGatedFfn(Bench& b, std::vector<Call>& calls) {
  const KernelBenchOptions& o = b.options;
  ops::GatedFfnArgs args;
  args.x = b.Tensor({o.tokens, o.cols});
  args.norm_weight = b.Tensor({o.cols});
  args.norm = ops::InputNorm::kRms;
  args.y = b.Tensor({o.tokens, o.cols});
  const int64_t bytes = std::max<int64_t>(1, 3 * o.rows * RowBytes(b.dtype, o.cols).value_or(1));
  int64_t count = o.num_matrices;
  if (count == 0) count = std::clamp<int64_t>((int64_t{256} << 20) / bytes, 1, 4096);
  for (int64_t i = 0; i < count; ++i) {
    RILL_RETURN_IF_ERROR(b.AddWeight(2 * o.rows, o.cols, true));
    args.gate_up = b.weights.back().get();
    RILL_RETURN_IF_ERROR(b.AddWeight(o.cols, o.rows, false));
    args.down = b.weights.back().get();
    calls.push_back(Call::Of(args));
  }
  return OkStatus();
}

Status MakeRmsNorm(Bench& b, std::vector<Call>& calls) {
  ops::RmsNormArgs args;
  args.x = b.Tensor({b.options.tokens, 1, b.options.cols});
  args.weight = b.Tensor({b.options.cols});
  args.y = b.Tensor({b.options.tokens, 1, b.options.cols});
  calls.push_back(Call::Of(args));
  return OkStatus();
}

// Heads of 64; cols / 64 query heads, a quarter of them KV heads. Each of `tokens` queries is a
// sequence of its own with `context` positions, as in a decode.
Status MakeAttention(Bench& b, std::vector<Call>& calls) {
  const KernelBenchOptions& o = b.options;
  constexpr int32_t kHead = 64;
  const int32_t heads = std::max(1, o.cols / kHead);
  const auto format = quant::KvFormatFromName(o.kv_dtype);
  if (!format) return InvalidArgument("kv_dtype: unknown '" + o.kv_dtype + "'");
  b.kv.layout.format = *format;
  b.kv.layout.num_layers = 1;
  b.kv.layout.num_kv_heads = heads % 4 == 0 ? heads / 4 : heads;
  b.kv.layout.k_dim = b.kv.layout.v_dim = kHead;
  const int64_t pages = (o.context + b.kv.layout.page_size - 1) / b.kv.layout.page_size;
  RILL_ASSIGN_OR_RETURN(auto buffer,
                        b.backend.Allocate(pages * o.tokens * b.kv.layout.page_bytes()));
  std::fill_n(reinterpret_cast<uint8_t*>(buffer->data()), buffer->size_bytes(), uint8_t{0x2C});
  b.kv.base = buffer->data();
  b.buffers.push_back(std::move(buffer));
  b.kv.num_pages = static_cast<int32_t>(pages * o.tokens);
  b.kv.num_seqs = o.tokens;
  b.kv.max_pages = static_cast<int32_t>(pages);
  b.page_table.resize(static_cast<size_t>(b.kv.num_pages));
  std::iota(b.page_table.begin(), b.page_table.end(), 0);
  b.q_offsets.resize(static_cast<size_t>(o.tokens) + 1);
  std::iota(b.q_offsets.begin(), b.q_offsets.end(), 0);
  b.kv_lens.assign(static_cast<size_t>(o.tokens), o.context);
  b.kv.page_table = b.page_table.data();
  b.kv.q_offsets = b.q_offsets.data();
  b.kv.kv_lens = b.kv_lens.data();
  ops::PagedAttentionArgs args;
  args.q = b.Tensor({o.tokens, heads, kHead});
  args.y = b.Tensor({o.tokens, heads, kHead});
  args.kv = &b.kv;
  args.score_scale = 0.125f;
  calls.push_back(Call::Of(args));
  return OkStatus();
}

struct Entry {
  const char* name;
  ops::OpId op;
  bool has_format;
  MakeCalls make;
};
constexpr Entry kEntries[] = {
    {"gated_ffn", ops::OpId::kGatedFfn, true, MakeGatedFfn},
    {"linear", ops::OpId::kLinear, true, MakeLinear},
    {"linear_glu", ops::OpId::kLinearGlu, true, MakeLinearGlu},
    {"norm_linear", ops::OpId::kNormLinear, true, MakeNormLinear},
    {"paged_attention", ops::OpId::kPagedAttention, false, MakeAttention},
    {"rms_norm", ops::OpId::kRmsNorm, false, MakeRmsNorm},
};

Status CheckRange(const char* name, int64_t value, int64_t most) {
  if (value >= 1 && value <= most) return OkStatus();
  return InvalidArgument(fmt::format("{}: expected [1, {}], got {}", name, most, value));
}

}  // namespace

std::vector<std::string> KernelBenchNames() {
  std::vector<std::string> names;
  for (const Entry& entry : kEntries) {
    if (!entry.has_format) {
      names.emplace_back(entry.name);
      continue;
    }
    for (int i = 0; i < kNumDTypes; ++i) {
      const auto dtype = static_cast<DType>(i);
      if (quant::CanFill(dtype))
        names.push_back(fmt::format("{}:{}", entry.name, DTypeName(dtype)));
    }
  }
  return names;
}

Result<KernelBenchRun> RunKernelBench(const KernelBenchOptions& options) {
  const size_t colon = options.name.find(':');
  const std::string op_name = options.name.substr(0, colon);
  const std::string format = colon == std::string::npos ? "q4_0" : options.name.substr(colon + 1);
  const Entry* entry = nullptr;
  for (const Entry& e : kEntries) {
    if (op_name == e.name && (e.has_format || colon == std::string::npos)) entry = &e;
  }
  const auto dtype = DTypeFromName(format);
  if (entry == nullptr || (entry->has_format && (!dtype || !quant::CanFill(*dtype)))) {
    std::string known;
    for (const std::string& name : KernelBenchNames()) known += " " + name;
    return NotFound("kernel '" + options.name + "': expected one of" + known);
  }
  RILL_RETURN_IF_ERROR(CheckRange("tokens", options.tokens, 1 << 16));
  RILL_RETURN_IF_ERROR(CheckRange("rows", options.rows, 1 << 20));
  RILL_RETURN_IF_ERROR(CheckRange("cols", options.cols, 1 << 20));
  RILL_RETURN_IF_ERROR(CheckRange("context", options.context, 1 << 20));
  if (options.activations != "f32" && options.activations != "q8") {
    return InvalidArgument("activations: expected f32 or q8, got '" + options.activations + "'");
  }
  backends::BackendOptions backend_options;
  backend_options.num_threads = options.num_threads;
  backend_options.cpu_isa = options.cpu_isa;
  RILL_ASSIGN_OR_RETURN(auto backend, backends::MakeBackend(options.backend, backend_options));

  Bench bench{.options = options, .backend = *backend, .dtype = dtype.value_or(DType::kF32)};
  std::vector<Call> calls;
  RILL_RETURN_IF_ERROR(entry->make(bench, calls));
  const ops::OpSchema& schema = ops::SchemaOf(entry->op);
  for (const Call& call : calls) RILL_RETURN_IF_ERROR(ops::CheckArgs(schema, call.args.get()));

  KernelBenchRun run;
  run.cost = ops::CostOf(schema, calls.front().args.get());
  CeilingOptions ceiling_options;
  ceiling_options.working_sets = {run.cost.memory_bytes() * static_cast<double>(calls.size())};
  RILL_ASSIGN_OR_RETURN(run.ceilings, backend->MeasureCeilings(ceiling_options));

  std::vector<double> times;
  double total = 0;
  for (size_t i = 0; total < options.seconds || times.size() < 3; ++i) {
    const auto start = Clock::now();
    ops::CallOp(backend->ops(), entry->op, calls[i % calls.size()].args.get(), backend->stream());
    RILL_RETURN_IF_ERROR(backend->stream().Synchronize());
    const double took = std::chrono::duration<double>(Clock::now() - start).count();
    if (i < calls.size() && took < options.seconds) continue;  // once around to warm up
    times.push_back(took);
    total += took;
  }
  run.calls = static_cast<int64_t>(times.size());
  std::nth_element(times.begin(), times.begin() + static_cast<std::ptrdiff_t>(times.size() / 2),
                   times.end());
  run.seconds_per_call = times[times.size() / 2];
  // The whole round decides whether a cache holds it; this call is its share.
  StepCost round;
  for (size_t i = 0; i < calls.size(); ++i) round += run.cost;
  const HardwareLimit limit = LimitOf(round, run.ceilings);
  run.limit = std::string(limit.name);
  run.pct_of_limit = 100 * limit.seconds / static_cast<double>(calls.size()) / run.seconds_per_call;
  const std::string shape =
      entry->op == ops::OpId::kPagedAttention
          ? fmt::format("{} heads, {} positions, {}", options.cols / 64, options.context,
                        options.kv_dtype)
      : entry->has_format
          ? fmt::format("[{}, {}] {}", options.rows, options.cols, bench.weights[0]->Describe())
          : fmt::format("[{}]", options.cols);
  run.kernel =
      fmt::format("{} {} x {} tokens, {}", op_name, shape, options.tokens, backend->Describe());
  return run;
}

}  // namespace rill
