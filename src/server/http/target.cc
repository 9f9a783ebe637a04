#include "server/http/target.h"

#include <optional>

#include "base/utf8.h"

namespace rill::server {

namespace {

int HexValue(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

// Nothing when a '%' is malformed, or when the result has a control character or is not UTF-8.
std::optional<std::string> PercentDecode(std::string_view text, bool plus_is_space) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    char c = text[i];
    if (c == '%') {
      if (i + 2 >= text.size()) return std::nullopt;
      const int high = HexValue(text[i + 1]), low = HexValue(text[i + 2]);
      if (high < 0 || low < 0) return std::nullopt;
      c = static_cast<char>(high << 4 | low);
      i += 2;
    } else if (c == '+' && plus_is_space) {
      c = ' ';
    }
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f) return std::nullopt;
    out += c;
  }
  if (!IsValidUtf8(out)) return std::nullopt;
  return out;
}

bool IsPlainName(std::string_view part) {
  return !part.empty() && part != "." && part != "..";
}

}  // namespace

Result<Target> ParseTargetPath(std::string_view text) {
  static const Status no_such_path = NotFound("no such path");
  Target target;
  const size_t question = text.find('?');
  std::string_view path = text.substr(0, question);
  if (path.empty() || path[0] != '/') return no_such_path;
  if (path.size() > 1 && path.back() == '/') path.remove_suffix(1);
  size_t begin = 1;
  while (begin <= path.size() && path != "/") {
    const size_t end = std::min(path.find('/', begin), path.size());
    std::optional<std::string> segment = PercentDecode(path.substr(begin, end - begin), false);
    if (!segment) return no_such_path;
    std::string_view rest = *segment;
    while (true) {
      const size_t slash = rest.find('/');
      if (!IsPlainName(rest.substr(0, slash))) return no_such_path;
      if (slash == std::string_view::npos) break;
      rest.remove_prefix(slash + 1);
    }
    if (segment->find('\\') != std::string::npos) return no_such_path;
    target.path += '/';
    target.path += *segment;
    target.segments.push_back(std::move(*segment));
    begin = end + 1;
  }
  if (target.path.empty()) target.path = "/";
  if (question == std::string_view::npos) return target;

  std::string_view query = text.substr(question + 1);
  while (!query.empty()) {
    const size_t end = std::min(query.find('&'), query.size());
    const std::string_view pair = query.substr(0, end);
    query.remove_prefix(std::min(end + 1, query.size()));
    if (pair.empty()) continue;
    if (target.query.size() == 100) return InvalidArgument("query: more than 100 parameters");
    const size_t equals = std::min(pair.find('='), pair.size());
    auto name = PercentDecode(pair.substr(0, equals), true);
    auto value = PercentDecode(pair.substr(std::min(equals + 1, pair.size())), true);
    if (!name || !value) return InvalidArgument("query: not percent-encoded UTF-8 text");
    target.query.emplace_back(std::move(*name), std::move(*value));
  }
  return target;
}

}  // namespace rill::server
