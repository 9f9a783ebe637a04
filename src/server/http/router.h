// Router: the table of all routes, and which one a request takes.
//
// Paths: "/v1/models/{id}" matches one segment, "/v1/models/{id*}" the whole rest, slashes (also
// those written %2F) included. Literal segments win over parameters. One trailing slash is
// tolerated. A GET route also answers HEAD.
//
// Every route says who may call it; the gate in front of all of them is one function of the
// transport (http_server.cc), and HttpServer::routes() is what tests enumerate.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "rill/json.h"
#include "rill/status.h"
#include "server/http/message.h"
#include "server/http/responder.h"

namespace rill::server {

enum class Access : uint8_t {
  kPublic,  // without a key: health, UI assets
  kUser,    // any key, when keys are configured
  kAdmin,   // an admin key; by default only on the admin listener
};

// Called on an I/O thread once the body is complete. Must not block: hand the work on.
using Handler = std::function<void(std::shared_ptr<const HttpRequest>, std::shared_ptr<Responder>)>;

// What a route takes and gives, for GET /openapi.json; schemas are JSON Schema 2020-12.
struct RouteDoc {
  std::string summary = {};
  Json request = {};                                 // of the body; null: there is none
  std::vector<std::pair<int, Json>> responses = {};  // by status; a null schema: plain text
  bool may_stream = false;                           // status 200 also as server-sent events
  std::vector<std::string> query = {};               // names of optional query parameters
};

struct Route {
  Method method = Method::kGet;
  std::string path;
  Access access = Access::kUser;
  Handler handler;
  size_t max_body = 0;  // bytes; 0: the server's HttpLimits::max_body_bytes
  // Served during a drain as well: health, metrics, admin. Other routes answer 503 then.
  bool while_draining = false;
  RouteDoc doc = {};
};

class Router {
 public:
  // Fails on a path that is malformed or listed twice for one method.
  static Result<Router> Create(std::vector<Route> routes);

  struct Match {
    const Route* route = nullptr;  // nullptr: not found, or the method is not allowed
    NameValues params;
    std::string allow;  // for 405: "GET, HEAD"; empty: no such path
  };

  // `segments` as in http/target.h: percent-decoded, one per literal slash.
  // Without `with_admin` there are no routes for admins: nothing tells that they exist.
  Match Find(Method method, const std::vector<std::string>& segments, bool with_admin) const;

  const std::vector<Route>& routes() const { return routes_; }

 private:
  std::vector<Route> routes_;
  std::vector<std::vector<std::string>> patterns_;  // segments of routes_[i].path
};

}  // namespace rill::server
