// The page of GET /metrics: Prometheus text format 0.0.4.
//
// Own names begin with rill_; beside them vLLM's, which routers, dashboards and autoscalers read.
// Labels: model (at most as many as are loaded), and values of fixed sets; nothing that a client
// chooses. Both names of one figure are made from the same variable.
#pragma once

#include <string>

#include "server/server_state.h"

namespace rill::server {

std::string MetricsPage(ServerState& state);

}  // namespace rill::server
