// GET /server_info: what the server is and which limits it keeps. For administrators.
#include "llm/template_limits.h"
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

  Json limits;
  limits.Set("activations", options.load.activations);
  limits.Set("kv_dtype", options.load.kv_dtype);
  limits.Set("max_sequences", options.load.max_sequences);
  limits.Set("max_waiting", options.max_waiting);
  limits.Set("tenant_share", options.tenant_share);
  limits.Set("itl_target_ms", options.itl_target_ms);
  limits.Set("reserve_worst_case", options.reserve_worst_case);
  limits.Set("queue_timeout_s", options.queue_timeout_s);
  limits.Set("total_timeout_s", options.total_timeout_s);
  limits.Set("max_choices", options.max_choices);
  limits.Set("max_logprobs", options.max_logprobs);
  limits.Set("max_body_bytes", Json(options.max_body_bytes));
  limits.Set("max_answer_bytes", Json(AnswerBudget::kMaxAnswerBytes));
  limits.Set("max_answers_bytes", Json(AnswerBudget::kMaxBytes));
  ServerLimits in_force = options.limits;
  // A process that may open few files takes fewer connections.
  in_force.max_connections = state.http->limits().max_connections;
  for (const ServerLimitInfo& info : AllServerLimits()) {
    limits.Set(info.name, Json(in_force.*info.value));
  }
  const llm::TemplateLimits chat_template;
  limits.Set("template_steps", Json(chat_template.max_steps));
  limits.Set("template_depth", chat_template.max_depth);
  limits.Set("template_output_bytes", Json(static_cast<int64_t>(chat_template.max_output_bytes)));
  limits.Set("drain_timeout_s", options.drain_timeout_s);
  limits.Set("drain_delay_s", options.drain_delay_s);
  limits.Set("watchdog_s", options.watchdog_s);
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
