// A tiny Llama with one AWQ or GPTQ matrix whose configuration, shapes, types and bytes come from
// the input: it is refused with an error that names a culprit, or it loads.
//   input: quantization_config (JSON) up to a newline, then per tensor (qweight, qzeros, scales,
//   g_idx) one byte of mischief, then the tensors' bytes, repeated as needed
#include <array>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>

#include "backends/cpu/cpu_backend.h"
#include "model/model.h"
#include "model/test_source.h"

namespace {

using rill::DType;
using rill::Shape;

Shape Spoiled(Shape shape, int how) {
  switch (how) {
    case 1: return Shape{shape.NumElements()};
    case 2: return shape.rank == 2 ? Shape{shape[1], shape[0]} : Shape{1, shape[0]};
    case 3: return shape.rank == 2 ? Shape{2 * shape[0], shape[1] / 2} : Shape{shape[0] / 2};
    case 4: return Shape{0, shape[0]};
    default: return shape;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const auto backend = [] {
    rill::backends::BackendOptions options;
    options.num_threads = 1;
    return rill::cpu::MakeCpuBackend(options);
  }();
  if (!backend.ok()) std::abort();
  const auto* newline =
      size > 0 ? static_cast<const uint8_t*>(std::memchr(data, '\n', size)) : nullptr;
  if (newline == nullptr) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data),
                              static_cast<size_t>(newline - data));
  size -= text.size() + 1;
  data = newline + 1;
  if (size < 5) return 0;
  const auto json = rill::Json::Parse(text, "fuzz", {.max_nodes = 1000});
  if (!json.ok()) return 0;

  rill::model::TestSource source;
  source.config().Set("quantization_config", *json);
  const std::string base = "model.layers.1.self_attn.o_proj.";
  source.Remove(base + "weight");
  const bool awq = text.find("awq") != std::string_view::npos;
  const std::array<std::string, 4> names = {base + "qweight", base + "qzeros", base + "scales",
                                            base + "g_idx"};
  const std::array<Shape, 4> shapes = {awq ? Shape{32, 4} : Shape{4, 32}, Shape{1, 4}, Shape{1, 32},
                                       Shape{32}};
  const std::array<DType, 4> dtypes = {DType::kI32, DType::kI32, DType::kF16, DType::kI32};
  for (size_t i = 0; i < names.size(); ++i) {
    const int how = data[i] % 32;
    if (how == 31) continue;  // absent
    source.AddTensor(names[i], shapes[i], dtypes[i]);
    const auto bytes = static_cast<size_t>(shapes[i].NumElements() * 4);
    auto* out = reinterpret_cast<uint8_t*>(source.Data(names[i]));
    for (size_t b = 0; b < bytes; ++b) out[b] = data[4 + (b + i) % (size - 4)];
    if (i == 3 && how < 16) std::memset(out, 0, bytes);
    source.Reshape(names[i], Spoiled(shapes[i], how % 8));
    if (how >= 24) source.Retype(names[i], how % 2 ? DType::kBF16 : DType::kF32);
  }
  const rill::io::ModelSource made = source.Make();
  rill::model::ModelOptions options;
  options.max_step_tokens = 2;
  const auto plan = rill::model::PlanModel(made, options);
  const auto model = rill::model::Model::Load(made, **backend, options);
  if (model.ok() && !plan.ok()) std::abort();
  if (!model.ok() && model.status().message().empty()) std::abort();
  return 0;
}
