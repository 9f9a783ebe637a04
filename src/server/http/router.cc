#include "server/http/router.h"

#include <algorithm>

namespace rill::server {

namespace {

bool IsParam(const std::string& segment) {
  return segment.size() > 2 && segment.front() == '{' && segment.back() == '}';
}
bool IsRest(const std::string& segment) {
  return IsParam(segment) && segment[segment.size() - 2] == '*';
}

std::vector<std::string> Split(std::string_view path) {
  std::vector<std::string> out;
  size_t begin = 1;
  while (begin < path.size()) {
    const size_t end = std::min(path.find('/', begin), path.size());
    out.emplace_back(path.substr(begin, end - begin));
    begin = end + 1;
  }
  return out;
}

// How well `pattern` matches: the index of its first parameter counts, so that literals win.
// -1: not at all.
int Match(const std::vector<std::string>& pattern, const std::vector<std::string>& segments,
          NameValues* params) {
  params->clear();
  int score = 0;
  for (size_t i = 0; i < pattern.size(); ++i) {
    if (IsRest(pattern[i])) {
      if (i >= segments.size()) return -1;
      std::string rest = segments[i];
      for (size_t j = i + 1; j < segments.size(); ++j) rest += "/" + segments[j];
      params->emplace_back(pattern[i].substr(1, pattern[i].size() - 3), std::move(rest));
      return score;
    }
    if (i >= segments.size()) return -1;
    // An encoded slash is not a boundary: only {rest*} may hold one.
    if (segments[i].find('/') != std::string::npos) return -1;
    if (IsParam(pattern[i])) {
      params->emplace_back(pattern[i].substr(1, pattern[i].size() - 2), segments[i]);
      score += 1;
    } else if (pattern[i] == segments[i]) {
      score += 2;
    } else {
      return -1;
    }
  }
  return pattern.size() == segments.size() ? score : -1;
}

}  // namespace

Result<Router> Router::Create(std::vector<Route> routes) {
  Router router;
  for (Route& route : routes) {
    const std::string where = std::string(MethodName(route.method)) + " " + route.path;
    if (route.path.empty() || route.path[0] != '/' || route.path.find("//") != std::string::npos ||
        (route.path.size() > 1 && route.path.back() == '/')) {
      return InvalidArgument("route '" + where + "': malformed path");
    }
    if (!route.handler) return InvalidArgument("route '" + where + "': no handler");
    if (route.method == Method::kHead || route.method == Method::kOptions) {
      return InvalidArgument("route '" + where + "': the transport answers this method itself");
    }
    std::vector<std::string> pattern = Split(route.path);
    for (size_t i = 0; i + 1 < pattern.size(); ++i) {
      if (IsRest(pattern[i])) {
        return InvalidArgument("route '" + where + "': {…*} must be the last segment");
      }
    }
    for (const Route& other : router.routes_) {
      if (other.method == route.method && other.path == route.path) {
        return InvalidArgument("route '" + where + "' is listed twice");
      }
    }
    router.patterns_.push_back(std::move(pattern));
    router.routes_.push_back(std::move(route));
  }
  return router;
}

Router::Match Router::Find(Method method, const std::vector<std::string>& segments,
                           bool with_admin) const {
  Match best;
  int best_score = -1;
  std::vector<Method> allowed;
  for (size_t i = 0; i < routes_.size(); ++i) {
    if (routes_[i].access == Access::kAdmin && !with_admin) continue;
    NameValues params;
    const int score = ::rill::server::Match(patterns_[i], segments, &params);
    if (score < 0) continue;
    const Route& route = routes_[i];
    allowed.push_back(route.method);
    if (route.method == Method::kGet) allowed.push_back(Method::kHead);
    const bool fits =
        route.method == method || (route.method == Method::kGet && method == Method::kHead);
    if (fits && score > best_score) {
      best_score = score;
      best.route = &route;
      best.params = std::move(params);
    }
  }
  if (!best.route) {
    std::sort(allowed.begin(), allowed.end());
    allowed.erase(std::unique(allowed.begin(), allowed.end()), allowed.end());
    for (Method m : allowed) {
      if (!best.allow.empty()) best.allow += ", ";
      best.allow += MethodName(m);
    }
  }
  return best;
}

}  // namespace rill::server
