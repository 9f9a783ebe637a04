// Any bytes as a model's configuration: config.json of a folder, or the metadata of a GGUF file,
// beside the tensors of a tiny Llama. Every family's reader, the checks of sizes, the RoPE tables
// and the memory plan run on it; what is refused has a message, what is planned also loads.
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "io/gguf.h"
#include "model/family.h"
#include "model/model.h"
#include "model/test_source.h"

namespace {

void Read(const rill::io::ModelSource& source) {
  const auto described = rill::model::Describe(source, 0);
  if (!described.ok()) {
    if (described.status().message().empty()) std::abort();
    return;
  }
  const rill::model::DecoderSpec& spec = described->spec;
  for (const rill::model::RopeSpec& rope : spec.ropes) {
    for (const float f : rope.inv_freq) {
      if (!std::isfinite(f)) std::abort();
    }
  }
  rill::model::ModelOptions options;
  options.max_step_tokens = 2;
  const auto plan = rill::model::PlanModel(source, options);
  if (!plan.ok() && plan.status().message().empty()) std::abort();
  // The tiny Llama's tensors bound what can be planned, so loading is cheap.
  const auto backend = rill::ops::MakeReferenceBackend();
  const auto model = rill::model::Model::Load(source, *backend, options);
  if (model.ok() && !plan.ok()) std::abort();
  if (!model.ok() && model.status().message().empty()) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const rill::model::TestSource tiny;
  rill::io::ModelSource source = tiny.Make();
  if (size >= 4 && std::string_view(reinterpret_cast<const char*>(data), 4) == "GGUF") {
    auto file = rill::io::ParseGguf({reinterpret_cast<const std::byte*>(data), size}, "fuzz");
    if (!file.ok()) return 0;
    source.format = rill::io::ModelFormat::kGguf;
    source.config = {};
    source.gguf = std::make_shared<const rill::io::GgufMetadata>(std::move(file->metadata));
    Read(source);
    return 0;
  }
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  auto json = rill::Json::Parse(text, "fuzz", {.max_nodes = 1000});
  if (!json.ok()) return 0;
  source.config = std::move(*json);
  Read(source);
  return 0;
}
