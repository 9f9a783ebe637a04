// RunKernelBench (rill/bench.h): one op of a backend, alone, on random weights.

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <deque>
#include <functional>
#include <numeric>
#include <optional>

#include "backends/registry.h"
#include "ops/op_cost.h"
#include "quant/encode_rows.h"
#include "quant/kv_format.h"
#include "quant/random_weights.h"
#include "quant/view_rows.h"
#include "rill/bench.h"

namespace rill {
namespace {

using Clock = std::chrono::steady_clock;

// Everything that a call's arguments point to.
struct Bench {
  const KernelBenchOptions& options;
  ops::Backend& backend;
  DType dtype = DType::kF32;  // of the weights; with w8a8 what they are made from
  bool w8a8 = false;
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
  // i32 values of `value(i)`.
  template <typename Value>
  TensorView Ids(Shape shape, Value value) {
    memory.emplace_back(static_cast<size_t>(shape.NumElements()) * sizeof(int32_t));
    auto* x = reinterpret_cast<int32_t*>(memory.back().data());
    for (int64_t i = 0; i < shape.NumElements(); ++i) x[i] = static_cast<int32_t>(value(i));
    return TensorView(x, DType::kI32, shape);
  }
  // Is there room for `bytes` of `what`? The kernel of the operating system promises more memory
  // than there is, so that asking it would end in a killed process.
  static Status CheckRoom(double bytes, const std::string& what) {
    const double machine =
        static_cast<double>(sysconf(_SC_PHYS_PAGES)) * static_cast<double>(sysconf(_SC_PAGESIZE));
    if (bytes <= machine / 2) return OkStatus();
    return ResourceExhausted(
        fmt::format("{}: {:.1f} GB, more than half of this machine's {:.1f} GB", what, bytes / 1e9,
                    machine / 1e9));
  }
  struct WeightShape {
    int64_t rows = 0, cols = 0;
    bool paired = false;
    int64_t num_experts = 1;
    bool is_table = false;
  };
  Status AddWeight(const WeightShape& shape) {
    const int64_t rows = shape.rows, cols = shape.cols, experts = shape.num_experts;
    ops::WeightSource source;
    source.name = fmt::format("bench {} [{}, {}]", DTypeName(dtype), rows, cols);
    source.paired = shape.paired;
    source.row_access = shape.is_table;
    source.matmul = !shape.is_table;
    source.activations = options.activations == "f32" && !w8a8 ? ops::ActivationMode::kF32
                                                               : ops::ActivationMode::kQ8;
    const auto row_bytes = RowBytes(dtype, cols);
    if (!row_bytes) {
      return InvalidArgument(source.name + ": rows are no whole blocks of this format");
    }
    memory.emplace_back(static_cast<size_t>(experts * rows * *row_bytes));
    RILL_RETURN_IF_ERROR(quant::FillRandom(dtype, experts * rows * cols,
                                           1.0f / std::sqrt(float(cols)), weights.size() + 1,
                                           memory.back().data()));
    const int64_t num_parts = shape.paired ? 2 : 1, part_rows = rows / num_parts;
    const std::byte* at = memory.back().data();
    for (int64_t i = 0; i < num_parts; ++i, at += experts * part_rows * *row_bytes) {
      const Shape part = experts > 1 ? Shape{experts, part_rows, cols} : Shape{part_rows, cols};
      source.parts.emplace_back(at, dtype, part);
      if (!w8a8) continue;
      RILL_ASSIGN_OR_RETURN(auto made,
                            quant::MakeW8Rows(quant::MakeViewRows({source.parts.back()}, false)));
      source.parts.back() = TensorView(static_cast<const void*>(nullptr), made->dtype(), part);
      source.readers.push_back(std::move(made));
    }
    RILL_ASSIGN_OR_RETURN(auto weight, backend.PackWeight(source));
    weights.push_back(std::move(weight));
    if (weights.back()->packed_bytes() > 0) memory.pop_back();
    return OkStatus();
  }
  // As many sets of these as asked for, or as 256 MiB hold; then each(first weight of a set).
  Status AddSets(const std::vector<WeightShape>& shapes, const std::function<void(size_t)>& each) {
    double bytes = 0;
    for (const WeightShape& shape : shapes) {
      bytes += static_cast<double>(shape.num_experts) * static_cast<double>(shape.rows) *
               static_cast<double>(RowBytes(dtype, shape.cols).value_or(shape.cols * 4));
    }
    double count = options.num_matrices;
    if (count == 0) count = std::clamp(std::floor(double{256 << 20} / bytes), 1.0, 4096.0);
    // The last one is there as random bytes and packed.
    RILL_RETURN_IF_ERROR(CheckRoom((count + 1) * bytes, fmt::format("{}: weights", options.name)));
    for (int64_t i = 0; i < static_cast<int64_t>(count); ++i) {
      const size_t first = weights.size();
      for (const WeightShape& shape : shapes) RILL_RETURN_IF_ERROR(AddWeight(shape));
      each(first);
    }
    return OkStatus();
  }
  // Each of `tokens` queries is a sequence of its own with `context` positions, as in a decode.
  // Heads of 64; cols / 64 query heads, a quarter of them KV heads.
  static constexpr int32_t kHead = 64;
  int32_t num_heads() const { return std::max(1, options.cols / kHead); }
  Status AddKv() {
    const KernelBenchOptions& o = options;
    const int32_t heads = num_heads();
    const auto format = quant::KvFormatFromName(o.kv_dtype);
    if (!format) {
      return InvalidArgument("kv_dtype: expected " + quant::KvFormatNames() + ", got '" +
                             o.kv_dtype + "'");
    }
    kv.layout.format = *format;
    kv.layout.num_layers = 1;
    kv.layout.num_kv_heads = heads % 4 == 0 ? heads / 4 : heads;
    kv.layout.k_dim = kv.layout.v_dim = kHead;
    const int64_t pages = (o.context + kv.layout.page_size - 1) / kv.layout.page_size;
    RILL_RETURN_IF_ERROR(CheckRoom(
        static_cast<double>(pages) * o.tokens * static_cast<double>(kv.layout.page_bytes()),
        options.name + ": keys and values"));
    RILL_ASSIGN_OR_RETURN(auto buffer, backend.Allocate(pages * o.tokens * kv.layout.page_bytes()));
    std::fill_n(reinterpret_cast<uint8_t*>(buffer->data()), buffer->size_bytes(), uint8_t{0x2C});
    kv.base = buffer->data();
    buffers.push_back(std::move(buffer));
    kv.num_pages = static_cast<int32_t>(pages * o.tokens);
    kv.num_seqs = o.tokens;
    kv.max_pages = static_cast<int32_t>(pages);
    page_table.resize(static_cast<size_t>(kv.num_pages));
    std::iota(page_table.begin(), page_table.end(), 0);
    q_offsets.resize(static_cast<size_t>(o.tokens) + 1);
    std::iota(q_offsets.begin(), q_offsets.end(), 0);
    kv_lens.assign(static_cast<size_t>(o.tokens), o.context);
    kv.page_table = page_table.data();
    kv.q_offsets = q_offsets.data();
    kv.kv_lens = kv_lens.data();
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

// One weight of `rows` output features, twice as many in a paired one.
template <typename Args>
Status MakeProduct(Bench& b, Args args, bool paired, std::vector<Call>& calls) {
  const KernelBenchOptions& o = b.options;
  args.x = b.Tensor({o.tokens, o.cols});
  args.y = b.Tensor({o.tokens, o.rows});
  return b.AddSets({{.rows = paired ? 2 * o.rows : o.rows, .cols = o.cols, .paired = paired}},
                   [&](size_t i) {
                     args.w = b.weights[i].get();
                     calls.push_back(Call::Of(args));
                   });
}

Status MakeLinear(Bench& b, std::vector<Call>& calls) {
  return MakeProduct(b, ops::LinearArgs{}, false, calls);
}

Status MakeLinearGlu(Bench& b, std::vector<Call>& calls) {
  return MakeProduct(b, ops::LinearGluArgs{}, true, calls);
}

Status MakeNormLinear(Bench& b, std::vector<Call>& calls) {
  ops::NormLinearArgs args;
  args.norm_weight = b.Tensor({b.options.cols});
  return MakeProduct(b, args, false, calls);
}

// `rows` is the intermediate size; half of the matrices are gate and up, half down.
Status MakeGatedFfn(Bench& b, std::vector<Call>& calls) {
  const KernelBenchOptions& o = b.options;
  ops::GatedFfnArgs args;
  args.x = b.Tensor({o.tokens, o.cols});
  args.norm_weight = b.Tensor({o.cols});
  args.norm = ops::InputNorm::kRms;
  args.y = b.Tensor({o.tokens, o.cols});
  return b.AddSets(
      {{.rows = 2 * o.rows, .cols = o.cols, .paired = true}, {.rows = o.cols, .cols = o.rows}},
      [&](size_t i) {
        args.gate_up = b.weights[i].get();
        args.down = b.weights[i + 1].get();
        calls.push_back(Call::Of(args));
      });
}

// Eight experts, two for a token in turn; `rows` is the intermediate size.
Status MakeMoeFfn(Bench& b, std::vector<Call>& calls) {
  const KernelBenchOptions& o = b.options;
  constexpr int64_t kExperts = 8, kTop = 2;
  ops::MoeFfnArgs args;
  args.x = b.Tensor({o.tokens, o.cols});
  args.expert_ids = b.Ids({o.tokens, kTop}, [](int64_t i) { return i % kExperts; });
  args.expert_weights = b.Tensor({o.tokens, kTop});
  args.y = b.Tensor({o.tokens, o.cols});
  return b.AddSets({{.rows = 2 * o.rows, .cols = o.cols, .paired = true, .num_experts = kExperts},
                    {.rows = o.cols, .cols = o.rows, .num_experts = kExperts}},
                   [&](size_t i) {
                     args.gate_up = b.weights[i].get();
                     args.down = b.weights[i + 1].get();
                     calls.push_back(Call::Of(args));
                   });
}

// `rows` is the size of the vocabulary.
Status MakeEmbedding(Bench& b, std::vector<Call>& calls) {
  const KernelBenchOptions& o = b.options;
  ops::EmbeddingArgs args;
  args.token_ids = b.Ids({o.tokens}, [&](int64_t i) { return i * 7919 % o.rows; });
  args.y = b.Tensor({o.tokens, o.cols});
  return b.AddSets({{.rows = o.rows, .cols = o.cols, .is_table = true}}, [&](size_t i) {
    args.table = b.weights[i].get();
    calls.push_back(Call::Of(args));
  });
}

Status MakeRmsNorm(Bench& b, std::vector<Call>& calls) {
  ops::RmsNormArgs args;
  args.x = b.Tensor({b.options.tokens, 1, b.options.cols});
  args.weight = b.Tensor({b.options.cols});
  args.y = b.Tensor({b.options.tokens, 1, b.options.cols});
  calls.push_back(Call::Of(args));
  return OkStatus();
}

Status MakeSkipRmsNorm(Bench& b, std::vector<Call>& calls) {
  const KernelBenchOptions& o = b.options;
  ops::SkipRmsNormArgs args;
  args.x = b.Tensor({o.tokens, o.cols});
  args.skip = b.Tensor({o.tokens, o.cols});
  args.weight = b.Tensor({o.cols});
  args.h = b.Tensor({o.tokens, o.cols});
  args.y = b.Tensor({o.tokens, o.cols});
  calls.push_back(Call::Of(args));
  return OkStatus();
}

Status MakeGlu(Bench& b, std::vector<Call>& calls) {
  const KernelBenchOptions& o = b.options;
  ops::GluArgs args;
  args.gate = b.Tensor({o.tokens, o.cols});
  args.up = b.Tensor({o.tokens, o.cols});
  args.y = b.Tensor({o.tokens, o.cols});
  calls.push_back(Call::Of(args));
  return OkStatus();
}

Status MakeAttention(Bench& b, std::vector<Call>& calls) {
  RILL_RETURN_IF_ERROR(b.AddKv());
  ops::PagedAttentionArgs args;
  args.q = b.Tensor({b.options.tokens, b.num_heads(), Bench::kHead});
  args.y = b.Tensor({b.options.tokens, b.num_heads(), Bench::kHead});
  args.kv = &b.kv;
  args.score_scale = 0.125f;
  calls.push_back(Call::Of(args));
  return OkStatus();
}

Status MakeRopeKvAppend(Bench& b, std::vector<Call>& calls) {
  RILL_RETURN_IF_ERROR(b.AddKv());
  const int64_t tokens = b.options.tokens, kv_heads = b.kv.layout.num_kv_heads;
  ops::RopeKvAppendArgs args;
  args.q = b.Tensor({tokens, b.num_heads(), Bench::kHead});
  args.k = b.Tensor({tokens, kv_heads, Bench::kHead});
  args.v = b.Tensor({tokens, kv_heads, Bench::kHead});
  // Turns of any angle: what is turned over and over keeps its length.
  const MutableTensorView cos_sin = b.Tensor({tokens, Bench::kHead});
  auto* x = reinterpret_cast<float*>(cos_sin.data);
  for (int64_t i = 0; i < tokens * Bench::kHead / 2; ++i) {
    *x++ = std::cos(static_cast<float>(i % 97));
    *x++ = std::sin(static_cast<float>(i % 97));
  }
  args.cos_sin = cos_sin;
  args.kv = &b.kv;
  calls.push_back(Call::Of(args));
  return OkStatus();
}

struct Entry {
  const char* name;
  ops::OpId op;
  bool has_format;
  MakeCalls make;
  bool has_kv = false;
};
constexpr Entry kEntries[] = {
    {"embedding", ops::OpId::kEmbedding, true, MakeEmbedding},
    {"gated_ffn", ops::OpId::kGatedFfn, true, MakeGatedFfn},
    {"glu", ops::OpId::kGlu, false, MakeGlu},
    {"linear", ops::OpId::kLinear, true, MakeLinear},
    {"linear_glu", ops::OpId::kLinearGlu, true, MakeLinearGlu},
    {"moe_ffn", ops::OpId::kMoeFfn, true, MakeMoeFfn},
    {"norm_linear", ops::OpId::kNormLinear, true, MakeNormLinear},
    {"paged_attention", ops::OpId::kPagedAttention, false, MakeAttention, true},
    {"rms_norm", ops::OpId::kRmsNorm, false, MakeRmsNorm},
    {"rope_kv_append", ops::OpId::kRopeKvAppend, false, MakeRopeKvAppend, true},
    {"skip_rms_norm", ops::OpId::kSkipRmsNorm, false, MakeSkipRmsNorm},
};

// int8 rows with one scale each and int8 activations, as `--weights w8a8` makes them.
constexpr std::string_view kW8A8 = "w8a8";
bool HasW8A8(const Entry& entry) {
  return entry.has_format && entry.op != ops::OpId::kEmbedding && entry.op != ops::OpId::kMoeFfn;
}

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
    if (HasW8A8(entry)) names.push_back(fmt::format("{}:{}", entry.name, kW8A8));
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
  const bool w8a8 = entry != nullptr && format == kW8A8 && HasW8A8(*entry);
  const auto dtype = w8a8 ? std::optional(DType::kBF16) : DTypeFromName(format);
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

  Bench bench{
      .options = options, .backend = *backend, .dtype = dtype.value_or(DType::kF32), .w8a8 = w8a8};
  RILL_RETURN_IF_ERROR(Bench::CheckRoom(
      4.0 * options.tokens * (2.0 * (entry->has_format ? options.rows : 0) + 5.0 * options.cols),
      options.name + ": activations"));
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
      entry->has_kv ? fmt::format("{} heads, {} positions, {}", options.cols / 64, options.context,
                                  options.kv_dtype)
      : entry->has_format
          ? fmt::format("[{}, {}] {}", options.rows, options.cols, bench.weights[0]->Describe())
          : fmt::format("[{}]", options.cols);
  run.kernel =
      fmt::format("{} {} x {} tokens, {}", op_name, shape, options.tokens, backend->Describe());
  return run;
}

}  // namespace rill
