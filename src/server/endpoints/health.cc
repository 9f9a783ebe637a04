// GET /live, /health, /ready, /health/ready, /version, /load, /is_sleeping
#include <fmt/format.h>

#include "server/endpoints/endpoint.h"
#include "server/openai/field_reader.h"

namespace rill::server {
namespace {

// Why no request could be answered, or "".
std::string WhyUnable(ServerState& state) {
  const auto models = state.registry.List();
  if (models.empty()) return state.loading ? "loading" : "no model is loaded";
  std::string why;
  for (const auto& model : models) {
    const EngineStats stats = model->llm->stats();
    if (!stats.dead) return "";
    why = fmt::format("the engine of {} is dead: {}", model->id, stats.dead_reason);
  }
  return why;
}

// What only a restart mends: a step that does not end, engines that are all dead. Or "".
std::string WhyStuck(ServerState& state) {
  if (!state.registry.List().empty()) {
    if (std::string why = WhyUnable(state); !why.empty()) return why;
  }
  if (state.options.watchdog_s <= 0) return "";
  for (const auto& model : state.registry.List()) {
    const double seconds = model->llm->current_step_ms() * 1e-3;
    if (seconds > state.options.watchdog_s) {
      return fmt::format("a step of {} has not ended for {:.1f} s", model->id, seconds);
    }
  }
  return "";
}

void Answer(Responder& responder, const std::string& problem) {
  if (problem.empty()) return SendJson(responder, 200, R"({"status":"ok"})");
  std::string body = R"({"status":)";
  AppendJsonString(body, problem);
  body += '}';
  responder.Send(503, {{"content-type", "application/json"}, {"retry-after", "1"}},
                 std::move(body));
}

}  // namespace

void AddHealth(ServerState& state, std::vector<Route>& routes) {
  const Json status = openai::JsonSchema(
      R"({"type":"object","required":["status"],"properties":{"status":{"type":"string"}}})");
  auto add = [&](const char* path, Access access, const char* summary,
                 std::function<void(Responder&)> answer) {
    RouteDoc doc = {.summary = summary};
    if (access == Access::kPublic) {
      doc.responses = {{200, status}, {503, status}};
    } else {
      doc.responses = {{200, openai::JsonSchema(R"({"type":"object"})")}};
    }
    routes.push_back(
        {.path = path,
         .access = access,
         .handler = [answer](RequestPtr, ResponderPtr responder) { answer(*responder); },
         .while_draining = true,
         .doc = std::move(doc)});
  };
  // The process lives, its I/O threads turn, its engines' steps end and one of them is not dead.
  add("/live", Access::kPublic, "Does the process work?",
      [&state](Responder& responder) { Answer(responder, WhyStuck(state)); });
  // Requests can be answered (vLLM's meaning; true during a drain as well).
  add("/health", Access::kPublic, "Can requests be answered?",
      [&state](Responder& responder) { Answer(responder, WhyUnable(state)); });
  // New requests should come here.
  auto ready = [&state](Responder& responder) {
    std::string problem = WhyUnable(state);
    if (problem.empty() && state.loading) problem = "loading";
    if (problem.empty() && state.draining) problem = "draining";
    Answer(responder, problem);
  };
  add("/ready", Access::kPublic, "Should new requests come here?", ready);
  add("/health/ready", Access::kPublic, "The same as /ready", ready);
  add("/version", Access::kUser, "The version of Rill", [](Responder& responder) {
    const Json build = DescribeBuild();
    const Json* version = build.Find("version");
    Json out;
    out.Set("version", version ? *version : Json("unknown"));
    SendJson(responder, 200, out.Dump());
  });
  add("/load", Access::kUser, "Requests on their way", [&state](Responder& responder) {
    int64_t load = 0;
    for (const auto& model : state.registry.List()) load += model->llm->text().live_requests();
    SendJson(responder, 200, fmt::format(R"({{"server_load":{}}})", load));
  });
  add("/is_sleeping", Access::kUser, "Always false",
      [](Responder& responder) { SendJson(responder, 200, R"({"is_sleeping":false})"); });
}

}  // namespace rill::server
