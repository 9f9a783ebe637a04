// Llm::Inspect, DescribeOps, DescribeBuild: what `rill inspect`, `ops` and `--version` print.

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "backends/registry.h"
#include "base/cpu_features.h"
#include "base/thread_pool.h"
#include "io/check_tensors.h"
#include "llm/build_commit.h"
#include "llm/llm_impl.h"
#include "model/program.h"

namespace rill {
namespace {

Json TensorsByType(const io::TensorDirectory& tensors) {
  struct Sum {
    int64_t count = 0, elements = 0, bytes = 0;
  };
  std::map<std::string, Sum> by_type;
  for (const io::TensorEntry& entry : tensors.entries()) {
    Sum& sum = by_type[std::string(DTypeName(entry.view.dtype))];
    ++sum.count;
    sum.elements += entry.view.shape.NumElements();
    sum.bytes += entry.view.SizeBytes();
  }
  Json::Array rows;
  for (const auto& [type, sum] : by_type) {
    Json row;
    row.Set("type", type);
    row.Set("tensors", Json(sum.count));
    row.Set("weights", Json(sum.elements));
    row.Set("bytes", Json(sum.bytes));
    rows.push_back(std::move(row));
  }
  return rows;
}

Json AllTensors(const io::TensorDirectory& tensors) {
  Json::Array rows;
  for (const io::TensorEntry& entry : tensors.entries()) {
    Json row;
    row.Set("name", entry.name);
    row.Set("type", DTypeName(entry.view.dtype));
    row.Set("shape", entry.view.shape.ToString());
    rows.push_back(std::move(row));
  }
  return rows;
}

Json MetadataValue(const io::GgufValue& value) {
  constexpr size_t kMaxArray = 8;
  if (const auto* b = std::get_if<bool>(&value.value)) return *b;
  if (const auto* i = std::get_if<int64_t>(&value.value)) return *i;
  if (const auto* u = std::get_if<uint64_t>(&value.value)) return *u;
  if (const auto* d = std::get_if<double>(&value.value)) return *d;
  if (const auto* s = std::get_if<std::string_view>(&value.value)) return *s;
  const auto& array = std::get<io::GgufArray>(value.value);
  if (array.size() > kMaxArray) {
    return fmt::format("[{} x {}]", array.size(), io::GgufTypeName(array.element_type));
  }
  Json::Array out;
  std::visit(
      [&](const auto& values) {
        for (const auto& v : values) out.emplace_back(v);
      },
      array.values);
  return out;
}

Json Metadata(const io::ModelSource& source) {
  if (!source.gguf) return source.config;
  Json out = Json(Json::Object{});
  for (const auto& pair : source.gguf->pairs()) out.Set(pair.key, MetadataValue(pair.value));
  return out;
}

// The kernel that `backend` chose for an op on this machine; "none" when it has none.
std::string KernelName(const ops::Backend& backend, ops::OpId id) {
  if (!model::HasKernel(backend.ops(), id)) return "none";
  for (const ops::KernelInfo& info : backend.Kernels()) {
    if (info.op == ops::SchemaOf(id).name) return info.kernel;
  }
  return std::string(backend.name());
}

// How often each op and each packed form of a weight occurs in the program.
Json Kernels(const model::Program& program, const ops::Backend& backend) {
  std::map<std::string, int64_t> counts;
  for (const model::ProgramNode& node : program.nodes()) {
    std::string key(node.schema().name);
    for (const ops::OpParam& param : node.schema().params) {
      if (param.kind != ops::ParamKind::kWeight) continue;
      const auto* weight =
          *reinterpret_cast<const ops::PackedWeight* const*>(node.args.get() + param.offset);
      if (weight) key += "  " + weight->Describe();
    }
    key += "  (" + KernelName(backend, node.op) + ")";
    ++counts[key];
  }
  Json::Array rows;
  for (const auto& [kernel, count] : counts) {
    Json row;
    row.Set("calls", Json(count));
    row.Set("kernel", kernel);
    rows.push_back(std::move(row));
  }
  return rows;
}

// From shapes alone: what a load with these options would take.
Json PlannedMemory(const model::ModelPlan& plan, quant::KvFormat kv_dtype, int32_t page_size,
                   int32_t positions) {
  KvLayout layout = plan.kv_layout;
  layout.format = kv_dtype;
  layout.page_size = page_size;
  const int64_t kv_token_bytes = layout.page_bytes() / page_size;
  const int64_t kv_bytes = kv_token_bytes * positions;
  Json memory;
  memory.Set("context", positions);
  memory.Set("weights_bytes", Json(plan.weight_bytes));
  memory.Set("activations_bytes", Json(plan.activation_bytes));
  memory.Set("kv_cache_bytes", Json(kv_bytes));
  memory.Set("kv_bytes_per_token", Json(kv_token_bytes));
  memory.Set("total_bytes", Json(plan.weight_bytes + plan.activation_bytes + kv_bytes));
  Json::Array unused;
  for (const std::string& name : plan.unused_tensors) unused.emplace_back(name);
  memory.Set("unused_tensors", std::move(unused));
  return memory;
}

Json CheckWeights(const io::TensorDirectory& tensors, const OnProgress& on_progress) {
  const io::TensorReport report = io::CheckTensors(tensors, on_progress);
  Json check;
  check.Set("weights_looked_at", Json(report.num_elements));
  check.Set("nan_or_inf", report.defects.empty() ? "none" : report.Summary());
  check.Set("subnormal", Json(report.num_subnormal));
  return check;
}

}  // namespace

Json Llm::Inspect(int32_t context, const OnProgress& on_progress) const {
  const Impl& impl = *impl_;
  Json model;
  model.Set("path", impl.info.path);
  model.Set("format", impl.info.format);
  model.Set("family", impl.info.family);
  model.Set("name", impl.info.name);
  model.Set("parameters", Json(impl.info.num_parameters));
  model.Set("layers", impl.info.num_layers);
  model.Set("hidden_size", impl.info.hidden_size);
  model.Set("heads", impl.info.num_heads);
  model.Set("kv_heads", impl.info.num_kv_heads);
  model.Set("vocabulary", impl.info.vocab_size);
  model.Set("trained_context", impl.info.trained_context);
  model.Set("tokenizer", impl.tokenizer ? std::string(impl.tokenizer->kind())
                                        : "none: " + impl.tokenizer_status.message());
  model.Set("chat_template", impl.template_status.ok()
                                 ? std::string("yes")
                                 : (impl.chat_templates ? "only with tools: " : "none: ") +
                                       impl.template_status.message());

  Json out;
  out.Set("model", std::move(model));
  out.Set("tensors_by_type", TensorsByType(impl.source.tensors));
  if (impl.model) {
    const int32_t positions = context > 0 ? context : impl.info.max_context;
    const KvLayout layout = impl.model->MakeKvLayout(impl.kv_dtype, impl.options.page_size);
    const int64_t pages = (int64_t{positions} + layout.page_size - 1) / layout.page_size;
    const int64_t kv_bytes = pages * layout.page_bytes();
    const model::Model::MemoryUse use = impl.model->memory();
    Json memory;
    memory.Set("context", positions);
    memory.Set("weights_packed_bytes", Json(use.packed_bytes));
    memory.Set("weights_mapped_bytes", Json(use.mapped_bytes));
    memory.Set("activations_bytes", Json(use.activation_bytes));
    memory.Set("kv_cache_bytes", Json(kv_bytes));
    memory.Set("kv_bytes_per_token", Json(layout.page_bytes() / layout.page_size));
    memory.Set("total_bytes",
               Json(use.packed_bytes + use.mapped_bytes + use.activation_bytes + kv_bytes));
    out.Set("memory", std::move(memory));
    Json run;
    run.Set("backend", impl.info.backend);
    run.Set("activations", impl.options.activations);
    run.Set("weights", impl.options.weights);
    run.Set("kv_dtype", impl.options.kv_dtype);
    run.Set("page_size", impl.options.page_size);
    run.Set("ops_per_step", Json(static_cast<int64_t>(impl.model->program().nodes().size())));
    out.Set("run", std::move(run));
    out.Set("kernels", Kernels(impl.model->program(), *impl.backend));
    if (impl.release_source) {  // the bytes are gone: once more from the file
      const auto again = io::OpenModel(impl.info.path, {.use_mmap = impl.options.use_mmap});
      if (again.ok()) {
        out.Set("check", CheckWeights(again->tensors, on_progress));
      } else {
        Json check;
        check.Set("not_checked", again.status().message());
        out.Set("check", std::move(check));
      }
    } else {
      out.Set("check", CheckWeights(impl.source.tensors, on_progress));
    }
  } else if (impl.plan) {
    out.Set("memory", PlannedMemory(*impl.plan, impl.kv_dtype, impl.options.page_size,
                                    context > 0 ? context : impl.info.max_context));
  }
  out.Set("metadata", Metadata(impl.source));
  out.Set("tensors", AllTensors(impl.source.tensors));
  return out;
}

Json DescribeOps() {
  struct Entry {
    std::string name;
    std::unique_ptr<ops::Backend> backend;
  };
  std::vector<Entry> entries;
  Json::Array backends;
  for (const std::string& name : backends::BackendNames()) {
    auto made = backends::MakeBackend(name);
    Json row;
    row.Set("name", name);
    row.Set("description", made.ok() ? (*made)->Describe() : name + ": " + made.status().message());
    backends.push_back(std::move(row));
    if (made.ok()) entries.push_back({name, std::move(made).value()});
  }
  Json::Array ops_list;
  for (int i = 0; i < ops::kNumOps; ++i) {
    const auto id = static_cast<ops::OpId>(i);
    const ops::OpSchema& schema = ops::SchemaOf(id);
    Json kernels = Json(Json::Object{});
    for (const Entry& entry : entries) kernels.Set(entry.name, KernelName(*entry.backend, id));
    Json row;
    row.Set("name", schema.name);
    row.Set("version", schema.version);
    row.Set("summary", schema.summary);
    row.Set("kernels", std::move(kernels));
    ops_list.push_back(std::move(row));
  }
  Json out;
  out.Set("backends", std::move(backends));
  out.Set("ops", std::move(ops_list));
  return out;
}

Json DescribeBuild() {
  const CpuFeatures& cpu = GetCpuFeatures();
  Json::Array isa;
  auto add = [&](bool present, const char* name) {
    if (present) isa.emplace_back(name);
  };
  add(cpu.avx2, "avx2");
  add(cpu.avx_vnni, "avx_vnni");
  add(cpu.avx512, "avx512");
  add(cpu.avx512_vnni, "avx512_vnni");
  add(cpu.amx_int8, "amx");
  add(cpu.neon, "neon");
  add(cpu.neon_dotprod, "neon_dotprod");
  add(cpu.neon_i8mm, "i8mm");
  Json out;
  out.Set("version", RILL_VERSION);
  out.Set("commit", llm::BuildCommit());
#if defined(__clang__)
  out.Set("compiler", fmt::format("clang {}", __clang_version__));
#else
  out.Set("compiler", fmt::format("gcc {}", __VERSION__));
#endif
  out.Set("cpu", cpu.model_name);
  out.Set("isa", std::move(isa));
  out.Set("cpus", AvailableCpus());
  return out;
}

}  // namespace rill
