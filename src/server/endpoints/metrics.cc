// GET /metrics
#include "server/endpoints/endpoint.h"
#include "server/metrics/page.h"

namespace rill::server {

void AddMetrics(ServerState& state, std::vector<Route>& routes) {
  routes.push_back(
      {.path = "/metrics",
       .access = state.options.public_metrics ? Access::kPublic : Access::kUser,
       .handler =
           [&state](RequestPtr, ResponderPtr responder) {
             responder->Send(200, {{"content-type", "text/plain; version=0.0.4; charset=utf-8"}},
                             MetricsPage(state));
           },
       .while_draining = true,
       .doc = {.summary = "Counters in Prometheus' text format", .responses = {{200, Json()}}}});
}

}  // namespace rill::server
