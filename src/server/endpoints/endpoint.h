// What endpoints share: reading a JSON body off the I/O thread when it is large, finding the model,
// sending JSON and errors.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "rill/json.h"
#include "server/errors.h"
#include "server/http/router.h"
#include "server/server_state.h"

namespace rill::server {

using RequestPtr = std::shared_ptr<const HttpRequest>;
using ResponderPtr = std::shared_ptr<Responder>;

// All routes of endpoint_list.def. `state` must outlive the server that uses them.
std::vector<Route> AllRoutes(ServerState& state);

// Limits of requests for the published schemas: those of all models.
openai::ParseLimits DocumentedLimits(const ServerState& state);

void SendJson(Responder& responder, int status, std::string body);
void SendError(Responder& responder, const ApiError& error);

// Bodies up to this are parsed on the I/O thread, which takes well under a millisecond.
constexpr size_t kInlineBodyBytes = 64u << 10;

// Parses the body as a JSON object and calls `handle`, on this thread or, when the body is large,
// on a worker. Answers what is wrong itself.
using JsonHandler = std::function<void(const Json& body)>;
void WithJsonBody(ServerState& state, const RequestPtr& request, const ResponderPtr& responder,
                  JsonHandler handle);

// `work` on a worker, when it is its request's turn; 503 when too many wait.
void RunOnWorker(ServerState& state, const HttpRequest& request, const ResponderPtr& responder,
                 std::function<void()> work);

// The model that `name` means; "" the only one. nullptr after the error was sent.
std::shared_ptr<ServedModel> FindModel(ServerState& state, const std::string& name,
                                       Responder& responder);
// The body's "model", read before the rest so that the rest can be checked against the model.
std::shared_ptr<ServedModel> FindModelOf(ServerState& state, const Json& body,
                                         Responder& responder);

// POST `path`: the body read, its model found, then `handle`.
using ModelHandler =
    std::function<void(const RequestPtr& http, const ResponderPtr& responder, const Json& body,
                       const std::shared_ptr<ServedModel>& model)>;
Route ModelRoute(ServerState& state, std::string path, ModelHandler handle, RouteDoc doc);

// One per entry.
#define ENDPOINT(Name) void Add##Name(ServerState& state, std::vector<Route>& routes);
#include "server/endpoint_list.def"
#undef ENDPOINT

}  // namespace rill::server
