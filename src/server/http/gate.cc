#include "server/http/gate.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>

#include "server/http/listener.h"

namespace rill::server {

namespace {

HttpFault Fault(int status, std::string_view code, std::string message) {
  return {status, std::string(code), std::move(message)};
}

// The key a request carries; "" when none: "Authorization: Bearer KEY", or "X-Api-Key: KEY".
std::string_view GivenKey(const RequestHead& head) {
  std::string_view key;
  for (const Header& field : head.fields) {
    if (field.name == "authorization") {
      std::string_view value = field.value;
      if (value.size() > 7 && EqualsNoCase(value.substr(0, 7), "bearer ")) {
        value.remove_prefix(7);
        while (!value.empty() && value.front() == ' ') value.remove_prefix(1);
        return value;
      }
    } else if (field.name == "x-api-key") {
      key = field.value;
    }
  }
  return key;
}

std::string_view FieldOf(const RequestHead& head, std::string_view name) {
  for (const Header& field : head.fields) {
    if (field.name == name) return field.value;
  }
  return {};
}

}  // namespace

int KeyUse::Admit(std::chrono::steady_clock::time_point now) {
  KeyBudget& used = *budget_;
  std::lock_guard lock(used.mutex);
  if (key_.max_concurrent > 0 && used.in_flight >= key_.max_concurrent) return 1;
  if (key_.requests_per_minute > 0) {
    const double rate = key_.requests_per_minute / 60.0;
    const double seconds = std::chrono::duration<double>(now - used.refilled).count();
    used.tokens = used.tokens < 0
                      ? key_.requests_per_minute
                      : std::min<double>(key_.requests_per_minute, used.tokens + seconds * rate);
    used.refilled = now;
    if (used.tokens < 1) return std::max(1, static_cast<int>(std::ceil((1 - used.tokens) / rate)));
    used.tokens -= 1;
  }
  ++used.in_flight;
  return 0;
}

void KeyUse::Release() {
  std::lock_guard lock(budget_->mutex);
  --budget_->in_flight;
}

Result<std::unique_ptr<Gate>> Gate::Create(const HttpServerOptions& options,
                                           std::vector<Route> routes) {
  RILL_ASSIGN_OR_RETURN(Router router, Router::Create(std::move(routes)));
  std::vector<std::string> hosts = options.allowed_hosts;
  RILL_ASSIGN_OR_RETURN(OriginPolicy origins,
                        OriginPolicy::Create(std::move(hosts), options.allowed_origins));
  std::unique_ptr<Gate> gate(new Gate(std::move(router), std::move(origins)));
  gate->limits_ = options.limits;
  gate->admin_on_main_ = options.admin_on_main;
  RILL_ASSIGN_OR_RETURN(auto keys, gate->PrepareKeys(options.api_keys));
  gate->UseKeys(std::move(keys));
  return gate;
}

Result<std::shared_ptr<const Gate::KeyList>> Gate::PrepareKeys(std::vector<ApiKey> keys) {
  auto next = std::make_shared<KeyList>();
  RILL_ASSIGN_OR_RETURN(next->keys, ApiKeys::Create(std::move(keys)));
  const std::shared_ptr<const KeyList> now = this->keys();
  // An open server must not be locked, nor a locked one opened, by reading a file again.
  if (now && now->keys.empty() != next->keys.empty()) {
    return FailedPrecondition("API keys: none at start and some now, or the reverse: restart");
  }
  std::map<std::array<uint8_t, 32>, std::shared_ptr<KeyBudget>> kept;
  if (now) {
    for (const auto& use : now->uses) kept[use->key().hash] = use->budget();
  }
  for (const ApiKey& key : next->keys.keys()) {
    std::shared_ptr<KeyBudget>& budget = kept[key.hash];
    if (!budget) budget = std::make_shared<KeyBudget>(next_key_id_.fetch_add(1));
    next->uses.push_back(std::make_shared<KeyUse>(key, budget));
  }
  return std::shared_ptr<const KeyList>(std::move(next));
}

void Gate::UseKeys(std::shared_ptr<const KeyList> keys) {
  std::lock_guard lock(keys_mutex_);
  keys_ = std::move(keys);
}

std::shared_ptr<const Gate::KeyList> Gate::keys() const {
  std::lock_guard lock(keys_mutex_);
  return keys_;
}

bool Gate::has_keys() const {
  return !keys()->keys.empty();
}

// All clients of a proxy on this machine come from one address, which must not be locked for all by
// the wrong keys of one: there the proxy's X-Forwarded-For says whose they are. Its last entry is
// the proxy's own word (entries of further proxies on this machine follow); a client can only put
// others before it. Without the field nobody is counted: the proxy has to limit them.
std::string Gate::CountedAddress(const RequestHead& head, const GatePeer& peer) const {
  if (!peer.is_local || limits_.loopback_has_ip_limit) return peer.address;
  for (auto field = head.fields.rbegin(); field != head.fields.rend(); ++field) {
    if (field->name != "x-forwarded-for") continue;
    std::string_view entries = field->value;
    while (true) {
      const size_t comma = entries.rfind(',');
      std::string_view entry =
          comma == std::string_view::npos ? entries : entries.substr(comma + 1);
      while (!entry.empty() && entry.front() == ' ') entry.remove_prefix(1);
      while (!entry.empty() && entry.back() == ' ') entry.remove_suffix(1);
      const PeerAddress forwarded = PeerOfLiteral(entry);
      if (!forwarded.is_loopback) return forwarded.key;
      if (comma == std::string_view::npos) break;
      entries = entries.substr(0, comma);
    }
  }
  return "";
}

int Gate::CheckKey(const RequestHead& head, const KeyList& keys, const GatePeer& peer,
                   std::chrono::steady_clock::time_point now, Verdict* verdict) {
  const std::string_view given = GivenKey(head);
  if (given.empty()) {
    verdict->headers.push_back({"WWW-Authenticate", "Bearer"});
    verdict->fault =
        Fault(401, "invalid_api_key", "no API key: send it as 'Authorization: Bearer KEY'");
    return -1;
  }
  const int index = keys.keys.Find(given);
  const uint64_t id = index < 0 ? 0 : keys.uses[static_cast<size_t>(index)]->id();
  const std::string address = CountedAddress(head, peer);
  const int per_minute = address.empty() ? 0 : limits_.auth_failures_per_minute;
  // The answer while throttled must not tell whether this key is right, unless it is known to be.
  if (!(index >= 0 && peers_.IsGoodKey(address, id))) {
    if (const int wait = peers_.AuthWait(address, now, per_minute); wait > 0) {
      verdict->headers.push_back({"Retry-After", std::to_string(wait)});
      verdict->fault =
          Fault(429, "too_many_wrong_keys", "too many wrong API keys from this address");
      return -1;
    }
  }
  if (index < 0) {
    peers_.RecordWrongKey(address, now, per_minute);
    verdict->headers.push_back({"WWW-Authenticate", "Bearer"});
    verdict->fault = Fault(401, "invalid_api_key", "Incorrect API key provided");
    return -1;
  }
  if (per_minute > 0) peers_.RecordGoodKey(address, id);
  verdict->authenticated = true;
  return index;
}

Verdict Gate::Judge(const RequestHead& head, const ListenerTraits& listener, const GatePeer& peer,
                    std::chrono::steady_clock::time_point now) {
  Verdict verdict;
  verdict.max_body = limits_.max_body_bytes;
  auto refuse = [&](int status, std::string_view code, std::string message) {
    verdict.fault = Fault(status, code, std::move(message));
    return std::move(verdict);
  };

  if (!listener.is_unix && !origins_.HostAllowed(head.host, listener.is_loopback)) {
    return refuse(403, "host_not_allowed",
                  "this Host is not served here; the operator can allow it by name");
  }
  const std::string_view origin = FieldOf(head, "origin");
  const OriginPolicy::Origin judged = origins_.Judge(origin, head.host);
  if (!judged.allowed) {
    return refuse(403, "origin_not_allowed",
                  "pages of this Origin may not call; the operator can allow it");
  }
  if (!judged.allow_origin.empty()) {
    verdict.headers.push_back({"Access-Control-Allow-Origin", judged.allow_origin});
    if (judged.allow_origin != "*") verdict.headers.push_back({"Vary", "Origin"});
    verdict.headers.push_back(
        {"Access-Control-Expose-Headers", "x-request-id, openai-processing-ms, retry-after"});
    if (head.method == Method::kOptions &&
        !FieldOf(head, "access-control-request-method").empty()) {
      verdict.headers.push_back({"Access-Control-Allow-Methods", "GET, POST, PUT, PATCH, DELETE"});
      // Names only, and token by token checked: the value comes from outside.
      const std::string_view asked = FieldOf(head, "access-control-request-headers");
      const bool sane = std::all_of(asked.begin(), asked.end(), [](char c) {
        return c == ',' || c == ' ' || IsToken(std::string_view(&c, 1));
      });
      if (!asked.empty() && sane) {
        verdict.headers.push_back({"Access-Control-Allow-Headers", std::string(asked)});
      }
      verdict.headers.push_back({"Access-Control-Max-Age", "600"});
      return refuse(204, "preflight", "");
    }
  }

  // The route is looked up first, but nothing of it is told before the key was right.
  Result<Target> target = ParseTargetPath(head.target);
  Router::Match match;
  const bool admin_visible = listener.is_admin || admin_on_main_;
  if (target.ok()) match = router_.Find(head.method, target->segments, admin_visible);
  const bool is_public = match.route && match.route->access == Access::kPublic;

  const std::shared_ptr<const KeyList> keys = this->keys();
  int key = -1;
  if (!keys->keys.empty() && !is_public) {
    key = CheckKey(head, *keys, peer, now, &verdict);
    if (verdict.fault) return verdict;
  }
  const bool is_admin_key = key >= 0 && keys->keys.keys()[static_cast<size_t>(key)].admin;
  verdict.is_admin = keys->keys.empty() ? listener.is_admin : is_admin_key;

  if (!target.ok() && target.status().code() == StatusCode::kInvalidArgument) {
    return refuse(400, "invalid_value", target.status().message());
  }
  if (!target.ok() || (!match.route && match.allow.empty())) {
    return refuse(404, "not_found", "no such path");
  }
  if (!match.route) {
    verdict.headers.push_back({"Allow", match.allow});
    return refuse(405, "method_not_allowed",
                  head.method_text + " is not allowed here; allowed: " + match.allow);
  }
  if (match.route->access == Access::kAdmin && !keys->keys.empty() && !is_admin_key) {
    return refuse(403, "admin_key_required", "this route needs an admin key");
  }
  verdict.route = match.route;
  verdict.params = std::move(match.params);
  verdict.target = std::move(*target);
  if (match.route->max_body) verdict.max_body = match.route->max_body;

  if (const int retry_after = draining_s_; retry_after && !match.route->while_draining) {
    verdict.headers.push_back({"Retry-After", std::to_string(retry_after)});
    return refuse(503, "draining", "the server is shutting down; ask another one");
  }
  // Whoever reaches the port may ask these: nobody without a key holds memory or time by a body.
  if (is_public && (head.chunked || head.content_length > 0)) {
    return refuse(413, "body_too_large", "this path takes no body");
  }
  if (head.has_content_length && head.content_length > verdict.max_body) {
    return refuse(413, "body_too_large",
                  "the body has " + std::to_string(head.content_length) + " bytes; at most " +
                      std::to_string(verdict.max_body) + " are allowed");
  }
  if (key >= 0) {
    const std::shared_ptr<KeyUse>& use = keys->uses[static_cast<size_t>(key)];
    if (const int wait = use->Admit(now); wait > 0) {
      verdict.headers.push_back({"Retry-After", std::to_string(wait)});
      return refuse(429, "rate_limit_exceeded", "this API key's limit on requests is reached");
    }
    verdict.key_use = use;
  }
  return verdict;
}

}  // namespace rill::server
