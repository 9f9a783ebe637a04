// POST /v1/chat/completions
#include <ctime>

#include "server/endpoints/endpoint.h"
#include "server/endpoints/generation_request.h"
#include "server/openai/api_error.h"
#include "server/openai/chat_request.h"

namespace rill::server {
namespace {

constexpr std::string_view kAnswerSchema = R"({"type":"object",
"required":["id","object","created","model","choices","usage"],"properties":{
 "id":{"type":"string"},"object":{"const":"chat.completion"},"created":{"type":"integer"},
 "model":{"type":"string"},"system_fingerprint":{"type":"string"},
 "choices":{"type":"array","minItems":1,"items":{"type":"object",
  "required":["index","message","logprobs","finish_reason"],"properties":{
  "index":{"type":"integer"},
  "message":{"type":"object","required":["role","content","refusal"],"properties":{
   "role":{"const":"assistant"},"content":{"type":"string"},"refusal":{"type":"null"}}},
  "logprobs":{"anyOf":[{"type":"null"},{"type":"object","required":["content","refusal"],
   "properties":{"content":{"type":"array","items":{"type":"object",
    "required":["token","logprob","bytes","top_logprobs"],"properties":{
    "token":{"type":"string"},"logprob":{"type":"number","maximum":0},
    "bytes":{"type":"array","items":{"type":"integer","minimum":0,"maximum":255}},
    "top_logprobs":{"type":"array","items":{"type":"object",
     "required":["token","logprob","bytes"]}}}}},"refusal":{"type":"null"}}}]},
  "finish_reason":{"enum":["stop","length"]}}}},
 "usage":{"$ref":"#/components/schemas/Usage"}}})";

// Memory of the values in `json`, but for the bytes of its texts. The depth is that of a parsed
// text: bounded.
size_t TreeBytes(const Json& json) {
  size_t bytes = sizeof(Json);
  if (json.is_object()) {
    for (const auto& [key, value] : json.object()) bytes += sizeof(std::string) + TreeBytes(value);
  } else if (json.is_array()) {
    for (const Json& value : json.array()) bytes += TreeBytes(value);
  }
  return bytes;
}

// A place in the conversations' budget for as long as it lives; null when there is none.
std::shared_ptr<const void> HoldConversation(ServerState& state, const std::string& tenant,
                                             const ChatInput& chat) {
  struct Hold {
    BodyBudget& budget;
    std::string tenant;
    size_t bytes = 0;
    ~Hold() { budget.Release(tenant, bytes); }
  };
  const auto hold = std::make_shared<Hold>(Hold{state.conversations, tenant});
  const size_t bytes = TreeBytes(chat.messages) + TreeBytes(chat.documents);
  if (!state.conversations.Reserve(tenant, 0, bytes)) return nullptr;
  hold->bytes = bytes;
  return hold;
}

void Handle(ServerState& state, const RequestPtr& http, const ResponderPtr& responder,
            const Json& body, const std::shared_ptr<ServedModel>& model) {
  openai::ChatRequest request;
  if (auto error = openai::ParseChatRequest(body, model->limits, request)) {
    return SendError(*responder, *error);
  }
  if (!model->llm->info().has_chat_template) {
    return SendError(
        *responder, openai::BadRequest(
                        "unsupported_model", "model",
                        "The model '" + model->id + "' has no chat template" +
                            (model->llm->info().chat_template_error.empty() ? std::string()
                                                                            : " that can be used") +
                            "; use /v1/completions."));
  }
  std::shared_ptr<const void> hold = HoldConversation(state, http->tenant, request.chat);
  if (!hold) {
    model->metrics.refused_overloaded.fetch_add(1, std::memory_order_relaxed);
    return SendError(*responder, MakeError(503, "server_overloaded",
                                           "Too many large conversations wait to be read. Try "
                                           "again later."));
  }
  GenerationJob job = MakeJob(http, responder, model, request.params);
  job.request = MakeTextRequest(state.options, *http, request.params);
  job.request.continue_final_message = request.continue_final_message;
  job.request.add_special = request.add_special;
  job.request.prompt_hold = std::move(hold);
  job.param = "messages";
  openai::AnswerOptions answer = MakeAnswerOptions(*model, request.params, "chatcmpl-");
  answer.logprobs = request.logprobs;
  job.writer = openai::MakeChatWriter(std::move(answer));
  job.prompts.emplace_back(std::move(request.chat));
  Generation::Start(state, std::move(job));
}

}  // namespace

void AddChatCompletions(ServerState& state, std::vector<Route>& routes) {
  RouteDoc doc = {.summary = "An answer to a conversation", .may_stream = true};
  doc.request = openai::SchemaOf([&state](openai::FieldReader& reader) {
                  openai::ChatRequest request;
                  openai::ReadChatRequest(reader, DocumentedLimits(state), request);
                }).ToJson();
  doc.responses = {{200, openai::JsonSchema(kAnswerSchema)}};
  routes.push_back(ModelRoute(
      state, "/v1/chat/completions",
      [&state](const RequestPtr& http, const ResponderPtr& responder, const Json& body,
               const std::shared_ptr<ServedModel>& model) {
        Handle(state, http, responder, body, model);
      },
      std::move(doc)));
}

}  // namespace rill::server
