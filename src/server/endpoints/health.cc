// GET /live, /health, /ready, /health/ready, /version, /load, /is_sleeping
#include <fmt/format.h>

#include "server/endpoints/endpoint.h"

namespace rill::server {
namespace {

// Why no request could be answered, or "".
std::string WhyUnable(ServerState& state) {
  const auto models = state.registry.List();
  if (models.empty()) return state.loading ? "loading" : "no model is loaded";
  for (const auto& model : models) {
    if (!model->llm->stats().dead) return "";
  }
  return "the device is lost";
}

// A step that does not end, or "".
std::string WhyHanging(ServerState& state) {
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
  auto add = [&](const char* path, Access access, std::function<void(Responder&)> answer) {
    routes.push_back(
        {.path = path,
         .access = access,
         .handler = [answer](RequestPtr, ResponderPtr responder) { answer(*responder); },
         .while_draining = true});
  };
  // The process lives, its I/O threads turn and its engines' steps end.
  add("/live", Access::kPublic,
      [&state](Responder& responder) { Answer(responder, WhyHanging(state)); });
  // Requests can be answered (vLLM's meaning; true during a drain as well).
  add("/health", Access::kPublic,
      [&state](Responder& responder) { Answer(responder, WhyUnable(state)); });
  // New requests should come here.
  auto ready = [&state](Responder& responder) {
    std::string problem = WhyUnable(state);
    if (problem.empty() && state.loading) problem = "loading";
    if (problem.empty() && state.draining) problem = "draining";
    Answer(responder, problem);
  };
  add("/ready", Access::kPublic, ready);
  add("/health/ready", Access::kPublic, ready);
  add("/version", Access::kUser, [](Responder& responder) {
    const Json build = DescribeBuild();
    const Json* version = build.Find("version");
    Json out;
    out.Set("version", version ? *version : Json("unknown"));
    SendJson(responder, 200, out.Dump());
  });
  add("/load", Access::kUser, [&state](Responder& responder) {
    int64_t load = 0;
    for (const auto& model : state.registry.List()) load += model->llm->text().live_requests();
    SendJson(responder, 200, fmt::format(R"({{"server_load":{}}})", load));
  });
  add("/is_sleeping", Access::kUser,
      [](Responder& responder) { SendJson(responder, 200, R"({"is_sleeping":false})"); });
}

}  // namespace rill::server
