// An HttpServer with routes that need no model: tests/server/ drives it over raw sockets.
//
//   http_tool [NAME=VALUE …]     prints {"port":…,"admin_port":…} and serves until stdin ends
// Names: those of HttpServerOptions and HttpLimits (timeouts in ms) that OPTIONS below lists.
// stdin, one command a line: drain | stop_accepting | reload_tls | wait_idle MS; each answers one
// line.
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <map>
#include <string>
#include <thread>

#include "base/json.h"
#include "server/http/http_server.h"
#include "server/http/systemd.h"

namespace rill::server {
namespace {

std::atomic<int> g_gone{0}, g_cut_writes{0};

std::vector<std::string> SplitComma(const std::string& text) {
  std::vector<std::string> out;
  size_t begin = 0;
  while (begin < text.size()) {
    const size_t end = std::min(text.find(',', begin), text.size());
    if (end > begin) out.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return out;
}

int QueryInt(const HttpRequest& request, std::string_view name, int fallback) {
  const std::string* value = request.FindQuery(name);
  return value ? std::atoi(value->c_str()) : fallback;
}

// What the server understood, for the test to compare with what it sent.
void Echo(std::shared_ptr<const HttpRequest> request, std::shared_ptr<Responder> responder) {
  Json::Object headers, query, params;
  for (const Header& header : request->headers) headers.emplace_back(header.name, header.value);
  for (const auto& [name, value] : request->query) query.emplace_back(name, value);
  for (const auto& [name, value] : request->params) params.emplace_back(name, value);
  uint32_t sum = 0;
  for (char c : request->body) sum = sum * 31 + static_cast<unsigned char>(c);
  Json out(Json::Object{{"method", request->method_text},
                        {"path", request->path},
                        {"headers", std::move(headers)},
                        {"query", std::move(query)},
                        {"params", std::move(params)},
                        {"body_bytes", static_cast<uint64_t>(request->body.size())},
                        {"body_sum", static_cast<uint64_t>(sum)},
                        {"body", request->body.substr(0, 256)},
                        {"peer", request->peer},
                        {"tenant", request->tenant},
                        {"is_admin", request->is_admin},
                        {"request_id", request->request_id}});
  responder->Send(200, {{"Content-Type", "application/json"}}, out.Dump());
}

// ?n=events&ms=between them&first_ms=before the first&bytes=of each
void Stream(std::shared_ptr<const HttpRequest> request, std::shared_ptr<Responder> responder) {
  const int n = QueryInt(*request, "n", 3), ms = QueryInt(*request, "ms", 0);
  const int first_ms = QueryInt(*request, "first_ms", 0), bytes = QueryInt(*request, "bytes", 8);
  responder->OnGone([] { ++g_gone; });
  std::thread([=, request = std::move(request), responder = std::move(responder)] {
    std::this_thread::sleep_for(std::chrono::milliseconds(first_ms));
    responder->StartStream(
        200, {{"Content-Type", "text/event-stream; charset=utf-8"}, {"Cache-Control", "no-cache"}});
    for (int i = 0; i < n; ++i) {
      if (i > 0 && ms > 0) std::this_thread::sleep_for(std::chrono::milliseconds(ms));
      std::string event = "data: " + std::to_string(i) + " ";
      event.resize(std::max<size_t>(event.size(), static_cast<size_t>(bytes)), 'x');
      if (!responder->Write(event + "\n\n")) {
        ++g_cut_writes;
        return;
      }
    }
    responder->Write("data: [DONE]\n\n");
    responder->End();
  }).detach();
}

// ?ms=: answers whole after that time; notices at once when the client leaves.
void Slow(std::shared_ptr<const HttpRequest> request, std::shared_ptr<Responder> responder) {
  const int ms = QueryInt(*request, "ms", 1000);
  responder->OnGone([] { ++g_gone; });
  std::thread([ms, responder = std::move(responder)] {
    std::this_thread::sleep_for(std::chrono::milliseconds(ms));
    responder->Send(200, {{"Content-Type", "text/plain"}}, "slow\n");
  }).detach();
}

// What no handler may do: holds up its I/O thread.
void Block(std::shared_ptr<const HttpRequest> request, std::shared_ptr<Responder> responder) {
  std::this_thread::sleep_for(std::chrono::milliseconds(QueryInt(*request, "ms", 1000)));
  responder->Send(200, {{"Content-Type", "text/plain"}}, "blocked\n");
}

std::vector<Route> MakeRoutes(HttpServer* const* server) {
  auto big = [](auto request, auto responder) {
    const int bytes = QueryInt(*request, "bytes", 1 << 20);
    responder->Send(200, {{"Content-Type", "text/plain"}},
                    std::string(static_cast<size_t>(bytes), 'b'));
  };
  auto counters = [server](auto, auto responder) {
    const HttpCounters c = (*server)->counters();
    Json out(Json::Object{{"connections_accepted", c.connections_accepted},
                          {"connections_now", c.connections_now},
                          {"connections_refused", c.connections_refused},
                          {"connections_evicted", c.connections_evicted},
                          {"accept_errors", c.accept_errors},
                          {"tls_failures", c.tls_failures},
                          {"requests", c.requests},
                          {"requests_now", c.requests_now},
                          {"malformed", c.malformed},
                          {"auth_failures", c.auth_failures},
                          {"auth_throttled", c.auth_throttled},
                          {"head_timeouts", c.head_timeouts},
                          {"body_timeouts", c.body_timeouts},
                          {"slow_readers_cut", c.slow_readers_cut},
                          {"clients_gone", c.clients_gone},
                          {"gone_callbacks", static_cast<int64_t>(g_gone)},
                          {"cut_writes", static_cast<int64_t>(g_cut_writes)}});
    responder->Send(200, {{"Content-Type", "application/json"}}, out.Dump());
  };
  auto hostile = [](auto request, auto responder) {
    const std::string* name = request->FindQuery("name");
    responder->Send(
        200, {{"X-Model", "a\r\nSet-Cookie: x=1\r\n\r\n\x1b[31m" + (name ? *name : "")}}, "ok");
  };
  auto silent = [](auto, auto) {};
  auto throws = [](auto, auto) { throw std::runtime_error("planted"); };
  std::vector<Route> routes;
  routes.push_back({Method::kGet, "/health", Access::kPublic, Echo, 0, true});
  routes.push_back({Method::kGet, "/counters", Access::kPublic, counters, 0, true});
  routes.push_back({Method::kGet, "/v1/echo", Access::kUser, Echo});
  routes.push_back({Method::kPost, "/v1/echo", Access::kUser, Echo});
  routes.push_back({Method::kDelete, "/v1/echo", Access::kUser, Echo});
  routes.push_back({Method::kPost, "/v1/small", Access::kUser, Echo, 1000});
  routes.push_back({Method::kGet, "/v1/models/{id*}", Access::kUser, Echo});
  routes.push_back({Method::kGet, "/v1/things/{id}", Access::kUser, Echo});
  routes.push_back({Method::kGet, "/v1/stream", Access::kUser, Stream});
  routes.push_back({Method::kPost, "/v1/stream", Access::kUser, Stream});
  routes.push_back({Method::kGet, "/v1/slow", Access::kUser, Slow});
  routes.push_back({Method::kGet, "/v1/block", Access::kUser, Block});
  routes.push_back({Method::kGet, "/v1/big", Access::kUser, big});
  routes.push_back({Method::kGet, "/v1/hostile", Access::kUser, hostile});
  routes.push_back({Method::kGet, "/v1/silent", Access::kUser, silent});
  routes.push_back({Method::kGet, "/v1/throws", Access::kUser, throws});
  routes.push_back({Method::kPost, "/admin/reload", Access::kAdmin, Echo, 0, true});
  return routes;
}

using Setter = std::function<void(const std::string&)>;

std::map<std::string, Setter> Setters(HttpServerOptions& o) {
  auto number = [](auto& field) {
    return [&field](const std::string& v) {
      field = static_cast<std::remove_reference_t<decltype(field)>>(std::atoll(v.c_str()));
    };
  };
  auto time = [](std::chrono::milliseconds& field) {
    return [&field](const std::string& v) {
      field = std::chrono::milliseconds(std::atoll(v.c_str()));
    };
  };
  auto text = [](std::string& field) { return [&field](const std::string& v) { field = v; }; };
  auto list = [](std::vector<std::string>& field) {
    return [&field](const std::string& v) { field = SplitComma(v); };
  };
  HttpLimits& l = o.limits;
  return {
      {"addresses", list(o.addresses)},
      {"port", number(o.port)},
      {"unix_path", text(o.unix_path)},
      {"admin_port", number(o.admin_port)},
      {"admin_unix_path", text(o.admin_unix_path)},
      {"admin_on_main", number(o.admin_on_main)},
      {"tls_certificate", text(o.tls_certificate)},
      {"tls_private_key", text(o.tls_private_key)},
      {"allow_unauthenticated", number(o.allow_unauthenticated)},
      {"allowed_hosts", list(o.allowed_hosts)},
      {"allowed_origins", list(o.allowed_origins)},
      {"io_threads", number(o.io_threads)},
      {"tenant_share", [&o](const std::string& v) { o.tenant_share = std::atof(v.c_str()); }},
      {"max_request_line_bytes", number(l.max_request_line_bytes)},
      {"max_header_fields", number(l.max_header_fields)},
      {"max_head_bytes", number(l.max_head_bytes)},
      {"max_body_bytes", number(l.max_body_bytes)},
      {"max_buffered_bytes", number(l.max_buffered_bytes)},
      {"max_unsent_bytes", number(l.max_unsent_bytes)},
      {"max_pipelined_bytes", number(l.max_pipelined_bytes)},
      {"max_requests_per_connection", number(l.max_requests_per_connection)},
      {"max_connections", number(l.max_connections)},
      {"max_admin_connections", number(l.max_admin_connections)},
      {"max_connections_per_ip", number(l.max_connections_per_ip)},
      {"max_unauthenticated_connections", number(l.max_unauthenticated_connections)},
      {"loopback_has_ip_limit", number(l.loopback_has_ip_limit)},
      {"tls_handshake_timeout", time(l.tls_handshake_timeout)},
      {"head_timeout", time(l.head_timeout)},
      {"body_window", time(l.body_window)},
      {"body_min_bytes_per_window", number(l.body_min_bytes_per_window)},
      {"keep_alive_timeout", time(l.keep_alive_timeout)},
      {"write_stall", time(l.write_stall)},
      {"ping_interval", time(l.ping_interval)},
      {"half_open", time(l.half_open)},
      {"linger", time(l.linger)},
      {"auth_failures_per_minute", number(l.auth_failures_per_minute)},
  };
}

int Main(int argc, char** argv) {
  HttpServerOptions options;
  auto setters = Setters(options);
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    const size_t equals = std::min(argument.find('='), argument.size());
    const std::string name = argument.substr(0, equals);
    const std::string value = argument.substr(std::min(equals + 1, argument.size()));
    if (name == "keys") {
      auto keys = ApiKeys::ReadFile(value);
      if (!keys.ok()) {
        std::fprintf(stderr, "%s\n", keys.status().ToString().c_str());
        return 2;
      }
      options.api_keys = *keys;
    } else if (auto setter = setters.find(name); setter != setters.end()) {
      setter->second(value);
    } else {
      std::fprintf(stderr, "unknown option '%s'\n", name.c_str());
      return 2;
    }
  }
  options.inherited_fds = SystemdListenFds();
  options.on_warning = [](const std::string& text) {
    std::fprintf(stderr, "warning: %s\n", text.c_str());
  };
  options.on_request_end = [](const HttpServerOptions::AccessRecord& record) {
    std::fprintf(stderr, "end: %d %s %s complete=%d\n", record.status, record.method.c_str(),
                 record.route.c_str(), record.complete ? 1 : 0);
  };
  HttpServer* raw = nullptr;
  auto server = HttpServer::Create(options, MakeRoutes(&raw));
  if (!server.ok()) {
    std::fprintf(stderr, "%s\n", server.status().ToString().c_str());
    return 1;
  }
  raw = server->get();
  raw->Start();
  SystemdNotify("READY=1");
  Json routes{Json::Array{}};
  for (const Route& route : raw->routes()) {
    routes.mutable_array().push_back(
        Json(Json::Object{{"method", std::string(MethodName(route.method))},
                          {"path", route.path},
                          {"access", static_cast<int64_t>(route.access)}}));
  }
  std::printf("%s\n", Json(Json::Object{{"port", static_cast<int64_t>(raw->port())},
                                        {"admin_port", static_cast<int64_t>(raw->admin_port())},
                                        {"routes", std::move(routes)}})
                          .Dump()
                          .c_str());
  std::fflush(stdout);
  std::string line;
  while (std::getline(std::cin, line)) {
    std::string answer = "ok";
    if (line == "drain") {
      raw->BeginDrain(std::chrono::seconds(7));
    } else if (line == "stop_accepting") {
      raw->StopAccepting();
    } else if (line == "reload_tls") {
      answer = raw->Reload(options.api_keys).ToString();
    } else if (line.rfind("wait_idle ", 0) == 0) {
      const auto ms = std::chrono::milliseconds(std::atoi(line.c_str() + 10));
      answer = raw->WaitIdle(std::chrono::steady_clock::now() + ms) ? "idle" : "busy";
    } else {
      answer = "unknown command";
    }
    std::printf("%s\n", answer.c_str());
    std::fflush(stdout);
  }
  SystemdNotify("STOPPING=1");
  raw->Stop();
  return 0;
}

}  // namespace
}  // namespace rill::server

int main(int argc, char** argv) {
  return rill::server::Main(argc, argv);
}
