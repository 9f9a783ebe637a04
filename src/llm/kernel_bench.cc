// RunKernelBench (rill/bench.h): one op of a backend, alone, on random weights.

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <optional>

#include "backends/registry.h"
#include "llm/kernel_bench_args.h"
#include "llm/measured_ceilings.h"
#include "llm/memory_error.h"
#include "ops/op_cost.h"
#include "quant/kv_format.h"
#include "quant/random_weights.h"
#include "rill/bench.h"

namespace rill {
namespace {

using Clock = std::chrono::steady_clock;

struct Entry {
  const char* name;
  ops::OpId op;
  Status (*make)(KernelBenchData& b, std::vector<KernelCall>& calls);

  bool Has(ops::ParamKind kind) const {
    for (const ops::OpParam& param : ops::SchemaOf(op).params) {
      if (param.kind == kind) return true;
    }
    return false;
  }
  bool has_format() const { return Has(ops::ParamKind::kWeight); }
  bool has_kv() const { return Has(ops::ParamKind::kKv); }
  bool is_product() const { return !ops::SchemaOf(op).macs.empty(); }
};
constexpr Entry kEntries[] = {
#define OP(file, Name) {#file, ops::OpId::k##Name, Make##Name##Calls},
#include "ops/op_list.def"
#undef OP
};

// int8 rows with one scale each and int8 activations, as `--weights w8a8` makes them.
constexpr std::string_view kW8A8 = "w8a8";
bool HasW8A8(const Entry& entry) {
  return entry.has_format() && entry.is_product();
}

Status CheckRange(const char* name, int64_t value, int64_t most) {
  if (value >= 1 && value <= most) return OkStatus();
  return InvalidArgument(fmt::format("{}: expected [1, {}], got {}", name, most, value));
}

}  // namespace

std::vector<std::string> KernelBenchNames() {
  std::vector<std::string> names;
  for (const Entry& entry : kEntries) {
    if (!entry.has_format()) {
      names.emplace_back(entry.name);
      continue;
    }
    for (int i = 0; i < kNumDTypes; ++i) {
      const auto dtype = static_cast<DType>(i);
      if (quant::CanFill(dtype)) {
        names.push_back(fmt::format("{}:{}", entry.name, DTypeName(dtype)));
      }
    }
    if (HasW8A8(entry)) names.push_back(fmt::format("{}:{}", entry.name, kW8A8));
  }
  return names;
}

namespace {
// The operator's own names where it is a known one, otherwise all operators.
std::string UnknownName(const std::string& name) {
  const std::string op = name.substr(0, name.find(':'));
  std::vector<std::string> all, own;
  for (const std::string& full : KernelBenchNames()) {
    const std::string full_op = full.substr(0, full.find(':'));
    if (full_op == op) own.push_back(full);
    if (all.empty() || all.back() != full_op) all.push_back(full_op);
  }
  return fmt::format("kernel '{}': expected one of {}{}", name,
                     fmt::join(own.empty() ? all : own, " "),
                     own.empty() ? "; --list shows their formats too" : "");
}
}  // namespace

Result<KernelBenchRun> RunKernelBench(const KernelBenchOptions& options) {
  const size_t colon = options.name.find(':');
  const std::string op_name = options.name.substr(0, colon);
  const std::string format = colon == std::string::npos ? "q4_0" : options.name.substr(colon + 1);
  const Entry* entry = nullptr;
  for (const Entry& e : kEntries) {
    if (op_name == e.name && (e.has_format() || colon == std::string::npos)) entry = &e;
  }
  const bool w8a8 = entry != nullptr && format == kW8A8 && HasW8A8(*entry);
  const auto dtype = w8a8 ? std::optional(DType::kBF16) : DTypeFromName(format);
  if (entry == nullptr || (entry->has_format() && (!dtype || !quant::CanFill(*dtype)))) {
    return InvalidArgument(UnknownName(options.name));
  }
  RILL_RETURN_IF_ERROR(CheckRange("tokens", options.tokens, 1 << 16));
  RILL_RETURN_IF_ERROR(CheckRange("rows", options.rows, 1 << 20));
  RILL_RETURN_IF_ERROR(CheckRange("cols", options.cols, 1 << 20));
  RILL_RETURN_IF_ERROR(CheckRange("context", options.context, 1 << 20));
  if (options.activations != "f32" && options.activations != "q8") {
    return InvalidArgument("activations: expected f32 or q8, got '" + options.activations + "'");
  }
  if (w8a8 && options.activations != "q8") {
    return InvalidArgument("activations: w8a8 has int8 ones, got '" + options.activations + "'");
  }
  // As a weight they would meet f32 activations.
  const bool has_inner_rows = entry->op == ops::OpId::kGatedFfn || entry->op == ops::OpId::kMoeFfn;
  if (w8a8 && (options.cols % 32 != 0 || (has_inner_rows && options.rows % 32 != 0))) {
    return InvalidArgument(fmt::format("{}: expected rows of a multiple of 32, got {} and {}",
                                       options.name, options.cols, options.rows));
  }
  const auto kv_format = quant::KvFormatFromName(options.kv_dtype);
  if (!kv_format) {  // of every operator: a wrong word is not less wrong where nothing reads it
    return InvalidArgument("kv_dtype: expected " + quant::KvFormatNames() + ", got '" +
                           options.kv_dtype + "'");
  }
  backends::BackendOptions backend_options;
  backend_options.num_threads = options.num_threads;
  backend_options.cpu_isa = options.cpu_isa;
  RILL_ASSIGN_OR_RETURN(auto backend, backends::MakeBackend(options.backend, backend_options));

  KernelBenchData bench{.options = options,
                        .backend = *backend,
                        .dtype = dtype.value_or(DType::kF32),
                        .kv_format = *kv_format,
                        .w8a8 = w8a8};
  RILL_RETURN_IF_ERROR(CheckRoom(
      4.0 * options.tokens * (2.0 * (entry->has_format() ? options.rows : 0) + 5.0 * options.cols),
      options.name + ": activations"));
  std::vector<KernelCall> calls;
  RILL_RETURN_IF_ERROR(entry->make(bench, calls));
  const ops::OpSchema& schema = ops::SchemaOf(entry->op);
  for (const KernelCall& call : calls) {
    RILL_RETURN_IF_ERROR(ops::CheckArgs(schema, call.args.get()));
  }

  KernelBenchRun run;
  run.cost = ops::CostOf(schema, calls.front().args.get());
  StepCost bound = run.cost;
  // What only moves rows is bound by moving them, wherever they lie.
  if (!entry->is_product()) bound.weight_bytes += bound.activation_bytes;
  run.limit_bytes = bound.memory_bytes();
  CeilingOptions ceiling_options;
  ceiling_options.working_sets = {run.limit_bytes * static_cast<double>(calls.size())};
  RILL_ASSIGN_OR_RETURN(run.ceilings, llm::MeasuredCeilings(*backend, ceiling_options));

  std::vector<double> times;
  double total = 0;
  for (size_t i = 0; total < options.seconds || times.size() < 3; ++i) {
    const auto start = Clock::now();
    ops::CallOp(backend->ops(), entry->op, calls[i % calls.size()].args.get(), backend->stream());
    RILL_RETURN_IF_ERROR(llm::MemoryError(backend->stream().Synchronize()));
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
  for (size_t i = 0; i < calls.size(); ++i) round += bound;
  const HardwareLimit limit = LimitOf(round, run.ceilings);
  run.limit = std::string(limit.name);
  run.pct_of_limit = 100 * limit.seconds / static_cast<double>(calls.size()) / run.seconds_per_call;
  const std::string shape =
      entry->has_kv() ? fmt::format("{} heads, {} positions, {}", bench.num_heads(),
                                    options.context, options.kv_dtype)
      : entry->has_format()
          ? fmt::format("[{}, {}] {}", options.rows, options.cols, bench.weights[0]->Describe())
          : fmt::format("[{}]", options.cols);
  run.kernel =
      fmt::format("{} {} x {} tokens, {}", op_name, shape, options.tokens, backend->Describe());
  return run;
}

}  // namespace rill
