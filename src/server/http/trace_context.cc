#include "server/http/trace_context.h"

#include <algorithm>
#include <cstddef>

namespace rill::server {
namespace {

bool IsHex(std::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

bool IsId(std::string_view text) {
  return IsHex(text) && text.find_first_not_of('0') != std::string_view::npos;
}

}  // namespace

std::string_view TraceIdOf(std::string_view traceparent) {
  constexpr size_t kSize = 2 + 1 + 32 + 1 + 16 + 1 + 2;
  if (traceparent.size() < kSize) return "";
  const std::string_view version = traceparent.substr(0, 2);
  const std::string_view trace_id = traceparent.substr(3, 32);
  if (!IsHex(version) || version == "ff") return "";
  if (traceparent[2] != '-' || traceparent[35] != '-' || traceparent[52] != '-') return "";
  if (!IsId(trace_id) || !IsId(traceparent.substr(36, 16)) || !IsHex(traceparent.substr(53, 2))) {
    return "";
  }
  if (traceparent.size() > kSize && (version == "00" || traceparent[kSize] != '-')) return "";
  return trace_id;
}

}  // namespace rill::server
