#include "server/http/gate.h"

#include <gtest/gtest.h>

namespace rill::server {
namespace {

using std::chrono::seconds;
const auto kNow = std::chrono::steady_clock::time_point() + seconds(1000);

void Nothing(std::shared_ptr<const HttpRequest>, std::shared_ptr<Responder>) {}

std::vector<Route> SomeRoutes() {
  return {{Method::kGet, "/health", Access::kPublic, Nothing, 0, true},
          {Method::kPost, "/v1/completions", Access::kUser, Nothing},
          {Method::kGet, "/v1/models", Access::kUser, Nothing},
          {Method::kGet, "/v1/models/{id*}", Access::kUser, Nothing},
          {Method::kGet, "/v1/models/special", Access::kUser, Nothing, 10},
          {Method::kDelete, "/v1/things/{id}", Access::kUser, Nothing},
          {Method::kPost, "/admin/load", Access::kAdmin, Nothing, 0, true}};
}

HttpServerOptions WithKeys() {
  HttpServerOptions options;
  options.api_keys = *ApiKeys::Parse(
      "alice key-of-alice max_concurrent=2\nbob key-of-bobby requests_per_minute=3\n"
      "root key-of-root admin\n",
      "keys");
  return options;
}

std::unique_ptr<Gate> MakeGate(const HttpServerOptions& options) {
  auto gate = Gate::Create(options, SomeRoutes());
  EXPECT_TRUE(gate.ok()) << gate.status().ToString();
  return std::move(gate).value();
}

struct Ask {
  Method method = Method::kGet;
  std::string target = "/health", key = {}, origin = {}, host = "localhost:1";
  ListenerTraits listener = {true, false, false, false};
  std::string peer = "192.0.2.1";
  bool local_peer = false;
  std::chrono::steady_clock::time_point now = kNow;
  std::vector<Header> more = {};
};

Verdict Judge(Gate& gate, const Ask& ask) {
  RequestHead head;
  head.method = ask.method;
  head.method_text = MethodName(ask.method);
  head.target = ask.target;
  head.host = ask.host;
  head.fields = ask.more;
  if (!ask.key.empty()) head.fields.push_back({"authorization", "Bearer " + ask.key});
  if (!ask.origin.empty()) head.fields.push_back({"origin", ask.origin});
  return gate.Judge(head, ask.listener, {ask.peer, ask.local_peer}, ask.now);
}

TEST(Gate, EveryRouteAndMethod_WithoutKey_Is401ButThePublicOnes) {
  auto gate = MakeGate(WithKeys());
  const Method all[] = {Method::kGet,   Method::kHead,   Method::kPost,   Method::kPut,
                        Method::kPatch, Method::kDelete, Method::kOptions};
  for (const char* path : {"/health", "/v1/completions", "/v1/models", "/v1/models/a/b",
                           "/v1/things/x", "/admin/load", "/", "/unknown", "/v1/../health"}) {
    for (Method method : all) {
      const Verdict verdict = Judge(*gate, {.method = method, .target = path});
      const bool is_public =
          std::string(path) == "/health" && (method == Method::kGet || method == Method::kHead);
      EXPECT_EQ(verdict.fault.status, is_public ? 0 : 401) << MethodName(method) << " " << path;
      EXPECT_EQ(Judge(*gate, {.method = method,
                              .target = path,
                              .key = "key-of-nobody",
                              .peer = std::string(path) + std::string(MethodName(method))})
                    .fault.status,
                is_public ? 0 : 401);
    }
  }
}

TEST(Gate, WithKey_TheRouteDecides) {
  auto gate = MakeGate(WithKeys());
  EXPECT_EQ(Judge(*gate, {.target = "/v1/models", .key = "key-of-alice"}).fault.status, 0);
  EXPECT_EQ(Judge(*gate, {.target = "/nope", .key = "key-of-alice"}).fault.status, 404);
  const Verdict wrong =
      Judge(*gate, {.method = Method::kPost, .target = "/v1/models", .key = "key-of-alice"});
  EXPECT_EQ(wrong.fault.status, 405);
  EXPECT_EQ(wrong.headers.back().value, "GET, HEAD");
  const Verdict rest = Judge(*gate, {.target = "/v1/models/org%2Fx/y", .key = "key-of-root"});
  EXPECT_EQ(rest.params, (NameValues{{"id", "org/x/y"}}));
  EXPECT_EQ(Judge(*gate, {.target = "/v1/models/special", .key = "key-of-root"}).max_body, 10u);
  EXPECT_EQ(
      Judge(*gate, {.method = Method::kDelete, .target = "/v1/things/a%2fb", .key = "key-of-root"})
          .fault.status,
      404);
  std::vector<Header> header = {{"x-api-key", "key-of-root"}};
  EXPECT_EQ(Judge(*gate, {.target = "/v1/models", .more = header}).fault.status, 0);
}

TEST(Gate, AdminRoutes_NeedTheListenerAndTheKey) {
  const ListenerTraits admin = {true, false, true, false};
  auto gate = MakeGate(WithKeys());
  auto status = [&](std::string key, ListenerTraits listener) {
    return Judge(
               *gate,
               {.method = Method::kPost, .target = "/admin/load", .key = key, .listener = listener})
        .fault.status;
  };
  EXPECT_EQ(status("key-of-root", {true, false, false, false}), 404);
  EXPECT_EQ(status("key-of-alice", admin), 403);
  EXPECT_EQ(status("", admin), 401);
  EXPECT_EQ(status("key-of-root", admin), 0);
  auto open = MakeGate({});
  EXPECT_EQ(Judge(*open, {.method = Method::kPost, .target = "/admin/load"}).fault.status, 404);
  EXPECT_TRUE(
      Judge(*open, {.method = Method::kPost, .target = "/admin/load", .listener = admin}).is_admin);
}

TEST(Gate, WrongKeys_AreThrottledPerAddressButKnownGoodOnesPass) {
  HttpServerOptions options = WithKeys();
  options.limits.auth_failures_per_minute = 5;
  auto gate = MakeGate(options);
  auto status = [&](std::string key, std::string peer, int at_s) {
    return Judge(*gate,
                 {.target = "/v1/models", .key = key, .peer = peer, .now = kNow + seconds(at_s)})
        .fault.status;
  };
  EXPECT_EQ(status("key-of-alice", "a", 0), 0);
  for (int i = 0; i < 5; ++i) EXPECT_EQ(status("wrong" + std::to_string(i), "a", 0), 401);
  EXPECT_EQ(status("wrong-again", "a", 0), 429);
  EXPECT_EQ(status("key-of-root", "a", 0), 429) << "right, but not known from here: not told";
  EXPECT_EQ(status("key-of-alice", "a", 0), 0) << "known from here";
  EXPECT_EQ(status("wrong", "b", 0), 401) << "another address";
  EXPECT_EQ(status("wrong", "a", 13), 401) << "one more after 12 s";
  EXPECT_EQ(status("wrong", "a", 13), 429);
}

// Behind a proxy on this machine all clients have one address: the wrong keys of one client must
// not lock the others out.
TEST(Gate, WrongKeys_BehindALocalProxy_AreThrottledPerForwardedAddress) {
  HttpServerOptions options = WithKeys();
  options.limits.auth_failures_per_minute = 5;
  auto gate = MakeGate(options);
  auto status = [&](std::string key, std::vector<std::string> forwarded, bool is_local = true) {
    Ask ask = {.target = "/v1/models", .key = key, .peer = "127.0.0.1", .local_peer = is_local};
    for (std::string& value : forwarded) ask.more.push_back({"x-forwarded-for", value});
    return Judge(*gate, ask).fault.status;
  };
  for (int i = 0; i < 20; ++i) EXPECT_EQ(status("wrong", {}), 401) << "nobody is counted";
  EXPECT_EQ(status("key-of-root", {}), 0);
  for (int i = 0; i < 5; ++i) EXPECT_EQ(status("wrong", {"203.0.113.5"}), 401);
  EXPECT_EQ(status("wrong", {"203.0.113.5"}), 429);
  EXPECT_EQ(status("key-of-root", {"203.0.113.5"}), 429);
  EXPECT_EQ(status("key-of-root", {"203.0.113.6"}), 0) << "another client of the same proxy";
  // What the client itself says stands before what the proxy says.
  EXPECT_EQ(status("wrong", {"198.51.100.1, 203.0.113.5"}), 429);
  EXPECT_EQ(status("wrong", {"198.51.100.1", " 203.0.113.5 "}), 429);
  EXPECT_EQ(status("wrong", {"203.0.113.5, 198.51.100.1"}), 401);
  // A second proxy on this machine.
  EXPECT_EQ(status("wrong", {"203.0.113.5, 127.0.0.1", "::1"}), 429);
  EXPECT_EQ(status("wrong", {"127.0.0.1"}), 401);
  EXPECT_EQ(status("wrong", {"no address"}), 401);
  // One IPv6 customer has a /64.
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(status("wrong", {"2001:db8:1:2::" + std::to_string(i)}), 401);
  }
  EXPECT_EQ(status("wrong", {"2001:db8:1:2:ffff::"}), 429);
  EXPECT_EQ(status("wrong", {"2001:db8:1:3::"}), 401);
  // Who comes from elsewhere is counted by the address that he has, whatever he says.
  for (int i = 0; i < 5; ++i)
    EXPECT_EQ(status("wrong", {std::to_string(i) + ".1.1.1"}, false), 401);
  EXPECT_EQ(status("wrong", {"9.1.1.1"}, false), 429);
}

TEST(Gate, NewKeyList_KeysThatStayKeepTheirCounts) {
  HttpServerOptions options = WithKeys();
  options.limits.auth_failures_per_minute = 1;
  auto gate = MakeGate(options);
  auto status = [&](std::string key, std::string peer = "192.0.2.1") {
    return Judge(*gate, {.target = "/v1/models", .key = key, .peer = peer}).fault.status;
  };
  auto reload = [&](const char* text) {
    auto keys = gate->PrepareKeys(*ApiKeys::Parse(text, "keys"));
    if (keys.ok()) gate->UseKeys(*keys);
    return keys.status();
  };
  const Verdict first = Judge(*gate, {.target = "/v1/models", .key = "key-of-alice"});
  EXPECT_EQ(status("key-of-alice"), 0);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(status("key-of-bobby"), 0);
  // Alice is known to be right at that address; she stands first in the list.
  EXPECT_EQ(status("key-of-alice", "known"), 429);
  EXPECT_TRUE(reload("bob key-of-bobby requests_per_minute=3\nroot key-of-root admin\n"
                     "carol key-of-carol\nalice key-of-alice max_concurrent=3\n")
                  .ok());
  EXPECT_EQ(status("key-of-bobby"), 429) << "his minute is used up";
  EXPECT_EQ(status("key-of-alice"), 0) << "the third of now three";
  EXPECT_EQ(status("key-of-alice"), 429);
  first.key_use->Release();
  EXPECT_EQ(status("key-of-alice"), 0) << "a request of before the reload has ended";
  EXPECT_EQ(status("wrong", "known"), 401);
  EXPECT_EQ(status("key-of-bobby", "known"), 429);
  const Verdict bob =
      Judge(*gate, {.target = "/v1/models", .key = "key-of-bobby", .peer = "known"});
  EXPECT_EQ(bob.fault.code, "too_many_wrong_keys") << "first in the list now, and not known there";
  const Verdict alice =
      Judge(*gate, {.target = "/v1/models", .key = "key-of-alice", .peer = "known"});
  EXPECT_EQ(alice.fault.code, "rate_limit_exceeded");
  EXPECT_FALSE(reload("a key-of-alice\na key-of-bobby\n").ok());
  EXPECT_FALSE(reload("").ok()) << "a locked server does not open";
  EXPECT_EQ(status("key-of-carol"), 0) << "what fails changes nothing";
}

TEST(PeerTable, StaysBoundedUnderManyAddresses) {
  PeerTable peers;
  ASSERT_TRUE(peers.Admit("keeps", 1));
  for (int i = 0; i < 100'000; ++i) peers.RecordWrongKey(std::to_string(i), kNow, 30);
  EXPECT_LE(peers.size(), PeerTable::kMaxPeers);
  EXPECT_FALSE(peers.Admit("keeps", 1)) << "an address with a connection is never forgotten";
  peers.Release("keeps");
  EXPECT_TRUE(peers.Admit("keeps", 1));
  peers.Release("keeps");
  peers.RecordGoodKey("keeps", 7);
  for (int i = 0; i < 100'000; ++i) peers.RecordWrongKey(std::to_string(i), kNow, 30);
  EXPECT_LE(peers.size(), PeerTable::kMaxPeers);
  EXPECT_FALSE(peers.IsGoodKey("keeps", 7)) << "and one without is, in its turn";
}

TEST(Gate, KeyLimits) {
  auto gate = MakeGate(WithKeys());
  auto ask = [&](std::string key, int at_s) {
    return Judge(*gate, {.target = "/v1/models", .key = key, .now = kNow + seconds(at_s)});
  };
  Verdict one = ask("key-of-alice", 0), two = ask("key-of-alice", 0);
  EXPECT_EQ(two.fault.status, 0);
  EXPECT_EQ(ask("key-of-alice", 0).fault.status, 429);
  one.key_use->Release();
  EXPECT_EQ(ask("key-of-alice", 0).fault.status, 0);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(ask("key-of-bobby", 0).fault.status, 0);
  const Verdict over = ask("key-of-bobby", 1);
  EXPECT_EQ(over.fault.status, 429);
  EXPECT_EQ(over.headers.back().name, "Retry-After");
  EXPECT_EQ(over.headers.back().value, "19");
  EXPECT_EQ(ask("key-of-bobby", 20).fault.status, 0);
}

TEST(Gate, HostAndOrigin) {
  auto gate = MakeGate({});
  auto host = [&](std::string name, bool loopback = true, bool is_unix = false) {
    return Judge(*gate, {.host = name, .listener = {loopback, is_unix, false, false}}).fault.status;
  };
  for (const char* good : {"localhost", "localhost:80", "127.0.0.1:9", "127.8.9.1", "[::1]:9"}) {
    EXPECT_EQ(host(good), 0) << good;
  }
  for (const char* bad : {"evil.example", "127.0.0.1.evil.example", "localhost.evil.example",
                          "127.evil.example.com", "192.168.0.1", "[::2]"}) {
    EXPECT_EQ(host(bad), 403) << bad;
  }
  EXPECT_EQ(host("evil.example", false), 0) << "not a loopback listener: a key guards it";
  EXPECT_EQ(host("evil.example", true, true), 0) << "no page reaches a Unix socket";
  auto origin = [&](Gate& g, std::string text) { return Judge(g, {.origin = text}); };
  EXPECT_EQ(origin(*gate, "http://localhost:1").fault.status, 0) << "our own page";
  for (const char* bad : {"https://evil.example", "null", "http://localhost:2", "file://"}) {
    EXPECT_EQ(origin(*gate, bad).fault.status, 403) << bad;
  }
  HttpServerOptions options;
  options.allowed_origins = {"https://app.example"};
  options.allowed_hosts = {"llm.example"};
  auto listed = MakeGate(options);
  const Verdict allowed = origin(*listed, "https://app.example");
  EXPECT_EQ(allowed.fault.status, 0);
  EXPECT_EQ(allowed.headers[0].value, "https://app.example");
  for (const Header& header : allowed.headers) {
    EXPECT_NE(header.name, "Access-Control-Allow-Credentials");
  }
  EXPECT_EQ(origin(*listed, "https://app.example.evil").fault.status, 403);
  EXPECT_EQ(Judge(*listed, {.host = "llm.example:80"}).fault.status, 0);
  EXPECT_EQ(
      Judge(*listed, {.host = "other", .listener = {false, false, false, false}}).fault.status,
      403);
  const Verdict preflight =
      Judge(*listed, {.method = Method::kOptions,
                      .target = "/v1/models",
                      .origin = "https://app.example",
                      .more = {{"access-control-request-method", "POST"},
                               {"access-control-request-headers", "authorization, x-a"}}});
  EXPECT_EQ(preflight.fault.status, 204);
  for (const char* bad : {"example.com", "https://a/b", "https://", "://a"}) {
    options.allowed_origins = {bad};
    EXPECT_FALSE(Gate::Create(options, SomeRoutes()).ok()) << bad;
  }
}

TEST(Gate, Draining_RefusesAllButWhatSaysOtherwise) {
  auto gate = MakeGate({});
  gate->SetDraining(7);
  EXPECT_EQ(Judge(*gate, {}).fault.status, 0);
  const Verdict refused = Judge(*gate, {.target = "/v1/models"});
  EXPECT_EQ(refused.fault.status, 503);
  EXPECT_EQ(refused.fault.code, "draining");
  EXPECT_EQ(refused.headers.back().value, "7");
}

TEST(ApiKeys, FileFormat) {
  // sha256 of "key-of-alice", by coreutils' sha256sum.
  const auto hashed = ApiKeys::Parse(
      "# keys\nalice sha256:d16a80956c32f3f5fb979bea408abac8c3eef6c54ecb234279e337146cf87b47 "
      "admin weight=2.5 # a comment\n\n",
      "f");
  ASSERT_TRUE(hashed.ok()) << hashed.status().ToString();
  EXPECT_TRUE((*hashed)[0].admin);
  EXPECT_EQ((*hashed)[0].weight, 2.5);
  EXPECT_EQ(ApiKeys::Create(*hashed)->Find("key-of-alice"), 0);
  for (const char* bad : {"alice", "alice short", "al/ice key-of-alice", "alice sha256:12",
                          "alice key-of-alice max_concurrent=0", "alice key-of-alice weight=nan",
                          "alice key-of-alice secret-tail", "alice key-of-alice weight=1e9"}) {
    const auto result = ApiKeys::Parse(bad, "keys.txt");
    ASSERT_FALSE(result.ok()) << bad;
    EXPECT_EQ(result.status().message().rfind("keys.txt:1", 0), 0u);
    EXPECT_EQ(result.status().message().find("key-of-alice"), std::string::npos);
    EXPECT_EQ(result.status().message().find("secret-tail"), std::string::npos);
  }
  auto two = ApiKeys::Parse("a key-of-alice\nb key-of-alice\n", "f");
  EXPECT_FALSE(ApiKeys::Create(*two).ok()) << "the same key twice";
  auto keys = ApiKeys::Create(*ApiKeys::Parse("a key-of-alice\nb key-of-bobby\n", "f"));
  EXPECT_EQ(keys->Find("key-of-bobby"), 1);
  EXPECT_EQ(keys->Find("key-of-bobb"), -1);
  EXPECT_EQ(keys->Find(""), -1);
}

TEST(Router, RefusesMalformedTables) {
  EXPECT_FALSE(Router::Create({{Method::kGet, "x", Access::kUser, Nothing}}).ok());
  EXPECT_FALSE(Router::Create({{Method::kGet, "/x/", Access::kUser, Nothing}}).ok());
  EXPECT_FALSE(Router::Create({{Method::kGet, "/{a*}/x", Access::kUser, Nothing}}).ok());
  EXPECT_FALSE(Router::Create({{Method::kGet, "/x", Access::kUser, nullptr}}).ok());
  EXPECT_FALSE(Router::Create({{Method::kGet, "/x", Access::kUser, Nothing},
                               {Method::kGet, "/x", Access::kPublic, Nothing}})
                   .ok());
}

}  // namespace
}  // namespace rill::server
