// POST /v1/chat/completions
#include <ctime>

#include "server/endpoints/endpoint.h"
#include "server/endpoints/generation_request.h"
#include "server/openai/api_error.h"
#include "server/openai/chat_request.h"

namespace rill::server {
namespace {

void Handle(ServerState& state, const RequestPtr& http, const ResponderPtr& responder,
            const Json& body) {
  auto model = FindModelOf(state, body, *responder);
  if (!model) return;
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
  llm::TextRequest prompt = MakeTextRequest(*http, request.params);
  prompt.prompt = std::move(request.chat);
  prompt.continue_final_message = request.continue_final_message;
  prompt.n = request.params.n;

  GenerationJob job = MakeJob(http, responder, model, request.params);
  job.param = "messages";
  openai::AnswerOptions answer = MakeAnswerOptions(*model, request.params, "chatcmpl-");
  answer.logprobs = request.logprobs;
  job.writer = openai::MakeChatWriter(std::move(answer));
  job.prompts.push_back(std::move(prompt));
  Generation::Start(state, std::move(job));
}

}  // namespace

void AddChatCompletions(ServerState& state, std::vector<Route>& routes) {
  routes.push_back({.method = Method::kPost,
                    .path = "/v1/chat/completions",
                    .handler = [&state](RequestPtr http, ResponderPtr responder) {
                      WithJsonBody(state, http, responder,
                                   [&state, http, responder](const Json& body) {
                                     Handle(state, http, responder, body);
                                   });
                    }});
}

}  // namespace rill::server
