#include "llm/text_source.h"

#include <filesystem>

#include "base/json.h"
#include "base/utf8.h"

namespace rill::llm {
namespace {

constexpr size_t kMaxConfigBytes = 8u << 20;

// A side file that may be absent: null.
Result<Json> ReadConfig(const io::ModelSource& source, const std::string& file) {
  auto text = source.ReadSideFile(file, kMaxConfigBytes);
  if (!text.ok()) {
    if (text.status().code() == StatusCode::kNotFound) return Json();
    return text.status();
  }
  const std::string culprit = PrintableUtf8(source.folder + "/" + file, 1000);
  RILL_ASSIGN_OR_RETURN(Json json, Json::Parse(*text, culprit));
  if (json.is_object()) return json;
  return InvalidArgument(culprit + ": expected an object, got " + std::string(json.TypeName()));
}

}  // namespace

Result<io::ModelSource> OpenTextFolder(const std::string& path) {
  std::error_code error;
  const auto nothing = NotFound(PrintableUtf8(path, 1000) + ": no tokenizer files");
  if (!std::filesystem::is_directory(path, error)) return nothing;
  io::ModelSource source;
  source.format = io::ModelFormat::kHuggingFace;
  source.path = path;
  while (source.path.size() > 1 && source.path.ends_with('/')) source.path.pop_back();
  source.folder = source.path;
  bool any = false;
  for (const char* file : {"config.json", "tokenizer_config.json", "tokenizer.json",
                           "tokenizer.model", "vocab.json", "vocab.txt"}) {
    any |= std::filesystem::exists(std::filesystem::path(path) / file, error);
  }
  if (!any) return nothing;
  RILL_ASSIGN_OR_RETURN(source.config, ReadConfig(source, "config.json"));
  RILL_ASSIGN_OR_RETURN(source.generation_config, ReadConfig(source, "generation_config.json"));
  return source;
}

}  // namespace rill::llm
