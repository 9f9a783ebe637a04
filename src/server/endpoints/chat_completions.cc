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
  GenerationJob job = MakeJob(http, responder, model, request.params);
  job.request = MakeTextRequest(state.options, *http, request.params);
  job.request.continue_final_message = request.continue_final_message;
  job.request.add_special = request.add_special;
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
