// GET /server_info: what the server is and which limits it keeps. For administrators.
#include "server/endpoints/endpoint.h"
#include "server/openai/field_reader.h"

namespace rill::server {
namespace {

Json Info(ServerState& state) {
  const ServerOptions& options = state.options;
  Json out;
  out.Set("build", DescribeBuild());
  Json::Array models;
  for (const auto& model : state.registry.List()) {
    const llm::ServingModel& llm = *model->llm;
    const ModelInfo& info = llm.info();
    const EngineStats stats = llm.stats();
    Json entry;
    entry.Set("id", model->id);
    Json::Array aliases;
    for (const std::string& alias : model->aliases) aliases.emplace_back(alias);
    entry.Set("aliases", std::move(aliases));
    entry.Set("path", model->path);
    entry.Set("family", info.family);
    entry.Set("backend", info.backend);
    entry.Set("max_context", info.max_context);
    entry.Set("vocab_size", info.vocab_size);
    entry.Set("system_fingerprint", model->fingerprint);
    entry.Set("weight_bytes", Json(llm.weight_bytes()));
    entry.Set("activation_bytes", Json(llm.activation_bytes()));
    entry.Set("kv_bytes", Json(llm.kv_bytes()));
    entry.Set("page_size", llm.page_size());
    entry.Set("total_pages", stats.total_pages);
    entry.Set("used_pages", stats.used_pages);
    entry.Set("cached_pages", stats.cached_pages);
    entry.Set("free_pages", stats.free_pages);
    entry.Set("running_requests", stats.running_requests);
    entry.Set("waiting_requests", stats.waiting_requests);
    models.push_back(std::move(entry));
  }
  out.Set("models", std::move(models));
  out.Set("memory_budget_bytes", Json(state.registry.budget_bytes()));

  const openai::ParseLimits parse;
  const HttpLimits http;
  Json limits;
  limits.Set("activations", options.load.activations);
  limits.Set("kv_dtype", options.load.kv_dtype);
  limits.Set("max_sequences", options.load.max_sequences);
  limits.Set("max_waiting", options.max_waiting);
  limits.Set("max_choices", options.max_choices);
  limits.Set("max_logprobs", options.max_logprobs);
  limits.Set("max_messages", parse.max_messages);
  limits.Set("max_prompts", parse.max_prompts);
  limits.Set("max_stop_strings", parse.max_stop_strings);
  limits.Set("max_logit_bias", parse.max_logit_bias);
  limits.Set("max_body_bytes", Json(options.max_body_bytes));
  limits.Set("max_head_bytes", Json(static_cast<int64_t>(http.max_head_bytes)));
  limits.Set("max_header_fields", Json(static_cast<int64_t>(http.max_header_fields)));
  limits.Set("max_connections", http.max_connections);
  limits.Set("max_connections_per_ip", http.max_connections_per_ip);
  limits.Set("max_unsent_bytes", Json(static_cast<int64_t>(http.max_unsent_bytes)));
  limits.Set("max_answer_bytes", Json(AnswerBudget::kMaxAnswerBytes));
  limits.Set("max_answers_bytes", Json(AnswerBudget::kMaxBytes));
  limits.Set("json_depth", 64);
  limits.Set("drain_s", options.drain_s);
  out.Set("limits", std::move(limits));
  out.Set("draining", state.draining.load());
  return out;
}

}  // namespace

void AddServerInfo(ServerState& state, std::vector<Route>& routes) {
  routes.push_back({.path = "/server_info",
                    .access = Access::kAdmin,
                    .handler =
                        [&state](RequestPtr, ResponderPtr responder) {
                          SendJson(*responder, 200, Info(state).Dump());
                        },
                    .while_draining = true,
                    .doc = {.summary = "Models, memory and limits",
                            .responses = {{200, openai::JsonSchema(R"({"type":"object"})")}}}});
}

}  // namespace rill::server
