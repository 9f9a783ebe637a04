#include "server/openai/chat_request.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/utf8.h"

namespace rill::server::openai {
namespace {

constexpr size_t kMaxNameBytes = 256;
constexpr size_t kMaxTemplateArguments = 32;
constexpr size_t kMaxArgumentBytes = 4096;
constexpr size_t kMaxContentParts = 65536;

constexpr std::array<std::string_view, 7> kRoles = {
    "developer", "system", "user", "assistant", "tool", "function", "observation"};

// Variables that only the server sets.
constexpr std::array<std::string_view, 11> kReservedVariables = {
    "messages",  "tools",         "documents",      "add_generation_prompt",
    "bos_token", "eos_token",     "extra",          "continue_final_message",
    "tokenize",  "chat_template", "raise_exception"};

// "messages[3].content" and the like.
std::string MessageParam(size_t index, std::string_view field) {
  return fmt::format("messages[{}].{}", index, field);
}

void Invalid(FieldReader& reader, const std::string& param, std::string_view message) {
  reader.Fail(InvalidValue(param, fmt::format("Invalid value for '{}': {}", param, message)));
}

// What NormaliseMessages takes; {} is the most messages. Further members go to the template.
constexpr std::string_view kMessagesSchema = R"({{"type":"array","minItems":1,"maxItems":{},
"items":{{"type":"object","required":["role"],"properties":{{
 "role":{{"enum":["developer","system","user","assistant","tool","function","observation"]}},
 "content":{{"anyOf":[{{"type":["string","null"]}},
  {{"type":"array","items":{{"anyOf":[{{"type":"string"}},
   {{"type":"object","required":["type","text"],
    "properties":{{"type":{{"enum":["text","input_text","output_text"]}},"text":{{"type":"string"}}}}}},
   {{"type":"object","required":["type","refusal"],
    "properties":{{"type":{{"const":"refusal"}},"refusal":{{"type":"string"}}}}}}]}}}}]}},
 "name":{{"type":["string","null"]}},"tool_call_id":{{"type":["string","null"]}},
 "tool_calls":{{"type":["array","null"],"maxItems":128,"items":{{"type":"object",
  "required":["function"],"properties":{{"function":{{"type":"object","required":["name"],
   "properties":{{"name":{{"type":"string"}}}}}}}}}}}}}}}}}})";

// A string, or an array of {"type": "text", "text": …} (strings alone too).
bool ReadContent(FieldReader& reader, size_t index, const Json& content, Json& out) {
  const std::string param = MessageParam(index, "content");
  if (content.is_string()) {
    out = content;
    return true;
  }
  if (!content.is_array()) {
    reader.FailType(param, "a string or an array of content parts", content);
    return false;
  }
  if (content.array().size() > kMaxContentParts) {
    Invalid(reader, param, fmt::format("at most {} content parts.", kMaxContentParts));
    return false;
  }
  std::string joined;
  bool is_first = true;
  for (const Json& part : content.array()) {
    const Json* text = nullptr;
    if (part.is_string()) {
      text = &part;
    } else if (part.is_object()) {
      const Json* type = part.Find("type");
      const std::string name = type && type->is_string() ? type->string_value() : "";
      if (name == "text" || name == "input_text" || name == "output_text") {
        text = part.Find("text");
      } else if (name == "refusal") {
        text = part.Find("refusal");
      } else if (name == "image_url" || name == "input_audio" || name == "file" ||
                 name == "video_url" || name == "audio_url" || name == "input_image") {
        reader.Fail(UnsupportedParameter(
            param, fmt::format("Unsupported parameter: '{}': content parts of type '{}' are not "
                               "supported; this server takes text.",
                               param, name)));
        return false;
      } else {
        Invalid(reader, param, "expected content parts with \"type\": \"text\".");
        return false;
      }
    }
    if (!text || !text->is_string()) {
      Invalid(reader, param, "a content part without its text.");
      return false;
    }
    if (!is_first) joined += '\n';
    is_first = false;
    joined += text->string_value();
  }
  out = Json(std::move(joined));
  return true;
}

// Values and object members, as Json::Parse counts them. The depth is that of a parsed text.
int64_t CountNodes(const Json& json) {
  int64_t count = 1;
  if (json.is_object()) {
    for (const auto& [key, value] : json.object()) count += 1 + CountNodes(value);
  } else if (json.is_array()) {
    for (const Json& value : json.array()) count += CountNodes(value);
  }
  return count;
}

// What the JSON texts inside a request may still have of its values and members.
class NodeBudget {
 public:
  // `messages` are what is large of a request.
  NodeBudget(const Json& messages, int64_t limit) : messages_(messages), limit_(limit) {}

  // The object in `text`; null when it is another or no JSON. False when the budget is over.
  bool Parse(std::string_view text, Json& out) {
    if (left_ < 0) left_ = std::max<int64_t>(0, limit_ - CountNodes(messages_));
    auto parsed = Json::Parse(text, "arguments", {.max_nodes = static_cast<size_t>(left_)});
    if (!parsed.ok()) return parsed.status().code() != StatusCode::kResourceExhausted;
    left_ -= CountNodes(*parsed);
    if (parsed->is_object()) out = std::move(*parsed);
    return true;
  }
  int64_t limit() const { return limit_; }

 private:
  const Json& messages_;
  const int64_t limit_;
  int64_t left_ = -1;  // not counted yet
};

// Templates iterate over arguments; the API carries them as a JSON text.
bool ReadToolCalls(FieldReader& reader, size_t index, const Json& calls, NodeBudget& nodes,
                   Json& out) {
  const std::string param = MessageParam(index, "tool_calls");
  if (!calls.is_array()) {
    reader.FailType(param, "an array", calls);
    return false;
  }
  if (calls.array().size() > 128) {
    Invalid(reader, param, "at most 128 tool calls.");
    return false;
  }
  Json::Array converted;
  for (const Json& call : calls.array()) {
    const Json* function = call.is_object() ? call.Find("function") : nullptr;
    const Json* name = function && function->is_object() ? function->Find("name") : nullptr;
    if (!name || !name->is_string()) {
      Invalid(reader, param, "expected {\"type\": \"function\", \"function\": {\"name\": …}}.");
      return false;
    }
    Json copy = call;
    Json inner = *function;
    if (const Json* arguments = function->Find("arguments"); arguments && arguments->is_string()) {
      const std::string& text = arguments->string_value();
      Json parsed;
      if (!nodes.Parse(text.empty() ? std::string_view("{}") : std::string_view(text), parsed)) {
        reader.Fail(BadRequest(
            "invalid_json", param,
            fmt::format("more than {} values in this request and the arguments of its tool calls.",
                        nodes.limit())));
        return false;
      }
      // Not an object: the template gets the text as it is.
      if (!parsed.is_null()) inner.Set("arguments", std::move(parsed));
    }
    copy.Set("function", std::move(inner));
    converted.push_back(std::move(copy));
  }
  out = Json(std::move(converted));
  return true;
}

}  // namespace

bool NormaliseMessages(FieldReader& reader, const ParseLimits& limits, Json& out, bool required) {
  reader.Describe(
      "messages", [&] { return fmt::format(kMessagesSchema, limits.max_messages); }, required);
  const Json* messages = reader.Find("messages");
  if (!reader.ok()) return false;
  if (!messages) {
    reader.Fail(BadRequest("missing_required_parameter", "messages",
                           "Missing required parameter: 'messages'."));
    return false;
  }
  if (!messages->is_array()) {
    reader.FailType("messages", "an array of objects", *messages);
    return false;
  }
  const Json::Array& array = messages->array();
  if (array.empty() || array.size() > static_cast<size_t>(limits.max_messages)) {
    reader.FailValue("messages", fmt::format("expected 1 to {} messages, got {}.",
                                             limits.max_messages, array.size()));
    return false;
  }
  Json::Array result;
  result.reserve(array.size());
  NodeBudget nodes(*messages, limits.json_nodes);
  for (size_t i = 0; i < array.size(); ++i) {
    const Json& message = array[i];
    if (!message.is_object()) {
      reader.FailType(fmt::format("messages[{}]", i), "an object", message);
      return false;
    }
    const Json* role = message.Find("role");
    if (!role || !role->is_string() ||
        std::find(kRoles.begin(), kRoles.end(), role->string_value()) == kRoles.end()) {
      Invalid(reader, MessageParam(i, "role"),
              "expected one of 'developer', 'system', 'user', 'assistant', 'tool'.");
      return false;
    }
    const std::string& role_name = role->string_value();
    // A request has each key once: appended without a look for another, which would make the time
    // quadratic in the members.
    Json::Object copy;
    copy.reserve(message.object().size() + 1);
    copy.emplace_back("role", role_name == "developer" ? Json("system") : *role);
    size_t content_at = 0;  // 0: not there
    bool has_content = false, has_calls = false;
    for (const auto& [key, value] : message.object()) {
      if (key == "role") continue;
      Json converted;
      if (key == "content" && !value.is_null()) {
        if (!ReadContent(reader, i, value, converted)) return false;
        has_content = true;
      } else if (key == "tool_calls" && !value.is_null()) {
        if (!ReadToolCalls(reader, i, value, nodes, converted)) return false;
        has_calls = !converted.array().empty();
        if (!has_calls) continue;  // templates test for the key
      } else if (key == "name" || key == "tool_call_id") {
        if (!value.is_null() &&
            (!value.is_string() || value.string_value().size() > kMaxNameBytes)) {
          Invalid(reader, MessageParam(i, key),
                  fmt::format("expected a string of at most {} bytes.", kMaxNameBytes));
          return false;
        }
        if (value.is_null()) continue;
        converted = value;
      } else if (key != "content") {
        if (value.is_null()) continue;
        converted = value;
      }
      if (key == "content") content_at = copy.size();
      copy.emplace_back(key, std::move(converted));
    }
    const bool may_be_empty = role_name == "assistant" || has_calls;
    if (!has_content && !may_be_empty) {
      Invalid(reader, MessageParam(i, "content"), "expected a string or content parts, got null.");
      return false;
    }
    if (content_at == 0) {
      content_at = copy.size();
      copy.emplace_back("content", Json());
    }
    if (!has_content && !has_calls) copy[content_at].second = "";
    result.emplace_back(std::move(copy));
  }
  out = Json(std::move(result));
  return true;
}

void ReadTemplateFields(FieldReader& reader, const ParseLimits& limits, ChatInput& chat,
                        bool& continue_final_message) {
  reader.RefuseUnless("chat_template",
                      "templates in requests are not accepted: the model's own is used.");
  const bool said = reader.Bool("add_generation_prompt", chat.add_generation_prompt);
  reader.Bool("continue_final_message", continue_final_message);
  if (continue_final_message) {
    if (said && chat.add_generation_prompt) {
      reader.FailValue("continue_final_message",
                       "cannot be true together with 'add_generation_prompt'.");
    }
    chat.add_generation_prompt = false;
  }
  reader.Describe("documents", R"({"type":"array"})");
  if (const Json* documents = reader.Find("documents")) {
    if (!documents->is_array()) {
      reader.FailType("documents", "an array of objects", *documents);
    } else {
      chat.documents = *documents;
    }
  }
  reader.Describe("chat_template_kwargs", [&] {
    return fmt::format(R"({{"type":"object","maxProperties":{},"additionalProperties":)"
                       R"({{"type":["string","number","boolean","null"]}}}})",
                       kMaxTemplateArguments);
  });
  const Json* kwargs = reader.Find("chat_template_kwargs");
  if (!kwargs) return;
  if (!kwargs->is_object()) return reader.FailType("chat_template_kwargs", "an object", *kwargs);
  if (kwargs->object().size() > kMaxTemplateArguments) {
    return reader.FailValue(
        "chat_template_kwargs",
        fmt::format("at most {} entries, got {}.", kMaxTemplateArguments, kwargs->object().size()));
  }
  for (const auto& [key, value] : kwargs->object()) {
    const std::string param = "chat_template_kwargs." + PrintableUtf8(key, 64);
    if (std::find(kReservedVariables.begin(), kReservedVariables.end(), key) !=
        kReservedVariables.end()) {
      return Invalid(reader, param, "this variable cannot be set by a request.");
    }
    if (value.is_array() || value.is_object()) {
      return reader.FailType(param, "a string, number, boolean or null", value);
    }
    if (value.is_string() && value.string_value().size() > kMaxArgumentBytes) {
      return Invalid(reader, param, fmt::format("at most {} bytes.", kMaxArgumentBytes));
    }
    // One that the template never reads changes nothing; clients send the same ones to all models.
    if (std::binary_search(limits.template_variables.begin(), limits.template_variables.end(),
                           key)) {
      chat.untrusted_extra.Set(key, value);
    }
  }
}

std::vector<std::string> TemplateWords(std::string_view source) {
  std::vector<std::string> words;
  std::string word;
  auto is_word = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
  };
  for (size_t i = 0; i <= source.size(); ++i) {
    if (i < source.size() && is_word(source[i])) {
      word += source[i];
      continue;
    }
    if (!word.empty() && word.size() <= 64) words.push_back(word);
    word.clear();
  }
  std::sort(words.begin(), words.end());
  words.erase(std::unique(words.begin(), words.end()), words.end());
  return words;
}

std::optional<ApiError> ParseChatRequest(const Json& body, const ParseLimits& limits,
                                         ChatRequest& out) {
  FieldReader reader(body);
  ReadChatRequest(reader, limits, out);
  return reader.error();
}

void ReadChatRequest(FieldReader& reader, const ParseLimits& limits, ChatRequest& out) {
  out.params.sampling.max_tokens = -1;  // all that fits, unless the request says
  ReadGenerationParams(reader, limits, out.params);
  NormaliseMessages(reader, limits, out.chat.messages);
  ReadTemplateFields(reader, limits, out.chat, out.continue_final_message);
  reader.Bool("add_special_tokens", out.add_special);

  reader.Bool("logprobs", out.logprobs);
  int32_t top = 0;
  if (reader.Int("top_logprobs", 0, limits.max_top_logprobs, top) && top > 0 && !out.logprobs) {
    reader.FailValue("top_logprobs", "only allowed when 'logprobs' is true.");
  }
  if (out.logprobs) out.params.sampling.logprobs = top;
  if (out.params.has_max_tokens && out.params.sampling.max_tokens < 1) {
    reader.FailValue(reader.Has("max_completion_tokens") ? "max_completion_tokens" : "max_tokens",
                     "expected 1 or more, got 0.");
  }

  reader.RefuseOutside("best_of", "not supported for chat; use /v1/completions.", out.params.n,
                       out.params.n);
  reader.RefuseUnless("echo", "not supported for chat; use /v1/completions.", "false");
  reader.RefuseUnless("suffix", "filling in the middle is not supported.", "\"\"");
}

}  // namespace rill::server::openai
