#include "rill/server_limits.h"

#include <fmt/format.h>

#include <charconv>
#include <string>

#include "base/utf8.h"

namespace rill {
namespace {

constexpr ServerLimitInfo kAll[] = {
#define LIMIT(name, standard, least, most, what) {#name, &ServerLimits::name, least, most, what},
#include "rill/server_limit_list.def"
#undef LIMIT
};

Status CheckRange(const ServerLimitInfo& info, int64_t value) {
  if (value >= info.least && value <= info.most) return OkStatus();
  return InvalidArgument(
      fmt::format("limit {}: expected {} to {}, got {}", info.name, info.least, info.most, value));
}

}  // namespace

std::span<const ServerLimitInfo> AllServerLimits() {
  return kAll;
}

Status SetServerLimit(std::string_view setting, ServerLimits& limits) {
  const size_t equals = setting.find('=');
  const std::string_view name = setting.substr(0, equals);
  for (const ServerLimitInfo& info : kAll) {
    if (name != info.name) continue;
    const std::string_view text =
        equals == std::string_view::npos ? std::string_view() : setting.substr(equals + 1);
    int64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size()) {
      return InvalidArgument(fmt::format("limit {}: expected {} to {}, got '{}'", info.name,
                                         info.least, info.most, PrintableUtf8(text)));
    }
    RILL_RETURN_IF_ERROR(CheckRange(info, value));
    limits.*info.value = value;
    return OkStatus();
  }
  std::string names;
  for (const ServerLimitInfo& info : kAll) names += fmt::format(" {}", info.name);
  return InvalidArgument(
      fmt::format("no limit is called '{}'; there are:{}", PrintableUtf8(name), names));
}

Status CheckServerLimits(const ServerLimits& limits) {
  for (const ServerLimitInfo& info : kAll) {
    RILL_RETURN_IF_ERROR(CheckRange(info, limits.*info.value));
  }
  return OkStatus();
}

}  // namespace rill
