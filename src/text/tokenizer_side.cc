// What tokenizer_config.json, generation_config.json and config.json add to a tokenizer file.

#include "text/tokenizer_files.h"

namespace rill::text {
namespace {

// An id, or a list of ids.
void AppendIds(const Json* value, std::vector<int32_t>& out) {
  if (!value) return;
  const auto add = [&out](const Json& id) {
    if (id.FitsInt64() && id.int_value() >= 0 && id.int_value() < kMaxVocabSize) {
      out.push_back(static_cast<int32_t>(id.int_value()));
    }
  };
  if (value->is_array()) {
    for (const Json& id : value->array()) add(id);
  } else {
    add(*value);
  }
}

std::optional<int32_t> FindSideToken(const TokenizerSideFiles& side, std::string_view name_key,
                                     std::string_view id_key, const Vocab& vocab) {
  const std::string name = SideTokenName(side.tokenizer_config, name_key);
  if (!name.empty()) {
    const int32_t id = vocab.Find(name);
    if (id >= 0) return id;
  }
  for (const Json* json : {&side.generation_config, &side.config}) {
    std::vector<int32_t> ids;
    AppendIds(json->Find(id_key), ids);
    if (!ids.empty() && ids[0] < vocab.size()) return ids[0];
  }
  return std::nullopt;
}

Status Wrong(std::string_view file, std::string_view key, std::string_view expected,
             const Json& got) {
  return InvalidArgument(std::string(file) + ": " + std::string(key) + ": expected " +
                         std::string(expected) + ", got " + std::string(got.TypeName()));
}

}  // namespace

Status CheckSideFiles(const TokenizerSideFiles& side) {
  constexpr std::string_view kFile = "tokenizer_config.json";
  const Json& config = side.tokenizer_config;
  if (!config.is_null() && !config.is_object()) {
    return InvalidArgument(std::string(kFile) + ": expected an object, got " +
                           std::string(config.TypeName()));
  }
  for (const char* key : {"bos_token", "eos_token", "unk_token", "pad_token", "cls_token",
                          "sep_token", "mask_token"}) {
    const Json* value = config.Find(key);
    if (!value || value->is_null() || value->is_string()) continue;
    const Json* content = value->Find("content");
    if (!content || !content->is_string()) {
      return Wrong(kFile, key, "a string or an object with a string \"content\"", *value);
    }
  }
  for (const char* key : {"add_bos_token", "add_eos_token", "add_prefix_space"}) {
    const Json* value = config.Find(key);
    if (value && !value->is_null() && !value->is_bool()) {
      return Wrong(kFile, key, "true or false", *value);
    }
  }
  RILL_RETURN_IF_ERROR(ReadAddedTokensDecoder(config).status().WithPrefix(kFile));
  const std::pair<std::string_view, const Json*> files[] = {
      {"generation_config.json", &side.generation_config}, {"config.json", &side.config}};
  for (const auto& [file, json] : files) {
    if (!json->is_null() && !json->is_object()) {
      return InvalidArgument(std::string(file) + ": expected an object, got " +
                             std::string(json->TypeName()));
    }
    for (const char* key : {"bos_token_id", "eos_token_id"}) {
      const Json* value = json->Find(key);
      if (!value || value->is_null() || value->is_int()) continue;
      bool are_ids = value->is_array();
      for (size_t i = 0; are_ids && i < value->array().size(); ++i) {
        are_ids = value->array()[i].is_int();
      }
      if (!are_ids) return Wrong(file, key, "a token id or a list of token ids", *value);
    }
  }
  return OkStatus();
}

std::string SideTokenName(const Json& config, std::string_view key) {
  const Json* value = config.Find(key);
  if (value && value->is_object()) value = value->Find("content");
  return value && value->is_string() ? value->string_value() : std::string();
}

void ApplySideFiles(const TokenizerSideFiles& side, TokenizerParts& parts) {
  const Vocab& vocab = *parts.vocab;
  if (!parts.bos_id) parts.bos_id = FindSideToken(side, "bos_token", "bos_token_id", vocab);
  if (!parts.eos_id) parts.eos_id = FindSideToken(side, "eos_token", "eos_token_id", vocab);
  for (const Json* json : {&side.generation_config, &side.config}) {
    std::vector<int32_t> ids;
    AppendIds(json->Find("eos_token_id"), ids);
    // Embedding tables are often larger than the vocabulary: an id beyond it is never an end.
    for (const int32_t id : ids) {
      if (id < vocab.size()) parts.stop_ids.push_back(id);
    }
  }
}

}  // namespace rill::text
