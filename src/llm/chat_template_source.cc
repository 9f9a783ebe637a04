#include "llm/chat_template_source.h"

#include <filesystem>
#include <utility>

#include "base/json.h"
#include "base/utf8.h"
#include "io/safe_open.h"
#include "llm/chat_templates.h"

namespace rill::llm {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxTemplateBytes = 4u << 20;
constexpr size_t kMaxTokenizerConfigBytes = 64u << 20;
constexpr size_t kMaxTemplates = 64;
constexpr std::string_view kGgufKey = "tokenizer.chat_template";
constexpr std::string_view kFolder = "additional_chat_templates";
constexpr std::string_view kEnding = ".jinja";

Status NoTemplate(const io::ModelSource& source) {
  return NotFound(source.path + ": the model has no chat template");
}

Status TooMany(const std::string& where) {
  return ResourceExhausted(where + ": more than " + std::to_string(kMaxTemplates) +
                           " chat templates");
}

Status FromGguf(const io::ModelSource& source, ChatTemplateSource& out) {
  for (const auto& pair : source.gguf->pairs()) {
    if (!pair.key.starts_with(kGgufKey)) continue;
    std::string_view name = pair.key.substr(kGgufKey.size());
    if (name.empty()) {
      name = kDefaultTemplate;
    } else if (name.size() > 1 && name[0] == '.') {
      name.remove_prefix(1);
    } else {
      continue;  // tokenizer.chat_templates, the list of the names
    }
    RILL_ASSIGN_OR_RETURN(const auto text, source.gguf->GetString(pair.key));
    if (out.templates.size() == kMaxTemplates) return TooMany(source.path);
    if (text) out.templates[std::string(name)] = std::string(*text);
  }
  return OkStatus();
}

// chat_template of a JSON side file, which is a string or a list of named ones.
Status FromJsonMember(const Json& json, const std::string& culprit, ChatTemplateSource& out) {
  const Json* member = json.Find("chat_template");
  if (!member || member->is_null()) return OkStatus();
  if (member->is_string()) {
    out.templates[std::string(kDefaultTemplate)] = member->string_value();
    return OkStatus();
  }
  const auto wrong = [&](const std::string& got) {
    return InvalidArgument(culprit +
                           ": chat_template: expected a string or a list of {name, template}, "
                           "got " +
                           got);
  };
  if (!member->is_array()) return wrong(std::string(member->TypeName()));
  if (member->array().empty()) return wrong("an empty list");
  for (const Json& entry : member->array()) {
    const Json* name = entry.Find("name");
    const Json* text = entry.Find("template");
    if (!name || !text || !name->is_string() || !text->is_string()) {
      return wrong("a list whose entry lacks the string \"name\" or \"template\"");
    }
    if (out.templates.size() == kMaxTemplates) return TooMany(culprit);
    out.templates[name->string_value()] = text->string_value();  // the last one, as in a dict
  }
  return OkStatus();
}

// The folder that files of `folder` may lie in. Files of a snapshot in a Hugging Face hub cache
// (…/models--owner--name/snapshots/<revision>) are links to blobs/ of their repository.
fs::path Border(const std::string& folder, std::error_code& error) {
  const fs::path real = fs::canonical(folder, error);
  const fs::path snapshots = real.parent_path();
  const bool is_snapshot = snapshots.filename() == "snapshots" &&
                           snapshots.parent_path().filename().string().starts_with("models--");
  return is_snapshot ? snapshots.parent_path() : real;
}

Result<std::string> ReadAdditional(const io::ModelSource& source, const fs::path& path) {
  std::error_code error;
  const fs::path border = Border(source.folder, error);
  const fs::path real = fs::canonical(path, error);
  if (error || real.lexically_relative(border).string().starts_with("..")) {
    return InvalidArgument(PrintableUtf8(path.string()) +
                           ": expected a file in the model's folder, got a link that leads out");
  }
  RILL_ASSIGN_OR_RETURN(const io::OpenedFile file, io::OpenRegularFile(real.string()));
  return io::ReadAll(file, path.string(), kMaxTemplateBytes);
}

// chat_template.jinja and additional_chat_templates/*.jinja. Where one of them exists, the
// templates in JSON files count for nothing (transformers 5, from_pretrained).
Status FromJinjaFiles(const io::ModelSource& source, ChatTemplateSource& out) {
  auto plain = source.ReadSideFile("chat_template.jinja", kMaxTemplateBytes);
  if (plain.ok()) {
    out.templates[std::string(kDefaultTemplate)] = std::move(plain).value();
  } else if (plain.status().code() != StatusCode::kNotFound) {
    return plain.status();
  }
  const fs::path folder = fs::path(source.folder) / kFolder;
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    std::string name = it->path().filename().string();
    if (!name.ends_with(kEnding)) continue;
    name.resize(name.size() - kEnding.size());
    if (out.templates.size() == kMaxTemplates) return TooMany(folder.string());
    std::string& text = out.templates[name];
    if (name != kDefaultTemplate && name != kToolTemplate) continue;
    RILL_ASSIGN_OR_RETURN(text, ReadAdditional(source, it->path()));
  }
  return OkStatus();
}

// A side file that may be absent: null.
Result<Json> ReadJson(const io::ModelSource& source, const std::string& file) {
  auto text = source.ReadSideFile(file, kMaxTokenizerConfigBytes);
  if (text.ok()) return Json::Parse(*text, source.folder + "/" + file);
  if (text.status().code() == StatusCode::kNotFound) return Json();
  return text.status();
}

}  // namespace

Result<ChatTemplateSource> FindChatTemplates(const io::ModelSource& source) {
  ChatTemplateSource out;
  if (source.gguf) {
    RILL_RETURN_IF_ERROR(FromGguf(source, out));
    if (out.templates.empty()) return NoTemplate(source);
    return out;
  }
  RILL_RETURN_IF_ERROR(FromJinjaFiles(source, out));
  if (out.templates.empty()) {
    const std::string file = "chat_template.json";
    RILL_ASSIGN_OR_RETURN(const Json json, ReadJson(source, file));
    RILL_RETURN_IF_ERROR(FromJsonMember(json, source.folder + "/" + file, out));
  }
  const std::string file = "tokenizer_config.json";
  RILL_ASSIGN_OR_RETURN(const Json config, ReadJson(source, file));
  if (out.templates.empty()) {
    RILL_RETURN_IF_ERROR(FromJsonMember(config, source.folder + "/" + file, out));
  }
  if (out.templates.empty()) return NoTemplate(source);
  const auto is_null = [&config](std::string_view key) {
    const Json* value = config.Find(key);
    return value && value->is_null();
  };
  out.no_bos_token = is_null("bos_token");
  out.no_eos_token = is_null("eos_token");
  return out;
}

}  // namespace rill::llm
