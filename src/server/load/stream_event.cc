#include "server/load/stream_event.h"

#include "base/utf8.h"

namespace rill::server {
namespace {

// More than any request can have; sums over all requests stay in 64 bits.
constexpr int64_t kMaxTokens = int64_t{1} << 40;

Result<int64_t> ReadCount(const Json& usage, std::string_view key) {
  RILL_ASSIGN_OR_RETURN(const int64_t count, usage.GetInt(key, -1));
  if (count < -1 || count > kMaxTokens) {
    return InvalidArgument(std::string(key) + ": " + std::to_string(count) + " is no token count");
  }
  return count;
}

Status ReadUsage(const Json& usage, StreamEvent& event) {
  RILL_ASSIGN_OR_RETURN(event.output_tokens, ReadCount(usage, "completion_tokens"));
  RILL_ASSIGN_OR_RETURN(event.prompt_tokens, ReadCount(usage, "prompt_tokens"));
  return OkStatus();
}

// What is wrong with the choices, or "". There may be none.
std::string ReadChoices(const Json* choices, StreamEvent& event) {
  if (!choices || choices->is_null()) return "";
  if (!choices->is_array()) return "choices: not an array";
  if (choices->array().empty()) return "";
  const Json& choice = choices->array()[0];
  if (!choice.is_object()) return "choices[0]: not an object";
  const Json* piece = choice.Find("text");
  const Json* finish = choice.Find("finish_reason");
  bool is_bare = !finish || finish->is_null();  // nothing but a piece of text
  if (const Json* delta = choice.Find("delta"); delta && !delta->is_null()) {
    if (!delta->is_object()) return "delta: not an object";
    piece = delta->Find("content");
    if (!piece || piece->is_null()) piece = delta->Find("reasoning_content");
    is_bare = is_bare && !delta->Find("role");
  }
  if (!piece || piece->is_null()) return "";
  if (!piece->is_string()) return "a piece of text that is no string";
  event.has_text = !piece->string_value().empty();
  event.has_empty = is_bare && !event.has_text;
  return "";
}

}  // namespace

std::string ErrorText(const Json& error) {
  if (error.is_string()) return PrintableUtf8(error.string_value());
  const Json* message = error.Find("message");
  return PrintableUtf8(message && message->is_string() ? message->string_value() : error.Dump());
}

StreamEvent ReadStreamEvent(std::string_view data) {
  StreamEvent event;
  const auto parsed = Json::Parse(data, "event");
  if (!parsed.ok()) {
    event.error = "an event that is not JSON";
    return event;
  }
  if (!parsed->is_object()) {
    event.error = "an event that is no object";
    return event;
  }
  if (const Json* error = parsed->Find("error"); error && !error->is_null()) {
    event.error = "error event: " + ErrorText(*error);
    return event;
  }
  if (const Json* usage = parsed->Find("usage"); usage && usage->is_object()) {
    if (const Status status = ReadUsage(*usage, event); !status.ok()) {
      event.error = "usage: " + PrintableUtf8(status.message());
      return event;
    }
  }
  if (std::string error = ReadChoices(parsed->Find("choices"), event); !error.empty()) {
    event.error = std::move(error);
  }
  return event;
}

}  // namespace rill::server
