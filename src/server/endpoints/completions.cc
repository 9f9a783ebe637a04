// POST /v1/completions
#include "server/endpoints/endpoint.h"
#include "server/endpoints/generation_request.h"
#include "server/openai/completion_request.h"

namespace rill::server {
namespace {

constexpr std::string_view kAnswerSchema = R"({"type":"object",
"required":["id","object","created","model","choices","usage"],"properties":{
 "id":{"type":"string"},"object":{"const":"text_completion"},"created":{"type":"integer"},
 "model":{"type":"string"},"system_fingerprint":{"type":"string"},
 "choices":{"type":"array","minItems":1,"items":{"type":"object",
  "required":["index","text","logprobs","finish_reason"],"properties":{
  "index":{"type":"integer"},"text":{"type":"string"},
  "logprobs":{"anyOf":[{"type":"null"},{"type":"object",
   "required":["tokens","token_logprobs","top_logprobs","text_offset"],"properties":{
   "tokens":{"type":"array","items":{"type":"string"}},
   "token_logprobs":{"type":"array","items":{"type":["number","null"]}},
   "top_logprobs":{"type":["array","null"],"items":{"type":["object","null"],
    "additionalProperties":{"type":"number"}}},
   "text_offset":{"type":"array","items":{"type":"integer"}}}}]},
  "finish_reason":{"enum":["stop","length"]}}}},
 "usage":{"$ref":"#/components/schemas/Usage"}}})";

void Handle(ServerState& state, const RequestPtr& http, const ResponderPtr& responder,
            const Json& body, const std::shared_ptr<ServedModel>& model) {
  openai::CompletionRequest request;
  if (auto error = openai::ParseCompletionRequest(body, model->limits, request)) {
    return SendError(*responder, *error);
  }
  GenerationJob job = MakeJob(http, responder, model, request.params);
  job.param = "prompt";
  job.echo = request.echo;
  openai::AnswerOptions answer = MakeAnswerOptions(*model, request.params, "cmpl-");
  answer.logprobs = request.logprobs;
  job.writer = openai::MakeCompletionWriter(std::move(answer), request.params.n);

  job.request = MakeTextRequest(state.options, *http, request.params);
  llm::TextRequest& prompt = job.request;
  prompt.n = request.best_of;
  prompt.add_special = request.add_special;
  prompt.parse_special = true;  // the whole prompt is the caller's, control tokens included
  if (request.best_of > request.params.n) {
    prompt.sampling.logprobs = std::max(prompt.sampling.logprobs, 0);
  }
  if (request.echo && request.logprobs) {
    prompt.prompt_logprobs = std::max(prompt.prompt_logprobs, prompt.sampling.logprobs);
  }
  for (auto& text : request.prompts) {
    std::visit([&](auto& one) { job.prompts.emplace_back(std::move(one)); }, text);
  }
  Generation::Start(state, std::move(job));
}

}  // namespace

void AddCompletions(ServerState& state, std::vector<Route>& routes) {
  RouteDoc doc = {.summary = "Texts that go on from prompts", .may_stream = true};
  doc.request = openai::SchemaOf([&state](openai::FieldReader& reader) {
                  openai::CompletionRequest request;
                  openai::ReadCompletionRequest(reader, DocumentedLimits(state), request);
                }).ToJson();
  doc.responses = {{200, openai::JsonSchema(kAnswerSchema)}};
  routes.push_back(ModelRoute(
      state, "/v1/completions",
      [&state](const RequestPtr& http, const ResponderPtr& responder, const Json& body,
               const std::shared_ptr<ServedModel>& model) {
        Handle(state, http, responder, body, model);
      },
      std::move(doc)));
}

}  // namespace rill::server
