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

}  // namespace

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
